//! What a connection owes its peer beside events: pongs, replies in the order of their requests, a goodbye.

use std::collections::VecDeque;

use towline_wire::{Envelope, EventSeq, JobId};

use super::goodbye::Goodbye;

/// The replies of one connection.
///
/// A request takes a place with [`Replies::reserve`] when it is read and fills it with [`Replies::fill`] when it is done;
/// replies leave in the order of the places [ARCP 5-11]. [`Replies::push_urgent`] is for what overtakes them all, and
/// [`Replies::close`] decides the goodbye; the first one stays. What leaves, and when, is
/// [`Stream::next`](super::Stream::next)'s to say.
///
/// A reply that has to come before events (`job.accepted`, `job.subscribed`) and waits behind an unfilled place is a gate:
/// it holds the event stream back, because those events may already be in it.
///
/// A peer may have said that it matches replies by the request they name and minds no order
/// ([`Feature::AnyOrder`](towline_wire::Feature::AnyOrder)). Then a request that waits for somebody else gives its place up
/// ([`Replies::postpone`]), and its reply goes behind those that are there when it is done.
///
/// Everything in here is bounded: places by the requests that the driver reads at once ([`Replies::waiting`]), urgent
/// frames by a number above which the oldest is dropped.
///
/// The goodbye, `·` for "the same" (`drain` is a goodbye after what is owed, `cut` one at once):
///
/// ```text
///          │ drain    cut     said
/// ─────────┼───────────────────────
/// Open     │ Draining Cutting ·
/// Draining │ ·        ·       Gone
/// Cutting  │ ·        ·       Gone
/// Gone     │ ·        ·       ·
/// ```
#[derive(Debug, Default)]
pub struct Replies {
    places: VecDeque<Option<Reply>>,
    /// The number of the first place.
    first: u64,
    /// Places that were given up by requests that are not done.
    late: Vec<Slot>,
    /// Filled places that hold the stream back.
    gates: usize,
    urgent: VecDeque<Envelope>,
    farewell: Leaving,
}

/// The place of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(u64);

/// What answers a request.
#[derive(Debug)]
pub struct Reply {
    /// The envelope, without id and session; `None` for requests that are done silently.
    pub envelope: Option<Envelope>,
    /// Whether events that are in the stream already may only follow it.
    pub gates: bool,
    /// The job it is the `job.accepted` of.
    pub announces: Option<JobId>,
    /// An event of the stream that goes out once more behind it, under its old number; one that this connection has not
    /// had yet comes by itself [ARCP 7.2-1].
    pub repeats: Option<EventSeq>,
    /// Whether the writer has to pause after it (one SDK loses what follows at once).
    pub pause: bool,
}

/// The goodbye of a connection.
#[derive(Debug)]
pub struct Farewell {
    /// The last envelope, without id and session; none for a peer that went without a word itself.
    pub last: Option<Envelope>,
    /// How the transport is closed, and with which words.
    pub goodbye: Goodbye,
    /// Those words.
    pub reason: String,
    /// Whether owed replies, and what they brought into the stream, go out first [ARCP 6.7-1].
    pub drain: bool,
}

#[derive(Debug, Default)]
enum Leaving {
    #[default]
    Open,
    // Rare, and large: a connection that stays does not hold the room for it.
    Draining(Box<Farewell>),
    Cutting(Box<Farewell>),
    Gone,
}

impl Replies {
    /// How many requests wait for their reply, or for the reply to be written.
    pub fn waiting(&self) -> usize {
        self.places.len() + self.late.len()
    }

    /// A place for the reply to a request that was just read.
    pub fn reserve(&mut self) -> Slot {
        self.places.push_back(None);
        Slot(self.first + self.places.len() as u64 - 1)
    }

    /// Fills a place, once; a place that is filled or gone is left alone. For one that was given up it is a new one, the last.
    pub fn fill(&mut self, slot: Slot, reply: Reply) {
        let gates = usize::from(reply.gates);
        if let Some(late) = self.late.iter().position(|late| *late == slot) {
            self.late.swap_remove(late);
            self.places.push_back(Some(reply));
        } else if let Some(place) = self.empty(slot) {
            *place = Some(reply);
        } else {
            return;
        }
        self.gates += gates;
    }

    /// Gives a place up that is not filled: what is behind it waits no more.
    pub fn postpone(&mut self, slot: Slot) {
        if let Some(place) = self.empty(slot) {
            *place = Some(Reply::silent());
            self.late.push(slot);
        }
    }

    /// A place that is not filled.
    fn empty(&mut self, slot: Slot) -> Option<&mut Option<Reply>> {
        let at = usize::try_from(slot.0.wrapping_sub(self.first)).ok()?;
        self.places.get_mut(at).filter(|place| place.is_none())
    }

    /// Something that overtakes every reply: a ping or a pong [ARCP 6.4-1].
    pub fn push_urgent(&mut self, envelope: Envelope) {
        // A peer that pings faster than it reads gets the latest pongs; each pong proves the same.
        if self.urgent.len() >= URGENT_LIMIT {
            self.urgent.pop_front();
        }
        self.urgent.push_back(envelope);
    }

    /// Decides the goodbye. The first one stays.
    pub fn close(&mut self, farewell: Farewell) {
        if matches!(self.farewell, Leaving::Open) {
            self.farewell = if farewell.drain {
                Leaving::Draining(Box::new(farewell))
            } else {
                Leaving::Cutting(Box::new(farewell))
            };
        }
    }

    /// Whether the goodbye has been decided.
    pub const fn is_closing(&self) -> bool {
        !matches!(self.farewell, Leaving::Open)
    }

    /// The goodbye, for a connection that can send nothing else any more; it is said with that.
    pub fn say_farewell(&mut self) -> Option<Box<Farewell>> {
        match std::mem::take(&mut self.farewell) {
            Leaving::Draining(farewell) | Leaving::Cutting(farewell) => {
                self.farewell = Leaving::Gone;
                Some(farewell)
            }
            before @ (Leaving::Open | Leaving::Gone) => {
                self.farewell = before;
                None
            }
        }
    }

    /// Whether the goodbye waits for nothing.
    pub(super) const fn cuts(&self) -> bool {
        matches!(self.farewell, Leaving::Cutting(_))
    }

    /// Whether the goodbye waits for nothing but events: every reply is out.
    pub(super) fn has_drained(&self) -> bool {
        matches!(self.farewell, Leaving::Draining(_)) && self.waiting() == 0
    }

    /// The next urgent frame.
    pub(super) fn pop_urgent(&mut self) -> Option<Envelope> {
        self.urgent.pop_front()
    }

    /// The next reply, when its turn has come.
    pub(super) fn pop(&mut self) -> Option<Reply> {
        let reply = self.places.front_mut()?.take()?;
        self.places.pop_front();
        self.first += 1;
        self.gates -= usize::from(reply.gates);
        Some(reply)
    }

    /// Whether the event stream has to wait.
    pub(super) const fn hold_events(&self) -> bool {
        self.gates > 0
    }
}

impl Reply {
    /// An answer nothing else depends on.
    pub fn plain(envelope: Envelope) -> Self {
        Self {
            envelope: Some(envelope),
            ..Self::silent()
        }
    }

    /// No answer.
    pub const fn silent() -> Self {
        Self {
            envelope: None,
            gates: false,
            announces: None,
            repeats: None,
            pause: false,
        }
    }

    /// An answer that events have to follow.
    pub fn gating(envelope: Envelope) -> Self {
        Self {
            gates: true,
            ..Self::plain(envelope)
        }
    }

    /// A `job.accepted`; the job's events have to follow it.
    pub fn announcing(envelope: Envelope, job: JobId) -> Self {
        Self {
            announces: Some(job),
            ..Self::gating(envelope)
        }
    }
}

/// How many pings and pongs wait for a peer that does not read.
const URGENT_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use towline_wire::MessageType;

    use super::*;

    fn reply(kind: MessageType) -> Reply {
        Reply::plain(Envelope::new(kind))
    }

    fn popped(replies: &mut Replies) -> Option<MessageType> {
        replies
            .pop()
            .and_then(|reply| reply.envelope)
            .map(|envelope| envelope.kind)
    }

    fn farewell(drain: bool) -> Farewell {
        Farewell {
            last: Some(Envelope::new(MessageType::SESSION_CLOSED)),
            goodbye: Goodbye::Normal,
            reason: String::new(),
            drain,
        }
    }

    /// [ARCP 5-11] replies leave in request order, however their requests end.
    #[test]
    fn replies_keep_request_order() {
        let mut replies = Replies::default();
        let (first, second) = (replies.reserve(), replies.reserve());
        replies.fill(second, reply(MessageType::SESSION_JOBS));
        assert_eq!(popped(&mut replies), None);
        replies.fill(first, reply(MessageType::JOB_ACCEPTED));
        replies.fill(first, reply(MessageType::SESSION_ERROR));
        assert_eq!(popped(&mut replies), Some(MessageType::JOB_ACCEPTED));
        assert_eq!(popped(&mut replies), Some(MessageType::SESSION_JOBS));
        replies.fill(first, reply(MessageType::SESSION_ERROR));
        assert_eq!((popped(&mut replies), replies.waiting()), (None, 0));
    }

    /// A reply whose place was given up goes behind those that are there by then, once, and is owed until then.
    #[test]
    fn a_postponed_reply_comes_when_it_is_done() {
        let mut replies = Replies::default();
        let (slow, list) = (replies.reserve(), replies.reserve());
        replies.fill(list, reply(MessageType::SESSION_JOBS));
        replies.postpone(slow);
        replies.postpone(list);
        replies.close(farewell(true));
        // The place that was given up goes by in silence.
        assert!(replies.pop().is_some_and(|reply| reply.envelope.is_none()));
        assert_eq!(popped(&mut replies), Some(MessageType::SESSION_JOBS));
        assert!(!replies.has_drained() && replies.waiting() == 1);
        let next = replies.reserve();
        let job = JobId::parse("job_1").unwrap();
        let accepted = Envelope::new(MessageType::JOB_ACCEPTED);
        replies.fill(slow, Reply::announcing(accepted, job));
        replies.fill(slow, reply(MessageType::SESSION_ERROR));
        assert!(replies.hold_events());
        replies.fill(next, reply(MessageType::SESSION_JOBS));
        assert_eq!(popped(&mut replies), Some(MessageType::SESSION_JOBS));
        assert_eq!(popped(&mut replies), Some(MessageType::JOB_ACCEPTED));
        assert!(replies.has_drained() && !replies.hold_events());
    }

    /// [ARCP 7.1-2] a reply that announces a job holds the stream back until it is out.
    #[test]
    fn announcements_hold_events_back() {
        let mut replies = Replies::default();
        let (first, second) = (replies.reserve(), replies.reserve());
        let job = JobId::parse("job_1").unwrap();
        replies.fill(
            second,
            Reply::announcing(Envelope::new(MessageType::JOB_ACCEPTED), job),
        );
        assert!(replies.hold_events());
        replies.fill(first, Reply::silent());
        replies.pop();
        assert!(replies.hold_events());
        replies.pop();
        assert!(!replies.hold_events());
    }

    /// [ARCP 14-4] a peer that pings and does not read costs a bounded number of frames.
    #[test]
    fn urgent_frames_are_bounded() {
        let mut replies = Replies::default();
        for _ in 0..1000 {
            replies.push_urgent(Envelope::new(MessageType::SESSION_PONG));
        }
        let mut left = 0;
        while replies.pop_urgent().is_some() {
            left += 1;
        }
        assert_eq!(left, URGENT_LIMIT);
    }

    /// The goodbye does what is drawn above it: every event in every phase.
    #[test]
    fn the_goodbye_is_as_drawn() {
        crate::drawing::walk(include_str!("replies.rs"), |phase, event| {
            let mut replies = Replies::default();
            let way: &[&str] = match phase {
                "Open" => &[],
                "Draining" => &["drain"],
                "Cutting" => &["cut"],
                "Gone" => &["drain", "said"],
                other => panic!("{other} is no phase"),
            };
            for event in way.iter().chain([&event]) {
                match *event {
                    "drain" => replies.close(farewell(true)),
                    "cut" => replies.close(farewell(false)),
                    "said" => drop(replies.say_farewell()),
                    other => panic!("{other} is no event"),
                }
            }
            let reached = match replies.farewell {
                Leaving::Open => "Open",
                Leaving::Draining(_) => "Draining",
                Leaving::Cutting(_) => "Cutting",
                Leaving::Gone => "Gone",
            };
            reached.to_owned()
        });
    }
}
