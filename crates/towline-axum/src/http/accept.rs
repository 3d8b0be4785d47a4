//! Which form of an answer a client takes.

use axum::http::{HeaderMap, StatusCode, header};

use super::problem::Problem;

/// A document is JSON or nothing.
///
/// # Errors
/// 406 for a client that takes neither JSON nor anything.
pub(super) fn json(headers: &HeaderMap) -> Result<(), Problem> {
    let accepted = ranges(headers);
    let takes = |range: &Range<'_>| {
        range.weight > 0.0
            && ["application/json", "application/*", "*/*"]
                .iter()
                .any(|known| range.media.eq_ignore_ascii_case(known))
    };
    if accepted.is_empty() || accepted.iter().any(takes) {
        return Ok(());
    }
    Err(Problem::invalid(
        StatusCode::NOT_ACCEPTABLE,
        "the answer is `application/json`, which the Accept header leaves out",
    ))
}

/// Whether a log is wanted as lines rather than as server-sent events, which everything else means [ARCP 16-2].
pub(super) fn wants_lines(headers: &HeaderMap) -> bool {
    let accepted = ranges(headers);
    let weight = |media: &str| {
        let named = accepted
            .iter()
            .filter(|range| range.media.eq_ignore_ascii_case(media));
        named.map(|range| range.weight).fold(0.0, f64::max)
    };
    let lines = weight("application/x-ndjson");
    lines > 0.0 && lines >= weight("text/event-stream")
}

struct Range<'a> {
    media: &'a str,
    weight: f64,
}

fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let values = headers.get_all(header::ACCEPT).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let ranges = texts.flat_map(|text| text.split(',')).map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value)
        });
        let weight = weight.and_then(|weight| weight.trim().parse().ok());
        Range {
            media,
            weight: weight.unwrap_or(1.0),
        }
    });
    ranges.filter(|range| !range.media.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(accept: Option<&str>) -> HeaderMap {
        let value = accept.map(|accept| HeaderValue::from_str(accept).unwrap());
        value
            .map(|value| (header::ACCEPT, value))
            .into_iter()
            .collect()
    }

    /// [ARCP 16-3] A document is for those who take JSON.
    #[test]
    fn documents_are_json() {
        for good in [
            None,
            Some(""),
            Some("*/*"),
            Some("Application/JSON"),
            Some("text/html, application/*;q=0.1"),
        ] {
            assert!(json(&headers(good)).is_ok(), "{good:?}");
        }
        for bad in ["text/html", "application/json;q=0", "application/xml"] {
            assert!(json(&headers(Some(bad))).is_err(), "{bad}");
        }
    }

    /// [ARCP 16-2] Lines are for those who ask for them; everything else means server-sent events.
    #[test]
    fn lines_have_to_be_asked_for() {
        for (accept, lines) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/event-stream"), false),
            (Some("text/html"), false),
            (Some("application/x-ndjson"), true),
            (Some("application/x-ndjson, */*;q=0.1"), true),
            (Some("application/x-ndjson;q=0"), false),
            (Some("text/event-stream, application/x-ndjson;q=0.5"), false),
        ] {
            assert_eq!(wants_lines(&headers(accept)), lines, "{accept:?}");
        }
    }
}
