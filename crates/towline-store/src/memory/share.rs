//! Who of several members owns what.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    task::Waker,
};

use towline_wire::{CredentialId, JobId, SessionId};

use crate::{Batch, Change, Heard, Incarnation, Pulse, StoreError, check::session_of};

/// The members, and what belongs to whom. Under the committer's lock; empty in a store that nobody joined.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    last: u64,
    live: BTreeMap<Incarnation, Member>,
    /// The names of those that are fenced.
    fenced: BTreeMap<Incarnation, Arc<str>>,
    /// Whose the jobs are that have not ended.
    pub(super) jobs: HashMap<JobId, Incarnation>,
    pub(super) sessions: HashMap<SessionId, Incarnation>,
    /// Whose the credentials are that are still out.
    pub(super) credentials: HashMap<CredentialId, Incarnation>,
    /// Whether there may be trees of fenced members.
    pub(super) orphans: bool,
}

#[derive(Debug)]
struct Member {
    name: Arc<str>,
    n: u64,
    /// Whether its process is known to be there.
    is_connected: bool,
    /// Sessions that others took from it.
    taken: BTreeSet<SessionId>,
    /// Who waits for its end.
    waiting: Vec<Waker>,
}

impl Ownership {
    /// A new member. An earlier one of its name that has hung up is fenced at once; one that may still be there is not, it has to
    /// fall silent first.
    pub(super) fn join(&mut self, name: &Arc<str>) -> Incarnation {
        let before: Vec<Incarnation> = self
            .live
            .iter()
            .filter(|(_, member)| member.name == *name && !member.is_connected)
            .map(|(inc, _)| *inc)
            .collect();
        for inc in before {
            self.fence(inc);
        }
        self.last += 1;
        let inc = Incarnation::new(self.last);
        let member = Member {
            name: Arc::clone(name),
            n: 0,
            is_connected: true,
            taken: BTreeSet::new(),
            waiting: Vec::new(),
        };
        self.live.insert(inc, member);
        inc
    }

    pub(super) fn hang_up(&mut self, inc: Incarnation) {
        if let Some(member) = self.live.get_mut(&inc) {
            member.is_connected = false;
        }
    }

    /// Whether it was live.
    pub(super) fn fence(&mut self, inc: Incarnation) -> bool {
        let Some(member) = self.live.remove(&inc) else {
            return false;
        };
        member.waiting.into_iter().for_each(Waker::wake);
        self.fenced.insert(inc, member.name);
        self.orphans = true;
        true
    }

    pub(super) fn is_live(&self, inc: Incarnation) -> bool {
        self.live.contains_key(&inc)
    }

    /// # Errors
    /// When it is fenced.
    pub(super) fn must_live(&self, inc: Incarnation) -> Result<(), StoreError> {
        if self.is_live(inc) {
            Ok(())
        } else {
            Err(StoreError::Fenced(inc))
        }
    }

    /// `false` when it is fenced; else the waker is kept until it is.
    pub(super) fn waits(&mut self, inc: Incarnation, waker: &Waker) -> bool {
        let Some(member) = self.live.get_mut(&inc) else {
            return false;
        };
        member.waiting.retain(|kept| !kept.will_wake(waker));
        member.waiting.push(waker.clone());
        true
    }

    /// How far a member has counted.
    pub(super) fn number(&self, inc: Incarnation) -> Option<u64> {
        self.live.get(&inc).map(|member| member.n)
    }

    /// Whether what belongs to `owner` is found by this incarnation when it starts: it is its own, nobody's, or was that of one of
    /// its name before it.
    pub(super) fn is_left_to(&self, me: Incarnation, owner: Option<Incarnation>) -> bool {
        let Some(owner) = owner else { return true };
        let name = self.live.get(&me).map(|member| &member.name);
        let left = self.fenced.get(&owner);
        owner == me || left.is_some_and(|left| Some(left) == name)
    }

    /// Whether what belongs to `owner` is anybody's.
    pub(super) fn is_orphan(&self, owner: Option<Incarnation>) -> bool {
        owner.is_none_or(|owner| !self.is_live(owner))
    }

    /// # Errors
    /// When this member is fenced.
    pub(super) fn pulse(
        &mut self,
        me: Incarnation,
        known: &[SessionId],
    ) -> Result<Heard, StoreError> {
        let member = self.live.get_mut(&me).ok_or(StoreError::Fenced(me))?;
        member.n += 1;
        for session in known {
            member.taken.remove(session);
        }
        let taken = member.taken.iter().cloned().collect();
        let others = self.live.iter().filter(|(inc, _)| **inc != me);
        let others = others.map(|(inc, member)| Pulse {
            node: Arc::clone(&member.name),
            incarnation: *inc,
            n: member.n,
        });
        Ok(Heard {
            others: others.collect(),
            orphans: self.orphans,
            taken,
        })
    }

    /// A session goes to a member; the one before is to hear of it.
    pub(super) fn take_session(&mut self, me: Incarnation, session: &SessionId) {
        let before = self.sessions.insert(session.clone(), me);
        let before = before.filter(|before| *before != me);
        if let Some(member) = before.and_then(|before| self.live.get_mut(&before)) {
            member.taken.insert(session.clone());
        }
        if let Some(member) = self.live.get_mut(&me) {
            member.taken.remove(session);
        }
    }

    /// The sessions a batch names that its member does not have.
    pub(super) fn lost(&self, me: Incarnation, batch: &Batch) -> HashSet<SessionId> {
        let taken = self.live.get(&me).map(|member| &member.taken);
        let is_lost = |session: &&SessionId| {
            taken.is_some_and(|taken| taken.contains(*session))
                || self
                    .sessions
                    .get(*session)
                    .is_some_and(|owner| *owner != me)
        };
        let named = batch.changes.iter().filter_map(session_of);
        named.filter(is_lost).cloned().collect()
    }

    /// Whether everything a batch changes is its member's.
    ///
    /// # Errors
    /// What is another's.
    pub(super) fn check(&self, me: Incarnation, batch: &Batch) -> Result<(), StoreError> {
        for change in &batch.changes {
            let job = match change {
                Change::Job(row) => row.parent.as_ref(),
                Change::JobState { job, .. }
                | Change::Checkpoint { job, .. }
                | Change::Talk { job, .. } => Some(job),
                Change::Block(block) => Some(block.job()),
                _ => None,
            };
            let owner = job.and_then(|job| Some((job, *self.jobs.get(job)?)));
            if let Some((job, owner)) = owner.filter(|(_, owner)| *owner != me) {
                let text =
                    format!("job {job} belongs to incarnation {owner}; {me} may not change it");
                return Err(StoreError::Rejected(text.into()));
            }
            if let Change::Credential(row) = change
                && let Some(owner) = self.credentials.get(&row.id).filter(|owner| **owner != me)
            {
                let text = format!(
                    "credential {} belongs to incarnation {owner}; {me} may not change it",
                    row.id
                );
                return Err(StoreError::Rejected(text.into()));
            }
        }
        Ok(())
    }

    /// Notes what becomes whose by a batch that is going to be applied.
    pub(super) fn note(&mut self, me: Incarnation, batch: &Batch) {
        for change in &batch.changes {
            match change {
                Change::Job(row) if !row.state.status.is_terminal() => {
                    self.jobs.insert(row.id.clone(), me);
                }
                Change::JobState { job, state } if state.status.is_terminal() => {
                    self.jobs.remove(job);
                }
                Change::Session(row) => {
                    self.sessions.insert(row.id.clone(), me);
                }
                Change::SessionGone(session) => {
                    self.sessions.remove(session);
                }
                Change::Credential(row) if row.outstanding => {
                    self.credentials.insert(row.id.clone(), me);
                }
                Change::Credential(row) => {
                    self.credentials.remove(&row.id);
                }
                _ => {}
            }
        }
    }
}
