//! Spans of sessions, jobs and operations, and their place in traces that begin elsewhere (§11).
//!
//! The spans are `tracing` spans at level `info` and of a target of their own, `towline::trace`: without a subscriber that
//! wants them they cost next to nothing. A [`TraceLink`] ties them to the trace a job belongs to on the wire.

use towline_proto::lease::Operation;
use towline_wire::{Shown, SpanId, TraceId};
use tracing::{Span, field::Empty};

use crate::{
    job::{CausedBy, JobEntry, remaining},
    session::SessionEntry,
};

/// Ties `tracing` spans to traces that are known by their W3C ids. Whatever sends spans to a collector implements it;
/// `towline-otel` does for OpenTelemetry.
///
/// Both methods are called where spans begin, and have to be quick.
pub trait TraceLink: Send + Sync + 'static {
    /// Makes `span`, which has just been created, the child of a span elsewhere.
    fn adopt(&self, span: &Span, trace: TraceId, parent: SpanId);

    /// The ids `span` is known by elsewhere; `None` when nobody records it.
    fn ids_of(&self, span: &Span) -> Option<(TraceId, SpanId)>;
}

/// No link: spans stay among themselves.
pub(crate) struct Unlinked;

impl TraceLink for Unlinked {
    fn adopt(&self, _span: &Span, _trace: TraceId, _parent: SpanId) {}

    fn ids_of(&self, _span: &Span) -> Option<(TraceId, SpanId)> {
        None
    }
}

/// The span of a connection's session.
pub(crate) fn of_session(session: &SessionEntry) -> Span {
    tracing::info_span!(
        target: TARGET, parent: None, "arcp.session",
        arcp.session_id = %session.id, arcp.principal = %Shown::new(&session.principal),
    )
}

/// The span of a job's run: in the job's trace, below what caused it [ARCP 11-2].
pub(crate) fn of_job(link: &dyn TraceLink, job: &JobEntry) -> Span {
    let (row, caused_by) = (&job.row, job.lock().caused_by.take());
    let parent = match &caused_by {
        Some(CausedBy::Local(span)) => span.id(),
        _ => None,
    };
    let span = tracing::info_span!(
        target: TARGET, parent: parent.clone(), "arcp.job",
        otel.name = Empty, otel.status_code = Empty,
        arcp.job_id = %row.id, arcp.agent = %row.agent, arcp.session_id = %row.session, arcp.trace_id = %row.trace,
        arcp.parent_job_id = Empty, arcp.lease.expires_at = Empty, arcp.budget.remaining = Empty, arcp.status = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    if parent.is_none() {
        // A trace without a span to hang on to still is the job's trace: that span is one nobody has recorded.
        let elsewhere = match caused_by {
            Some(CausedBy::Remote(span)) => span,
            _ => row.trace.unrecorded_root(),
        };
        link.adopt(&span, row.trace, elsewhere);
    }
    span.record("otel.name", format!("arcp.job {}", row.agent.name()));
    if let Some(parent) = &row.parent {
        span.record("arcp.parent_job_id", parent.as_str());
    }
    describe(&span, job);
    span
}

/// A job's span is over.
pub(crate) fn job_ended(job: &JobEntry) {
    let (span, status) = {
        let mut core = job.lock();
        (
            std::mem::replace(&mut core.span, Span::none()),
            core.machine.status(),
        )
    };
    if span.is_disabled() {
        return;
    }
    describe(&span, job);
    span.record("arcp.status", status.as_str());
    if status != towline_wire::JobStatus::Success {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of an operation that needs the lease: below whatever the agent is in, or below the job.
pub(crate) fn of_operation(job: &JobEntry, operation: Operation<'_>) -> Span {
    let current = Span::current().id();
    let parent = current.or_else(|| job.lock().span.id());
    let span = tracing::info_span!(
        target: TARGET, parent: parent, "arcp.operation",
        otel.name = Empty, otel.status_code = Empty, arcp.job_id = %job.id(),
        arcp.operation = operation.namespace(), arcp.value = subject(operation),
        arcp.lease.expires_at = Empty, arcp.budget.remaining = Empty, arcp.code = Empty,
    );
    if !span.is_disabled() {
        span.record(
            "otel.name",
            format!("arcp.operation {}", operation.namespace()),
        );
        describe(&span, job);
    }
    span
}

/// What an operation is about, as far as it may be shown: a URL's query may hold secrets.
fn subject(operation: Operation<'_>) -> &str {
    match operation {
        Operation::FsRead(value)
        | Operation::FsWrite(value)
        | Operation::ToolCall(value)
        | Operation::Delegate(value)
        | Operation::ModelUse(value) => value,
        Operation::NetFetch(url) if !url.contains('@') => {
            url.split(['?', '#']).next().unwrap_or_default()
        }
        _ => "",
    }
}

/// Notes on an operation's span that it was denied.
pub(crate) fn denied(span: &Span, code: &towline_wire::ErrorCode) {
    span.record("arcp.code", code.as_str());
    span.record("otel.status_code", "ERROR");
}

/// The bounds of a job as they are now [ARCP 11-3].
fn describe(span: &Span, job: &JobEntry) {
    let (expires_at, budget) = {
        let core = job.lock();
        (
            core.authority.expires_at(),
            remaining(core.authority.budget()),
        )
    };
    if let Some(at) = expires_at {
        span.record("arcp.lease.expires_at", at.to_string());
    }
    if let Some(budget) = budget.and_then(|budget| serde_json::to_string(&budget).ok()) {
        span.record("arcp.budget.remaining", budget);
    }
}

/// Of all spans here, so that they can be told from log lines.
const TARGET: &str = "towline::trace";
