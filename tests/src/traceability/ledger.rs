//! Rules and claims held against each other.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Write as _};

use super::evidence::{Evidence, Place};
use super::marker::RuleId;

/// The rules of the protocol in their order, chapter by chapter: `docs/requirements.txt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    chapters: Vec<Chapter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chapter {
    title: String,
    rules: Vec<(RuleId, String)>,
}

/// Rules that no test proves yet, each with its reason (which may be empty): `docs/not-yet.txt`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NotYet {
    rules: BTreeMap<RuleId, String>,
}

/// A line of one of the two lists that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// From 1.
    pub number: usize,
    /// What is wrong, and how it is put right.
    pub reason: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.number, self.reason)
    }
}

impl Error for BadLine {}

impl Requirements {
    /// Reads the list: `## chapter` lines, and below each `id title` lines; other `#` lines and blank
    /// lines are remarks.
    ///
    /// # Errors
    ///
    /// A line without an id or a title, before the first chapter, or with an id that was there before.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut list = Self {
            chapters: Vec::new(),
        };
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            let bad = |reason: String| BadLine { number, reason };
            if let Some(title) = line.strip_prefix("## ") {
                list.chapters.push(Chapter {
                    title: title.to_owned(),
                    rules: Vec::new(),
                });
            } else if let Some((id, title)) = id_and_text(line).map_err(bad)? {
                if title.is_empty() {
                    return Err(bad(format!(
                        "rule {id} has no title; write one after the id"
                    )));
                }
                if list.contains(&id) {
                    return Err(bad(format!("rule {id} is listed twice; keep one of them")));
                }
                let chapter = list.chapters.last_mut();
                let chapter = chapter
                    .ok_or_else(|| bad(format!("rule {id} stands before any `## chapter`")))?;
                chapter.rules.push((id, title.to_owned()));
            }
        }
        Ok(list)
    }

    fn contains(&self, rule: &RuleId) -> bool {
        self.rules().any(|(known, _)| known == rule)
    }

    fn rules(&self) -> impl Iterator<Item = &(RuleId, String)> {
        self.chapters.iter().flat_map(|chapter| &chapter.rules)
    }
}

impl NotYet {
    /// Reads the list: `id` or `id reason` lines; `#` lines and blank lines are remarks.
    ///
    /// # Errors
    ///
    /// A line that does not begin with an id.
    pub fn parse(text: &str) -> Result<Self, BadLine> {
        let mut rules = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if let Some((id, reason)) =
                id_and_text(line).map_err(|reason| BadLine { number, reason })?
            {
                rules.insert(id, reason.to_owned());
            }
        }
        Ok(Self { rules })
    }

    /// `text`, a list of this form, without the lines of rules that `evidence` proves.
    pub fn without_proved(text: &str, evidence: &Evidence) -> String {
        let is_kept = |line: &&str| !matches!(id_and_text(line.trim()), Ok(Some((id, _))) if evidence.is_proved(&id));
        text.split_inclusive('\n').filter(is_kept).collect()
    }
}

/// `None` for a remark.
fn id_and_text(line: &str) -> Result<Option<(RuleId, &str)>, String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (id, text) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let id = RuleId::parse(id)
        .ok_or_else(|| format!("`{id}` is not a rule id; write one such as 6.3-4"))?;
    Ok(Some((id, text.trim())))
}

/// Something that makes the table of rules and tests untrue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A comment names a rule that is not in the list.
    UnknownRule(RuleId, Place),
    /// A marker that is not a list of ids.
    MalformedMarker(String, Place),
    /// A rule has no test and is not listed as missing.
    Unproved(RuleId),
    /// A rule is listed as missing, and this test proves it.
    Stale(RuleId, String),
    /// The list of missing rules names one that does not exist.
    UnknownNotYet(RuleId),
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownRule(rule, place) => {
                write!(
                    out,
                    "{place}: rule {rule} does not exist; see docs/requirements.txt"
                )
            }
            Self::MalformedMarker(text, place) => {
                write!(
                    out,
                    "{place}: `[ARCP {text}]` is no list of rule ids; write [ARCP 6.3-4, 8-1]"
                )
            }
            Self::Unproved(rule) => write!(
                out,
                "rule {rule} has no test: write one whose comment says [ARCP {rule}]"
            ),
            Self::Stale(rule, test) => {
                write!(
                    out,
                    "rule {rule} is proved by {test}: take it out of docs/not-yet.txt"
                )
            }
            Self::UnknownNotYet(rule) => write!(
                out,
                "docs/not-yet.txt names rule {rule}, which does not exist"
            ),
        }
    }
}

/// The lists and the evidence together.
///
/// [`findings`](Self::findings) says what is wrong, [`table`](Self::table) writes CONFORMANCE.md. Both
/// depend on nothing but the three parts, so the same tree gives the same text everywhere.
#[derive(Debug, Clone, Copy)]
pub struct Ledger<'a> {
    /// The rules.
    pub requirements: &'a Requirements,
    /// The rules known to lack a test.
    pub not_yet: &'a NotYet,
    /// The markers of the tree.
    pub evidence: &'a Evidence,
}

impl Ledger<'_> {
    /// Everything that is wrong; empty when each rule is either proved or listed as missing.
    pub fn findings(&self) -> Vec<Finding> {
        let Self {
            requirements,
            not_yet,
            evidence,
        } = self;
        let malformed = evidence.malformed().iter();
        let mut findings: Vec<_> = malformed
            .map(|(text, place)| Finding::MalformedMarker(text.clone(), place.clone()))
            .collect();
        let unknown = evidence
            .cited()
            .filter(|(rule, _)| !requirements.contains(rule));
        findings
            .extend(unknown.map(|(rule, place)| Finding::UnknownRule(rule.clone(), place.clone())));
        for (rule, _) in requirements.rules() {
            match (
                evidence.proofs(rule).next(),
                not_yet.rules.contains_key(rule),
            ) {
                (None, false) => findings.push(Finding::Unproved(rule.clone())),
                (Some(test), true) => findings.push(Finding::Stale(rule.clone(), test.to_owned())),
                (None, true) | (Some(_), false) => {}
            }
        }
        let invented = not_yet
            .rules
            .keys()
            .filter(|rule| !requirements.contains(rule));
        findings.extend(invented.map(|rule| Finding::UnknownNotYet(rule.clone())));
        findings
    }

    /// The text of CONFORMANCE.md.
    pub fn table(&self) -> String {
        let all = self.requirements.rules().count();
        let proved = self
            .requirements
            .rules()
            .filter(|(rule, _)| self.evidence.is_proved(rule))
            .count();
        let mut text = format!(
            "{HEADER}\n**{all} rules: {proved} proved, {} not yet.**\n",
            all - proved
        );
        for chapter in &self.requirements.chapters {
            text.push_str(&format!(
                "\n## {}\n\n| rule | what it says | tests |\n| --- | --- | --- |\n",
                chapter.title
            ));
            for (rule, title) in &chapter.rules {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "| {rule} | {title} | {} |", self.tests_cell(rule));
            }
        }
        text
    }

    fn tests_cell(&self, rule: &RuleId) -> String {
        let tests: Vec<_> = self
            .evidence
            .proofs(rule)
            .map(|test| format!("`{test}`"))
            .collect();
        if !tests.is_empty() {
            return tests.join("<br>");
        }
        match self.not_yet.rules.get(rule).map_or("", String::as_str) {
            "" => "*not yet*".to_owned(),
            reason => format!("*not yet*: {reason}"),
        }
    }
}

const HEADER: &str = "\
# Conformance

Which test proves which rule of ARCP v1.1. This file is generated: the rules are listed in
[docs/requirements.txt](docs/requirements.txt), a test claims a rule by naming its id in a comment, and
`UPDATE_CONFORMANCE=1 cargo test -p towline-tests --test conformance` writes the table. The same test
fails when the table is out of date, when a rule has neither a test nor a line in
[docs/not-yet.txt](docs/not-yet.txt), and when such a line is no longer true.
";

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# remark\n## 4 Transports\n4-1 sends text\n4-2 reads lines\n\n## 6.3 Resume\n6.3-10 comes back\n";

    fn check(not_yet: &str, source: &str, expected: &[&str]) {
        let requirements = Requirements::parse(LIST).unwrap();
        let not_yet = NotYet::parse(not_yet).unwrap();
        let evidence = Evidence::of_texts([("a.rs", source)]);
        let ledger = Ledger {
            requirements: &requirements,
            not_yet: &not_yet,
            evidence: &evidence,
        };
        let found: Vec<_> = ledger.findings().iter().map(Finding::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_rule_is_proved_or_listed() {
        check(
            "4-2\n6.3-10 needs a clock",
            "/// [ARCP 4-1]\n#[test] fn a() {}",
            &[],
        );
        check(
            "6.3-10",
            "/// [ARCP 4-1]\n#[test] fn a() {}\n/// [ARCP 4-2]\nfn code() {}",
            &["rule 4-2 has no test: write one whose comment says [ARCP 4-2]"],
        );
    }

    #[test]
    fn a_listed_rule_that_is_proved_is_stale() {
        check(
            "4-1\n4-2\n6.3-10",
            "/// [ARCP 4-1]\n#[test] fn a() {}",
            &["rule 4-1 is proved by a.rs::a: take it out of docs/not-yet.txt"],
        );
    }

    #[test]
    fn unknown_ids_are_found_everywhere() {
        check(
            "4-1\n4-2\n6.3-10\n4-3",
            "// [ARCP 4-4]\nfn code() {}\n// [ARCP 4]",
            &[
                "a.rs:3: `[ARCP 4]` is no list of rule ids; write [ARCP 6.3-4, 8-1]",
                "a.rs:1: rule 4-4 does not exist; see docs/requirements.txt",
                "docs/not-yet.txt names rule 4-3, which does not exist",
            ],
        );
    }

    #[test]
    fn lists_that_cannot_be_read_say_where() {
        let bad = |text| Requirements::parse(text).unwrap_err().to_string();
        assert_eq!(
            bad("## 4\n4.1 sends"),
            "line 2: `4.1` is not a rule id; write one such as 6.3-4"
        );
        assert_eq!(
            bad("## 4\n4-1"),
            "line 2: rule 4-1 has no title; write one after the id"
        );
        assert_eq!(
            bad("4-1 sends"),
            "line 1: rule 4-1 stands before any `## chapter`"
        );
        assert_eq!(
            bad("## 4\n4-1 a\n4-1 b"),
            "line 3: rule 4-1 is listed twice; keep one of them"
        );
        assert_eq!(NotYet::parse("x").unwrap_err().number, 1);
    }

    #[test]
    fn proved_rules_leave_the_list() {
        let evidence = Evidence::of_texts([("a.rs", "/// [ARCP 4-1]\n#[test] fn a() {}")]);
        assert_eq!(
            NotYet::without_proved("# 4-1\n4-1 late\n\n4-2\n", &evidence),
            "# 4-1\n\n4-2\n"
        );
    }

    #[test]
    fn the_table_counts_and_names() {
        let requirements = Requirements::parse(LIST).unwrap();
        let not_yet = NotYet::parse("4-2\n6.3-10 needs a clock").unwrap();
        let evidence = Evidence::of_texts([(
            "a.rs",
            "/// [ARCP 4-1]\n#[test] fn a() {}\n/// [ARCP 4-1]\n#[test] fn b() {}",
        )]);
        let table = Ledger {
            requirements: &requirements,
            not_yet: &not_yet,
            evidence: &evidence,
        }
        .table();
        let expected = "
**3 rules: 1 proved, 2 not yet.**

## 4 Transports

| rule | what it says | tests |
| --- | --- | --- |
| 4-1 | sends text | `a.rs::a`<br>`a.rs::b` |
| 4-2 | reads lines | *not yet* |

## 6.3 Resume

| rule | what it says | tests |
| --- | --- | --- |
| 6.3-10 | comes back | *not yet*: needs a clock |
";
        assert_eq!(table.strip_prefix(HEADER), Some(expected));
    }
}
