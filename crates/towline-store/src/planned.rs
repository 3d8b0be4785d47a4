//! Jobs that wait for a time or in a queue, whose end somebody is told of, and schedules.

use serde::{Deserialize, Serialize};
use towline_wire::{
    JobId, Timestamp,
    payload::{Firing, Notify},
};

/// When and in which order a job is to run, what had it run, and who is told of it: of few jobs there is anything to say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Planned {
    /// It waits until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The queue it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Who goes first there.
    pub priority: i8,
    /// The firing it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Firing>,
    /// Who is told of it over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// Whether that is the agent's own receiver, whose URL may be a secret of the operator's.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub notified_by_agent: bool,
}

impl Planned {
    /// Whether more is said of the job than who is told of it: it may have to wait for more than a place.
    pub fn waits(&self) -> bool {
        let told_of = Self {
            notify: self.notify.clone(),
            notified_by_agent: self.notified_by_agent,
            ..Self::default()
        };
        *self != told_of
    }
}

/// A schedule, as far as a later run of the runtime has to know it [ARCP 22-2].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRow {
    /// Its name.
    pub name: String,
    /// All times up to this one are done with.
    pub done: Timestamp,
    /// Whether it fires no more until somebody says so.
    pub paused: bool,
    /// The job of its latest firing.
    pub job: Option<JobId>,
}

/// What changes about a schedule; what is not there stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleChange {
    /// Its name.
    pub name: String,
    /// All times up to this one are done with. Time goes forward only: one that is not later than what is kept makes the
    /// batch [`Rejected`](crate::StoreError::Rejected), so that nothing fires twice for one time. The exception is a change that
    /// resumes: a clock that was ahead once must not silence a schedule until then.
    pub done: Option<Timestamp>,
    /// Whether it is paused.
    pub paused: Option<bool>,
    /// The job of its latest firing.
    pub job: Option<JobId>,
}

impl ScheduleChange {
    /// A schedule fires no more, until it is resumed.
    pub fn pause(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            paused: Some(true),
            ..Self::default()
        }
    }

    /// A schedule fires again from now on, whatever it was done with. What came while it was paused was not missed.
    pub fn resume(name: impl Into<String>, now: Timestamp) -> Self {
        Self {
            name: name.into(),
            paused: Some(false),
            done: Some(now),
            ..Self::default()
        }
    }

    /// The row after the change.
    pub fn apply(&self, before: Option<ScheduleRow>) -> ScheduleRow {
        let before = before.unwrap_or_else(|| ScheduleRow {
            name: self.name.clone(),
            done: Timestamp::MIN,
            paused: false,
            job: None,
        });
        ScheduleRow {
            done: self.done.unwrap_or(before.done),
            paused: self.paused.unwrap_or(before.paused),
            job: self.job.clone().or(before.job),
            name: before.name,
        }
    }
}
