//! What a runtime was built from.

use std::sync::Arc;

use towline_env::{Clock, Ids};
use towline_store::{EventStore, Principal};
use towline_wire::{FeatureSet, payload::PeerInfo};

use super::registry::Registry;
use crate::{
    RuntimeOptions,
    auth::{AuthLimiter, Authenticator, Proof},
    credentials::Ledger,
    policy::{AccessPolicy, LeasePolicy, ObservePolicy},
    schedule::Schedule,
    trace::TraceLink,
    webhook::Webhooks,
};

/// What the parts of a runtime call on. Which ones there are never changes; agents may come and go in their registry.
pub(crate) struct Services {
    pub(crate) info: PeerInfo,
    pub(crate) options: RuntimeOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) agents: Registry,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) limiter: AuthLimiter,
    pub(crate) observe: Arc<dyn ObservePolicy>,
    pub(crate) access: Option<Arc<dyn AccessPolicy>>,
    pub(crate) lease_policy: Option<Arc<dyn LeasePolicy>>,
    /// What this runtime can do, and offers.
    pub(crate) features: FeatureSet,
    pub(crate) credentials: Ledger,
    pub(crate) trace_link: Arc<dyn TraceLink>,
    pub(crate) schedules: Vec<Arc<Schedule>>,
    pub(crate) webhooks: Webhooks,
}

impl Services {
    /// Whether what proved a session proves it still [ARCP 14-7].
    pub(crate) fn still_proved(&self, principal: &Principal, proof: &Proof) -> bool {
        let lasts = proof.expires_at.is_none_or(|end| self.clock.now() < end);
        lasts && self.authenticator.still_knows(principal, proof)
    }

    /// A schedule by its name.
    pub(crate) fn schedule(&self, name: &str) -> Option<&Arc<Schedule>> {
        self.schedules
            .iter()
            .find(|schedule| schedule.name() == name)
    }

    /// Whether a principal may watch jobs of another: its own always [ARCP 7.6-5].
    pub(crate) fn observes(&self, observer: &Principal, owner: &Principal) -> bool {
        observer == owner || self.observe.may_observe(observer, owner)
    }

    /// The role under which decisions about a principal are told of [ARCP 20-2].
    pub(crate) fn role_of(&self, principal: &Principal) -> Option<String> {
        self.access.as_ref()?.role_of(principal)
    }

    /// Whether a principal may know of what is others', and say what becomes of it.
    pub(crate) fn is_admin(&self, principal: &Principal) -> bool {
        let policy = self.access.as_ref();
        policy.is_some_and(|policy| policy.is_admin(principal))
    }
}
