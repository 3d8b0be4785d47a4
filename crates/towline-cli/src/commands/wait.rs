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
    exit, facts,
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
    /// It has not ended, and nobody runs it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
}

impl Ended {
    fn text(&self) -> String {
        let more = if self.interrupted {
            " (interrupted)"
        } else {
            ""
        };
        format!("{}  {}{more}", self.job_id, self.status)
    }
}

pub(super) async fn run(context: &Context, args: WaitArgs) -> Outcome {
    let first = args.jobs.first().map_or("", String::as_str);
    let mut ended = Vec::new();
    loop {
        let (connection, job) = Connection::to_look_at(context, &args.connect, first).await?;
        let outcome = wait(&connection, job, &args, &mut ended).await;
        if connection.close_after(&outcome).await.is_none() {
            outcome?;
            break;
        }
    }
    if args.format.output == OutputFormat::Json {
        output::json(&ended)?;
    }
    for job in ended.iter().filter(|job| job.interrupted) {
        output::error(&facts::interrupted(&job.job_id, &job.status));
    }
    let all_well = ended.iter().all(|job| job.status == JobStatus::Success);
    Ok(if all_well {
        exit::SUCCESS
    } else {
        exit::JOB_FAILED
    })
}

/// Waits for all that have not ended yet.
async fn wait(
    connection: &Connection,
    first: JobId,
    args: &WaitArgs,
    all: &mut Vec<Ended>,
) -> Outcome<()> {
    let client = &connection.client;
    let mut jobs = vec![first];
    for text in args.jobs.iter().skip(1) {
        jobs.push(job_name::resolve(client, text).await?);
    }
    jobs.retain(|job| all.iter().all(|ended| ended.job_id != *job));
    let mut waiting = JoinSet::new();
    for job in jobs {
        waiting.spawn(end_of(client.clone(), job, connection.nobody_runs_jobs()));
    }
    while let Some(ended) = waiting.join_next().await {
        let ended = ended
            .map_err(|error| Failure::local(format!("waiting failed: {error}")))?
            .map_err(failed)?;
        match args.format.output {
            OutputFormat::Human => output::line(&ended.text())?,
            OutputFormat::Ndjson => output::json(&ended)?,
            OutputFormat::Json => {}
        }
        all.push(ended);
    }
    Ok(())
}

/// Waits for a job's end, unless nobody runs it. Its events and its result are not asked for.
async fn end_of(client: Client, job: JobId, nobody_runs: bool) -> Result<Ended, ClientError> {
    loop {
        let mut subscription = client.subscribe(job.clone()).send().await?;
        let status = subscription.subscribed().current_status;
        if status.is_terminal() || nobody_runs {
            return Ok(Ended {
                interrupted: !status.is_terminal(),
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
            interrupted: false,
        });
    }
}
