//! When a session that does nothing is disconnected [ARCP 14-1].

use std::time::Duration;

use towline_wire::MessageType;

/// Watches one connection for having nothing to do.
///
/// Tell it of every envelope with [`Idle::heard`]. When the time of [`Idle::deadline`] has come, and the session has no live
/// job, no subscription and no open request, disconnect it; else say [`Idle::busy`]. Times are what a monotonic clock shows,
/// counted from any fixed moment.
#[derive(Debug, Clone)]
pub struct Idle {
    life: Duration,
    since: Duration,
}

impl Idle {
    /// A connection that began `now`, and may do nothing for so long.
    pub const fn new(life: Duration, now: Duration) -> Self {
        Self { life, since: now }
    }

    /// The peer sent something. Heartbeats are no sign of a purpose.
    pub fn heard(&mut self, kind: &MessageType, now: Duration) {
        if *kind != MessageType::SESSION_PING && *kind != MessageType::SESSION_PONG {
            self.busy(now);
        }
    }

    /// The session has something to do, or is waited for.
    pub const fn busy(&mut self, now: Duration) {
        self.since = now;
    }

    /// When it is time to look whether the session has something to do.
    pub const fn deadline(&self) -> Duration {
        self.since.saturating_add(self.life)
    }

    /// Whether that time has come.
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.deadline()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 14-1] heartbeats do not keep a session connected, anything else does.
    #[test]
    fn heartbeats_are_not_business() {
        let s = Duration::from_secs;
        let mut idle = Idle::new(s(100), s(0));
        idle.heard(&MessageType::SESSION_PING, s(60));
        idle.heard(&MessageType::SESSION_PONG, s(90));
        assert!(!idle.is_due(s(99)) && idle.is_due(s(100)));
        idle.heard(&MessageType::SESSION_LIST_JOBS, s(90));
        assert!(!idle.is_due(s(189)) && idle.is_due(s(190)));
        idle.busy(s(190));
        assert_eq!(idle.deadline(), s(290));
        assert!(!Idle::new(Duration::MAX, s(5)).is_due(s(1_000_000_000)));
    }
}
