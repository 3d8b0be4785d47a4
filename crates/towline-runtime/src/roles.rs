//! Roles as a deployment's policy: who has which, and what follows [ARCP 20-1].

mod live;

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use towline_proto::{lease::Amounts, refusal::Refusal};
use towline_store::Principal;
use towline_wire::{AgentRef, Amount, Lease};

pub use live::LiveRoles;
pub use towline_proto::roles::{Reach, Role, RoleError};

use crate::{
    auth::{AuthRefusal, Authenticator, Credentials, Proof, Proven},
    policy::{AccessPolicy, LeaseRequest, ObservePolicy},
};

/// Who has which role, and what that allows. Cheap to clone; clones are the same.
///
/// Give it to a runtime with [`RuntimeBuilder::roles`](crate::RuntimeBuilder::roles). A role belongs to a principal: all its
/// sessions have it. Every session of a principal may cancel that principal's jobs [ARCP 7.4-2].
///
/// ```
/// use towline_runtime::roles::{Reach, Role, Roles};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let roles = Roles::new(Role::of_nobody().off_the_machine()?)
///     .role(Role::named("ops").may_cancel(Reach::All).may_watch(Reach::All))
///     .assign("olga", "ops")?;
/// # let _ = roles;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Roles {
    book: Arc<Book>,
}

#[derive(Debug, Clone)]
struct Book {
    unnamed: Arc<Role>,
    roles: BTreeMap<String, Arc<Role>>,
    assigned: BTreeMap<Principal, Arc<Role>>,
    learned: Arc<RwLock<BTreeMap<Principal, Arc<Role>>>>,
}

/// A role that nobody described.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no role `{0}`")]
pub struct UnknownRole(pub String);

impl Roles {
    /// Nobody has a role yet; `unnamed` is what holds for those without one.
    pub fn new(unnamed: Role) -> Self {
        Self {
            book: Arc::new(Book {
                unnamed: Arc::new(unnamed),
                roles: BTreeMap::new(),
                assigned: BTreeMap::new(),
                learned: Arc::default(),
            }),
        }
    }

    /// Adds a role, under its name.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        if let Some(name) = role.name() {
            let name = name.to_owned();
            Arc::make_mut(&mut self.book)
                .roles
                .insert(name, Arc::new(role));
        }
        self
    }

    /// Gives a principal a role, for good.
    ///
    /// # Errors
    /// [`UnknownRole`].
    pub fn assign(mut self, principal: &str, role: &str) -> Result<Self, UnknownRole> {
        let role = self.find(role)?;
        Arc::make_mut(&mut self.book)
            .assigned
            .insert(Principal::new(principal), role);
        Ok(self)
    }

    /// Gives a principal a role of its own, for good. No proof can bring it to somebody else: it is not among those that
    /// are found by name.
    #[must_use]
    pub fn give(mut self, principal: &str, role: Role) -> Self {
        let assigned = &mut Arc::make_mut(&mut self.book).assigned;
        assigned.insert(Principal::new(principal), Arc::new(role));
        self
    }

    /// Notes what a principal's latest proof says of its role. What was assigned stands above it.
    ///
    /// # Errors
    /// [`UnknownRole`]; the principal then has what it had before.
    pub fn learn(&self, principal: &Principal, role: Option<&str>) -> Result<(), UnknownRole> {
        let role = role.map(|name| self.find(name)).transpose()?;
        let mut learned = self.book.learned.write();
        match role {
            Some(role) => {
                learned.insert(principal.clone(), role);
            }
            None => {
                learned.remove(principal);
            }
        }
        Ok(())
    }

    /// The authenticator, with roles: what it proves brings the principal its role, and an unknown role is refused.
    pub fn authenticator(&self, inner: impl Authenticator) -> impl Authenticator {
        LiveRoles::new(self.clone()).authenticator(inner)
    }

    /// Whether a role was described.
    pub fn knows(&self, role: &str) -> bool {
        self.book.roles.contains_key(role)
    }

    /// What holds for a principal.
    pub fn of(&self, principal: &Principal) -> Arc<Role> {
        if let Some(role) = self.book.assigned.get(principal) {
            return Arc::clone(role);
        }
        let learned = self.book.learned.read();
        Arc::clone(learned.get(principal).unwrap_or(&self.book.unnamed))
    }

    /// What holds for those without a role.
    pub fn without_role(&self) -> &Role {
        &self.book.unnamed
    }

    /// Every role, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Role> {
        self.book.roles.values().map(AsRef::as_ref)
    }

    /// Every principal that was assigned a role, and the role.
    pub fn assigned(&self) -> impl Iterator<Item = (&Principal, &Role)> {
        self.book
            .assigned
            .iter()
            .map(|(principal, role)| (principal, role.as_ref()))
    }

    fn find(&self, role: &str) -> Result<Arc<Role>, UnknownRole> {
        let found = self.book.roles.get(role).cloned();
        found.ok_or_else(|| UnknownRole(role.to_owned()))
    }

    fn reaches(&self, reach: &Reach, owner: &Principal) -> bool {
        match reach {
            Reach::Own => false,
            Reach::All => true,
            Reach::Role(name) => self.of(owner).name() == Some(name),
        }
    }

    fn holders(&self, role: &str) -> Vec<Principal> {
        let learned = self.book.learned.read();
        let known = self.book.assigned.iter().chain(learned.iter());
        let mut holders: Vec<Principal> = known
            .map(|(principal, _)| principal)
            .filter(|principal| {
                let of = self
                    .book
                    .assigned
                    .get(*principal)
                    .or_else(|| learned.get(*principal));
                of.and_then(|role| role.name()) == Some(role)
            })
            .cloned()
            .collect();
        holders.sort_unstable();
        holders.dedup();
        holders
    }
}

/// See [`LiveRoles::authenticator`].
struct WithRoles<A> {
    inner: A,
    roles: LiveRoles,
}

impl<A: Authenticator> Authenticator for WithRoles<A> {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        Box::pin(async move { Ok(self.prove(credentials).await?.principal) })
    }

    fn prove<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        Box::pin(async move {
            let proven = self.inner.prove(credentials).await?;
            let role = proven.proof.role.as_deref();
            self.roles
                .now()
                .learn(&proven.principal, role)
                .map_err(|error| AuthRefusal::new(error.to_string()))?;
            Ok(proven)
        })
    }

    /// A role that is gone proves nothing. One that is not known yet, after a restart, is learned from the session.
    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        if !self.inner.still_knows(principal, proof) {
            return false;
        }
        let Some(role) = proof.role.as_deref() else {
            return true;
        };
        let roles = self.roles.now();
        let learned = roles.book.learned.read().contains_key(principal);
        if learned {
            roles.knows(role)
        } else {
            roles.learn(principal, Some(role)).is_ok()
        }
    }

    fn lets_anyone_in(&self) -> bool {
        self.inner.lets_anyone_in()
    }
}

impl AccessPolicy for Roles {
    fn role_of(&self, principal: &Principal) -> Option<String> {
        self.of(principal).name().map(str::to_owned)
    }

    fn describe(&self, principal: &Principal) -> serde_json::Value {
        self.of(principal).describe()
    }

    fn may_run(&self, principal: &Principal, agent: &AgentRef) -> Result<(), Refusal> {
        self.of(principal).may_run(agent)
    }

    fn bound(&self, request: LeaseRequest<'_>) -> Result<Lease, Refusal> {
        self.of(request.principal).bound(request.lease)
    }

    fn jobs(&self, principal: &Principal) -> Option<usize> {
        self.of(principal).jobs_at_once()
    }

    fn budget_per_day(&self, principal: &Principal) -> Option<Amounts> {
        let role = self.of(principal);
        let daily = role.daily_budget();
        (!daily.is_empty()).then(|| daily.clone())
    }

    fn is_admin(&self, principal: &Principal) -> bool {
        self.of(principal).is_admin()
    }

    fn may_cancel(&self, asker: &Principal, owner: &Principal) -> bool {
        asker == owner || self.reaches(self.of(asker).cancels(), owner)
    }

    fn may_answer(&self, asker: &Principal, owner: &Principal) -> bool {
        asker == owner
            || self.reaches(self.of(asker).answers(), owner)
            || self.may_cancel(asker, owner)
    }

    fn budget_ceiling(&self, principal: &Principal, currency: &str) -> Option<Amount> {
        self.of(principal).budget().of(currency)
    }
}

impl ObservePolicy for Roles {
    fn may_observe(&self, observer: &Principal, owner: &Principal) -> bool {
        self.reaches(self.of(observer).watches(), owner)
    }

    fn observable(&self, observer: &Principal) -> Option<Vec<Principal>> {
        match self.of(observer).watches() {
            Reach::Own => Some(Vec::new()),
            Reach::Role(name) => Some(self.holders(name)),
            Reach::All => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        Roles::new(Role::of_nobody())
            .role(Role::named("dev").may_watch(Reach::Role("dev".to_owned())))
            .role(Role::named("lead").may_cancel(Reach::Role("dev".to_owned())))
            .role(
                Role::named("ops")
                    .may_watch(Reach::All)
                    .may_cancel(Reach::All),
            )
            .role(Role::named("root").admin(true))
            .assign("dan", "dev")
            .and_then(|roles| roles.assign("rita", "root"))
            .and_then(|roles| roles.assign("dora", "dev"))
            .and_then(|roles| roles.assign("lea", "lead"))
            .and_then(|roles| roles.assign("olga", "ops"))
            .unwrap()
    }

    /// [ARCP 20-1] Who may watch and cancel whose jobs.
    #[test]
    fn reaches_are_a_table() {
        let roles = roles();
        let watch = |a: &str, b: &str| roles.may_observe(&Principal::new(a), &Principal::new(b));
        let cancel = |a: &str, b: &str| roles.may_cancel(&Principal::new(a), &Principal::new(b));
        for (asker, owner, watches, cancels) in [
            ("dan", "dora", true, false),
            ("dan", "lea", false, false),
            ("dan", "guest", false, false),
            ("dan", "dan", true, true),
            ("lea", "dan", false, true),
            ("lea", "olga", false, false),
            ("lea", "guest", false, false),
            ("olga", "guest", true, true),
            ("rita", "olga", true, true),
            ("guest", "dan", false, false),
        ] {
            assert_eq!(watch(asker, owner), watches, "{asker} watches {owner}");
            assert_eq!(cancel(asker, owner), cancels, "{asker} cancels {owner}");
        }
        let list = |name: &str| roles.observable(&Principal::new(name));
        assert_eq!(
            list("dan"),
            Some(vec![Principal::new("dan"), Principal::new("dora")])
        );
        assert_eq!(list("guest"), Some(Vec::new()));
        assert_eq!(list("olga"), None);
    }

    /// [ARCP 20-1] A proof may bring a role; an unknown one is refused, and what was assigned stands above it.
    #[test]
    fn a_role_may_be_learned() {
        let roles = roles();
        let (guest, dan) = (Principal::new("guest"), Principal::new("dan"));
        roles.learn(&guest, Some("ops")).unwrap();
        roles.learn(&dan, Some("ops")).unwrap();
        assert_eq!(roles.role_of(&guest).as_deref(), Some("ops"));
        assert_eq!(roles.role_of(&dan).as_deref(), Some("dev"));
        assert_eq!(
            roles.learn(&guest, Some("god")),
            Err(UnknownRole("god".to_owned()))
        );
        roles.learn(&guest, None).unwrap();
        assert_eq!(roles.role_of(&guest), None);
    }

    /// [ARCP 20-1] A role that was given is its holder's alone, whatever others prove.
    #[test]
    fn a_role_of_ones_own_is_nobody_elses() {
        let (olivia, mallory) = (Principal::new("olivia"), Principal::new("mallory"));
        let roles = roles().give("olivia", Role::named("owner").admin(true));
        assert!(roles.may_cancel(&olivia, &mallory) && roles.is_admin(&olivia));
        assert_eq!(
            roles.learn(&mallory, Some("owner")),
            Err(UnknownRole("owner".to_owned()))
        );
        assert!(!roles.may_cancel(&mallory, &olivia));
    }
}
