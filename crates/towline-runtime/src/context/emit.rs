//! Events, by kind (§8).

use std::sync::Arc;

use serde::Serialize;
use towline_proto::{job::Cause, lease::Charge, span::RecordKind};
use towline_wire::{Amount, CallId, EventKind, RawJson, event, write_string};

use super::{EventError, JobContext};
use crate::{
    job::{AppendError, Backlog, LONGEST_EVENT},
    life,
};

/// How much a line of log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// What should not happen, and does no harm yet.
    Warn,
    /// What went wrong.
    Error,
}

impl Level {
    /// The level as the event names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl AsRef<str> for Level {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl JobContext {
    /// A line of log. The level is a [`Level`]; text passes on what another process said.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended.
    pub async fn log(
        &self,
        level: impl AsRef<str>,
        message: impl Into<String>,
    ) -> Result<(), EventError> {
        let message = message.into();
        // The commonest of events is neither copied to be written nor looked at a byte at a time.
        self.emit_with(RecordKind::Event, &EventKind::LOG, |out| {
            out.extend_from_slice(b"{\"level\":");
            write_string(out, level.as_ref());
            out.extend_from_slice(b",\"message\":");
            write_string(out, &message);
            out.push(b'}');
            Ok(())
        })
        .await
    }

    /// A line of log with structured fields.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended; [`EventError::Json`] when the fields have no JSON form.
    pub async fn log_with(
        &self,
        level: impl AsRef<str>,
        message: impl Into<String>,
        attributes: impl Serialize,
    ) -> Result<(), EventError> {
        let attributes = Some(RawJson::of(&attributes).map_err(EventError::unserialisable)?);
        let body = event::Log {
            level: level.as_ref().to_owned(),
            message: message.into(),
            attributes,
        };
        self.emit_body(RecordKind::Event, &EventKind::LOG, &body)
            .await
    }

    /// A step of reasoning.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended.
    pub async fn thought(&self, text: impl Into<String>) -> Result<(), EventError> {
        let body = event::Thought { text: text.into() };
        self.emit_body(RecordKind::Event, &EventKind::THOUGHT, &body)
            .await
    }

    /// The job entered a phase, in the agent's own word.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended.
    pub async fn status(
        &self,
        phase: impl Into<String>,
        message: Option<&str>,
    ) -> Result<(), EventError> {
        let body = event::Status {
            phase: phase.into(),
            message: message.map(str::to_owned),
        };
        self.emit_body(RecordKind::Event, &EventKind::STATUS, &body)
            .await
    }

    /// A measurement. One whose name begins with `cost.` and whose unit is a budgeted currency is spent from the budget,
    /// in the same commit as its event (§9.6).
    ///
    /// # Errors
    /// [`EventError::Metric`] for a negative cost, which is neither subtracted nor logged; [`EventError::JobEnded`] when
    /// the job has ended.
    pub async fn metric(
        &self,
        name: impl Into<String>,
        value: impl Into<Amount>,
        unit: Option<&str>,
    ) -> Result<(), EventError> {
        let body = event::Metric {
            name: name.into(),
            value: value.into(),
            unit: unit.map(str::to_owned),
            dimensions: None,
        };
        self.emit_metric(body).await
    }

    /// A measurement with all its fields; see [`JobContext::metric`].
    ///
    /// # Errors
    /// As [`JobContext::metric`].
    pub async fn emit_metric(&self, metric: event::Metric) -> Result<(), EventError> {
        let spent = self.append_metric(&metric)?;
        if spent {
            // Nobody will ask: the program just goes on [ARCP 9.6-3].
            life::stop_job(&self.hub, &self.job, Cause::BudgetSpent);
        }
        self.committed().await
    }

    /// A cost that whoever reports it answers for: one that uses the budget up does not end the job of an agent that
    /// [spends unasked](crate::Agent::spends_unasked), for what is under way is to be finished first. The caller ends it then.
    ///
    /// # Errors
    /// As [`JobContext::metric`].
    pub async fn emit_metric_and_finish(&self, metric: event::Metric) -> Result<(), EventError> {
        self.append_metric(&metric)?;
        self.committed().await
    }

    /// Whether the cost has used up the budget of a job that ends with it.
    fn append_metric(&self, metric: &event::Metric) -> Result<bool, EventError> {
        let spent;
        {
            let mut core = self.job.lock();
            if !core.is_open() {
                return Err(EventError::JobEnded);
            }
            let charge = core.authority.budget_mut().apply_metric(
                &metric.name,
                &metric.value,
                metric.unit.as_deref(),
            )?;
            let now = self.hub.now();
            core.append_event(RecordKind::Event, &EventKind::METRIC, now, |out| {
                serde_json::to_writer(out, metric)
            })
            .map_err(refused)?;
            // What was spent is kept with it, budgeted or not.
            if metric.name.starts_with("cost.") {
                core.log.touch();
            }
            if let Charge::Spent {
                report: Some(report),
                ..
            } = &charge
            {
                core.report_remaining(report, now);
            }
            note_charge(&charge);
            spent = core.rules.ends_when_spent
                && matches!(charge, Charge::Spent { exhausted_now, .. } if exhausted_now);
        }
        Ok(spent)
    }

    /// Something was made and can be fetched.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended.
    pub async fn artifact(&self, artifact: event::ArtifactRef) -> Result<(), EventError> {
        self.emit_body(RecordKind::Event, &EventKind::ARTIFACT_REF, &artifact)
            .await
    }

    /// A tool is about to be called. Gives the id its result has to name.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended; [`EventError::Json`] when the arguments have no JSON form.
    pub async fn tool_call(
        &self,
        tool: impl Into<String>,
        args: impl Serialize,
    ) -> Result<CallId, EventError> {
        let call_id = self.hub.services.ids.call();
        let args = RawJson::of(&args).map_err(EventError::unserialisable)?;
        let body = event::ToolCall {
            tool: tool.into(),
            args,
            call_id: call_id.clone(),
        };
        self.emit_body(RecordKind::Event, &EventKind::TOOL_CALL, &body)
            .await?;
        Ok(call_id)
    }

    /// A tool answered.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended; [`EventError::Json`] when the result has no JSON form.
    pub async fn tool_result(
        &self,
        call_id: &CallId,
        result: impl Serialize,
    ) -> Result<(), EventError> {
        let result = Some(RawJson::of(&result).map_err(EventError::unserialisable)?);
        let body = event::ToolResult {
            call_id: call_id.clone(),
            result,
            error: None,
        };
        self.emit_body(RecordKind::Event, &EventKind::TOOL_RESULT, &body)
            .await
    }

    /// A tool failed.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended.
    pub async fn tool_failed(
        &self,
        call_id: &CallId,
        error: event::ToolError,
    ) -> Result<(), EventError> {
        let body = event::ToolResult {
            call_id: call_id.clone(),
            result: None,
            error: Some(error),
        };
        self.emit_body(RecordKind::Event, &EventKind::TOOL_RESULT, &body)
            .await
    }

    /// An event of any kind: a vendor's (`x-vendor.<vendor>.<name>`), or one of the protocol's, whose body is then read
    /// and treated as if by its own method.
    ///
    /// # Errors
    /// [`EventError::Invalid`] when the kind is neither, is one only the runtime emits, or the body does not fit it,
    /// [`EventError::Json`] when it has no JSON form; otherwise as the kind's own method.
    pub async fn emit(&self, kind: &EventKind, body: impl Serialize) -> Result<(), EventError> {
        let body = RawJson::of(&body).map_err(EventError::unserialisable)?;
        if kind.is_of_questions() {
            let message = format!("`{kind}` events come from asking, answering and speaking");
            return Err(EventError::Invalid(message));
        }
        if kind.is_vendor() {
            return self.emit_body(RecordKind::Event, kind, &body).await;
        }
        if !kind.is_known() {
            let message =
                format!("`{kind}` is no event kind; a vendor's own begins with x-vendor.<vendor>.");
            return Err(EventError::Invalid(message));
        }
        if *kind == EventKind::DELEGATE || *kind == EventKind::RESULT_CHUNK {
            let message =
                format!("`{kind}` events come from delegating and from streaming a result");
            return Err(EventError::Invalid(message));
        }
        let invalid =
            |fault: towline_wire::payload::PayloadFault| EventError::Invalid(fault.to_string());
        match towline_wire::Event::read(kind, &body).map_err(invalid)? {
            towline_wire::Event::Metric(metric) => self.emit_metric(metric).await,
            towline_wire::Event::Progress(progress) if progress.current.is_negative() => Err(
                EventError::Invalid("progress: `current` cannot be negative".to_owned()),
            ),
            towline_wire::Event::Progress(_) => {
                self.emit_body(RecordKind::Progress, kind, &body).await
            }
            _ => self.emit_body(RecordKind::Event, kind, &body).await,
        }
    }

    /// Adds an event to the log and waits when there is a great deal before it.
    pub(super) async fn emit_body<B: Serialize + ?Sized>(
        &self,
        record: RecordKind,
        kind: &EventKind,
        body: &B,
    ) -> Result<(), EventError> {
        self.emit_with(record, kind, |out| serde_json::to_writer(out, body))
            .await
    }

    async fn emit_with(
        &self,
        record: RecordKind,
        kind: &EventKind,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
    ) -> Result<(), EventError> {
        let backlog = {
            let mut core = self.job.lock();
            core.append_event(record, kind, self.hub.now(), write_body)
                .map_err(refused)?;
            core.enqueue_appended()
        };
        self.make_room(backlog).await
    }

    /// Has the job's records committed, and waits while more of them than it may have are waiting.
    pub(super) async fn committed(&self) -> Result<(), EventError> {
        let backlog = self.job.lock().enqueue_appended();
        self.make_room(backlog).await
    }

    async fn make_room(&self, backlog: Backlog) -> Result<(), EventError> {
        let options = &self.hub.services.options;
        let (limit, node_limit) = (options.pending_bytes, options.node_pending_bytes);
        let pending = self.hub.commits.pending();
        pending.add(backlog.more);
        if backlog.enqueue {
            self.hub.commits.push_job_of_agent(Arc::clone(&self.job));
        }
        let mut full = backlog.bytes > limit;
        while full {
            let drained = self.job.drained.notified();
            full = self.job.lock().log.bytes() > limit;
            if full {
                drained.await;
            }
        }
        while pending.bytes() > node_limit {
            let less = pending.less();
            if pending.bytes() > node_limit {
                less.await;
            }
        }
        // An agent that emits without ever waiting would keep its thread from everybody else.
        tokio::task::consume_budget().await;
        Ok(())
    }
}

fn refused(error: AppendError) -> EventError {
    match error {
        AppendError::NotRunning => EventError::JobEnded,
        AppendError::Unserialisable => EventError::Invalid("the event has no JSON form".to_owned()),
        AppendError::TooLarge => EventError::Invalid(format!(
            "the event has more than {LONGEST_EVENT} bytes; say it in several, or keep it in a file"
        )),
    }
}

/// Counts costs without their currencies: those are whatever a lease says, and a label must not grow with it.
fn note_charge(charge: &Charge) {
    let Charge::Spent { exhausted_now, .. } = charge else {
        return;
    };
    metrics::counter!("towline_costs_total").increment(1);
    if *exhausted_now {
        metrics::counter!("towline_budgets_exhausted_total").increment(1);
    }
}
