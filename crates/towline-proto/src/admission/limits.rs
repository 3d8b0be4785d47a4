//! How many run and how many wait, what a job asks for, and what becomes of it.

use towline_wire::Timestamp;

use super::LineKey;

/// The bounds on running and waiting jobs [ARCP 7.1-5].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Running at once for one principal.
    pub per_principal: usize,
    /// Running at once in the runtime.
    pub running: usize,
    /// Waiting in the runtime.
    pub queued: usize,
    /// Bytes of what waits in the runtime [ARCP 14-6]. One job may always wait, however large.
    pub queued_bytes: usize,
    /// Delegated children running at once for one principal. They hold none of the places above, since their parents wait
    /// for them; one more is refused [ARCP 14-6].
    pub children_per_principal: usize,
    /// Waiting for one principal [ARCP 14-6].
    pub waiting_per_principal: usize,
    /// Bytes of what waits for one principal [ARCP 14-6]. One job may always wait, however large.
    pub waiting_bytes_per_principal: usize,
}

impl Default for AdmissionLimits {
    /// 100 a principal, 1000 in all, 10 000 of 1 GiB waiting; for one principal 1000 children, and 1000 jobs of 256 MiB waiting.
    fn default() -> Self {
        Self {
            per_principal: 100,
            running: 1000,
            queued: 10_000,
            queued_bytes: 1024 * 1024 * 1024,
            children_per_principal: 1000,
            waiting_per_principal: 1000,
            waiting_bytes_per_principal: 256 * 1024 * 1024,
        }
    }
}

/// What becomes of a job that wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It runs now.
    Start,
    /// It waits; [`AdmissionQueue::release`](super::AdmissionQueue::release) will name it.
    Queued,
    /// There is no room even to wait.
    Full(NoRoom),
}

/// What waits, for one principal or for all.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) jobs: usize,
    pub(super) bytes: usize,
}

impl Load {
    pub(super) const fn add(&mut self, bytes: usize) {
        self.jobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) const fn take(&mut self, bytes: usize) {
        self.jobs -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Whose room to wait is used up. What it says is told to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Everybody's.
    #[error("the runtime's queue of jobs is full; try again later")]
    Everybody,
    /// The principal's own: it has so many jobs waiting.
    #[error(
        "{0} jobs of this principal wait, as many as may; try again when some of them have ended"
    )]
    Jobs(usize),
    /// The principal's own: its waiting jobs may have so many bytes.
    #[error(
        "the waiting jobs of this principal may have {0} bytes of inputs and leases, and this one would be more; try again when some of them have ended"
    )]
    Bytes(usize),
}

/// What a job asks for beside a place. Few ask for anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// It waits until then.
    pub not_before: Option<Timestamp>,
    /// It waits until [`AdmissionQueue::let_go`](super::AdmissionQueue::let_go) names it.
    pub held: bool,
    /// Where it stands in line.
    pub line: Option<LineKey>,
    /// Who goes first in that line, and among those of its principal that wait for a place.
    pub priority: i8,
}
