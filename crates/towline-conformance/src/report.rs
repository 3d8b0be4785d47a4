//! What came of a run.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// What came of a run: the runtime as it named itself, and a finding for each check.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// The runtime's name and version.
    pub runtime: Option<Value>,
    /// The features it agreed to when it was offered all.
    pub features: Vec<String>,
    /// The agents it lists.
    pub agents: Vec<String>,
    /// What was found, in the order of the checks.
    pub findings: Vec<Finding>,
}

/// What one check found.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Names the check.
    pub check: &'static str,
    /// The rules it is about, as `docs/requirements.txt` numbers them.
    pub rules: &'static [&'static str],
    /// What has to hold.
    pub title: &'static str,
    /// Whose rules they are.
    pub origin: Origin,
    /// What was found.
    pub verdict: Verdict,
    /// Why, when it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The frames of a check that failed, secrets left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Recorded>,
}

/// Whose rule it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It follows from the draft.
    Draft,
    /// The draft leaves it open, and towline decided.
    Ours,
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The rule holds.
    Pass,
    /// It does not.
    Fail,
    /// It could not be looked at here.
    Skipped,
    /// The runtime is not one the rule is about.
    NotApplicable,
}

/// A frame, as it went or came.
#[derive(Debug, Clone, Serialize)]
pub struct Recorded {
    /// The connection, counted from 1 in each check.
    pub conn: u32,
    /// `c2s` from the kit, `s2c` from the runtime.
    pub dir: &'static str,
    /// The frame.
    pub frame: Value,
}

/// How many findings have which verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Rules that hold.
    pub pass: usize,
    /// Rules that do not.
    pub fail: usize,
    /// Not looked at.
    pub skipped: usize,
    /// About other runtimes.
    pub not_applicable: usize,
}

impl Report {
    /// How many findings have which verdict.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for finding in &self.findings {
            match finding.verdict {
                Verdict::Pass => summary.pass += 1,
                Verdict::Fail => summary.fail += 1,
                Verdict::Skipped => summary.skipped += 1,
                Verdict::NotApplicable => summary.not_applicable += 1,
            }
        }
        summary
    }

    /// What failed.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Fail)
    }

    /// Whether nothing failed.
    pub fn conforms(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The report as one JSON document, with its summary.
    pub fn to_json(&self) -> Value {
        let mut document = serde_json::to_value(self).unwrap_or_default();
        if let Value::Object(members) = &mut document {
            let summary = serde_json::to_value(self.summary()).unwrap_or_default();
            members.insert("summary".to_owned(), summary);
            members.insert("conforms".to_owned(), Value::Bool(self.conforms()));
        }
        document
    }
}

impl fmt::Display for Report {
    /// A line for each finding; below what failed its reason and its last frames.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str| {
            let member = self.runtime.as_ref().and_then(|runtime| runtime.get(name));
            member.and_then(Value::as_str).unwrap_or("?").to_owned()
        };
        writeln!(
            f,
            "runtime {} {}",
            plain(&text("name")),
            plain(&text("version"))
        )?;
        for finding in &self.findings {
            finding.fmt(f)?;
        }
        let Summary {
            pass,
            fail,
            skipped,
            not_applicable,
        } = self.summary();
        write!(
            f,
            "{pass} passed, {fail} failed, {skipped} skipped, {not_applicable} not applicable"
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Pass => "pass",
            Verdict::Fail => "FAIL",
            Verdict::Skipped => "skip",
            Verdict::NotApplicable => "n/a ",
        };
        let ours = if self.origin == Origin::Ours {
            " (ours)"
        } else {
            ""
        };
        let rules = self.rules.join(", ");
        writeln!(
            f,
            "{verdict}  [{rules}]{ours} {}: {}",
            self.check, self.title
        )?;
        if let Some(reason) = &self.reason {
            writeln!(f, "      {}", plain(reason))?;
        }
        let hidden = self.frames.len().saturating_sub(SHOWN_FRAMES);
        if hidden > 0 {
            writeln!(f, "      … {hidden} frames before")?;
        }
        for recorded in self.frames.iter().skip(hidden) {
            let frame = recorded.frame.to_string();
            writeln!(
                f,
                "      {} {} {}",
                recorded.conn,
                recorded.dir,
                plain(&frame)
            )?;
        }
        Ok(())
    }
}

/// A peer's text without what a terminal would obey, on one line [ARCP 14-8].
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let obeyed =
            c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if obeyed {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// How many frames of a failure are shown to people; the JSON report has all.
const SHOWN_FRAMES: usize = 8;
