//! When to acknowledge (§6.5).

use std::time::Duration;

use towline_wire::EventSeq;

/// Decides when a `session.ack` is due: not before `every` has passed since the last one, and not before `events` have
/// come [ARCP 6.5-5]. An ack is advice that lets the runtime free memory, so fewer than `events` may stay unacknowledged
/// until [`Acker::flush`] at the close.
///
/// Call [`Acker::received`] per event; when the time of [`Acker::deadline`] has come, [`Acker::acknowledge`] with the
/// last event that was processed.
#[derive(Debug, Clone)]
pub(super) struct Acker {
    policy: AckPolicy,
    acked: EventSeq,
    waiting: u64,
    last: Duration,
}

/// How often to acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AckPolicy {
    /// At least this long between two acks; default 250 ms.
    pub every: Duration,
    /// At least this many events between two acks; default 256.
    pub events: u64,
}

impl Default for AckPolicy {
    fn default() -> Self {
        Self {
            every: Duration::from_millis(250),
            events: 256,
        }
    }
}

impl Acker {
    /// An acker of a session in which everything up to `acked` was acknowledged.
    pub(super) const fn new(policy: AckPolicy, acked: EventSeq, now: Duration) -> Self {
        Self {
            policy,
            acked,
            waiting: 0,
            last: now,
        }
    }

    /// An event came.
    pub(super) const fn received(&mut self) {
        self.waiting += 1;
    }

    /// When an ack is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (self.waiting >= self.policy.events.max(1)).then(|| self.last + self.policy.every)
    }

    /// The number to acknowledge, if one is due. Nothing new processed puts it off by another `every`.
    pub(super) fn acknowledge(&mut self, processed: EventSeq, now: Duration) -> Option<EventSeq> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.last = now;
        let ack = self.advance(processed)?;
        self.waiting = 0;
        Some(ack)
    }

    /// The number to acknowledge before a close, due or not.
    pub(super) fn flush(&mut self, processed: EventSeq) -> Option<EventSeq> {
        self.waiting = 0;
        self.advance(processed)
    }

    fn advance(&mut self, processed: EventSeq) -> Option<EventSeq> {
        (processed > self.acked).then(|| {
            self.acked = processed;
            processed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn after(events: u64) -> Acker {
        let mut acker = Acker::new(AckPolicy::default(), EventSeq::ZERO, ms(0));
        (0..events).for_each(|_| acker.received());
        acker
    }

    /// [ARCP 6.5-5] every 250 ms or 256 events, whichever is later.
    #[test]
    fn an_ack_waits_for_both_the_time_and_the_events() {
        let seq = EventSeq::new(256);
        assert_eq!(
            after(255).acknowledge(seq, ms(10_000)),
            None,
            "too few events"
        );
        assert_eq!(after(256).acknowledge(seq, ms(249)), None, "too early");
        let mut acker = after(256);
        assert_eq!(acker.deadline(), Some(ms(250)));
        assert_eq!(acker.acknowledge(seq, ms(250)), Some(seq));
        assert_eq!(acker.deadline(), None);
    }

    #[test]
    fn an_ack_never_goes_back_and_never_repeats() {
        let mut acker = after(300);
        assert_eq!(
            acker.acknowledge(EventSeq::ZERO, ms(250)),
            None,
            "nothing was processed"
        );
        assert_eq!(
            acker.deadline(),
            Some(ms(500)),
            "asked again later, not at once"
        );
        assert_eq!(
            acker.acknowledge(EventSeq::new(7), ms(500)),
            Some(EventSeq::new(7))
        );
        assert_eq!(acker.flush(EventSeq::new(7)), None);
        assert_eq!(acker.flush(EventSeq::new(9)), Some(EventSeq::new(9)));
    }
}
