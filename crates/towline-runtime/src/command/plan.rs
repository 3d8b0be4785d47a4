//! What a new job will be allowed.

use std::sync::Arc;

use towline_proto::{
    lease::{
        self, Authority, BoundedLease, Care, LeaseError, Operation, ValidRequest,
        validate_request_with,
    },
    refusal::Refusal,
};
use towline_store::Principal;
use towline_wire::{AgentRef, Amount, ErrorCode, Lease, LeaseConstraints, namespace};

use super::day::within_day;
use crate::{
    hub::{DayShare, Hub},
    job::{JobCore, JobEntry, Kin},
    policy::LeaseRequest,
};

/// What a new job will be allowed. For a child its share of the budget is set aside: whoever has a plan either makes the
/// job or gives the share back ([`give_back`]).
pub(super) struct Plan {
    pub(super) lease: Lease,
    pub(super) constraints: LeaseConstraints,
    pub(super) authority: Authority,
    pub(super) parent: Option<Arc<JobEntry>>,
    /// Its part in its root's family.
    pub(super) kin: Kin,
    /// What is set aside for it of its principal's day; a child has its share of its parent's.
    pub(super) day: Option<DayShare>,
}

/// Validates what was asked for a job without a parent, and has the deployment's policy grant it [ARCP 7.1-4].
pub(super) async fn plan_root(
    hub: &Hub,
    principal: &Principal,
    agent: &AgentRef,
    (mut lease, by_default): (Lease, &[(String, Amount)]),
    constraints: LeaseConstraints,
) -> Result<Plan, Refusal> {
    if !lease.grants(namespace::COST_BUDGET) {
        add_default(hub, principal, &mut lease, by_default);
    }
    let require_model_use = hub.services.options.require_model_use;
    may_run(hub, principal, agent)?;
    // Before the ceiling looks at it, so that a lease that takes long to read does so away from here.
    validate(hub, &lease, &constraints)
        .await?
        .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    let lease = bounded(hub, principal, agent, lease, &constraints)?;
    let (lease, constraints) = granted(hub, principal, agent, lease, constraints).await?;
    let (lease, day) = within_day(hub, principal, lease).await?;
    let valid = validate(hub, &lease, &constraints).await?;
    let valid = valid.map_err(|error| match &hub.services.lease_policy {
        None => Refusal::new(error.code(), error.to_string()),
        Some(_) => {
            tracing::error!(target: "towline::policy", %error, "the lease policy granted a lease that is not valid");
            Refusal::internal("the runtime's lease policy failed")
        }
    })?;
    Ok(Plan {
        lease,
        constraints,
        authority: Authority::new(valid, require_model_use),
        parent: None,
        kin: Kin::root(),
        day,
    })
}

/// Adds what jobs of an agent may spend that say nothing of it, as far as the role of whoever submits lets one job spend it.
fn add_default(
    hub: &Hub,
    principal: &Principal,
    lease: &mut Lease,
    by_default: &[(String, Amount)],
) {
    for (currency, amount) in by_default {
        let policy = hub.services.access.as_ref();
        let most = policy.and_then(|policy| policy.budget_ceiling(principal, currency));
        let amount = most.map_or(*amount, |most| most.min(*amount));
        lease.add(namespace::COST_BUDGET, format!("{currency}:{amount}"));
    }
}

/// What the deployment's policy grants of a lease that was found valid: all of it where there is none.
async fn granted(
    hub: &Hub,
    principal: &Principal,
    agent: &AgentRef,
    lease: Lease,
    constraints: LeaseConstraints,
) -> Result<(Lease, LeaseConstraints), Refusal> {
    let Some(policy) = &hub.services.lease_policy else {
        return Ok((lease, constraints));
    };
    validate(hub, &lease, &constraints)
        .await?
        .map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    let request = LeaseRequest {
        principal,
        agent,
        lease: &lease,
        constraints: &constraints,
    };
    let granted = policy.grant(request).await?;
    Ok((granted.lease, granted.constraints))
}

/// Validates a lease: at once, or, where that would keep the thread from others, away from it [ARCP 14-6].
async fn validate(
    hub: &Hub,
    lease: &Lease,
    constraints: &LeaseConstraints,
) -> Result<Result<ValidRequest, LeaseError>, Refusal> {
    let now = hub.now();
    let quickly = validate_request_with(lease, constraints, now, Care::Quick);
    if !matches!(quickly, Err(LeaseError::TooComplex)) {
        return Ok(quickly);
    }
    let (lease, constraints) = (lease.clone(), constraints.clone());
    hub.away
        .run(move || validate_request_with(&lease, &constraints, now, Care::Full))
        .await
}

/// Compares a child's lease with its parent's, in the same way.
async fn bound(
    hub: &Hub,
    parent: Authority,
    lease: &Lease,
    constraints: &LeaseConstraints,
) -> Result<BoundedLease, Refusal> {
    let now = hub.now();
    let mut bounded = parent.bound_lease(lease, constraints, now, Care::Quick);
    if bounded.as_ref().is_err_and(lease::Refusal::is_too_complex) {
        let (lease, constraints) = (lease.clone(), constraints.clone());
        bounded = hub
            .away
            .run(move || parent.bound_lease(&lease, &constraints, now, Care::Full))
            .await?;
    }
    bounded.map_err(refused)
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

/// Bounds a child by its parent, and reserves its share, which is one step under the parent's lock [ARCP 9.4-2]. Comparing
/// their leases comes before and without it. `permitted`: a person let the parent delegate to this agent [ARCP 15-6].
pub(super) async fn plan_child(
    hub: &Hub,
    parent: &Arc<JobEntry>,
    agent: &AgentRef,
    lease: &Lease,
    constraints: &LeaseConstraints,
    permitted: bool,
) -> Result<Plan, Refusal> {
    may_run(hub, &parent.row.principal, agent)?;
    let limits = &hub.services.options;
    if parent.row.depth + 1 > limits.max_depth {
        let message = format!("delegation goes at most {} jobs deep", limits.max_depth);
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message));
    }
    let agent = agent.to_string();
    let authority = {
        let core = parent.lock();
        check_fan_out(&core, limits.max_children)?;
        if !permitted {
            core.authority
                .decide(Operation::Delegate(&agent), hub.now())
                .map_err(|denial| refused(denial.into()))?;
        }
        core.authority.clone()
    };
    let bounded = bound(hub, authority, lease, constraints).await?;
    let mut core = parent.lock();
    check_fan_out(&core, limits.max_children)?;
    let kin = core.kin.join(limits.max_descendants).ok_or_else(|| {
        let message = format!(
            "a job has at most {} descendants at once",
            limits.max_descendants
        );
        Refusal::new(ErrorCode::PERMISSION_DENIED, message)
    })?;
    let grant = if permitted {
        core.authority.grant_permitted_child(bounded)
    } else {
        core.authority.grant_child(&agent, bounded, hub.now())
    };
    let grant = grant.map_err(refused)?;
    let reserved = core.authority.budget_mut().reserve(&grant.reserve);
    reserved.map_err(|error| Refusal::new(error.code(), error.to_string()))?;
    core.log.touch();
    let expires_at = grant.expires_at.map(|at| at.to_string());
    Ok(Plan {
        lease: grant.lease.clone(),
        constraints: LeaseConstraints { expires_at },
        authority: grant.into_authority(),
        parent: Some(Arc::clone(parent)),
        kin,
        day: None,
    })
}

fn check_fan_out(parent: &JobCore, most: usize) -> Result<(), Refusal> {
    let running = parent
        .children
        .iter()
        .filter_map(std::sync::Weak::upgrade)
        .filter(|child| !child.ended.is_cancelled());
    if running.count() >= most {
        let message = format!("a job has at most {most} children at once");
        return Err(Refusal::new(ErrorCode::PERMISSION_DENIED, message));
    }
    Ok(())
}

fn refused(refusal: lease::Refusal) -> Refusal {
    Refusal::new(refusal.code(), refusal.to_string())
}

/// Returns the share of a job that never came to be: to its parent, or to its principal's day.
pub(super) fn give_back(hub: &Hub, job: &JobEntry) {
    hub.books.days.forget(job);
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
