//! The states a job can be seen in (§7.3).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::read::{excerpt, parsed};

/// Where a job stands. The last four are terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JobStatus {
    /// Accepted, not begun.
    Pending,
    /// Its agent runs.
    Running,
    /// Ended with a result.
    Success,
    /// Ended with an error.
    Error,
    /// Ended by a cancel.
    Cancelled,
    /// Ended because `max_runtime_sec` passed.
    TimedOut,
}

impl JobStatus {
    /// Every status, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::Success,
        Self::Error,
        Self::Cancelled,
        Self::TimedOut,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// Whether nothing of the job can follow.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }

    /// Reads the word; also `timedout`, `completed` and `failed`, which other SDKs write.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "timedout" => Some(Self::TimedOut),
            "completed" => Some(Self::Success),
            "failed" => Some(Self::Error),
            _ => Self::ALL.into_iter().find(|status| status.as_str() == text),
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for JobStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for JobStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parsed(deserializer, |text| {
            Self::parse(text).ok_or_else(|| {
                let known = Self::ALL.map(Self::as_str).join(", ");
                format!("`{}` is not a job status ({known})", excerpt(text))
            })
        })
    }
}
