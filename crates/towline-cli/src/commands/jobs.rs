//! `towline jobs`

use std::{collections::VecDeque, pin::pin};

use futures_util::TryStreamExt as _;
use towline::{
    JobStatus,
    env::{Clock as _, SystemClock},
    wire::payload::JobListing,
};

use crate::{
    args::JobsArgs,
    connect::{Connection, failed},
    context::Context,
    embedded::Purpose,
    exit,
    failure::Outcome,
    output,
};

/// As many as a runtime gives at once.
const PAGE: u64 = 1000;

pub(super) async fn run(context: &Context, args: JobsArgs) -> Outcome {
    let connection = Connection::open(context, &args.connect, Purpose::Look).await?;
    let jobs = newest(&connection, &args).await;
    connection.close().await;
    let jobs = jobs?;
    output::list(args.format.output, &jobs, |jobs| match jobs {
        [] => "no jobs".to_owned(),
        _ => output::table(
            &["JOB", "AGENT", "STATUS", "EVENTS", "CREATED"],
            jobs.iter().map(row),
        ),
    })?;
    Ok(exit::SUCCESS)
}

/// The newest jobs that match, oldest of them first. Listings are ascending, so all pages are walked and the end is kept.
async fn newest(connection: &Connection, args: &JobsArgs) -> Outcome<Vec<JobListing>> {
    let mut list = connection.client.list_jobs().limit(PAGE);
    for status in args.status.iter().filter_map(|text| JobStatus::parse(text)) {
        list = list.status(status);
    }
    if let Some(agent) = &args.agent {
        list = list.agent(agent);
    }
    if let Some(span) = args.since {
        list = list.created_after(earlier(span.0));
    }
    let mut kept = VecDeque::new();
    let mut jobs = pin!(list.stream());
    while let Some(job) = jobs.try_next().await.map_err(failed)? {
        // Credentials are nobody's business in a listing.
        kept.push_back(JobListing {
            credentials: None,
            ..job
        });
        if kept.len() > args.limit {
            kept.pop_front();
        }
    }
    Ok(kept.into())
}

fn earlier(span: std::time::Duration) -> towline::Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    towline::Timestamp::from_unix_micros(SystemClock.now().unix_micros().saturating_sub(micros))
}

fn row(job: &JobListing) -> Vec<String> {
    let created = job
        .created_at
        .or(job.submitted_at)
        .map_or_else(String::new, |at| at.to_string());
    vec![
        job.job_id.to_string(),
        job.agent.clone(),
        job.status.to_string(),
        job.last_event_seq.to_string(),
        created,
    ]
}
