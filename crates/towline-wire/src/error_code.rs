//! Error codes (§12).

use crate::open_enum::open_enum;

open_enum! {
    /// Why something was refused or failed. Codes we do not know are kept as they are [ARCP 12-3].
    ErrorCode {
        /// Known, and not allowed.
        PERMISSION_DENIED = "PERMISSION_DENIED",
        /// A child was to get more than its parent has.
        LEASE_SUBSET_VIOLATION = "LEASE_SUBSET_VIOLATION",
        /// No such job, or none the caller may know of.
        JOB_NOT_FOUND = "JOB_NOT_FOUND",
        /// The idempotency key stands for another request.
        DUPLICATE_KEY = "DUPLICATE_KEY",
        /// No agent of that name.
        AGENT_NOT_AVAILABLE = "AGENT_NOT_AVAILABLE",
        /// The agent is there, that version is not.
        AGENT_VERSION_NOT_AVAILABLE = "AGENT_VERSION_NOT_AVAILABLE",
        /// Ended by request.
        CANCELLED = "CANCELLED",
        /// Ran longer than it was allowed to.
        TIMEOUT = "TIMEOUT",
        /// The session cannot be taken up any more.
        RESUME_WINDOW_EXPIRED = "RESUME_WINDOW_EXPIRED",
        /// The peer was silent for two intervals.
        HEARTBEAT_LOST = "HEARTBEAT_LOST",
        /// The lease's time is over.
        LEASE_EXPIRED = "LEASE_EXPIRED",
        /// The lease's money is spent.
        BUDGET_EXHAUSTED = "BUDGET_EXHAUSTED",
        /// The request breaks the protocol.
        INVALID_REQUEST = "INVALID_REQUEST",
        /// Who is asking could not be proved.
        UNAUTHENTICATED = "UNAUTHENTICATED",
        /// Our fault, or the agent's.
        INTERNAL_ERROR = "INTERNAL_ERROR",
    }
}

impl ErrorCode {
    /// Whether the same request may succeed later, as §12 fixes it. Unknown codes are not.
    pub fn is_retryable(&self) -> bool {
        [
            Self::AGENT_NOT_AVAILABLE,
            Self::TIMEOUT,
            Self::HEARTBEAT_LOST,
            Self::INTERNAL_ERROR,
        ]
        .contains(self)
    }
}
