//! `towline result`

use towline::{JobId, client::Outcome as JobOutcome};

use super::following;
use crate::{
    args::ResultArgs,
    connect::{Connection, failed},
    context::Context,
    data_dir, exit, facts,
    failure::{Failure, Outcome},
    output,
};

pub(super) async fn run(context: &Context, args: ResultArgs) -> Outcome {
    loop {
        let (connection, job) = Connection::to_look_at(context, &args.connect, &args.job).await?;
        let outcome = outcome_of(&connection, &job).await;
        if connection.close_after(&outcome).await.is_none() {
            return tell(&job, outcome?, &args);
        }
    }
}

async fn outcome_of(connection: &Connection, job: &JobId) -> Outcome<JobOutcome> {
    let subscribe = connection.client.subscribe(job.clone()).history(true);
    let mut subscription = subscribe.send().await.map_err(failed)?;
    let status = &subscription.subscribed().current_status;
    if connection.nobody_runs_jobs() && !status.is_terminal() {
        return Err(facts::interrupted(job, status));
    }
    subscription.outcome().await.map_err(failed)
}

fn tell(job: &JobId, outcome: JobOutcome, args: &ResultArgs) -> Outcome {
    if args.output.is_none() && output::stdout_is_terminal() && is_binary(&outcome) {
        return Err(
            Failure::usage("the result is not text").help("write it to a file with -o FILE")
        );
    }
    let ending = following::ending(job, outcome)?;
    if let Some(error) = ending.error {
        output::note(&format!(
            "error: {} ended as {}: {}: {}",
            output::clean(job),
            output::clean(ending.status),
            output::clean(&error.code),
            output::clean(&error.message)
        ));
        return Ok(exit::JOB_FAILED);
    }
    let Some(result) = ending.result else {
        return Ok(exit::SUCCESS);
    };
    match &args.output {
        None => output::result(&result.into_output(), args.raw)?,
        Some(file) => {
            let bytes = result.into_bytes();
            let written = data_dir::write_whole(file, &bytes);
            written.map_err(|error| {
                Failure::local(format!(
                    "cannot write the result to `{}`: {error}",
                    file.display()
                ))
            })?;
            output::note(&format!(
                "{} bytes written to {}",
                bytes.len(),
                file.display()
            ));
        }
    }
    Ok(exit::SUCCESS)
}

fn is_binary(outcome: &JobOutcome) -> bool {
    match outcome {
        JobOutcome::Success(success) => success.result.to_text().is_err(),
        JobOutcome::Failure(_) => false,
    }
}
