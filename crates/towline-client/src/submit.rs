//! Submitting a job.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::Serialize;
use towline_proto::client::Request;
use towline_wire::{
    JobId, Lease, LeaseConstraints, RawJson, SpanId, Timestamp, TraceId,
    payload::{Notify, Submit},
};

use crate::{
    ClientError, JobHandle,
    shared::{Answer, Shared},
};

/// A submit to be sent; see [`crate::Client::submit`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct SubmitBuilder {
    shared: Arc<Shared>,
    submit: Submit,
    trace: Option<(TraceId, Option<SpanId>)>,
    invalid: Option<String>,
}

impl SubmitBuilder {
    pub(crate) fn new(shared: Arc<Shared>, agent: String) -> Self {
        let submit = Submit {
            agent,
            input: None,
            lease_request: None,
            lease_constraints: None,
            idempotency_key: None,
            max_runtime_sec: None,
            parent_job_id: None,
            rerun_of: None,
            not_before: None,
            queue: None,
            priority: None,
            notify: None,
            checkpoint: None,
        };
        Self::of(shared, submit)
    }

    pub(crate) const fn of(shared: Arc<Shared>, submit: Submit) -> Self {
        Self {
            shared,
            submit,
            trace: None,
            invalid: None,
        }
    }

    /// What the agent is given. Default: nothing. A value without a JSON form fails the [`send`](Self::send).
    pub fn input(mut self, input: impl Serialize) -> Self {
        match RawJson::of(&input) {
            Ok(input) => self.submit.input = Some(input),
            Err(cause) => self.invalid = Some(format!("the input has no JSON form: {cause}")),
        }
        self
    }

    /// What the job asks to be allowed. Default: nothing.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.submit.lease_request = (!lease.is_empty()).then_some(lease);
        self
    }

    /// Bounds beside the lease's patterns.
    pub fn constraints(mut self, constraints: LeaseConstraints) -> Self {
        self.submit.lease_constraints = (!constraints.is_empty()).then_some(constraints);
        self
    }

    /// When everything the job may do ends. Needs `lease_expires_at`.
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.submit.lease_constraints = Some(LeaseConstraints {
            expires_at: Some(at.to_string()),
        });
        self
    }

    /// Makes a repeated submit find the first one's job, also across sessions and lost connections: at most 256 bytes, good
    /// for a day. With a key the client submits again by itself when a lost connection took the answer with it.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.submit.idempotency_key = Some(key.into());
        self
    }

    /// Ends the job after so much running time.
    pub fn max_runtime(mut self, runtime: Duration) -> Self {
        self.submit.max_runtime_sec = Some(runtime.as_secs_f64());
        self
    }

    /// Makes it a child of a running job of this session, which has to grant `agent.delegate` for it.
    pub fn parent(mut self, parent: JobId) -> Self {
        self.submit.parent_job_id = Some(parent);
        self
    }

    /// Makes it another run of an earlier job of the same principal: the input, the lease and the longest runtime are that
    /// job's where this submit names none. A runtime of another make may not know it.
    pub fn rerun_of(mut self, job: JobId) -> Self {
        self.submit.rerun_of = Some(job);
        self
    }

    /// Has the job wait until then; a time that is past is now. A runtime of another make may not know this, nor the next two.
    pub fn not_before(mut self, at: Timestamp) -> Self {
        self.submit.not_before = Some(at);
        self
    }

    /// The queue of the runtime's that the job stands in.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.submit.queue = Some(queue.into());
        self
    }

    /// Who goes first there: from -100 to 100, the higher one; 0 when it is not said.
    pub fn priority(mut self, priority: i64) -> Self {
        self.submit.priority = Some(priority);
        self
    }

    /// Has somebody told over HTTP of what becomes of the job: of `events` (`started`, `input_request`, `ended`), and of the end
    /// when there are none. Which URLs may be named the runtime decides.
    pub fn notify(
        mut self,
        url: impl Into<String>,
        events: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.submit.notify = Some(Notify {
            url: url.into(),
            events: events.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Hands on what an earlier run of the same job kept, to an agent in a runtime that is this one's child.
    pub fn checkpoint(mut self, value: RawJson) -> Self {
        self.submit.checkpoint = Some(value);
        self
    }

    /// The trace it is part of. Default: that of [`ClientOptions::trace_source`](crate::ClientOptions::trace_source), or a
    /// new one.
    pub const fn trace(mut self, trace: TraceId) -> Self {
        self.trace = Some((trace, None));
        self
    }

    /// The trace it is part of, and the span in it that it is submitted in: a traced transport makes its own span that
    /// one's child. Default: as [`trace`](Self::trace).
    pub const fn within(mut self, trace: TraceId, span: SpanId) -> Self {
        self.trace = Some((trace, Some(span)));
        self
    }

    /// Submits, and waits until the runtime has accepted the job.
    ///
    /// Dropping the future does not take the submit back: the job may run, unseen.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the runtime's reason; [`ClientError::FeatureMissing`] and [`ClientError::Invalid`]
    /// before anything is sent; [`ClientError::Disconnected`] when the answer was lost with the connection, and its
    /// `maybe_accepted` when the job may run.
    pub async fn send(self) -> Result<JobHandle, ClientError> {
        let Self {
            shared,
            submit,
            trace,
            invalid,
        } = self;
        if let Some(message) = invalid {
            return Err(ClientError::Invalid(message));
        }
        check_size(&shared, &submit)?;
        let current = || {
            let (trace, span) = shared.traces.current()?;
            Some((trace, Some(span)))
        };
        let (trace, span) = trace.or_else(current).unzip();
        let span = span.flatten();
        match shared
            .ask(Request::Submit {
                submit: Box::new(submit),
                trace,
                span,
            })
            .await?
        {
            Answer::Job(seat) => Ok(JobHandle::new(seat, shared)),
            _ => Err(ClientError::stopped()),
        }
    }
}

/// Awaiting a submit sends it.
impl IntoFuture for SubmitBuilder {
    type Output = Result<JobHandle, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// Some SDKs' runtimes end the connection over a frame above their limit, and after a reconnect again.
fn check_size(shared: &Shared, submit: &Submit) -> Result<(), ClientError> {
    let size = submit
        .input
        .as_ref()
        .map_or(0, |input| input.as_str().len());
    let session = shared.view.borrow().session.clone();
    let limit = session.and_then(|session| session.dialect().frame_limit());
    match limit.filter(|limit| size + ENVELOPE > *limit) {
        None => Ok(()),
        Some(limit) => Err(ClientError::Invalid(format!(
            "the input has {size} bytes, and this runtime reads frames of at most {limit}; hand large inputs over by reference"
        ))),
    }
}

/// What a submit adds to its input, leaving aside enormous leases.
const ENVELOPE: usize = 16 * 1024;
