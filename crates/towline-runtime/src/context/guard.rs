//! Asking the lease (§9.3).

use towline_proto::{
    job::Cause,
    lease::{Denial, Operation, Reach},
};
use towline_wire::{CallId, ErrorCode, event};

use super::{Denied, JobContext};
use crate::{life, trace};

/// Proof that an operation was allowed: only [`JobContext::authorize`] makes one, and the facades that carry operations
/// out take one. It covers this one operation, on the value as it was normalised.
#[derive(Debug)]
#[must_use = "a permit is for carrying the operation out"]
pub struct Permit {
    namespace: String,
    value: String,
    approved: bool,
    span: tracing::Span,
}

impl Permit {
    /// For an operation that a person let through.
    pub(super) fn approved(operation: Operation<'_>, value: &str) -> Self {
        Self {
            namespace: operation.namespace().to_owned(),
            value: value.to_owned(),
            approved: true,
            span: tracing::Span::none(),
        }
    }

    /// The namespace of the operation.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The value the operation has to be carried out on: normalised, so it may differ from the text that was asked for.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a person let this one operation through, which no pattern of the job covers [ARCP 15-6].
    pub const fn is_approved(&self) -> bool {
        self.approved
    }

    /// The span of the operation. It lasts as long as the permit; run the operation inside it.
    pub const fn span(&self) -> &tracing::Span {
        &self.span
    }
}

impl JobContext {
    /// Asks whether the job may do something, now: expiry first, then budgets, then patterns [ARCP 9.3-1].
    ///
    /// Where the lease does not cover it but an ask pattern does, a person is asked, and this waits for the answer
    /// [ARCP 15-6]; likewise for more of a budget, where the deployment wants that [ARCP 15-8].
    ///
    /// A refusal is added to the log as a `tool_result` error before it is returned. One for an expired lease also ends
    /// the job [ARCP 9.5-2].
    ///
    /// # Errors
    /// [`Denied`] with PERMISSION_DENIED, LEASE_EXPIRED or BUDGET_EXHAUSTED.
    pub async fn authorize(&self, operation: Operation<'_>) -> Result<Permit, Denied> {
        self.authorize_call(operation, &self.hub.services.ids.call())
            .await
    }

    /// [`JobContext::authorize`] for an operation whose `tool_call` is in the log already: a refusal names that call.
    ///
    /// # Errors
    /// As [`JobContext::authorize`].
    pub async fn authorize_call(
        &self,
        operation: Operation<'_>,
        call: &CallId,
    ) -> Result<Permit, Denied> {
        // An agent that asks without ever waiting would keep its thread from everybody else.
        tokio::task::consume_budget().await;
        // Another node may have the job by now, and its agent run there.
        self.hub.sound_footing().await;
        let span = trace::of_operation(&self.job, operation);
        match self.decide_or_ask(operation, call).await {
            Ok(permit) => Ok(Permit { span, ..permit }),
            Err(denial) => {
                let denied = Denied::from(denial);
                trace::denied(&span, denied.code());
                self.denied(&denied, call).await;
                Err(denied)
            }
        }
    }

    /// What the job's patterns cover now, with what a person granted beside them.
    pub fn reach(&self) -> Reach {
        self.job.lock().authority.reach()
    }

    /// Asks without a record of the answer.
    pub(super) fn decide(&self, operation: Operation<'_>) -> Result<Permit, Denial> {
        // Patterns are matched without the job's lock, for which everybody waits whom the job has to do with.
        let ask = self.job.lock().authority.ask(operation, self.hub.now())?;
        let grant = ask.decide()?;
        let value = grant.value.into_owned();
        let on_files = matches!(operation, Operation::FsRead(_) | Operation::FsWrite(_));
        if on_files && self.hub.services.options.protects(&value) {
            return Err(Denial::protected(operation));
        }
        Ok(Permit {
            namespace: operation.namespace().to_owned(),
            value,
            approved: false,
            span: tracing::Span::none(),
        })
    }

    /// Puts a refusal into the log, and ends the job when it is for the lease's time.
    pub(super) async fn denied(&self, denied: &Denied, call: &CallId) {
        metrics::counter!("towline_denials_total", "code" => denied.code().as_str().to_owned())
            .increment(1);
        let error = event::ToolError {
            code: denied.code().clone(),
            message: denied.message().to_owned(),
            retryable: denied.code().is_retryable(),
        };
        // A job that has ended needs no record of what it was refused.
        let _ = self.tool_failed(call, error).await;
        if *denied.code() == ErrorCode::LEASE_EXPIRED {
            let stop = life::stop_job(&self.hub, &self.job, Cause::LeaseExpired);
            if stop == towline_proto::job::Stop::StopAgent {
                life::lease_expired(&self.hub, &self.job);
            }
        }
    }
}
