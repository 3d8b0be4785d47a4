//! `towline export`

use std::io::Write;

use serde_json::{Map, Value, json};
use towline::{JobId, wire::JobSeq};

use super::{following, past::Past};
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
    let subscription = subscribe.send().await.map_err(failed)?;
    let mut past = Past::after(subscription, JobSeq::ZERO);
    let Some(file) = &args.output else {
        let written = write(job, &mut past, &mut |line| output::line(&line)).await?;
        output::note(&format!("{written} entries"));
        return Ok(());
    };
    let refuse = |error: std::io::Error| {
        Failure::local(format!("cannot write to `{}`: {error}", file.display()))
    };
    let mut whole = Whole::begin(file).map_err(refuse)?;
    let written = write(job, &mut past, &mut |line| {
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
    past: &mut Past,
    line: &mut dyn FnMut(String) -> Outcome<()>,
) -> Outcome<u64> {
    let mut written = 0;
    while let Some(event) = past.next_event().await.map_err(failed)? {
        let payload = event.payload().map_err(Failure::connection)?;
        line(
            json!({
                "type": "job.event",
                "job_id": job,
                "job_seq": event.job_seq(),
                "kind": payload.kind,
                "ts": payload.ts,
                "body": payload.body.to_value(),
            })
            .to_string(),
        )?;
        written += 1;
    }
    if !past.is_over() {
        return Ok(written);
    }
    let last = past.subscription.subscribed().subscribed_from;
    let outcome = past.subscription.outcome().await.map_err(failed)?;
    let mut end: Map<String, Value> = output::end_of(following::ending(job, outcome)?);
    if last > JobSeq::ZERO {
        end.insert("job_seq".to_owned(), json!(last));
    }
    line(Value::Object(end).to_string())?;
    Ok(written + 1)
}
