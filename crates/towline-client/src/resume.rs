//! A session put away, to be taken up later or by another process.

use serde::{Deserialize, Serialize};
use towline_proto::{Dialect, client::ResumePoint};
use towline_wire::{EventSeq, JobId, Secret, SessionId};

/// What it takes to resume a session (§6.3).
///
/// It holds the resume token, which gives the authority of the session: keep it where only its owner reads. `Debug` does
/// not show it, and the one way out is named for what it does, [`ResumeState::to_json_exposing_secret`]. The token is good
/// once: after a resume, take the state anew.
#[derive(Debug, Clone)]
pub struct ResumeState {
    pub(crate) point: ResumePoint,
    pub(crate) jobs: Vec<JobId>,
    pub(crate) dialect: Option<Dialect>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    session_id: SessionId,
    #[serde(serialize_with = "Secret::write")]
    resume_token: Secret,
    last_event_seq: EventSeq,
    #[serde(default)]
    jobs: Vec<JobId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dialect: Option<String>,
}

impl ResumeState {
    /// From its parts. `last_event_seq` is the last event that was processed; what came after it is sent again.
    pub fn new(session_id: SessionId, token: Secret, last_event_seq: EventSeq) -> Self {
        Self {
            point: ResumePoint {
                session_id,
                token,
                last_event_seq,
            },
            jobs: Vec::new(),
            dialect: None,
        }
    }

    /// Names jobs of the session that are not over, to be attached after the resume. Their events are kept for that.
    #[must_use]
    pub fn jobs(mut self, jobs: impl IntoIterator<Item = JobId>) -> Self {
        self.jobs = jobs.into_iter().collect();
        self
    }

    /// The session.
    pub const fn session_id(&self) -> &SessionId {
        &self.point.session_id
    }

    /// The last event that was processed.
    pub const fn last_event_seq(&self) -> EventSeq {
        self.point.last_event_seq
    }

    /// The session's jobs that were not over.
    pub fn job_ids(&self) -> &[JobId] {
        &self.jobs
    }

    /// The state as JSON, **with the secret token**, for a file or keychain that only its owner reads.
    pub fn to_json_exposing_secret(&self) -> String {
        let written = Written {
            session_id: self.point.session_id.clone(),
            resume_token: self.point.token.clone(),
            last_event_seq: self.point.last_event_seq,
            jobs: self.jobs.clone(),
            dialect: self.dialect.map(|dialect| dialect.as_str().to_owned()),
        };
        serde_json::to_string(&written).unwrap_or_default()
    }

    /// Reads what [`ResumeState::to_json_exposing_secret`] wrote.
    ///
    /// # Errors
    /// When it is not that.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let written: Written = serde_json::from_str(text)?;
        let dialect = written.dialect.and_then(|name| name.parse().ok());
        let state = Self::new(
            written.session_id,
            written.resume_token,
            written.last_event_seq,
        );
        Ok(Self {
            dialect,
            ..state.jobs(written.jobs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_goes_to_json_and_back_and_shows_no_secret_otherwise() {
        let id = SessionId::parse("sess_1").unwrap();
        let state = ResumeState::new(id, Secret::new("rt_secret"), EventSeq::new(7));
        let state = state.jobs([JobId::parse("job_1").unwrap()]);
        let back = ResumeState::from_json(&state.to_json_exposing_secret()).unwrap();
        assert_eq!(back.point.token.expose(), "rt_secret");
        assert_eq!(
            (back.last_event_seq(), back.job_ids()),
            (EventSeq::new(7), state.job_ids())
        );
        assert!(!format!("{state:?}").contains("rt_secret"));
    }
}
