//! Schedules, for those who ask without a connection [ARCP 22-3].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use towline_proto::{refusal::Refusal, server::SCHEDULE};
use towline_wire::{Envelope, JobId, MessageType, Timestamp};

use super::{Caller, unreadable};

/// A schedule, as far as whoever asks may know it [ARCP 22-3].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Schedule))]
#[non_exhaustive]
pub struct ScheduleDocument {
    /// Its name.
    pub name: String,
    /// Its times: minute, hour, day, month and weekday, or six fields that begin with seconds.
    pub cron: String,
    /// By the clocks of which zone.
    pub zone: String,
    /// What it submits.
    pub agent: String,
    /// Whose jobs they are.
    pub principal: String,
    /// What becomes of a firing while the job before is not over: `skip`, `queue` or `replace`.
    pub overlap: String,
    /// What becomes of times at which the runtime was not there: `one`, `all` or `none`.
    pub missed: String,
    /// The next times, in UTC.
    pub next: Vec<String>,
    /// Whether it fires no more until it is resumed.
    pub paused: bool,
    /// The job of its last firing, or null.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub last_job_id: Option<JobId>,
}

#[derive(Deserialize)]
struct Listed {
    schedules: Vec<ScheduleDocument>,
}

#[derive(Deserialize)]
struct Ran {
    job_id: JobId,
}

impl Caller {
    /// The schedules the principal may know of, its own and as an administrator all, each with so many of its next times after
    /// `from`, or after now.
    ///
    /// # Errors
    /// The refusal: over 1000 times are not told at once.
    pub async fn schedules(
        &self,
        next: usize,
        from: Option<Timestamp>,
    ) -> Result<Vec<ScheduleDocument>, Refusal> {
        let asked = json!({"action": "list", "next": next, "from": from});
        let listed: Listed = self.ask_of_schedules(asked).await?;
        Ok(listed.schedules)
    }

    /// Submits the job of a schedule now, beside its times.
    ///
    /// # Errors
    /// The refusal: of the schedule, which may be none of the principal's, or of the job.
    pub async fn run_schedule(&self, name: &str) -> Result<JobId, Refusal> {
        let asked = json!({"action": "run", "name": name});
        let ran: Ran = self.ask_of_schedules(asked).await?;
        Ok(ran.job_id)
    }

    /// Lets a schedule fire no more until it is resumed; durable when this returns.
    ///
    /// # Errors
    /// The refusal.
    pub async fn pause_schedule(&self, name: &str) -> Result<ScheduleDocument, Refusal> {
        self.turn("pause", name).await
    }

    /// Lets a schedule fire again. What came while it was paused was not missed.
    ///
    /// # Errors
    /// The refusal.
    pub async fn resume_schedule(&self, name: &str) -> Result<ScheduleDocument, Refusal> {
        self.turn("resume", name).await
    }

    async fn turn(&self, action: &str, name: &str) -> Result<ScheduleDocument, Refusal> {
        let asked = json!({"action": action, "name": name});
        let _done: Value = self.ask_of_schedules(asked).await?;
        let mut listed = self.schedules(1, None).await?.into_iter();
        listed
            .find(|schedule| schedule.name == name)
            .ok_or_else(unreadable)
    }

    async fn ask_of_schedules<T: serde::de::DeserializeOwned>(
        &self,
        asked: Value,
    ) -> Result<T, Refusal> {
        let mut envelope = Envelope::new(MessageType::new(SCHEDULE));
        envelope.payload = asked.into();
        let answer = self.carry_out(envelope).await?;
        answer.payload.read().map_err(|_| unreadable())
    }
}
