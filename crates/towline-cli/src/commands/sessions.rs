//! `towline sessions`

use serde::Serialize;

use crate::{
    args::OutputFormat, context::Context, exit, failure::Outcome, output, sessions::SavedSession,
};

/// A saved session without its secret.
#[derive(Serialize)]
struct Listed {
    job_id: String,
    agent: String,
    session_id: String,
    url: String,
    created_at: String,
}

impl From<SavedSession> for Listed {
    fn from(saved: SavedSession) -> Self {
        let SavedSession {
            url,
            session_id,
            job_id,
            agent,
            created_at,
            resume: _,
        } = saved;
        Self {
            job_id,
            agent,
            session_id,
            url,
            created_at,
        }
    }
}

pub(super) fn run(context: &Context, format: OutputFormat) -> Outcome {
    let sessions: Vec<Listed> = context
        .sessions()
        .all()
        .into_iter()
        .map(Listed::from)
        .collect();
    output::list(format, &sessions, |sessions| match sessions {
        [] => "no sessions; `towline run --detach` leaves one behind".to_owned(),
        _ => output::table(
            &["JOB", "AGENT", "SUBMITTED", "SERVER"],
            sessions.iter().map(|s| {
                vec![
                    s.job_id.clone(),
                    s.agent.clone(),
                    s.created_at.clone(),
                    s.url.clone(),
                ]
            }),
        ),
    })?;
    Ok(exit::SUCCESS)
}
