//! A whole lease, compiled.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use towline_wire::{ErrorCode, Lease, namespace};

use super::{
    automaton::Automaton,
    budget::Amounts,
    error::{LeaseError, ValueError, shorten},
    inclusion::{self, Escape},
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
        let mut set = Self::default();
        let (mut patterns, mut states) = (0, 0);
        for (name, texts) in lease.iter() {
            patterns += texts.len();
            if patterns > MAX_PATTERNS {
                return Err(LeaseError::TooComplex);
            }
            if name == namespace::COST_BUDGET {
                set.amounts = Amounts::parse(texts)?;
                continue;
            }
            let kind =
                Kind::of(name).ok_or_else(|| LeaseError::UnknownNamespace(name.to_owned()))?;
            let grants = Grants::compile(name, kind, texts, &mut states)?;
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
        match grants
            .patterns
            .iter()
            .find(|pattern| pattern.covers(&value))
        {
            Some(pattern) => Decision::Allowed {
                pattern,
                value: value.into_text(),
            },
            None if grants.patterns.is_empty() => Decision::Denied(DenyReason::NoGrant),
            None => Decision::Denied(DenyReason::NoMatch {
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
        for (namespace, grants) in &child.grants {
            let parents = self.patterns(namespace);
            for pattern in &grants.patterns {
                covered(pattern, parents).map_err(|reason| Violation {
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
        self.grants.contains_key(namespace)
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
    ) -> Result<Self, LeaseError> {
        let mut patterns: Vec<Pattern> = Vec::with_capacity(texts.len());
        for text in texts {
            let pattern = Pattern::parse(text, kind).map_err(|source| LeaseError::Pattern {
                namespace: namespace.to_owned(),
                source,
            })?;
            *states += pattern.automaton().len();
            if *states > MAX_LEASE_STATES {
                return Err(LeaseError::TooComplex);
            }
            patterns.push(pattern);
        }
        Ok(Self { kind, patterns })
    }
}

impl Decision<'_, '_> {
    /// Whether the value is covered.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

impl Violation {
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

fn covered(pattern: &Pattern, parents: &[Pattern]) -> Result<(), ViolationReason> {
    if parents.is_empty() {
        return Err(ViolationReason::NotGranted);
    }
    if parents
        .iter()
        .any(|parent| parent.as_str() == pattern.as_str())
    {
        return Ok(());
    }
    let automata: Vec<&Automaton> = parents.iter().map(Pattern::automaton).collect();
    inclusion::included(pattern.automaton(), &automata, pattern.kind()).map_err(|escape| {
        match escape {
            Escape::Witness(witness) => ViolationReason::Escapes { witness },
            Escape::TooComplex => ViolationReason::TooComplex,
        }
    })
}
