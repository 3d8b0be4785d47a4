//! `towline wait`

use serde::Serialize;
use tokio::task::JoinSet;
use towline::{
    ErrorCode, JobId, JobStatus,
    client::{Client, ClientError, Outcome as JobOutcome},
};

use crate::{
    args::{OutputFormat, WaitArgs},
    connect::{Connection, failed},
    context::Context,
    exit,
    failure::{Failure, Outcome},
    job_name, output,
};

/// How a job ended.
#[derive(Serialize)]
struct Ended {
    job_id: JobId,
    status: JobStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<ErrorCode>,
}

pub(super) async fn run(context: &Context, args: WaitArgs) -> Outcome {
    let first = args.jobs.first().map_or("", String::as_str);
    let (connection, job) = Connection::to_look_at(context, &args.connect, first).await?;
    let outcome = wait(&connection, job, &args).await;
    connection.close().await;
    let ended = outcome?;
    if args.format.output == OutputFormat::Json {
        output::json(&ended)?;
    }
    let all_well = ended.iter().all(|job| job.status == JobStatus::Success);
    Ok(if all_well {
        exit::SUCCESS
    } else {
        exit::JOB_FAILED
    })
}

async fn wait(connection: &Connection, first: JobId, args: &WaitArgs) -> Outcome<Vec<Ended>> {
    let client = &connection.client;
    let mut jobs = vec![first];
    for text in args.jobs.iter().skip(1) {
        jobs.push(job_name::resolve(client, text).await?);
    }
    let mut waiting = JoinSet::new();
    for job in jobs {
        waiting.spawn(end_of(client.clone(), job));
    }
    let mut all = Vec::new();
    while let Some(ended) = waiting.join_next().await {
        let ended = ended
            .map_err(|error| Failure::local(format!("waiting failed: {error}")))?
            .map_err(failed)?;
        match args.format.output {
            OutputFormat::Human => output::line(&format!("{}  {}", ended.job_id, ended.status))?,
            OutputFormat::Ndjson => output::json(&ended)?,
            OutputFormat::Json => {}
        }
        all.push(ended);
    }
    Ok(all)
}

/// Waits for a job's end. Its events and its result are not asked for.
async fn end_of(client: Client, job: JobId) -> Result<Ended, ClientError> {
    loop {
        let mut subscription = client.subscribe(job.clone()).send().await?;
        let status = subscription.subscribed().current_status;
        if status.is_terminal() {
            return Ok(Ended {
                job_id: job,
                status,
                code: None,
            });
        }
        subscription.discard_events();
        let (status, code) = match subscription.outcome().await {
            Ok(JobOutcome::Success(_)) => (JobStatus::Success, None),
            Ok(JobOutcome::Failure(failure)) => (failure.final_status, Some(failure.code)),
            // It ended meanwhile, or its result began before: how it ended is said when it is asked about again.
            Err(ClientError::AlreadyEnded { .. } | ClientError::Result(_)) => continue,
            Err(error) => return Err(error),
        };
        return Ok(Ended {
            job_id: job,
            status,
            code,
        });
    }
}
