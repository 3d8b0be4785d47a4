//! Replies in the order of their requests [ARCP 5-11].

use std::collections::VecDeque;

use towline_wire::{Envelope, JobId};

/// The replies of one connection. A request takes a slot when it is read and fills it when it is done; replies leave in
/// the order of the slots.
///
/// A reply that has to come before events (`job.accepted`, `job.subscribed`) and waits behind an unfilled slot holds the
/// event stream back, because those events may already be in it.
#[derive(Default)]
pub(crate) struct ReplyQueue {
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    /// Filled slots that hold the stream back.
    gates: usize,
    urgent: VecDeque<Envelope>,
}

/// The place of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SlotId(u64);

#[derive(Default)]
struct Slot {
    filled: Option<Reply>,
}

/// What answers a request.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The envelope, without id and session; `None` for requests that are done silently.
    pub(crate) envelope: Option<Envelope>,
    /// Whether events that are in the stream already may only follow it.
    pub(crate) gates: bool,
    /// The job it is the `job.accepted` of.
    pub(crate) announces: Option<JobId>,
    /// What goes out directly behind it.
    pub(crate) followed_by: Option<Envelope>,
    /// Whether the writer has to pause after it (one SDK loses what follows at once).
    pub(crate) pause: bool,
}

impl Reply {
    /// An answer nothing else depends on.
    pub(crate) fn plain(envelope: Envelope) -> Self {
        Self {
            envelope: Some(envelope),
            ..Self::silent()
        }
    }

    /// No answer.
    pub(crate) const fn silent() -> Self {
        Self {
            envelope: None,
            gates: false,
            announces: None,
            followed_by: None,
            pause: false,
        }
    }

    /// An answer that events have to follow.
    pub(crate) fn gating(envelope: Envelope) -> Self {
        Self {
            gates: true,
            ..Self::plain(envelope)
        }
    }

    /// A `job.accepted`; the job's events have to follow it.
    pub(crate) fn announcing(envelope: Envelope, job: JobId) -> Self {
        Self {
            announces: Some(job),
            ..Self::gating(envelope)
        }
    }
}

impl ReplyQueue {
    /// How many requests wait for their reply, or for the reply to be written.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A place for the reply to a request that was just read.
    pub(crate) fn reserve(&mut self) -> SlotId {
        self.slots.push_back(Slot::default());
        SlotId(self.first + self.slots.len() as u64 - 1)
    }

    /// Fills a place.
    pub(crate) fn fill(&mut self, slot: SlotId, reply: Reply) {
        let at = usize::try_from(slot.0.wrapping_sub(self.first)).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get_mut(at).filter(|slot| slot.filled.is_none()) else {
            return;
        };
        self.gates += usize::from(reply.gates);
        slot.filled = Some(reply);
    }

    /// Something that overtakes every reply: a pong [ARCP 6.4-1].
    pub(crate) fn push_urgent(&mut self, envelope: Envelope) {
        // A peer that pings faster than it reads gets the latest pongs; each pong proves the same.
        if self.urgent.len() >= URGENT_LIMIT {
            self.urgent.pop_front();
        }
        self.urgent.push_back(envelope);
    }

    /// The next urgent frame.
    pub(crate) fn pop_urgent(&mut self) -> Option<Envelope> {
        self.urgent.pop_front()
    }

    /// The next reply, when its turn has come.
    pub(crate) fn pop(&mut self) -> Option<Reply> {
        let reply = self.slots.front_mut()?.filled.take()?;
        self.slots.pop_front();
        self.first += 1;
        self.gates -= usize::from(reply.gates);
        Some(reply)
    }

    /// Whether the event stream has to wait.
    pub(crate) const fn holds_events(&self) -> bool {
        self.gates > 0
    }
}

/// How many pongs wait for a peer that does not read.
const URGENT_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use towline_wire::MessageType;

    use super::*;

    fn reply(kind: MessageType) -> Reply {
        Reply::plain(Envelope::new(kind))
    }

    fn popped(queue: &mut ReplyQueue) -> Option<MessageType> {
        queue
            .pop()
            .and_then(|reply| reply.envelope)
            .map(|envelope| envelope.kind)
    }

    /// [ARCP 5-11] replies leave in request order, however their requests end.
    #[test]
    fn replies_keep_request_order() {
        let mut queue = ReplyQueue::default();
        let (first, second) = (queue.reserve(), queue.reserve());
        queue.fill(second, reply(MessageType::SESSION_JOBS));
        assert_eq!(popped(&mut queue), None);
        queue.fill(first, reply(MessageType::JOB_ACCEPTED));
        assert_eq!(popped(&mut queue), Some(MessageType::JOB_ACCEPTED));
        assert_eq!(popped(&mut queue), Some(MessageType::SESSION_JOBS));
    }

    /// [ARCP 7.1-2] a reply that announces a job holds the stream back until it is out.
    #[test]
    fn announcements_hold_events_back() {
        let mut queue = ReplyQueue::default();
        let (first, second) = (queue.reserve(), queue.reserve());
        let job = JobId::parse("job_1").unwrap();
        queue.fill(
            second,
            Reply::announcing(Envelope::new(MessageType::JOB_ACCEPTED), job),
        );
        assert!(queue.holds_events());
        queue.fill(first, Reply::silent());
        queue.pop();
        assert!(queue.holds_events());
        queue.pop();
        assert!(!queue.holds_events());
    }
}
