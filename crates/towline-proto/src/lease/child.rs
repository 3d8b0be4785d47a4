//! What a child job gets of its parent's authority [ARCP 9.4-1 to 9.4-5].

use towline_wire::{ErrorCode, Lease, LeaseConstraints, Timestamp, namespace};

use super::{
    authority::{Authority, Denial, Operation, UnnamedModels},
    budget::{Amounts, ReserveError},
    effort::Care,
    error::LeaseError,
    request::{ValidRequest, expiry},
    set::{LeaseSet, Violation, ViolationReason},
};

/// What a child job is granted.
///
/// Nothing is taken from the parent yet: reserve [`reserve`](Self::reserve) with
/// [`Budget::reserve`](super::Budget::reserve) in the same step in which the child is created, and settle the child's
/// counters when it ends.
#[derive(Debug, Clone)]
pub struct ChildGrant {
    /// The child's lease as it is told to the peer: what was asked for, with the amounts it inherits.
    pub lease: Lease,
    /// The earlier one of its own expiry and the parent's [ARCP 9.4-3].
    pub expires_at: Option<Timestamp>,
    /// What the parent's counters have to set aside, for every currency they hold [ARCP 9.4-2].
    pub reserve: Amounts,
    leases: LeaseSet,
}

/// A lease that was compiled and found to be within a parent's [ARCP 9.4-1].
#[derive(Debug, Clone)]
pub struct BoundedLease {
    lease: Lease,
    leases: LeaseSet,
    own_expiry: Option<Timestamp>,
}

/// Why a parent may not delegate so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The parent may not delegate to that agent, or not now.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// What is asked for is malformed.
    #[error(transparent)]
    Invalid(#[from] LeaseError),
    /// A pattern reaches beyond the parent's.
    #[error(transparent)]
    Beyond(#[from] Violation),
    /// An amount is larger than what the parent has left.
    #[error(transparent)]
    Budget(#[from] ReserveError),
}

impl Authority {
    /// Bounds a child job by this one: its agent must be covered by `agent.delegate`, its patterns by this lease's, its
    /// amounts by what is left. The child inherits the expiry, and all that is left of each currency that it does not
    /// name. Currencies that are not budgeted here are free.
    ///
    /// `agent` is `name@version`, resolved.
    ///
    /// # Errors
    /// [`Refusal`], whose [`code`](Refusal::code) says how it is told.
    pub fn derive_child(
        &self,
        agent: &str,
        lease: &Lease,
        constraints: &LeaseConstraints,
        now: Timestamp,
    ) -> Result<ChildGrant, Refusal> {
        self.decide(Operation::Delegate(agent), now)?;
        let bounded = self.bound_lease(lease, constraints, now, Care::Full)?;
        self.grant_child(agent, bounded, now)
    }

    /// The long part of [`Authority::derive_child`]: compiles a child's lease and compares it. Nothing that it looks at
    /// changes while the job runs, so it may be done on a copy and beside the threads that serve.
    ///
    /// # Errors
    /// [`Refusal`]; with [`Care::Quick`], one that [`is_too_complex`](Refusal::is_too_complex) may only mean that more
    /// care is needed.
    pub fn bound_lease(
        &self,
        lease: &Lease,
        constraints: &LeaseConstraints,
        now: Timestamp,
        care: Care,
    ) -> Result<BoundedLease, Refusal> {
        let leases = LeaseSet::compile_with(lease, care)?;
        let own_expiry = expiry(constraints, now)?;
        if self.allows_every_model() {
            let named = leases.without(namespace::MODEL_USE);
            self.leases().contains_with(&named, care)?;
        } else {
            self.leases().contains_with(&leases, care)?;
        }
        Ok(BoundedLease {
            lease: lease.clone(),
            leases,
            own_expiry,
        })
    }

    /// The short part of [`Authority::derive_child`]: whether the parent may delegate now, and what it has left.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn grant_child(
        &self,
        agent: &str,
        bounded: BoundedLease,
        now: Timestamp,
    ) -> Result<ChildGrant, Refusal> {
        self.decide(Operation::Delegate(agent), now)?;
        self.grant_permitted_child(bounded)
    }

    /// [`Authority::grant_child`] for an agent that a person let the parent delegate to [ARCP 15-6].
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn grant_permitted_child(&self, bounded: BoundedLease) -> Result<ChildGrant, Refusal> {
        let BoundedLease {
            mut lease,
            leases,
            own_expiry,
        } = bounded;
        let reserve = self.budget().share(leases.amounts())?;
        let amounts = joined(leases.amounts(), &reserve);
        lease.set(namespace::COST_BUDGET, amounts.to_texts());
        let expires_at = [own_expiry, self.expires_at()].into_iter().flatten().min();
        Ok(ChildGrant {
            lease,
            expires_at,
            reserve,
            leases: leases.with_amounts(amounts),
        })
    }
}

impl ChildGrant {
    /// The child's authority, with full counters.
    pub fn into_authority(self) -> Authority {
        let request = ValidRequest {
            leases: self.leases,
            expires_at: self.expires_at,
        };
        Authority::with_models(request, UnnamedModels::of(true, true))
    }
}

impl Refusal {
    /// Whether the leases took too long to compile or to compare.
    pub fn is_too_complex(&self) -> bool {
        match self {
            Self::Invalid(error) => *error == LeaseError::TooComplex,
            Self::Beyond(violation) => *violation.reason() == ViolationReason::TooComplex,
            Self::Denied(_) | Self::Budget(_) => false,
        }
    }

    /// How it is told to the peer.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Denied(denial) => denial.code().clone(),
            Self::Invalid(error) => error.code(),
            Self::Beyond(violation) => violation.code(),
            Self::Budget(error) => error.code(),
        }
    }
}

/// What the child asked for, overridden by what it shares with the parent.
fn joined(own: &Amounts, shared: &Amounts) -> Amounts {
    own.iter()
        .chain(shared.iter())
        .map(|(currency, amount)| (currency.to_owned(), amount))
        .collect()
}
