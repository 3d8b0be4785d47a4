//! `towline sessions`

use serde::Serialize;
use serde_json::json;

use crate::{
    args::{OutputFormat, SessionsCommand},
    asking::{self, Question},
    context::Context,
    exit,
    failure::{Failure, Outcome},
    output,
    sessions::SavedSession,
};

/// Ends sessions of others; a vendor's type of ours, and its answer.
const REVOKE: &str = "x-vendor.towline.sessions.revoke";
const REVOKED: &str = "x-vendor.towline.sessions.revoked";

/// `towline sessions revoke` [ARCP 14-7].
pub(super) async fn revoke(command: SessionsCommand) -> Outcome {
    let SessionsCommand::Revoke {
        principal,
        format,
        connect: args,
    } = command;
    let (args, format) = (&args, format.output);
    let Some(url) = &args.url else {
        return Err(Failure::usage("sessions are revoked on a running server")
            .help("name it with --url, and show the token of an administrator"));
    };
    let question = Question {
        kind: REVOKE,
        answer: REVOKED,
        payload: &json!({"principal": principal}),
    };
    let answer = asking::ask(url, args, &question).await?;
    output::one(format, &answer, |answer| {
        format!(
            "{} sessions of {} ended",
            answer["sessions"],
            output::clean(principal)
        )
    })?;
    Ok(exit::SUCCESS)
}

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
            token: _,
            until: _,
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
