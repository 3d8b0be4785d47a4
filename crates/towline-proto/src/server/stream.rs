//! What a session is sent, and how far it has got (§6.3, §6.5, §8.3).

use towline_wire::{Envelope, EventSeq, JobId, JobSeq};

use super::replies::{Farewell, Replies, Reply};
use crate::{
    outbox::{Outbox, ReplayError, Run},
    span::Span,
};

/// The stream of one session, over all its connections.
///
/// The committer makes it grow: [`Stream::committed`] as soon as a transaction is durable, then [`Stream::append`] for each
/// of its spans, once what they point to can be read. Each connection reads it with a [`Cursor`] of its own: ask
/// [`Stream::next`] what to do, carry it out, ask again; on [`Step::Rest`] wait until something was appended, filled or
/// closed. Say [`Stream::offer`] before events are handed to a transport and [`Stream::flushed`] after it took them.
/// [`Stream::may_resume`] and [`Stream::taken_up`] are for a new connection of the session.
///
/// Four positions, each at most the one before it: what is durable, what has been appended, what a peer may have seen
/// (`offered`: it may acknowledge that, or come back with it), what a transport took (`sent`). The fifth, what the peer
/// acknowledged, is at most `offered`.
///
/// Being behind is reported once, and again only after the peer has caught up by half [ARCP 6.5-3]. The drawing, `·` for
/// "the same":
///
/// ```text
///          │ above    between below
/// ─────────┼────────────────────────
/// Armed    │ Reported ·       ·
/// Reported │ ·        ·       Armed
/// ```
#[derive(Debug)]
pub struct Stream {
    outbox: Outbox,
    /// The highest number that is durable: what the outbox does not have of it yet, it gets at once.
    durable: EventSeq,
    /// The highest number that a transport took and flushed.
    sent: EventSeq,
    /// The highest number that a peer may have seen: it was handed to a transport, or is about to be.
    offered: EventSeq,
    /// Whether the peer acknowledges at all.
    has_acked: bool,
    pressure: Pressure,
}

/// Whether the lag has been reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pressure {
    Armed,
    Reported,
}

/// How far one connection has got in its session's stream.
#[derive(Debug)]
pub struct Cursor {
    position: EventSeq,
    /// Where the stream ends on this connection, once a goodbye waits for nothing else.
    until: Option<EventSeq>,
    /// Frames since the last flush.
    unflushed: usize,
}

/// What a connection's writer does next.
#[derive(Debug)]
pub enum Step {
    /// Send a ping or a pong.
    Urgent(Envelope),
    /// Send a reply.
    Reply(Reply),
    /// Send events: these, or the first ones of them.
    Events(Run),
    /// What comes next is not kept any more: there would be a gap, which is never silent [ARCP 6.5-2].
    Evicted,
    /// Flush what was sent.
    Flush,
    /// Wait to be woken.
    Rest,
    /// Ask again in a moment: what the goodbye waits for is durable, and nobody wakes a writer whose session is closing.
    Again,
    /// Say goodbye and end.
    Goodbye(Box<Farewell>),
}

impl Stream {
    /// A stream in which everything kept has been sent. An empty one is that of a new session.
    pub fn new(outbox: Outbox) -> Self {
        let last = outbox.last();
        Self {
            durable: last,
            sent: last,
            offered: last,
            has_acked: outbox.acked() > EventSeq::ZERO,
            pressure: Pressure::Armed,
            outbox,
        }
    }

    /// The last number given out.
    pub fn last(&self) -> EventSeq {
        self.outbox.last()
    }

    /// The highest number acknowledged.
    pub fn acked(&self) -> EventSeq {
        self.outbox.acked()
    }

    /// The highest number that cannot be replayed.
    pub fn evicted(&self) -> EventSeq {
        self.outbox.evicted()
    }

    /// The jobs whose logs the stream still needs.
    pub fn jobs(&self) -> impl Iterator<Item = &JobId> {
        self.outbox.jobs()
    }

    /// The last number whose record is in `job` at or before `up_to`: what has to be evicted when the log loses that.
    pub fn last_of(&self, job: &JobId, up_to: JobSeq) -> Option<EventSeq> {
        self.outbox.last_of(job, up_to)
    }

    /// The event of a number, if it is kept.
    pub fn event(&self, number: EventSeq) -> Option<Run> {
        let before = EventSeq::new(number.value().checked_sub(1)?);
        let run = self.outbox.after(before)?;
        Some(Run { count: 1, ..run })
    }

    /// The number under which the session has a record of a job, if it is kept.
    pub fn number_of(&self, job: &JobId, seq: JobSeq) -> Option<EventSeq> {
        self.outbox.number_of(job, seq)
    }

    /// A span is durable and comes with [`Stream::append`] in a moment.
    pub fn committed(&mut self, span: &Span) {
        debug_assert!(self.durable < span.first, "numbers become durable in order");
        self.durable = span.last();
    }

    /// Adds to the end. Gives the number up to which the stream has to be evicted so that at most `keep` spans stay: an
    /// eighth more than needed, so that it is not each event that evicts another.
    pub fn append(&mut self, span: Span, keep: usize) -> Option<EventSeq> {
        let pushed = self.outbox.push(span);
        debug_assert!(pushed, "spans are planned in order");
        self.durable = self.durable.max(self.outbox.last());
        self.outbox.overflow(keep)?;
        self.outbox.overflow(keep - keep / 8)
    }

    /// Forgets events up to and including `up_to`. A later resume from before it is refused [ARCP 6.5-2].
    pub fn evict(&mut self, up_to: EventSeq) {
        self.outbox.evict(up_to);
    }

    /// Whether the stream can go on after `position`, which the peer claims to have [ARCP 6.3-5].
    ///
    /// # Errors
    /// [`ReplayError`] says why not.
    pub fn may_resume(&self, position: EventSeq) -> Result<(), ReplayError> {
        if position > self.offered {
            return Err(ReplayError::Ahead {
                asked: position,
                last: self.offered,
            });
        }
        self.outbox.check_replay(position)
    }

    /// Another connection goes on after `position`, which [`Stream::may_resume`] allowed. `acknowledges` says whether the
    /// peer has `ack` in effect now.
    pub fn taken_up(&mut self, position: EventSeq, acknowledges: bool) {
        debug_assert!(position <= self.offered, "the position was checked");
        self.sent = self.sent.max(position);
        self.has_acked &= acknowledges;
    }

    /// A peer may see everything up to `last` from now on, before the flush is over: it may acknowledge that, or come back
    /// with it.
    pub fn offer(&mut self, last: EventSeq) {
        debug_assert!(
            last <= self.outbox.last(),
            "only what was given out is offered"
        );
        self.offered = self.offered.max(last);
    }

    /// A transport took everything up to `position`; `false` when that was known.
    pub fn flushed(&mut self, position: EventSeq) -> bool {
        let news = position > self.sent;
        self.sent = self.sent.max(position);
        self.offered = self.offered.max(position);
        news
    }

    /// The peer has processed everything up to `seq`; `false` when that says nothing new, or claims what was never sent, and
    /// is ignored [ARCP 6.5-1].
    pub fn acknowledge(&mut self, seq: EventSeq) -> bool {
        let news = self.outbox.ack(seq, self.offered);
        self.has_acked |= news;
        news
    }

    /// How many events the peer is behind: what was sent and not acknowledged, once it acknowledges at all, or what could
    /// not be sent, whichever is more. So a peer that acknowledges and then reads no more shows as well [ARCP 6.5-3].
    pub fn lag(&self) -> u64 {
        let unsent = self.outbox.last().since(self.sent);
        if self.has_acked {
            unsent.max(self.sent.since(self.outbox.acked()))
        } else {
            unsent
        }
    }

    /// The lag to report, once, when it has passed `threshold`; call it after whatever changes the lag [ARCP 6.5-3].
    pub fn pressure(&mut self, threshold: u64) -> Option<u64> {
        let lag = self.lag();
        match self.pressure {
            Pressure::Armed if lag > threshold => {
                self.pressure = Pressure::Reported;
                Some(lag)
            }
            Pressure::Reported if lag.saturating_mul(2) < threshold => {
                self.pressure = Pressure::Armed;
                None
            }
            Pressure::Armed | Pressure::Reported => None,
        }
    }

    /// What a connection does next. In this order: pings and pongs; a goodbye that waits for nothing; replies; a goodbye
    /// that waited for them and for the events they brought; events, unless a reply that has to come before them waits for
    /// its turn.
    ///
    /// It allocates nothing and looks at no clock: a ping is due when [`Heartbeat`](crate::heartbeat::Heartbeat) says so,
    /// and is pushed to `replies` then.
    pub fn next(&self, cursor: &mut Cursor, replies: &mut Replies) -> Step {
        if let Some(envelope) = replies.pop_urgent() {
            return Step::Urgent(envelope);
        }
        if replies.cuts() {
            return cursor.leave(replies);
        }
        if let Some(reply) = replies.pop() {
            return Step::Reply(reply);
        }
        if replies.hold_events() {
            return cursor.pause();
        }
        if replies.has_drained() {
            // History that an earlier request asked for was queued before the goodbye [ARCP 6.7-1].
            let until = *cursor.until.get_or_insert(self.durable);
            if cursor.position >= until {
                return cursor.leave(replies);
            }
        }
        match self.outbox.after(cursor.position) {
            Some(run) => Step::Events(run),
            None if cursor.position < self.outbox.evicted() => Step::Evicted,
            None => cursor.pause(),
        }
    }
}

impl Cursor {
    /// A connection that has everything up to `position`.
    pub const fn new(position: EventSeq) -> Self {
        Self {
            position,
            until: None,
            unflushed: 0,
        }
    }

    /// The last event that was sent.
    pub const fn position(&self) -> EventSeq {
        self.position
    }

    /// A frame was sent.
    pub const fn fed(&mut self) {
        self.unflushed += 1;
    }

    /// An event was sent.
    pub const fn advance(&mut self, to: EventSeq) {
        self.position = to;
    }

    /// Everything sent was flushed.
    pub const fn flushed(&mut self) {
        self.unflushed = 0;
    }

    /// Whether it is time for a flush, and for replies to get their turn.
    pub const fn is_full(&self) -> bool {
        self.unflushed >= FLUSH_FRAMES
    }

    const fn pause(&self) -> Step {
        match (self.unflushed, self.until) {
            (1.., _) => Step::Flush,
            (0, None) => Step::Rest,
            (0, Some(_)) => Step::Again,
        }
    }

    fn leave(&self, replies: &mut Replies) -> Step {
        replies
            .say_farewell()
            .map_or_else(|| self.pause(), Step::Goodbye)
    }
}

/// How many frames are sent at most before a flush.
pub const FLUSH_FRAMES: usize = 512;

#[cfg(test)]
mod tests;
