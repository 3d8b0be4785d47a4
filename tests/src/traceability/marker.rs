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
    pub(super) owner: Owner,
}

/// What a marker belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// Ordinary code: the marker explains and proves nothing.
    Code,
    /// A function that is no test itself, but may be a case of a behaviour suite.
    Function(String),
    /// A test.
    Test(String),
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
        let inside = &inside[..end];
        let ids = inside
            .split(',')
            .map(|part| range(part.trim()))
            .collect::<Option<Vec<_>>>();
        match ids {
            Some(ids) => found.extend(ids.into_iter().flatten().map(|id| (Ok(id), line))),
            None => found.push((Err(inside.to_owned()), line)),
        }
    }
    found
}

/// `6.3-4`, or every rule of `6.3-4 to 6.3-9`.
fn range(text: &str) -> Option<Vec<RuleId>> {
    let Some((first, last)) = text.split_once(" to ") else {
        return Some(vec![RuleId::parse(text)?]);
    };
    let ((chapter, first), (same, last)) = (numbered(first)?, numbered(last)?);
    let numbers = first..=last;
    (chapter == same && first < last && last - first < 100).then(|| {
        numbers
            .map(|number| RuleId(format!("{chapter}-{number}")))
            .collect()
    })
}

fn numbered(id: &str) -> Option<(&str, u32)> {
    RuleId::parse(id)?;
    let (chapter, number) = id.split_once('-')?;
    Some((chapter, number.parse().ok()?))
}

/// Written `id@test`, `id~function` or `id` in the tests of the scanners.
#[cfg(test)]
impl fmt::Display for Citation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.marked {
            Ok(rule) => write!(out, "{rule}")?,
            Err(text) => write!(out, "bad {text}")?,
        }
        match &self.owner {
            Owner::Code => Ok(()),
            Owner::Function(name) => write!(out, "~{name}"),
            Owner::Test(name) => write!(out, "@{name}"),
        }
    }
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
        assert_eq!(ids("// [ARCP 6..3-4,]"), ["bad: 6..3-4,"]);
    }

    #[test]
    fn ranges_stay_in_their_chapter() {
        assert_eq!(
            ids("// [ARCP 8-1, 9.6-1 to 9.6-3]"),
            ["8-1", "9.6-1", "9.6-2", "9.6-3"]
        );
        assert_eq!(ids("// [ARCP 9.6-1 to 9.7-3]"), ["bad: 9.6-1 to 9.7-3"]);
        assert_eq!(ids("// [ARCP 9.6-3 to 9.6-1]"), ["bad: 9.6-3 to 9.6-1"]);
        assert_eq!(
            ids("// [ARCP 9.6-1 to 9.6-4000000000]"),
            ["bad: 9.6-1 to 9.6-4000000000"]
        );
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
