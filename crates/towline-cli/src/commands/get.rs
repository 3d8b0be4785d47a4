//! `towline get`

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use towline::{
    Amount, ErrorCode, Event, JobId, Lease, LeaseConstraints, Timestamp,
    client::{JobEvent, JobOutput, Outcome as JobOutcome},
    wire::{
        JobSeq, RawJson,
        payload::{JobListing, Subscribed, WaitingFor},
    },
};

use super::{following, past::Past};
use crate::{
    args::GetArgs,
    connect::{Connection, failed},
    context::Context,
    exit, facts,
    failure::Outcome,
    job_name,
    output::{self, EndingError},
};

/// How many of a failed job's last lines are shown.
const LAST_LINES: usize = 8;

/// How much of an input is shown to people.
const INPUT_CHARS: usize = 300;

/// A job as it stands.
#[derive(Serialize)]
struct Shown {
    job_id: String,
    agent: String,
    status: String,
    /// Whether nobody runs it, though it has not ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    interrupted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    /// What it was given, where the runtime says.
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<RawJson>,
    lease: Lease,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_constraints: Option<LeaseConstraints>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BTreeMap<String, Amount>>,
    /// What it spent, budgeted or not.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    spent: BTreeMap<String, Amount>,
    /// Where a job that is pending waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting_for: Option<WaitingFor>,
    parent_job_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_of: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// The job's own events so far.
    last_event_seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EndingError>,
    /// Of a job that failed: what it said last, and what may help.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_lines: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

pub(super) async fn run(context: &Context, args: GetArgs) -> Outcome {
    loop {
        let (connection, job) = Connection::to_look_at(context, &args.connect, &args.job).await?;
        let shown = show(&connection, &job).await;
        if connection.close_after(&shown).await.is_none() {
            output::one(args.format.output, &shown?, text)?;
            return Ok(exit::SUCCESS);
        }
    }
}

async fn show(connection: &Connection, job: &JobId) -> Outcome<Shown> {
    let subscribe = connection
        .client
        .subscribe(job.clone())
        .history(true)
        .input(true);
    let subscription = subscribe.send().await.map_err(failed)?;
    let mut past = Past::after(subscription, JobSeq::ZERO);
    let mut told = Told::default();
    while let Some(event) = past.next_event().await.map_err(failed)? {
        told.note(&event);
    }
    let mut shown = Shown::of(job, past.subscription.subscribed());
    let mut end = None;
    if past.is_over() {
        let outcome = past.subscription.outcome().await.map_err(failed)?;
        end = shown.ended(job, outcome, &told)?;
    } else {
        shown.interrupted = connection.nobody_runs_jobs();
    }
    let listed = job_name::listed(&connection.client, job).await?;
    shown.when(listed.as_ref(), &told, end);
    shown.spends(listed.as_ref(), told.costs);
    if let Some(listed) = listed {
        (shown.principal, shown.waiting_for) = (listed.principal, listed.waiting_for);
    }
    Ok(shown)
}

/// What the events of a job say of it.
#[derive(Default)]
struct Told {
    started: Option<Timestamp>,
    costs: BTreeMap<String, Amount>,
    lines: VecDeque<String>,
}

impl Told {
    fn note(&mut self, event: &JobEvent) {
        let Ok(payload) = event.payload() else {
            return;
        };
        match payload.event() {
            Ok(Event::Status(status)) if status.phase == "running" => {
                self.started = self.started.or(payload.ts);
            }
            Ok(Event::Metric(metric)) => facts::add_cost(&mut self.costs, &metric),
            Ok(Event::Log(_) | Event::ToolResult(_)) => {
                self.lines.extend(output::event_line(&payload));
                if self.lines.len() > LAST_LINES {
                    self.lines.pop_front();
                }
            }
            _ => {}
        }
    }
}

impl Shown {
    fn of(job: &JobId, subscribed: &Subscribed) -> Self {
        Self {
            job_id: job.to_string(),
            agent: subscribed.agent.clone(),
            status: subscribed.current_status.to_string(),
            interrupted: false,
            principal: None,
            input: subscribed.input.clone(),
            lease: subscribed.lease.clone(),
            lease_constraints: subscribed.lease_constraints.clone(),
            budget: subscribed.budget.clone(),
            spent: BTreeMap::new(),
            waiting_for: None,
            parent_job_id: subscribed.parent_job_id.as_ref().map(ToString::to_string),
            rerun_of: subscribed.rerun_of.as_ref().map(ToString::to_string),
            trace_id: subscribed.trace_id.map(|trace| trace.to_string()),
            last_event_seq: subscribed.subscribed_from.value(),
            created_at: None,
            started_at: None,
            completed_at: None,
            duration_ms: None,
            result: None,
            result_size: None,
            summary: None,
            error: None,
            last_lines: Vec::new(),
            remedy: None,
        }
    }

    /// How it ended, and when.
    fn ended(
        &mut self,
        job: &JobId,
        outcome: JobOutcome,
        told: &Told,
    ) -> Outcome<Option<Timestamp>> {
        if let JobOutcome::Success(success) = &outcome {
            match &success.result {
                JobOutput::Inline { value, .. } => self.result = Some(value.clone()),
                JobOutput::Streamed { bytes, .. } => self.result_size = Some(bytes.len()),
            }
        }
        let ending = following::ending(job, outcome)?;
        self.summary = ending.summary;
        if let Some(error) = ending.error {
            self.last_lines = told.lines.iter().cloned().collect();
            self.remedy = remedy(&error);
            self.error = Some(error);
        }
        Ok(ending.completed_at)
    }

    fn when(&mut self, listed: Option<&JobListing>, told: &Told, end: Option<Timestamp>) {
        let of_list = |pick: fn(&JobListing) -> Option<Timestamp>| listed.and_then(pick);
        let created = of_list(JobListing::created);
        let started = of_list(|listed| listed.started_at).or(told.started);
        let completed = of_list(|listed| listed.completed_at).or(end);
        let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
        self.duration_ms = match (started.or(created), completed) {
            (Some(began), Some(end)) => Some(facts::between(began, end)),
            _ => listed.and_then(facts::duration_of),
        };
        self.created_at = text(created);
        self.started_at = text(started);
        self.completed_at = text(completed);
    }

    fn spends(&mut self, listed: Option<&JobListing>, costs: BTreeMap<String, Amount>) {
        self.spent = costs;
        let counted = facts::spent(&self.lease, self.budget.as_ref());
        let told = listed.map(facts::spent_of).unwrap_or_default();
        // What children spent is in the counters and not among the job's own metrics.
        self.spent.extend(counted);
        self.spent.extend(told);
    }
}

/// What may help against an end that was none of success.
fn remedy(error: &EndingError) -> Option<&'static str> {
    let details = error.details.as_ref();
    let details: Option<serde_json::Value> = details.map(RawJson::to_value);
    let reason = details
        .as_ref()
        .and_then(|details| details["reason"].as_str());
    Some(match (&error.code, reason) {
        (_, Some("runtime_restarted" | "runtime_shutdown")) => {
            "the runtime ended while it ran: run it again; an agent with restartable = true goes on by itself"
        }
        (_, Some("log_full")) => {
            "it said too much: let it say less, or raise log_bytes, log_events or log_bytes_per_principal"
        }
        (code, _) if *code == ErrorCode::BUDGET_EXHAUSTED => {
            "run it again with more to spend: --budget CURRENCY:AMOUNT"
        }
        (code, _) if *code == ErrorCode::LEASE_EXPIRED => "run it again with a later --expires-in",
        (code, _) if *code == ErrorCode::TIMEOUT => "run it again with a longer --max-runtime",
        (code, _) if *code == ErrorCode::PERMISSION_DENIED => {
            "grant what it lacked: --lease NS=PATTERN; `towline lease explain` says what a lease allows"
        }
        (code, _) if *code == ErrorCode::INVALID_REQUEST => "the agent does not take this --input",
        (code, _) if *code == ErrorCode::AGENT_NOT_AVAILABLE => {
            "`towline agents` lists what there is"
        }
        (code, _) if *code == ErrorCode::CANCELLED => return None,
        _ if error.retryable => "run it again: the same may succeed later",
        _ => "its last lines say more; `towline watch JOB` shows all of them",
    })
}

fn text(shown: &Shown) -> String {
    let mut lines = facts_of(shown);
    lines.extend(shown.summary.clone().map(|summary| ("summary", summary)));
    let error = shown.error.as_ref();
    lines.extend(error.map(|error| ("error", format!("{}: {}", error.code, error.message))));
    lines.extend(shown.last_lines.iter().map(|line| ("last", line.clone())));
    lines.extend(shown.remedy.map(|remedy| ("remedy", remedy.to_owned())));
    let result = shown.result.as_ref();
    lines.extend(result.map(|result| ("result", result.as_str().to_owned())));
    lines.extend(shown.result_size.map(|size| {
        (
            "result",
            format!("{size} bytes; towline result {}", shown.job_id),
        )
    }));
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(name, value)| format!("{name:<9} {}", output::clean(&value)))
        .collect();
    lines.join("\n")
}

/// As much of an input as a person wants to see; JSON has all of it.
fn cut(text: &str) -> String {
    match text.char_indices().nth(INPUT_CHARS) {
        Some((at, _)) => format!("{}… ({} bytes; -o json has all)", &text[..at], text.len()),
        None => text.to_owned(),
    }
}

/// What is known of the job, ended or not.
fn facts_of(shown: &Shown) -> Vec<(&'static str, String)> {
    let mut lines = vec![
        ("job", shown.job_id.clone()),
        ("agent", shown.agent.clone()),
        ("status", shown.status.clone()),
    ];
    if shown.interrupted {
        lines.push(("remedy", facts::GOES_ON.to_owned()));
    }
    let waits = shown.waiting_for.as_ref();
    lines.extend(waits.map(|waits| {
        let place = format!("for place {} in the queue {}", waits.position, waits.queue);
        ("waits", place)
    }));
    lines.extend(shown.principal.clone().map(|who| ("principal", who)));
    let input = shown.input.as_ref();
    lines.extend(input.map(|input| ("input", cut(input.as_str()))));
    lines.extend(shown.created_at.clone().map(|at| ("created", at)));
    lines.extend(shown.started_at.clone().map(|at| ("started", at)));
    lines.extend(shown.completed_at.clone().map(|at| ("ended", at)));
    lines.extend(shown.duration_ms.map(|ms| ("duration", facts::span(ms))));
    lines.push(("events", shown.last_event_seq.to_string()));
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
    if !shown.spent.is_empty() {
        lines.push(("cost", facts::money(&shown.spent)));
    }
    lines.extend(shown.parent_job_id.clone().map(|parent| ("parent", parent)));
    lines.extend(shown.rerun_of.clone().map(|job| ("rerun of", job)));
    lines.extend(shown.trace_id.clone().map(|trace| ("trace", trace)));
    lines
}
