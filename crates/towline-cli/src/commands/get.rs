//! `towline get`

use serde::Serialize;
use towline::{
    Amount, Lease, LeaseConstraints,
    client::JobOutput,
    wire::{RawJson, payload::Subscribed},
};

use std::collections::BTreeMap;

use super::following;
use crate::{
    args::GetArgs,
    connect::{Connection, failed},
    context::Context,
    embedded::Purpose,
    exit,
    failure::Outcome,
    job_name::job_id,
    output::{self, EndingError},
};

/// A job as it stands.
#[derive(Serialize)]
struct Shown {
    job_id: String,
    agent: String,
    status: String,
    lease: Lease,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_constraints: Option<LeaseConstraints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BTreeMap<String, Amount>>,
    parent_job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// The job's own events so far.
    last_event_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EndingError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
}

pub(super) async fn run(context: &Context, args: GetArgs) -> Outcome {
    let connection = Connection::for_job(context, &args.connect, &args.job, Purpose::Look).await?;
    let shown = show(&connection, &args.job).await;
    connection.close().await;
    output::one(args.format.output, &shown?, text)?;
    Ok(exit::SUCCESS)
}

async fn show(connection: &Connection, job: &str) -> Outcome<Shown> {
    let job = job_id(job)?;
    let mut subscription = connection
        .client
        .subscribe(job.clone())
        .history(true)
        .send()
        .await
        .map_err(failed)?;
    let mut shown = Shown::of(job.to_string(), subscription.subscribed());
    if subscription.subscribed().current_status.is_terminal() {
        let outcome = subscription.outcome().await.map_err(failed)?;
        if let towline::client::Outcome::Success(success) = &outcome {
            match &success.result {
                JobOutput::Inline { value, .. } => shown.result = Some(value.clone()),
                JobOutput::Streamed { bytes, .. } => shown.result_size = Some(bytes.len()),
            }
        }
        let ending = following::ending(&job, outcome)?;
        shown.summary = ending.summary;
        shown.error = ending.error;
        shown.completed_at = ending.completed_at.map(|at| at.to_string());
    }
    Ok(shown)
}

impl Shown {
    fn of(job_id: String, subscribed: &Subscribed) -> Self {
        Self {
            job_id,
            agent: subscribed.agent.clone(),
            status: subscribed.current_status.to_string(),
            lease: subscribed.lease.clone(),
            lease_constraints: subscribed.lease_constraints.clone(),
            budget: subscribed.budget.clone(),
            parent_job_id: subscribed.parent_job_id.as_ref().map(ToString::to_string),
            rerun_of: subscribed.rerun_of.as_ref().map(ToString::to_string),
            trace_id: subscribed.trace_id.map(|trace| trace.to_string()),
            last_event_seq: subscribed.subscribed_from.value(),
            result: None,
            result_size: None,
            summary: None,
            error: None,
            completed_at: None,
        }
    }
}

fn text(shown: &Shown) -> String {
    let mut lines = vec![
        ("job", shown.job_id.clone()),
        ("agent", shown.agent.clone()),
        ("status", shown.status.clone()),
        ("events", shown.last_event_seq.to_string()),
    ];
    lines.extend(
        shown.lease.iter().map(|(namespace, patterns)| {
            ("lease", format!("{namespace} = {}", patterns.join(", ")))
        }),
    );
    let expires = shown
        .lease_constraints
        .as_ref()
        .and_then(|constraints| constraints.expires_at.clone());
    lines.extend(expires.map(|at| ("expires", at)));
    let budget = shown.budget.iter().flatten();
    lines.extend(budget.map(|(currency, left)| ("budget", format!("{left} {currency} left"))));
    lines.extend(shown.parent_job_id.clone().map(|parent| ("parent", parent)));
    lines.extend(shown.rerun_of.clone().map(|job| ("rerun of", job)));
    lines.extend(shown.trace_id.clone().map(|trace| ("trace", trace)));
    lines.extend(shown.completed_at.clone().map(|at| ("ended", at)));
    lines.extend(shown.summary.clone().map(|summary| ("summary", summary)));
    lines.extend(
        shown
            .error
            .as_ref()
            .map(|error| ("error", format!("{}: {}", error.code, error.message))),
    );
    lines.extend(
        shown
            .result
            .as_ref()
            .map(|result| ("result", result.as_str().to_owned())),
    );
    lines.extend(shown.result_size.map(|size| {
        (
            "result",
            format!("{size} bytes; towline result {}", shown.job_id),
        )
    }));
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(name, value)| format!("{name:<8} {}", output::clean(&value)))
        .collect();
    lines.join("\n")
}
