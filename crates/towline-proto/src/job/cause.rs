//! Why a job ends other than by its agent's word, and what it ends with then.

use serde::{Deserialize, Serialize};
use towline_wire::{ErrorCode, JobStatus};

use super::{Failure, Terminal};

/// Why a job ends other than by its agent's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Somebody with the authority to asked for it.
    Cancelled {
        /// Why, in their words.
        reason: Option<String>,
    },
    /// `max_runtime_sec` passed.
    TimedOut,
    /// The lease's `expires_at` passed.
    LeaseExpired,
    /// The runtime is shutting down and the drain is over.
    Shutdown,
    /// The runtime died while the job ran.
    Restarted,
    /// It spent its budget, and its agent is one that no operation has to ask [ARCP 9.6-3].
    BudgetSpent,
    /// Its log has more than these bounds let it have [ARCP 14-6].
    LogFull {
        /// How many bytes of events.
        bytes: u64,
        /// How many events.
        events: u64,
    },
    /// The logs of its principal's running jobs have more than this together [ARCP 14-6].
    LogsFull {
        /// How many bytes of events.
        bytes: u64,
    },
}

impl Cause {
    /// The status a job ends in for this cause.
    pub const fn status(&self) -> JobStatus {
        match self {
            Self::Cancelled { .. } => JobStatus::Cancelled,
            Self::TimedOut => JobStatus::TimedOut,
            Self::LeaseExpired
            | Self::Shutdown
            | Self::Restarted
            | Self::BudgetSpent
            | Self::LogFull { .. }
            | Self::LogsFull { .. } => JobStatus::Error,
        }
    }

    pub(super) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    pub(super) fn terminal(&self) -> Terminal {
        let failure = match self {
            Self::Cancelled {
                reason: Some(reason),
            } => Failure::new(
                ErrorCode::CANCELLED,
                format!("the job was cancelled: {reason}"),
            ),
            Self::Cancelled { reason: None } => {
                Failure::new(ErrorCode::CANCELLED, "the job was cancelled")
            }
            Self::TimedOut => Failure::new(
                ErrorCode::TIMEOUT,
                "the job ran longer than its max_runtime_sec",
            ),
            Self::LeaseExpired => Failure::new(
                ErrorCode::LEASE_EXPIRED,
                "the job's lease expired (lease_constraints.expires_at)",
            ),
            Self::Shutdown => Failure::new(
                ErrorCode::INTERNAL_ERROR,
                "the runtime shut down while the job ran",
            )
            .with_reason("runtime_shutdown"),
            Self::Restarted => Failure::new(
                ErrorCode::INTERNAL_ERROR,
                "the runtime restarted while the job ran",
            )
            .with_reason("runtime_restarted"),
            Self::BudgetSpent => Failure::new(
                ErrorCode::BUDGET_EXHAUSTED,
                "the job has spent its budget (cost.budget)",
            ),
            Self::LogFull { bytes, events } => Failure::new(
                ErrorCode::INTERNAL_ERROR,
                format!(
                    "the job's log passed its bounds ({bytes} bytes, {events} events); have the agent write less, or the operator raise log_bytes and log_events in [server.limits]"
                ),
            )
            .with_reason("log_full"),
            Self::LogsFull { bytes } => Failure::new(
                ErrorCode::INTERNAL_ERROR,
                format!(
                    "the logs of this principal's running jobs passed {bytes} bytes together; have the agents write less, or the operator raise log_bytes_per_principal in [server.limits]"
                ),
            )
            .with_reason("log_full"),
        };
        Terminal::with_status(self.status(), failure)
    }
}
