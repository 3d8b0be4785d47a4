//! What callers without a connection have for a session: one name a principal.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use towline_store::Principal;
use towline_wire::SessionId;

/// The names of virtual sessions: one a principal, for as long as the runtime lives. They name no session that anybody could
/// take up; jobs bear them, and so does the audit log.
#[derive(Default)]
pub(crate) struct VirtualSessions(Mutex<Known>);

#[derive(Default)]
struct Known {
    sessions: HashMap<Principal, Virtual>,
    /// The one that is known longest first.
    order: VecDeque<Principal>,
}

/// The virtual session of a principal.
#[derive(Debug, Clone)]
pub(crate) struct Virtual {
    pub(crate) name: SessionId,
    /// Cancelled when the principal's sessions are ended [ARCP 14-7]: whoever reads in it stops.
    pub(crate) revoked: CancellationToken,
    long: Arc<AtomicUsize>,
}

/// A place among the long requests of a principal: those that stay, such as a stream of events or a wait for a job's end. It is
/// given up when it is dropped. Get one from [`Caller::long_request`](crate::Caller::long_request).
#[derive(Debug)]
pub struct LongRequest(Arc<AtomicUsize>);

impl Virtual {
    /// A place, unless there are so many already.
    pub(crate) fn long_request(&self, most: usize) -> Option<LongRequest> {
        let more = |there: usize| (there < most).then_some(there + 1);
        // A count by itself: nothing else is published with it.
        let taken = self
            .long
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| LongRequest(Arc::clone(&self.long)))
    }
}

impl Drop for LongRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl VirtualSessions {
    /// A principal's virtual session, and whether it is new. At most [`MOST`] are remembered: the principal that is
    /// known longest is forgotten then and would get another name, which takes nothing from it but that a job of the old
    /// name cannot be the parent of a new one.
    pub(crate) fn of(
        &self,
        principal: &Principal,
        mint: impl FnOnce() -> SessionId,
    ) -> (Virtual, bool) {
        let mut known = self.0.lock();
        if let Some(session) = known.sessions.get(principal) {
            return (session.clone(), false);
        }
        if known.order.len() >= MOST
            && let Some(oldest) = known.order.pop_front()
        {
            known.sessions.remove(&oldest);
        }
        let session = Virtual {
            name: mint(),
            revoked: CancellationToken::new(),
            long: Arc::default(),
        };
        known.sessions.insert(principal.clone(), session.clone());
        known.order.push_back(principal.clone());
        (session, true)
    }

    /// Ends what goes on in a principal's virtual session; requests that come later find it as new. Its name stays, for its
    /// jobs bear it. Says whether there was one.
    pub(crate) fn revoke(&self, principal: &Principal) -> bool {
        let mut known = self.0.lock();
        let session = known.sessions.get_mut(principal);
        session.is_some_and(|session| {
            std::mem::take(&mut session.revoked).cancel();
            true
        })
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
        let (again, is_new) = of("alice");
        assert!(!is_new);
        assert_eq!(again.name, alice.name);
        assert_ne!(of("bob").0.name, alice.name);
        for number in 0..MOST {
            of(&number.to_string());
        }
        assert_ne!(of("alice").0.name, alice.name);
        assert_eq!(sessions.0.lock().sessions.len(), MOST);
    }

    /// [ARCP 14-6] A principal has so many long requests at once, and others have theirs; a place is given back.
    #[test]
    fn long_requests_are_counted_a_principal() {
        let sessions = VirtualSessions::default();
        let of = |name: &str| {
            sessions
                .of(&Principal::new(name), || SessionId::minted(name))
                .0
        };
        let take = |name: &str| of(name).long_request(2);
        let (first, _second) = (take("alice").unwrap(), take("alice").unwrap());
        assert!(take("alice").is_none());
        assert!(take("bob").is_some());
        sessions.revoke(&Principal::new("alice"));
        assert!(take("alice").is_none());
        drop(first);
        assert!(take("alice").is_some());
    }

    /// [ARCP 14-7] What went on before a principal's sessions were ended stops, and what comes later does not; the name stays.
    #[test]
    fn what_went_on_is_ended() {
        let sessions = VirtualSessions::default();
        let alice = Principal::new("alice");
        assert!(!sessions.revoke(&alice));
        let of = || sessions.of(&alice, || SessionId::minted("1")).0;
        let before = of();
        assert!(sessions.revoke(&alice) && before.revoked.is_cancelled());
        assert!(!of().revoked.is_cancelled());
        assert_eq!(of().name, before.name);
    }
}
