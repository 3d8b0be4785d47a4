//! `towline export`

use std::io::Write;

use serde_json::{Map, Value, json};
use towline::{JobId, client::Subscription, wire::JobSeq};

use super::following;
use crate::{
    args::ExportArgs,
    connect::{Connection, failed},
    context::Context,
    data_dir::Whole,
    exit,
    failure::{Failure, Outcome},
    output,
};

pub(super) async fn run(context: &Context, args: ExportArgs) -> Outcome {
    let (connection, job) = Connection::to_look_at(context, &args.connect, &args.job).await?;
    let outcome = export(&connection, &job, &args).await;
    connection.close().await;
    outcome?;
    Ok(exit::SUCCESS)
}

async fn export(connection: &Connection, job: &JobId, args: &ExportArgs) -> Outcome<()> {
    let subscribe = connection.client.subscribe(job.clone()).history(true);
    let mut subscription = subscribe.send().await.map_err(failed)?;
    let Some(file) = &args.output else {
        let written = write(job, &mut subscription, &mut |line| output::line(&line)).await?;
        output::note(&format!("{written} entries"));
        return Ok(());
    };
    let refuse = |error: std::io::Error| {
        Failure::local(format!("cannot write to `{}`: {error}", file.display()))
    };
    let mut whole = Whole::begin(file).map_err(refuse)?;
    let written = write(job, &mut subscription, &mut |line| {
        writeln!(whole, "{line}").map_err(refuse)
    })
    .await?;
    whole.finish().map_err(refuse)?;
    output::note(&format!("{written} entries written to {}", file.display()));
    Ok(())
}

/// The job's log, a line an entry, as far as it goes now.
async fn write(
    job: &JobId,
    subscription: &mut Subscription,
    line: &mut dyn FnMut(String) -> Outcome<()>,
) -> Outcome<u64> {
    let is_over = subscription.subscribed().current_status.is_terminal();
    let last = subscription.subscribed().subscribed_from;
    let mut written = 0;
    if !is_over && last == JobSeq::ZERO {
        return Ok(written);
    }
    while let Some(event) = subscription.next_event().await.map_err(failed)? {
        let payload = event.payload().map_err(Failure::connection)?;
        line(
            json!({
                "type": "job.event",
                "job_id": job,
                "job_seq": event.job_seq(),
                "kind": payload.kind,
                "ts": payload.ts,
                "body": payload.body,
            })
            .to_string(),
        )?;
        written += 1;
        if !is_over && event.job_seq().is_none_or(|seq| seq >= last) {
            return Ok(written);
        }
    }
    let outcome = subscription.outcome().await.map_err(failed)?;
    let mut end: Map<String, Value> = output::end_of(following::ending(job, outcome)?);
    if last > JobSeq::ZERO {
        end.insert("job_seq".to_owned(), json!(last));
    }
    line(Value::Object(end).to_string())?;
    Ok(written + 1)
}
