//! What a new job will be allowed.

use std::sync::Arc;

use towline_proto::{
    lease::{Authority, validate_request},
    refusal::Refusal,
};
use towline_store::Principal;
use towline_wire::{AgentRef, ErrorCode, Lease, LeaseConstraints};

use crate::{hub::Hub, job::JobEntry, policy::LeaseRequest};

/// What a new job will be allowed. For a child its share of the budget is set aside: whoever has a plan either makes the
/// job or gives the share back ([`give_back`]).
pub(super) struct Plan {
    pub(super) lease: Lease,
    pub(super) constraints: LeaseConstraints,
    pub(super) authority: Authority,
    pub(super) parent: Option<Arc<JobEntry>>,
}

/// Validates what was asked for a job without a parent, and has the deployment's policy grant it [ARCP 7.1-4].
pub(super) async fn plan_root(
    hub: &Hub,
    principal: &Principal,
    agent: &AgentRef,
    lease: Lease,
    constraints: LeaseConstraints,
) -> Result<Plan, Refusal> {
    let require_model_use = hub.services.options.require_model_use;
    may_run(hub, principal, agent)?;
    let lease = bounded(hub, principal, agent, lease, &constraints)?;
    let valid = validate_request(&lease, &constraints, hub.now())
        .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    let Some(policy) = &hub.services.lease_policy else {
        return Ok(Plan {
            lease,
            constraints,
            authority: Authority::new(valid, require_model_use),
            parent: None,
        });
    };
    let request = LeaseRequest {
        principal,
        agent,
        lease: &lease,
        constraints: &constraints,
    };
    let granted = policy.grant(request).await?;
    let valid = validate_request(&granted.lease, &granted.constraints, hub.now());
    let valid = valid.map_err(|error| {
        tracing::error!(target: "towline::policy", %error, "the lease policy granted a lease that is not valid");
        Refusal::internal("the runtime's lease policy failed")
    })?;
    Ok(Plan {
        lease: granted.lease,
        constraints: granted.constraints,
        authority: Authority::new(valid, require_model_use),
        parent: None,
    })
}

/// Whether jobs of the principal may be of this agent [ARCP 20-1].
fn may_run(hub: &Hub, principal: &Principal, agent: &AgentRef) -> Result<(), Refusal> {
    match &hub.services.access {
        Some(policy) => policy.may_run(principal, agent),
        None => Ok(()),
    }
}

/// The lease under the principal's ceiling [ARCP 20-1].
fn bounded(
    hub: &Hub,
    principal: &Principal,
    agent: &AgentRef,
    lease: Lease,
    constraints: &LeaseConstraints,
) -> Result<Lease, Refusal> {
    match &hub.services.access {
        Some(policy) => policy.bound(LeaseRequest {
            principal,
            agent,
            lease: &lease,
            constraints,
        }),
        None => Ok(lease),
    }
}

/// Bounds a child by its parent, and reserves its share, in one step under the parent's lock [ARCP 9.4-2].
pub(super) fn plan_child(
    hub: &Hub,
    parent: &Arc<JobEntry>,
    agent: &AgentRef,
    lease: &Lease,
    constraints: &LeaseConstraints,
) -> Result<Plan, Refusal> {
    may_run(hub, &parent.row.principal, agent)?;
    let limits = &hub.services.options;
    if parent.row.depth + 1 > limits.max_depth {
        let message = format!("delegation goes at most {} jobs deep", limits.max_depth);
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message));
    }
    let now = hub.now();
    let mut core = parent.lock();
    let running = core
        .children
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .filter(|child| !child.ended.is_cancelled());
    if running.count() >= limits.max_children {
        let message = format!("a job has at most {} children at once", limits.max_children);
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message));
    }
    let grant = core
        .authority
        .derive_child(&agent.to_string(), lease, constraints, now);
    let grant = grant.map_err(|refusal| Refusal::new(refusal.code(), refusal.to_string()))?;
    let reserved = core.authority.budget_mut().reserve(&grant.reserve);
    reserved.map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    core.log.touch();
    let expires_at = grant.expires_at.map(|at| at.to_string());
    Ok(Plan {
        lease: grant.lease.clone(),
        constraints: LeaseConstraints { expires_at },
        authority: grant.into_authority(),
        parent: Some(Arc::clone(parent)),
    })
}

/// Returns the share of a job that never came to be. Nothing to do for one without a parent.
pub(super) fn give_back(hub: &Hub, job: &JobEntry) {
    let (parent, budget) = {
        let core = job.lock();
        (core.parent.clone(), core.authority.budget().clone())
    };
    if let Some(parent) = parent {
        {
            let mut core = parent.lock();
            core.authority.budget_mut().settle(&budget);
            core.log.touch();
        }
        hub.enqueue(&parent);
    }
}
