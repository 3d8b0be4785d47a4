//! What a client would like (RFC 7240).

use std::time::Duration;

use axum::http::HeaderMap;

/// How long to wait for a job's end: `Prefer: wait=30`, at most a minute. What cannot be used is passed over [ARCP 16-1].
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let seconds = texts.flat_map(|text| text.split(',')).find_map(|wish| {
        let wish = wish.split(';').next().unwrap_or_default();
        let (name, value) = wish.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let is_number = !value.is_empty() && value.bytes().all(|digit| digit.is_ascii_digit());
        (name.trim().eq_ignore_ascii_case("wait") && is_number).then_some(value)
    })?;
    // More digits than a number has are more than a minute.
    let seconds = seconds.parse().unwrap_or(u64::MAX);
    Some(Duration::from_secs(seconds).min(LONGEST))
}

/// Longer than this nobody waits.
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// [ARCP 16-1] `wait` is a number of seconds, capped; anything else is no wish.
    #[test]
    fn waiting_is_a_number_of_seconds() {
        for (text, seconds) in [
            ("wait=30", Some(30)),
            ("respond-async, wait=5", Some(5)),
            ("Wait = \"7\"; x=y", Some(7)),
            ("wait=0", Some(0)),
            ("wait=61", Some(60)),
            ("wait=99999999999999999999", Some(60)),
            ("wait", None),
            ("wait=", None),
            ("wait=-1", None),
            ("wait=soon", None),
            ("return=minimal", None),
        ] {
            let name = HeaderName::from_static("prefer");
            let headers = HeaderMap::from_iter([(name, HeaderValue::from_static(text))]);
            assert_eq!(wait(&headers), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(wait(&HeaderMap::new()), None);
    }
}
