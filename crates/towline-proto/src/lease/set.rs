//! A whole lease, compiled.

use std::{borrow::Cow, collections::BTreeMap, fmt, sync::Arc};

use towline_wire::{ErrorCode, Lease, namespace};

use super::{
    ask,
    budget::Amounts,
    effort::{Care, Effort},
    error::{LeaseError, ValueError, shorten},
    inclusion::{self, Escape, Parents},
    kind::Kind,
    limits::{MAX_LEASE_STATES, MAX_PATTERNS},
    normal::Normal,
    pattern::Pattern,
};

/// The patterns and amounts of a lease, compiled once and asked often (§9).
///
/// It knows nothing of time and of what was spent; [`Authority`](super::Authority) adds both.
///
/// ```
/// use towline_proto::lease::LeaseSet;
/// use towline_wire::Lease;
///
/// let lease = Lease::new().with("fs.read", "/data/**").with("tool.call", "search.*");
/// let set = LeaseSet::compile(&lease)?;
/// assert!(set.check("fs.read", "/data/./a.txt").is_allowed());
/// assert!(!set.check("fs.read", "/data/../etc/passwd").is_allowed());
/// # Ok::<(), towline_proto::lease::LeaseError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct LeaseSet {
    grants: BTreeMap<Box<str>, Grants>,
    amounts: Amounts,
    /// What a person may let through, namespace by namespace [ARCP 15-6]. `None` when the lease does not name it.
    asks: Option<Arc<LeaseSet>>,
}

#[derive(Debug, Clone)]
struct Grants {
    kind: Kind,
    patterns: Vec<Pattern>,
}

/// Whether a lease covers a value.
#[derive(Debug, Clone)]
pub enum Decision<'l, 'v> {
    /// It does.
    Allowed {
        /// The first pattern that covers it.
        pattern: &'l Pattern,
        /// The normalised value that was matched. A URL keeps its query, which is not matched, and loses its fragment.
        value: Cow<'v, str>,
    },
    /// It does not.
    Denied(DenyReason),
}

/// An operation that a person may let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFor<'v> {
    /// The pattern that covers it, without its namespace.
    pub pattern: String,
    /// The normalised value: what is asked about, and what is done.
    pub value: Cow<'v, str>,
}

/// Why a lease does not cover a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DenyReason {
    /// Nothing of that namespace was granted.
    #[error("the lease grants nothing of this kind")]
    NoGrant,
    /// No pattern of the namespace covers it.
    #[error("no pattern of the lease covers `{}`", shorten(.value))]
    NoMatch {
        /// The normalised value, without the query of a URL.
        value: String,
    },
    /// No pattern could cover it.
    #[error(transparent)]
    BadValue(#[from] ValueError),
}

/// A child lease that reaches beyond its parent's [ARCP 9.4-1].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    namespace: String,
    pattern: String,
    reason: ViolationReason,
}

/// How a child's pattern reaches beyond its parent's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationReason {
    /// The parent's lease has nothing of that namespace.
    NotGranted,
    /// The child would cover this value, the parent does not.
    Escapes {
        /// The value.
        witness: String,
    },
    /// The patterns are too complex to be compared within the bounds [ARCP 14-4].
    TooComplex,
}

impl LeaseSet {
    /// Compiles every pattern and amount of a lease.
    ///
    /// # Errors
    /// [`LeaseError`], an INVALID_REQUEST, for an unknown namespace, a malformed pattern or amount, or too much of it.
    pub fn compile(lease: &Lease) -> Result<Self, LeaseError> {
        Self::compile_with(lease, Care::Full)
    }

    /// The same, with so much care.
    ///
    /// # Errors
    /// As [`LeaseSet::compile`]; with [`Care::Quick`], [`LeaseError::TooComplex`] may only mean that more care is needed.
    pub fn compile_with(lease: &Lease, care: Care) -> Result<Self, LeaseError> {
        let mut set = Self::default();
        let (mut patterns, mut states) = (0, 0);
        let mut effort = Effort::compiling(care);
        for (name, texts) in lease.iter() {
            patterns += texts.len();
            if patterns > MAX_PATTERNS {
                return Err(LeaseError::TooComplex);
            }
            if name == namespace::COST_BUDGET {
                set.amounts = Amounts::parse(texts)?;
                continue;
            }
            if name == namespace::ASK {
                set.asks = Some(Arc::new(ask::compile(texts, care)?));
                continue;
            }
            let kind =
                Kind::of(name).ok_or_else(|| LeaseError::UnknownNamespace(name.to_owned()))?;
            let grants = Grants::compile(name, kind, texts, &mut states, &mut effort)?;
            set.grants.insert(name.into(), grants);
        }
        Ok(set)
    }

    /// Whether the lease covers a value of a namespace.
    pub fn check<'v>(&self, namespace: &str, value: &'v str) -> Decision<'_, 'v> {
        let Some(grants) = self.grants.get(namespace) else {
            return Decision::Denied(DenyReason::NoGrant);
        };
        let value = match Normal::new(grants.kind, value) {
            Ok(value) => value,
            Err(error) => return Decision::Denied(error.into()),
        };
        match grants.first_covering(&value) {
            Err(error) => Decision::Denied(error.into()),
            Ok(Some(pattern)) => Decision::Allowed {
                pattern,
                value: value.into_text(),
            },
            Ok(None) if grants.patterns.is_empty() => Decision::Denied(DenyReason::NoGrant),
            Ok(None) => Decision::Denied(DenyReason::NoMatch {
                value: value.matched_text().to_owned(),
            }),
        }
    }

    /// Whether everything that `child` covers is covered by this lease, namespace by namespace [ARCP 9.4-1, 9.4-4].
    /// Several patterns here may cover one pattern of the child together. Amounts are not compared here, because what
    /// counts is what is left of them.
    ///
    /// # Errors
    /// The first [`Violation`] in the order of the namespaces.
    pub fn contains(&self, child: &Self) -> Result<(), Violation> {
        self.contains_with(child, Care::Full)
    }

    /// The same, with so much care, whatever the number of patterns [ARCP 14-6].
    ///
    /// # Errors
    /// As [`LeaseSet::contains`]; with [`Care::Quick`], [`ViolationReason::TooComplex`] may only mean that more care is
    /// needed.
    pub fn contains_with(&self, child: &Self, care: Care) -> Result<(), Violation> {
        let mut effort = Effort::comparing(care);
        ask::contains(self.asks.as_deref(), child.asks.as_deref(), care)?;
        for (namespace, grants) in &child.grants {
            let parents = self.patterns(namespace);
            let mut compared = Compared {
                parents,
                joined: None,
            };
            for pattern in &grants.patterns {
                compared
                    .covered(pattern, &mut effort)
                    .map_err(|reason| Violation {
                        namespace: namespace.to_string(),
                        pattern: pattern.as_str().to_owned(),
                        reason,
                    })?;
            }
        }
        Ok(())
    }

    /// The patterns of a namespace; empty when nothing was granted.
    pub fn patterns(&self, namespace: &str) -> &[Pattern] {
        self.grants
            .get(namespace)
            .map_or(&[], |grants| &grants.patterns)
    }

    /// Whether the lease names the namespace, be it with no pattern at all.
    pub fn names(&self, namespace: &str) -> bool {
        if namespace == namespace::ASK {
            return self.asks.is_some();
        }
        self.grants.contains_key(namespace)
    }

    /// The ask pattern that covers a value, and the value as it was matched [ARCP 15-6].
    pub fn ask<'v>(&self, namespace: &str, value: &'v str) -> Option<AskedFor<'v>> {
        match self.asks.as_ref()?.check(namespace, value) {
            Decision::Allowed { pattern, value } => Some(AskedFor {
                pattern: pattern.as_str().to_owned(),
                value,
            }),
            Decision::Denied(_) => None,
        }
    }

    /// Whether some pattern may cover a value of the namespace that begins so; see [`Pattern::covers_some`].
    pub fn covers_some(&self, namespace: &str, beginning: &str) -> bool {
        let mut patterns = self.patterns(namespace).iter();
        patterns.any(|pattern| pattern.covers_some(beginning))
    }

    /// Whether a person may let such a value through [ARCP 15-6].
    pub fn asks_some(&self, namespace: &str, beginning: &str) -> bool {
        let asks = self.asks.as_ref();
        asks.is_some_and(|asks| asks.covers_some(namespace, beginning))
    }

    /// Every pattern, with its namespace.
    pub(super) fn all_patterns(&self) -> impl Iterator<Item = (&str, &Pattern)> {
        self.grants.iter().flat_map(|(namespace, grants)| {
            let patterns = grants.patterns.iter();
            patterns.map(move |pattern| (&**namespace, pattern))
        })
    }

    /// How many states its patterns have together: what it takes of memory, and what comparing it takes of time, grow with it.
    pub fn states(&self) -> usize {
        let asks = self.asks.as_ref().map_or(0, |asks| asks.states());
        let patterns = self.grants.values().flat_map(|grants| &grants.patterns);
        asks + patterns
            .map(|pattern| pattern.automaton().len())
            .sum::<usize>()
    }

    /// The amounts of `cost.budget`.
    pub const fn amounts(&self) -> &Amounts {
        &self.amounts
    }

    /// This lease with other amounts.
    #[must_use]
    pub(super) fn with_amounts(mut self, amounts: Amounts) -> Self {
        self.amounts = amounts;
        self
    }

    /// This lease without one namespace of patterns.
    #[must_use]
    pub(super) fn without(&self, namespace: &str) -> Self {
        let mut rest = self.clone();
        rest.grants.remove(namespace);
        rest
    }
}

impl Grants {
    fn compile(
        namespace: &str,
        kind: Kind,
        texts: &[String],
        states: &mut usize,
        effort: &mut Effort,
    ) -> Result<Self, LeaseError> {
        let mut patterns: Vec<Pattern> = Vec::with_capacity(texts.len());
        for text in texts {
            let pattern = Pattern::parse_within(text, kind, effort).map_err(|source| {
                if effort.is_exhausted() {
                    return LeaseError::TooComplex;
                }
                LeaseError::Pattern {
                    namespace: namespace.to_owned(),
                    source,
                }
            })?;
            *states += pattern.automaton().len();
            if *states > MAX_LEASE_STATES {
                return Err(LeaseError::TooComplex);
            }
            patterns.push(pattern);
        }
        Ok(Self { kind, patterns })
    }

    /// The first pattern that covers a value. What all of them take together is bounded [ARCP 14-6].
    fn first_covering(&self, value: &Normal<'_>) -> Result<Option<&Pattern>, ValueError> {
        let mut effort = Effort::matching();
        for pattern in &self.patterns {
            if pattern.covers(value, &mut effort)? {
                return Ok(Some(pattern));
            }
        }
        Ok(None)
    }
}

impl Decision<'_, '_> {
    /// Whether the value is covered.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl Violation {
    pub(super) const fn new(namespace: String, pattern: String, reason: ViolationReason) -> Self {
        Self {
            namespace,
            pattern,
            reason,
        }
    }

    /// The namespace the pattern stands in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The child's pattern.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What is wrong with it.
    pub const fn reason(&self) -> &ViolationReason {
        &self.reason
    }

    /// How it is told to the peer.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::LEASE_SUBSET_VIOLATION
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pattern `{}` reaches beyond the parent's lease: ",
            self.namespace,
            shorten(&self.pattern)
        )?;
        match &self.reason {
            ViolationReason::NotGranted => {
                write!(f, "the parent was granted no {}", self.namespace)
            }
            ViolationReason::Escapes { witness } => {
                write!(f, "it covers `{}`, the parent does not", shorten(witness))
            }
            ViolationReason::TooComplex => {
                f.write_str("the patterns are too complex to be compared, use simpler ones")
            }
        }
    }
}

impl std::error::Error for Violation {}

/// The parent's patterns of a namespace, which the child's are compared with one by one.
struct Compared<'p> {
    parents: &'p [Pattern],
    /// What all comparisons share, made by the first.
    joined: Option<Parents<'p>>,
}

impl Compared<'_> {
    fn covered(&mut self, pattern: &Pattern, effort: &mut Effort) -> Result<(), ViolationReason> {
        if self.parents.is_empty() {
            return Err(ViolationReason::NotGranted);
        }
        let is_same = |parent: &Pattern| parent.as_str() == pattern.as_str();
        if self.parents.iter().any(is_same) {
            return Ok(());
        }
        let escape = match self.compare(pattern, effort) {
            Ok(()) => return Ok(()),
            Err(escape) => escape,
        };
        Err(match escape {
            Escape::Witness(witness) => ViolationReason::Escapes { witness },
            Escape::TooComplex => ViolationReason::TooComplex,
        })
    }

    fn compare(&mut self, pattern: &Pattern, effort: &mut Effort) -> Result<(), Escape> {
        let joined = match self.joined.take() {
            Some(joined) => joined,
            None => Parents::new(self.parents.iter().map(Pattern::automaton), effort)?,
        };
        let joined = self.joined.insert(joined);
        inclusion::included(pattern.automaton(), joined, pattern.kind(), effort)
    }
}
