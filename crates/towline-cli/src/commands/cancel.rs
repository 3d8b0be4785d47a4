//! `towline cancel`

use crate::{
    args::CancelArgs,
    connect::{Connection, failed},
    context::Context,
    exit,
    failure::Outcome,
    output,
};
use serde::Serialize;

#[derive(Serialize)]
struct Cancelled {
    job_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub(super) async fn run(context: &Context, args: CancelArgs) -> Outcome {
    let (connection, job) = Connection::to_act_on(context, &args.connect, &args.job).await?;
    let job_id = job.to_string();
    let answer = connection
        .client
        .cancel(job, args.reason.as_deref().unwrap_or("asked for"))
        .await;
    connection.close().await;
    answer.map_err(failed)?;
    let cancelled = Cancelled {
        job_id,
        reason: args.reason,
    };
    output::one(args.format.output, &cancelled, |cancelled| {
        format!("{} is being cancelled", output::clean(&cancelled.job_id))
    })?;
    Ok(exit::SUCCESS)
}
