//! What callers without a connection have for a session: one name a principal.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use towline_store::Principal;
use towline_wire::SessionId;

/// The names of virtual sessions: one a principal, for as long as the runtime lives. They name no session that anybody could
/// take up; jobs bear them, and so does the audit log.
#[derive(Default)]
pub(crate) struct VirtualSessions(Mutex<Known>);

#[derive(Default)]
struct Known {
    names: HashMap<Principal, SessionId>,
    /// The one that is known longest first.
    order: VecDeque<Principal>,
}

impl VirtualSessions {
    /// The name of a principal's virtual session, and whether it is new. At most [`MOST`] are remembered: the principal that is
    /// known longest is forgotten then and would get another name, which takes nothing from it but that a job of the old
    /// name cannot be the parent of a new one.
    pub(crate) fn of(
        &self,
        principal: &Principal,
        mint: impl FnOnce() -> SessionId,
    ) -> (SessionId, bool) {
        let mut known = self.0.lock();
        if let Some(name) = known.names.get(principal) {
            return (name.clone(), false);
        }
        if known.order.len() >= MOST
            && let Some(oldest) = known.order.pop_front()
        {
            known.names.remove(&oldest);
        }
        let name = mint();
        known.names.insert(principal.clone(), name.clone());
        known.order.push_back(principal.clone());
        (name, true)
    }
}

/// How many principals are remembered.
const MOST: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 16-1] A principal has one virtual session, and others have others; there is a bound to how many are known.
    #[test]
    fn a_principal_has_one_name() {
        let sessions = VirtualSessions::default();
        let mut minted = 0;
        let mut of = |name: &str| {
            sessions.of(&Principal::new(name), || {
                minted += 1;
                SessionId::minted(&minted.to_string())
            })
        };
        let (alice, is_new) = of("alice");
        assert!(is_new);
        assert_eq!(of("alice"), (alice.clone(), false));
        assert_ne!(of("bob").0, alice);
        for number in 0..MOST {
            of(&number.to_string());
        }
        assert_ne!(of("alice").0, alice);
        assert_eq!(sessions.0.lock().names.len(), MOST);
    }
}
