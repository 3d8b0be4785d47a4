//! What a deployment may decide beside the protocol.

use futures_util::future::BoxFuture;
use towline_proto::lease::Amounts;
use towline_store::Principal;
use towline_wire::{AgentRef, Amount, Lease, LeaseConstraints};

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

/// Decides who may do what with agents and jobs, beside what the protocol says itself [ARCP 20-1].
///
/// Asked within the request at hand, at times under a lock, so each answer has to be quick and wait for nothing. The methods
/// a policy leaves out decide as a runtime without a policy does. [`Roles`](crate::roles::Roles) is the ready-made one.
pub trait AccessPolicy: Send + Sync + 'static {
    /// The name under which decisions about a principal stand in the audit log [ARCP 20-2].
    fn role_of(&self, principal: &Principal) -> Option<String> {
        let _ = principal;
        None
    }

    /// What holds for a principal, as fields of the answer to whoever asks who they are [ARCP 20-2].
    fn describe(&self, principal: &Principal) -> serde_json::Value {
        let _ = principal;
        serde_json::Value::Null
    }

    /// Whether a principal's job, or a child of one, may be of this agent.
    ///
    /// # Errors
    /// What the peer or the delegating agent is told.
    fn may_run(&self, principal: &Principal, agent: &AgentRef) -> Result<(), Refusal> {
        let _ = (principal, agent);
        Ok(())
    }

    /// The lease to ask the [`LeasePolicy`] for: what was asked for, or a narrower one. Children are bounded by their
    /// parents and not asked about.
    ///
    /// # Errors
    /// What the peer is told when it asks for too much.
    fn bound(&self, request: LeaseRequest<'_>) -> Result<Lease, Refusal> {
        Ok(request.lease.clone())
    }

    /// How many jobs of a principal run at once; `None` means the runtime's own bound.
    fn jobs(&self, principal: &Principal) -> Option<usize> {
        let _ = principal;
        None
    }

    /// What all jobs of a principal may spend together on one day, which begins at midnight UTC; `None` means no bound. Of a
    /// currency that is in it a job gets what is left of the day at most, and that when it names no amount [ARCP 20-1].
    fn budget_per_day(&self, principal: &Principal) -> Option<Amounts> {
        let _ = principal;
        None
    }

    /// Whether a principal may administer the runtime: end the sessions of others, say [ARCP 14-7].
    fn is_admin(&self, principal: &Principal) -> bool {
        let _ = principal;
        false
    }

    /// Whether a session that did not submit a job may cancel it [ARCP 7.4-2]. `asker` and `owner` may be the same.
    fn may_cancel(&self, asker: &Principal, owner: &Principal) -> bool {
        let _ = (asker, owner);
        false
    }

    /// Whether a session that did not submit a job may answer its questions [ARCP 15-5].
    fn may_answer(&self, asker: &Principal, owner: &Principal) -> bool {
        self.may_cancel(asker, owner)
    }

    /// The most that one job of a principal may spend of a currency, however much people approve [ARCP 15-8]; `None` means
    /// that nothing bounds it.
    fn budget_ceiling(&self, principal: &Principal, currency: &str) -> Option<Amount> {
        let _ = (principal, currency);
        None
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
