//! What a deployment may decide beside the protocol.

use futures_util::future::BoxFuture;
use towline_store::Principal;
use towline_wire::{AgentRef, Lease, LeaseConstraints};

pub use towline_proto::refusal::Refusal;

/// Decides who may watch whose jobs [ARCP 7.6-5]. Submitters may always watch their own.
pub trait ObservePolicy: Send + Sync + 'static {
    /// Whether `observer` may watch jobs of `owner`, another principal. Called for each such job, so it should be quick.
    fn may_observe(&self, observer: &Principal, owner: &Principal) -> bool;

    /// The principals whose jobs `observer` may see in listings; `None` means everybody's. The observer itself need not
    /// be among them.
    fn observable(&self, observer: &Principal) -> Option<Vec<Principal>>;
}

/// The default: everybody watches only their own jobs.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnJobsOnly;

impl ObservePolicy for OwnJobsOnly {
    fn may_observe(&self, _observer: &Principal, _owner: &Principal) -> bool {
        false
    }

    fn observable(&self, _observer: &Principal) -> Option<Vec<Principal>> {
        Some(Vec::new())
    }
}

/// Decides what of a requested lease is granted [ARCP 7.1-4]. The default grants what was asked for.
///
/// It is asked after the request was found well formed and before the job exists; what it returns is validated again. It
/// may be slow: only the submit at hand waits. It may only be dropped together with its submit.
pub trait LeasePolicy: Send + Sync + 'static {
    /// The lease to grant.
    fn grant<'a>(
        &'a self,
        request: LeaseRequest<'a>,
    ) -> BoxFuture<'a, Result<GrantedLease, Refusal>>;
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// Which agent will hold the lease.
    pub agent: &'a AgentRef,
    /// The patterns and amounts.
    pub lease: &'a Lease,
    /// The bounds beside them.
    pub constraints: &'a LeaseConstraints,
}

/// What is granted. What is not in `lease` is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantedLease {
    /// The patterns and amounts.
    pub lease: Lease,
    /// The bounds beside them.
    pub constraints: LeaseConstraints,
}
