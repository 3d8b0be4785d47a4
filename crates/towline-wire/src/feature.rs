//! Feature flags and their negotiation (§6.2).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::read::word;

macro_rules! features {
    ($( $(#[$doc:meta])* $variant:ident = $text:literal ),+ $(,)?) => {
        /// An optional part of the protocol that both sides have to want.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Feature { $( $(#[$doc])* $variant ),+ }

        impl Feature {
            /// Every feature, in the order the draft lists them.
            pub const ALL: &'static [Self] = &[$( Self::$variant ),+];

            /// The flag on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $text ),+ }
            }

            /// Reads a flag; `None` for one this version does not know.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $( $text => Some(Self::$variant), )+ _ => None }
            }
        }
    };
}

features! {
    /// `session.ping` and the watchdog (§6.4).
    Heartbeat = "heartbeat",
    /// `session.ack` (§6.5).
    Ack = "ack",
    /// `session.list_jobs` (§6.6).
    ListJobs = "list_jobs",
    /// `job.subscribe` (§7.6).
    Subscribe = "subscribe",
    /// `lease_constraints.expires_at` (§9.5).
    LeaseExpiresAt = "lease_expires_at",
    /// `cost.budget` leases (§9.6).
    CostBudget = "cost.budget",
    /// `model.use` leases (§9.7).
    ModelUse = "model.use",
    /// Credentials in `job.accepted` (§9.8).
    ProvisionedCredentials = "provisioned_credentials",
    /// `progress` events (§8.2).
    Progress = "progress",
    /// `result_chunk` events (§8.4).
    ResultChunk = "result_chunk",
    /// `name@version` (§7.5).
    AgentVersions = "agent_versions",
    /// Lists for pages and people: the newest first, pushed when they change, with more in each entry. Ours.
    List = "x-vendor.towline.list",
    /// Questions to people (chapter 15).
    Input = "x-vendor.towline.input",
    /// A reply that waits for somebody else comes behind those to later requests. Ours.
    AnyOrder = "x-vendor.towline.any_order",
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of features; one machine word. Written as an array of flags, unknown flags of a peer are dropped.
///
/// ```
/// use towline_wire::{Feature, FeatureSet};
///
/// let ours = FeatureSet::ALL.without(Feature::ModelUse);
/// let theirs: FeatureSet = serde_json::from_str(r#"["ack","model.use","from.the.future"]"#).unwrap();
/// assert_eq!(ours.intersection(theirs), FeatureSet::NONE.with(Feature::Ack));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct FeatureSet(u16);

impl FeatureSet {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Every feature this version knows.
    pub const ALL: Self = Self((1 << Feature::ALL.len()) - 1);

    /// Whether the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u8) != 0
    }

    /// The set and one more.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u8)
    }

    /// The set and one less.
    #[must_use]
    pub const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }

    /// What both sets have: the features in effect [ARCP 6.2-2].
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The features in the set, in the draft's order.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL
            .iter()
            .copied()
            .filter(move |feature| self.has(*feature))
    }

    /// The set as one number, for stores.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The set from [`FeatureSet::bits`]; bits this version does not know are dropped.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<T: IntoIterator<Item = Feature>>(features: T) -> Self {
        features.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.iter().map(Feature::as_str))
            .finish()
    }
}

impl Serialize for FeatureSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Feature::as_str))
    }
}

impl<'de> Deserialize<'de> for FeatureSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let flags = Option::<Vec<Flag>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(flags
            .into_iter()
            .filter_map(|Flag(feature)| feature)
            .collect())
    }
}

/// One flag; `None` when this version does not know it.
struct Flag(Option<Feature>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word(deserializer, Feature::parse).map(Self)
    }
}
