//! What a job may do, as the wire states it (§9). What the patterns mean is decided in `towline-proto`.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};

use crate::{
    RawJson,
    read::{at, given_twice, readable},
};

/// The reserved namespaces of a lease [ARCP 9.2-1].
pub mod namespace {
    /// Paths that may be read.
    pub const FS_READ: &str = "fs.read";
    /// Paths that may be written.
    pub const FS_WRITE: &str = "fs.write";
    /// URLs that may be fetched.
    pub const NET_FETCH: &str = "net.fetch";
    /// Tools that may be called.
    pub const TOOL_CALL: &str = "tool.call";
    /// Agents that may be delegated to.
    pub const AGENT_DELEGATE: &str = "agent.delegate";
    /// Amounts that may be spent, per currency.
    pub const COST_BUDGET: &str = "cost.budget";
    /// Models that may be used.
    pub const MODEL_USE: &str = "model.use";
    /// Operations that a person may let through, each pattern a `NAMESPACE=PATTERN` [ARCP 15-6]. A vendor's, and so not among
    /// the reserved ones.
    pub const ASK: &str = "x-vendor.towline.ask";
    /// All of them.
    pub const RESERVED: [&str; 7] = [
        FS_READ,
        FS_WRITE,
        NET_FETCH,
        TOOL_CALL,
        AGENT_DELEGATE,
        COST_BUDGET,
        MODEL_USE,
    ];
}

/// A lease: namespace → patterns, both as text. Written in the order of the namespaces' names.
///
/// ```
/// use towline_wire::{Lease, namespace};
///
/// let lease = Lease::new().with(namespace::FS_READ, "/srv/**").with(namespace::COST_BUDGET, "USD:5.00");
/// assert_eq!(lease.patterns(namespace::FS_READ), ["/srv/**"]);
/// assert!(!lease.grants(namespace::NET_FETCH));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Lease(BTreeMap<String, Vec<String>>);

impl Lease {
    /// A lease that grants nothing.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Adds one pattern to a namespace.
    #[must_use]
    pub fn with(mut self, namespace: impl Into<String>, pattern: impl Into<String>) -> Self {
        self.add(namespace, pattern);
        self
    }

    /// Adds one pattern to a namespace.
    pub fn add(&mut self, namespace: impl Into<String>, pattern: impl Into<String>) {
        self.0
            .entry(namespace.into())
            .or_default()
            .push(pattern.into());
    }

    /// Sets the patterns of a namespace; an empty list removes it.
    pub fn set(&mut self, namespace: impl Into<String>, patterns: Vec<String>) {
        if patterns.is_empty() {
            self.0.remove(&namespace.into())
        } else {
            self.0.insert(namespace.into(), patterns)
        };
    }

    /// The patterns of a namespace; empty when it is not granted.
    pub fn patterns(&self, namespace: &str) -> &[String] {
        self.0.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Whether the namespace is in the lease, if only with an empty list.
    pub fn grants(&self, namespace: &str) -> bool {
        self.0.contains_key(namespace)
    }

    /// Every namespace with its patterns, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0
            .iter()
            .map(|(namespace, patterns)| (namespace.as_str(), patterns.as_slice()))
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, P: Into<String>> FromIterator<(N, P)> for Lease {
    fn from_iter<T: IntoIterator<Item = (N, P)>>(pairs: T) -> Self {
        let mut lease = Self::new();
        pairs
            .into_iter()
            .for_each(|(namespace, pattern)| lease.add(namespace, pattern));
        lease
    }
}

impl<'de> Deserialize<'de> for Lease {
    /// A namespace with `null` is read as absent [ARCP 5-6]; one that is given twice is refused, for nobody could say
    /// which of the two lists was granted.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LeaseVisitor;

        impl<'de> Visitor<'de> for LeaseVisitor {
            type Value = Lease;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lease, A::Error> {
                let mut lease = BTreeMap::new();
                while let Some(namespace) = map.next_key::<String>()? {
                    let patterns = map.next_value::<Option<Vec<String>>>();
                    let patterns = patterns.map_err(|cause| at(&namespace, &cause))?;
                    if lease.contains_key(&namespace) {
                        return Err(given_twice(&namespace));
                    }
                    lease.extend(patterns.map(|patterns| (namespace, patterns)));
                }
                Ok(Lease(lease))
            }
        }

        deserializer.deserialize_map(LeaseVisitor)
    }
}

/// A lease that a runtime tells of: what cannot be read as patterns is left out, for one SDK's leases have members of other
/// kinds (`id`, `issued_at`), and a client grants nothing by it.
pub(crate) struct Told(Lease);

impl From<Told> for Option<Lease> {
    fn from(told: Told) -> Self {
        Some(told.0)
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ToldVisitor;

        impl<'de> Visitor<'de> for ToldVisitor {
            type Value = Told;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Told, A::Error> {
                let mut lease = BTreeMap::new();
                while let Some((namespace, patterns)) = map.next_entry::<String, RawJson>()? {
                    // Not a namespace, though a list of texts.
                    if namespace == "capabilities" {
                        continue;
                    }
                    if let Ok(patterns) = patterns.read::<Vec<String>>() {
                        lease.insert(namespace, patterns);
                    }
                }
                Ok(Told(Lease(lease)))
            }
        }

        deserializer.deserialize_map(ToldVisitor)
    }
}

/// Bounds of a lease beside its patterns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct LeaseConstraints {
    /// RFC 3339 in UTC with `Z`; at or after it every authority-bearing operation fails [ARCP 9.5-1]. Kept as text,
    /// because "not UTC" has to be refused by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl LeaseConstraints {
    /// Whether no bound is set.
    pub const fn is_empty(&self) -> bool {
        self.expires_at.is_none()
    }
}

readable!(LeaseConstraints { expires_at: opt });
