//! What a job may do, as the wire states it (§9). What the patterns mean is decided in `towline-proto`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// All of them.
    pub const RESERVED: [&str; 7] =
        [FS_READ, FS_WRITE, NET_FETCH, TOOL_CALL, AGENT_DELEGATE, COST_BUDGET, MODEL_USE];
}

/// A lease: namespace → patterns, both as text. Written in the order of the namespaces' names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
        self.0.entry(namespace.into()).or_default().push(pattern.into());
    }

    /// Sets the patterns of a namespace; an empty list removes it.
    pub fn set(&mut self, namespace: impl Into<String>, patterns: Vec<String>) {
        match patterns.is_empty() {
            true => self.0.remove(&namespace.into()),
            false => self.0.insert(namespace.into(), patterns),
        };
    }

    /// The patterns of a namespace; empty when it is not granted.
    pub fn patterns(&self, namespace: &str) -> &[String] {
        self.0.get(namespace).map_or(&[], Vec::as_slice)
    }

    /// Every namespace with its patterns, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(namespace, patterns)| (namespace.as_str(), patterns.as_slice()))
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, P: Into<String>> FromIterator<(N, P)> for Lease {
    fn from_iter<T: IntoIterator<Item = (N, P)>>(pairs: T) -> Self {
        let mut lease = Self::new();
        pairs.into_iter().for_each(|(namespace, pattern)| lease.add(namespace, pattern));
        lease
    }
}

/// Bounds of a lease beside its patterns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LeaseConstraints {
    /// RFC 3339 in UTC with `Z`; at or after it every authority-bearing operation fails [ARCP 9.5-1]. Kept as text,
    /// because "not UTC" has to be refused by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl LeaseConstraints {
    /// Whether no bound is set.
    pub const fn is_empty(&self) -> bool {
        self.expires_at.is_none()
    }
}
