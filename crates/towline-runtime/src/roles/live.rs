//! Roles that change while a runtime runs.

use std::sync::Arc;

use parking_lot::RwLock;
use towline_proto::{lease::Amounts, refusal::Refusal};
use towline_store::Principal;
use towline_wire::{AgentRef, Amount, Lease};

use super::{Book, Roles, WithRoles};
use crate::{
    auth::Authenticator,
    policy::{AccessPolicy, LeaseRequest, ObservePolicy},
};

/// Roles in whose place others can be put. Cheap to clone; clones are the same. What is decided after
/// [`replace`](Self::replace) is decided by the new ones, for sessions that live too [ARCP 20-1].
#[derive(Debug, Clone)]
pub struct LiveRoles(Arc<RwLock<Roles>>);

impl LiveRoles {
    /// Begins with these.
    pub fn new(first: Roles) -> Self {
        Self(Arc::new(RwLock::new(first)))
    }

    /// Those that hold now.
    pub fn now(&self) -> Roles {
        self.0.read().clone()
    }

    /// Puts others in their place. What principals were proved to have stays, under the new role of the same name; where
    /// there is none any more, nothing is left, and a session that was proved by it ends.
    pub fn replace(&self, next: Roles) {
        let mut current = self.0.write();
        let learned: Vec<(Principal, String)> = {
            let learned = current.book.learned.read();
            let names = learned.iter().filter_map(|(principal, role)| {
                let name = role.name()?.to_owned();
                Some((principal.clone(), name))
            });
            names.collect()
        };
        let kept = learned.into_iter().filter_map(|(principal, name)| {
            let role = next.book.roles.get(&name)?;
            Some((principal, Arc::clone(role)))
        });
        let book = Book {
            learned: Arc::new(RwLock::new(kept.collect())),
            ..(*next.book).clone()
        };
        *current = Roles {
            book: Arc::new(book),
        };
    }

    /// The authenticator, with roles: what it proves brings the principal its role, and an unknown role is refused.
    pub fn authenticator<A: Authenticator>(&self, inner: A) -> impl Authenticator + use<A> {
        WithRoles {
            inner,
            roles: self.clone(),
        }
    }
}

impl AccessPolicy for LiveRoles {
    fn role_of(&self, principal: &Principal) -> Option<String> {
        self.now().role_of(principal)
    }

    fn describe(&self, principal: &Principal) -> serde_json::Value {
        self.now().describe(principal)
    }

    fn may_run(&self, principal: &Principal, agent: &AgentRef) -> Result<(), Refusal> {
        self.now().may_run(principal, agent)
    }

    fn bound(&self, request: LeaseRequest<'_>) -> Result<Lease, Refusal> {
        self.now().bound(request)
    }

    fn jobs(&self, principal: &Principal) -> Option<usize> {
        self.now().jobs(principal)
    }

    fn budget_per_day(&self, principal: &Principal) -> Option<Amounts> {
        self.now().budget_per_day(principal)
    }

    fn budget_ceiling(&self, principal: &Principal, currency: &str) -> Option<Amount> {
        self.now().budget_ceiling(principal, currency)
    }

    fn may_cancel(&self, asker: &Principal, owner: &Principal) -> bool {
        self.now().may_cancel(asker, owner)
    }

    fn may_answer(&self, asker: &Principal, owner: &Principal) -> bool {
        self.now().may_answer(asker, owner)
    }

    fn is_admin(&self, principal: &Principal) -> bool {
        self.now().is_admin(principal)
    }
}

impl ObservePolicy for LiveRoles {
    fn may_observe(&self, observer: &Principal, owner: &Principal) -> bool {
        self.now().may_observe(observer, owner)
    }

    fn observable(&self, observer: &Principal) -> Option<Vec<Principal>> {
        self.now().observable(observer)
    }
}

#[cfg(test)]
mod tests {
    use towline_proto::roles::{Reach, Role};

    use super::*;

    /// [ARCP 15-8] What a role lets a job spend bounds approvals here as well.
    #[test]
    fn a_ceiling_holds() {
        let dev = Role::named("dev").budget_per_job(&["USD:5".to_owned()]);
        let roles = Roles::new(Role::of_nobody()).role(dev.unwrap());
        let live = LiveRoles::new(roles.assign("dan", "dev").unwrap());
        let ceiling = |who: &str| live.budget_ceiling(&Principal::new(who), "USD");
        assert_eq!(ceiling("dan"), "5".parse().ok());
        assert_eq!(ceiling("guest"), None);
    }

    /// [ARCP 20-1, 14-7] A changed role holds from now on, one that was learned by its name; one that is gone is gone.
    #[test]
    fn roles_are_replaced_by_name() {
        let named = |name: &str, reach: Reach| Role::named(name).may_cancel(reach);
        let live = LiveRoles::new(
            Roles::new(Role::of_nobody())
                .role(named("ops", Reach::Own))
                .role(named("temp", Reach::All)),
        );
        let [olga, tim, ann] = ["olga", "tim", "ann"].map(Principal::new);
        live.now().learn(&olga, Some("ops")).unwrap();
        live.now().learn(&tim, Some("temp")).unwrap();
        assert!(!live.may_cancel(&olga, &ann) && live.may_cancel(&tim, &ann));
        let held = live.clone();
        live.replace(Roles::new(Role::of_nobody()).role(named("ops", Reach::All)));
        assert!(held.may_cancel(&olga, &ann) && !held.may_cancel(&tim, &ann));
        assert_eq!(held.role_of(&tim), None);
    }
}
