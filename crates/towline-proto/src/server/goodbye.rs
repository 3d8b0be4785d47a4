//! How connections end.

/// How a connection is closed [ARCP 4-7].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// All is well: 1000.
    Normal,
    /// We are going, or the peer fell silent: 1001.
    GoingAway,
    /// The peer broke the protocol: 1002.
    Protocol,
    /// Authentication, policy, no hello in time: 1008.
    Policy,
    /// A frame was above the limit: 1009.
    TooBig,
    /// Our fault: 1011.
    Internal,
    /// Too much at the moment, come back later: 1013.
    TryLater,
}
