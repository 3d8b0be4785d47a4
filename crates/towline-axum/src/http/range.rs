//! Parts of a body (RFC 9110, 14).

use axum::http::{HeaderMap, header};

/// What of a body is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it: nothing else was asked for, or several parts, or something that cannot be read [ARCP 16-1].
    Whole,
    /// So many bytes from this one on.
    Of { from: u64, count: u64 },
    /// A part that is not there.
    Nowhere,
}

/// The part that a request asks for, of a body of `size` bytes that has this tag.
pub(super) fn part(headers: &HeaderMap, size: u64, tag: &str) -> Part {
    let unless = headers.get(header::IF_RANGE);
    if unless.is_some_and(|unless| unless.as_bytes() != tag.as_bytes()) {
        return Part::Whole;
    }
    let mut asked = headers.get_all(header::RANGE).iter();
    let Some(range) = asked.next().and_then(|range| range.to_str().ok()) else {
        return Part::Whole;
    };
    if asked.next().is_some() {
        return Part::Whole;
    }
    read(range, size).unwrap_or(Part::Whole)
}

/// `None` for what is no range, or several.
fn read(range: &str, size: u64) -> Option<Part> {
    let (unit, range) = range.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = (number(first)?, number(last)?);
    let (from, end) = match (first, last) {
        (None, None) => return None,
        (None, Some(count)) => (size - size.min(count), size),
        (Some(from), None) => (from, size),
        (Some(from), Some(last)) if last < from => return None,
        (Some(from), Some(last)) => (from, size.min(last.saturating_add(1))),
    };
    if from >= size {
        return Some(Part::Nowhere);
    }
    Some(Part::Of {
        from,
        count: end - from,
    })
}

/// A number, or nothing at all; `None` for anything else.
fn number(text: &str) -> Option<Option<u64>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(None);
    }
    let is_number = text.bytes().all(|digit| digit.is_ascii_digit());
    // More digits than a number has lead beyond any end.
    is_number.then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// [ARCP 16-1] One range is a part, several or what cannot be read are the whole, what is not there is told.
    #[test]
    fn a_part_is_one_range() {
        let of = |from, count| Part::Of { from, count };
        for (text, part) in [
            ("bytes=0-0", of(0, 1)),
            ("bytes=2-5", of(2, 4)),
            ("bytes=2-", of(2, 8)),
            ("bytes=-3", of(7, 3)),
            ("bytes=-30", of(0, 10)),
            ("bytes=9-99999999999999999999", of(9, 1)),
            ("Bytes = 1 - 2", of(1, 2)),
            ("bytes=10-", Part::Nowhere),
            ("bytes=10-12", Part::Nowhere),
            ("bytes=-0", Part::Nowhere),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=5-2", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes", Part::Whole),
        ] {
            let value = HeaderValue::from_static(text);
            let headers = HeaderMap::from_iter([(header::RANGE, value)]);
            assert_eq!(super::part(&headers, 10, "\"t\""), part, "{text}");
        }
        assert_eq!(part(&HeaderMap::new(), 10, "\"t\""), Part::Whole);
    }

    #[test]
    fn a_part_of_something_else_is_the_whole() {
        let headers = |tag| {
            HeaderMap::from_iter([
                (header::RANGE, HeaderValue::from_static("bytes=1-2")),
                (header::IF_RANGE, HeaderValue::from_static(tag)),
            ])
        };
        let of = Part::Of { from: 1, count: 2 };
        assert_eq!(part(&headers("\"t\""), 10, "\"t\""), of);
        assert_eq!(part(&headers("\"other\""), 10, "\"t\""), Part::Whole);
    }
}
