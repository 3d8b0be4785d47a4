//! The marker itself: `ARCP`, a space and rule ids, between square brackets.

use std::fmt;

/// The id of a rule: chapter and number, such as `6.3-4`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(String);

impl RuleId {
    /// Reads an id; `None` unless it is dotted digits, a hyphen and digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let (chapter, number) = text.split_once('-')?;
        (chapter.split('.').all(digits) && digits(number)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// One id named by a marker, or the inside of a marker that cannot be read.
pub(super) type Marked = Result<RuleId, String>;

/// What the comments of one source file say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Citation {
    pub(super) marked: Marked,
    /// From 1.
    pub(super) line: usize,
    /// The test the marker belongs to; `None` beside ordinary code, where it explains and proves nothing.
    pub(super) test: Option<String>,
}

const OPENING: &str = "[ARCP ";

/// Every id marked in the text of one comment that begins on `first_line`, with the line it stands on.
pub(super) fn markers(comment: &str, first_line: usize) -> Vec<(Marked, usize)> {
    let mut found = Vec::new();
    for (start, _) in comment.match_indices(OPENING) {
        let line = first_line + comment[..start].matches('\n').count();
        let inside = &comment[start + OPENING.len()..];
        let Some(end) = inside.find(']') else {
            found.push((
                Err(inside.lines().next().unwrap_or_default().to_owned()),
                line,
            ));
            continue;
        };
        for id in inside[..end].split(',').map(str::trim) {
            found.push((
                RuleId::parse(id).ok_or_else(|| inside[..end].to_owned()),
                line,
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(comment: &str) -> Vec<String> {
        markers(comment, 1)
            .into_iter()
            .map(|(id, _)| id.map_or_else(|bad| format!("bad: {bad}"), |id| id.to_string()))
            .collect()
    }

    #[test]
    fn one_several_and_separate_markers_are_read() {
        assert_eq!(ids("/// [ARCP 6.3-4] Jobs keep running."), ["6.3-4"]);
        assert_eq!(
            ids("/// [ARCP 6.3-4, 8-1,10-2] Jobs keep running."),
            ["6.3-4", "8-1", "10-2"]
        );
        assert_eq!(ids("// [ARCP 4-1] and [ARCP 4-2]"), ["4-1", "4-2"]);
        assert_eq!(
            ids("// ARCP 4-1, [ARCP], [arcp 4-1]: none of these is a marker"),
            [""; 0]
        );
    }

    #[test]
    fn what_is_no_id_is_kept_as_a_fault() {
        assert_eq!(ids("// [ARCP 6.3]"), ["bad: 6.3"]);
        assert_eq!(ids("// [ARCP §6.3-4]"), ["bad: §6.3-4"]);
        assert_eq!(ids("// [ARCP 6.3-4 6.3-5]"), ["bad: 6.3-4 6.3-5"]);
        assert_eq!(ids("// [ARCP 6.3-4"), ["bad: 6.3-4"]);
        assert_eq!(ids("// [ARCP 6..3-4,]"), ["bad: 6..3-4,", "bad: 6..3-4,"]);
    }

    #[test]
    fn a_marker_knows_its_line() {
        let lines: Vec<_> = markers("/* a\n [ARCP 4-1]\n\n [ARCP 4-2] */", 7)
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        assert_eq!(lines, [8, 10]);
    }
}
