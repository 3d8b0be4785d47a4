//! The heartbeat both peers run (§6.4).

use std::time::Duration;

/// Watches one connection for silence.
///
/// Tell it of every frame with [`Heartbeat::heard`] and [`Heartbeat::sent`], and ask [`Heartbeat::poll`] when the time
/// of [`Heartbeat::deadline`] has come. Times are what a monotonic clock shows, counted from any fixed moment.
///
/// It pings when nothing was sent **or** nothing was heard for an interval [ARCP 6.4-2]: some peers never ping by
/// themselves, others only speak when they are pinged, even while they are being streamed to. Silence for two intervals
/// means the peer is lost [ARCP 6.4-3]; any bytes count as heard.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    interval: Duration,
    heard: Duration,
    sent: Duration,
    pinged: Duration,
}

/// What a heartbeat asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// Nothing until [`Heartbeat::deadline`].
    Rest,
    /// Send a `session.ping` now.
    Ping,
    /// The peer was silent for two intervals: surface HEARTBEAT_LOST and close.
    Lost,
}

impl Heartbeat {
    /// A heartbeat of an interval, beginning `now`.
    pub fn new(interval: Duration, now: Duration) -> Self {
        Self {
            interval,
            heard: now,
            sent: now,
            pinged: now,
        }
    }

    /// Something came from the peer.
    pub fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    /// Something went to the peer.
    pub fn sent(&mut self, now: Duration) {
        self.sent = now;
    }

    /// Something went to the peer then, or later.
    pub fn sent_at_least(&mut self, then: Duration) {
        self.sent = self.sent.max(then);
    }

    /// When [`Heartbeat::poll`] has something to say, unless the peer is heard before.
    pub fn deadline(&self) -> Duration {
        let ping = self.sent.min(self.heard.max(self.pinged)) + self.interval;
        ping.min(self.heard + 2 * self.interval)
    }

    /// What is due now. A ping counts as sent.
    pub fn poll(&mut self, now: Duration) -> Beat {
        if now >= self.heard + 2 * self.interval {
            return Beat::Lost;
        }
        if now < self.deadline() {
            return Beat::Rest;
        }
        self.pinged = now;
        self.sent = now;
        Beat::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// [ARCP 6.4-2] a peer pings when it has sent nothing, or heard nothing, for an interval.
    #[test]
    fn silence_in_either_direction_is_answered_with_a_ping() {
        let mut silent = Heartbeat::new(s(30), s(0));
        silent.heard(s(29));
        assert_eq!(silent.poll(s(29)), Beat::Rest);
        assert_eq!(
            silent.poll(s(30)),
            Beat::Ping,
            "nothing sent for an interval"
        );

        let mut streaming = Heartbeat::new(s(30), s(0));
        streaming.sent(s(29));
        assert_eq!(
            streaming.poll(s(30)),
            Beat::Ping,
            "nothing heard for an interval, though we send"
        );
        assert_eq!(streaming.poll(s(31)), Beat::Rest, "one ping an interval");
    }

    /// [ARCP 6.4-3] nothing heard for two intervals is a lost peer, and not a moment before.
    #[test]
    fn two_silent_intervals_lose_the_peer() {
        let mut beat = Heartbeat::new(s(30), s(0));
        assert_eq!(beat.poll(s(30)), Beat::Ping);
        assert_eq!(beat.poll(s(59)), Beat::Rest);
        assert_eq!(beat.poll(s(60)), Beat::Lost);
        beat.heard(s(59));
        assert_eq!(
            beat.poll(s(60)),
            Beat::Ping,
            "heard in time, but we have been silent since 30"
        );
        assert_eq!(beat.poll(s(88)), Beat::Rest);
    }

    #[test]
    fn the_deadline_is_when_poll_first_speaks() {
        for (heard, sent) in [(0, 0), (10, 0), (0, 10), (25, 29), (29, 1)] {
            let mut beat = Heartbeat::new(s(30), s(0));
            beat.heard(s(heard));
            beat.sent(s(sent));
            let deadline = beat.deadline();
            assert_eq!(
                beat.clone().poll(deadline - Duration::from_millis(1)),
                Beat::Rest,
                "{heard} {sent}"
            );
            assert_ne!(beat.poll(deadline), Beat::Rest, "{heard} {sent}");
        }
    }
}
