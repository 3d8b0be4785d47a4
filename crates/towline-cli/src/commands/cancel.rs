//! `towline cancel`

use serde::Serialize;
use towline::JobId;

use crate::{
    args::CancelArgs,
    connect::{Connection, Context, failed},
    exit,
    failure::{Failure, Outcome},
    output,
};

#[derive(Serialize)]
struct Cancelled {
    job_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn run(context: &Context, args: CancelArgs) -> Outcome {
    let job = job_id(&args.job)?;
    let connection = Connection::for_job(context, &args.connect, &args.job).await?;
    let answer = connection
        .client
        .cancel(job, args.reason.as_deref().unwrap_or("asked for"))
        .await;
    connection.close().await;
    answer.map_err(failed)?;
    let cancelled = Cancelled {
        job_id: args.job,
        reason: args.reason,
    };
    output::one(args.format.output, &cancelled, |cancelled| {
        format!("{} is being cancelled", output::clean(&cancelled.job_id))
    })?;
    Ok(exit::SUCCESS)
}

/// A job's name as it was typed.
pub(super) fn job_id(text: &str) -> Outcome<JobId> {
    JobId::parse(text).map_err(|error| {
        Failure::usage(format!(
            "`{}` is not a job's name: {error}",
            output::clean(text)
        ))
    })
}
