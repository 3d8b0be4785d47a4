//! `towline jobs`

use std::{collections::VecDeque, pin::pin};

use futures_util::TryStreamExt as _;
use serde_json::{Value, json};
use towline::{
    JobStatus,
    env::{Clock as _, SystemClock},
    wire::payload::JobListing,
};

use super::whoami;
use crate::{
    args::{JobsArgs, OutputFormat},
    connect::{self, Connection, failed},
    context::Context,
    embedded::Purpose,
    exit, facts,
    failure::{Failure, Outcome},
    output,
};

/// As many as a runtime gives at once.
const PAGE: u64 = 1000;

pub(super) async fn run(context: &Context, args: JobsArgs) -> Outcome {
    let connection = Connection::open(context, &args.connect, Purpose::Look).await?;
    let jobs = newest(&connection, &args).await;
    let nobody_runs = connection.nobody_runs_jobs();
    let whose = connection
        .client
        .session()
        .map(|session| session.runtime().name == "towline");
    connection.close().await;
    let jobs = jobs?;
    let documents: Vec<Value> = jobs.iter().map(document).collect::<Outcome<_>>()?;
    output::list(args.format.output, &documents, |_| match jobs.as_slice() {
        [] => "no jobs".to_owned(),
        jobs => table(jobs),
    })?;
    if jobs.is_empty() && args.format.output == OutputFormat::Human {
        tell_whose(context, &args, whose == Some(true)).await;
    }
    if nobody_runs && jobs.iter().any(|job| !job.status.is_terminal()) {
        output::note(&format!(
            "a job that is pending or running is interrupted, nobody runs it: {}",
            facts::GOES_ON
        ));
    }
    Ok(exit::SUCCESS)
}

/// Says whose jobs were asked for, since there may be others.
async fn tell_whose(context: &Context, args: &JobsArgs, says_who: bool) {
    let Some(url) = &args.connect.url else {
        let place = context.data.path().display();
        let place = output::clean(place);
        return output::note(&format!(
            "these are all jobs of the data directory `{place}`; those of another one, or of a server: --data-dir, --url"
        ));
    };
    let who = match (says_who, connect::target(url)) {
        (true, Ok(target)) if !target.is_child() => whoami::principal(url, &args.connect).await,
        _ => None,
    };
    let who = who.map_or_else(
        || "whose token this is".to_owned(),
        |who| format!("`{}`", output::clean(who)),
    );
    output::note(&format!(
        "shown are jobs of {who}, and of others as far as its role lets it watch them: see `towline whoami`; commands on the \
         server's own data directory see all"
    ));
}

/// The newest jobs that match, oldest of them first. Listings are ascending, so all pages are walked and the end is kept.
async fn newest(connection: &Connection, args: &JobsArgs) -> Outcome<Vec<JobListing>> {
    let mut list = connection.client.list_jobs().limit(PAGE).details();
    let failed_too = args.failed.then_some(["error", "timed_out"]);
    let wanted = args.status.iter().map(String::as_str);
    let wanted = wanted.chain(failed_too.into_iter().flatten());
    for status in wanted.filter_map(JobStatus::parse) {
        list = list.status(status);
    }
    if let Some(agent) = &args.agent {
        list = list.agent(agent);
    }
    if let Some(span) = args.since {
        list = list.created_after(earlier(span.0));
    }
    let text = args.search.as_ref().map(|text| text.to_lowercase());
    let mut kept = VecDeque::new();
    let mut jobs = pin!(list.stream());
    while let Some(job) = jobs.try_next().await.map_err(failed)? {
        // Credentials are nobody's business in a listing.
        let job = JobListing {
            credentials: None,
            ..job
        };
        if text.as_ref().is_some_and(|text| !mentions(&job, text)) {
            continue;
        }
        kept.push_back(job);
        if kept.len() > args.limit {
            kept.pop_front();
        }
    }
    Ok(kept.into())
}

/// Whether anything a listing says of a job holds the text.
fn mentions(job: &JobListing, text: &str) -> bool {
    let said = serde_json::to_string(job).unwrap_or_default();
    said.to_lowercase().contains(text)
}

fn earlier(span: std::time::Duration) -> towline::Timestamp {
    let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    towline::Timestamp::from_unix_micros(SystemClock.now().unix_micros().saturating_sub(micros))
}

/// A job of a listing, with what follows from it.
pub(super) fn document(job: &JobListing) -> Outcome<Value> {
    let document = serde_json::to_value(job);
    let mut document =
        document.map_err(|error| Failure::local(format!("cannot write JSON: {error}")))?;
    if let Some(fields) = document.as_object_mut() {
        let spent = facts::spent_of(job);
        if !spent.is_empty() {
            fields.insert("spent".to_owned(), json!(spent));
        }
        if let Some(millis) = facts::duration_of(job) {
            fields.insert("duration_ms".to_owned(), json!(millis));
        }
    }
    Ok(document)
}

/// What not every runtime tells has a column only where one does.
fn table(jobs: &[JobListing]) -> String {
    let whose = jobs.iter().any(|job| job.principal.is_some());
    let mut header = vec!["JOB", "AGENT", "STATUS"];
    if whose {
        header.push("PRINCIPAL");
    }
    header.extend(["EVENTS", "CREATED", "DURATION", "SPENT"]);
    output::table(&header, jobs.iter().map(|job| row(job, whose)))
}

fn row(job: &JobListing, whose: bool) -> Vec<String> {
    let created = job.created();
    let mut row = vec![
        job.job_id.to_string(),
        job.agent.clone(),
        job.status.to_string(),
    ];
    if whose {
        row.push(job.principal.clone().unwrap_or_default());
    }
    row.extend([
        job.last_event_seq.to_string(),
        created.map_or_else(String::new, facts::moment),
        facts::duration_of(job).map_or_else(String::new, facts::span),
        facts::money(&facts::spent_of(job)),
    ]);
    row
}
