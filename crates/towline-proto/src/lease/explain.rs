//! Why a lease allows or denies something, for a person.

use std::fmt;

use super::{
    effort::{Effort, Exhausted},
    error::ValueError,
    kind::Kind,
    normal::Normal,
    pattern::Pattern,
    set::LeaseSet,
    symbol::{SEPARATOR, Symbol},
};

/// What `towline lease explain` prints: the value as it is matched, and what each pattern says to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    namespace: String,
    value: String,
    normalised: Result<String, ValueError>,
    patterns: Vec<(String, PatternVerdict)>,
}

/// What one pattern says to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternVerdict {
    /// It covers it.
    Covers,
    /// It follows the value up to here and has no way on.
    StopsAfter(String),
    /// The scheme, host, port or path differs.
    OtherComponent(&'static str),
    /// It follows the whole value and wants more.
    WantsMore,
    /// The value cannot be matched at all.
    NotAsked,
}

impl LeaseSet {
    /// Explains what [`check`](Self::check) answers. `None` when the namespace holds no patterns.
    pub fn explain(&self, namespace: &str, value: &str) -> Option<Explanation> {
        let kind = Kind::of(namespace)?;
        let normal = Normal::new(kind, value);
        let verdict = |pattern: &Pattern| match &normal {
            Ok(value) => (pattern.as_str().to_owned(), verdict(pattern, value)),
            Err(_) => (pattern.as_str().to_owned(), PatternVerdict::NotAsked),
        };
        let patterns = self.patterns(namespace).iter().map(verdict).collect();
        let normalised = normal.map(|value| value.into_text().into_owned());
        Some(Explanation {
            namespace: namespace.to_owned(),
            value: value.to_owned(),
            normalised,
            patterns,
        })
    }
}

impl Explanation {
    /// Whether the lease covers the value.
    pub fn is_allowed(&self) -> bool {
        self.covering().is_some()
    }

    /// The value as it is matched, or why it cannot be.
    pub fn normalised(&self) -> Result<&str, ValueError> {
        self.normalised.as_deref().map_err(|error| *error)
    }

    /// Each pattern of the namespace with its verdict.
    pub fn patterns(&self) -> impl Iterator<Item = (&str, &PatternVerdict)> {
        self.patterns
            .iter()
            .map(|(pattern, verdict)| (pattern.as_str(), verdict))
    }

    /// The first pattern that covers the value.
    pub fn covering(&self) -> Option<&str> {
        self.patterns()
            .find(|(_, verdict)| **verdict == PatternVerdict::Covers)
            .map(|(pattern, _)| pattern)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_allowed() {
            "allowed"
        } else {
            "denied"
        };
        writeln!(f, "{} `{}`: {verdict}", self.namespace, self.value)?;
        match &self.normalised {
            Ok(text) if *text != self.value => writeln!(f, "  matched as `{text}`")?,
            Ok(_) => {}
            Err(error) => writeln!(f, "  {error}")?,
        }
        if self.patterns.is_empty() {
            return writeln!(f, "  the lease grants nothing of {}", self.namespace);
        }
        for (pattern, verdict) in &self.patterns {
            writeln!(f, "  `{pattern}` {verdict}")?;
        }
        Ok(())
    }
}

impl fmt::Display for PatternVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Covers => f.write_str("covers it"),
            Self::StopsAfter(prefix) if prefix.is_empty() => {
                f.write_str("differs from the first character on")
            }
            Self::StopsAfter(prefix) => write!(f, "agrees up to `{prefix}` and no further"),
            Self::OtherComponent(component) => write!(f, "is for another {component}"),
            Self::WantsMore => f.write_str("agrees, but wants more to follow"),
            Self::NotAsked => f.write_str("is not asked, such a value is always denied"),
        }
    }
}

fn verdict(pattern: &Pattern, value: &Normal<'_>) -> PatternVerdict {
    if pattern.covers(value, &mut Effort::matching()) == Ok(true) {
        return PatternVerdict::Covers;
    }
    let symbols: Vec<Symbol> = value.symbols().collect();
    let mut effort = Effort::matching();
    let stop = match pattern
        .automaton()
        .stops_at(symbols.iter().copied(), &mut effort)
    {
        Ok(Some(stop)) => stop,
        Ok(None) => return PatternVerdict::WantsMore,
        Err(Exhausted) => return PatternVerdict::NotAsked,
    };
    if pattern.kind() != Kind::Url {
        let agreed = symbols[..stop]
            .iter()
            .filter_map(|symbol| char::from_u32(*symbol));
        return PatternVerdict::StopsAfter(agreed.collect());
    }
    let component = symbols[..stop]
        .iter()
        .filter(|symbol| **symbol == SEPARATOR)
        .count();
    PatternVerdict::OtherComponent(["scheme", "host", "port", "path"][component.min(3)])
}
