//! Delegating (§10).

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use serde::Serialize;
use towline_proto::{job::Cause, lease::Operation, span::RecordKind};
use towline_wire::{
    AgentRef, CallId, ErrorCode, EventPayload, JobId, JobSeq, JobStatus, Lease, LeaseConstraints,
    RawJson, payload,
};
use tracing::Instrument as _;

use super::{Denied, EventError, JobContext};
use crate::{
    command::{ChildRequest, delegate},
    job::JobEntry,
    life, trace,
};

impl JobContext {
    /// Whether a person lets the job delegate to an agent that its lease does not cover [ARCP 15-6]. What else there is
    /// against it, delegating says.
    async fn may_delegate(&self, agent: &AgentRef, call: &CallId) -> bool {
        let Ok((agent, _)) = self.hub.services.agents.resolve(agent) else {
            return false;
        };
        let agent = agent.to_string();
        let operation = Operation::Delegate(&agent);
        self.decide(operation).is_err() && self.decide_or_ask(operation, call).await.is_ok()
    }

    /// Begins to delegate to another agent, `name` or `name@version`; [`Delegation::send`] creates the child.
    pub fn delegate(&self, agent: &str) -> Delegation {
        Delegation {
            ctx: self.clone(),
            agent: agent.to_owned(),
            input: Ok(RawJson::NULL),
            lease: Lease::new(),
            constraints: LeaseConstraints::default(),
            max_runtime: None,
        }
    }
}

/// A child job being described.
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or sent"]
pub struct Delegation {
    ctx: JobContext,
    agent: String,
    input: Result<RawJson, String>,
    lease: Lease,
    constraints: LeaseConstraints,
    max_runtime: Option<Duration>,
}

impl Delegation {
    /// What the child is given. Default: null.
    pub fn input(mut self, input: impl Serialize) -> Self {
        self.input = RawJson::of(&input).map_err(|cause| cause.to_string());
        self
    }

    /// What the child may do; it has to be contained in what this job may [ARCP 9.4-1]. Default: nothing but the budget,
    /// which is inherited.
    pub fn lease(mut self, lease: Lease) -> Self {
        self.lease = lease;
        self
    }

    /// Bounds beside the patterns; never later than this job's own.
    pub fn constraints(mut self, constraints: LeaseConstraints) -> Self {
        self.constraints = constraints;
        self
    }

    /// Ends the child after so long. Default: never.
    pub fn max_runtime(mut self, limit: Duration) -> Self {
        self.max_runtime = Some(limit);
        self
    }

    /// Creates the child. A refusal also goes into this job's log [ARCP 10-2].
    ///
    /// # Errors
    /// [`Denied`] with the code of the refusal.
    pub async fn send(self) -> Result<ChildHandle, Denied> {
        let Self {
            ctx,
            agent,
            input,
            lease,
            constraints,
            max_runtime,
        } = self;
        let invalid = |message: String| Denied::new(ErrorCode::INVALID_REQUEST, message);
        let agent_text = agent;
        let request = AgentRef::parse(&agent_text).map_err(|cause| invalid(cause.to_string()));
        let request = request.and_then(|agent| {
            let input = input.map_err(invalid)?;
            Ok(ChildRequest {
                agent,
                input,
                lease,
                constraints,
                max_runtime,
                permitted: false,
            })
        });
        let span = trace::of_operation(&ctx.job, Operation::Delegate(&agent_text));
        let call = ctx.hub.services.ids.call();
        let created = match request {
            Ok(mut request) => {
                request.permitted = ctx.may_delegate(&request.agent, &call).await;
                let created = delegate(&ctx.hub, &ctx.job, request)
                    .instrument(span.clone())
                    .await;
                created.map_err(Denied::from)
            }
            Err(denied) => Err(denied),
        };
        match created {
            Ok(job) => Ok(ChildHandle {
                ctx,
                job,
                next: JobSeq::FIRST,
            }),
            Err(denied) => {
                trace::denied(&span, denied.code());
                ctx.denied(&denied, &call).await;
                Err(denied)
            }
        }
    }
}

/// Awaiting a delegation sends it.
impl IntoFuture for Delegation {
    type Output = Result<ChildHandle, Denied>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A child job. Dropping the handle leaves the child running; the end of this job cancels it.
pub struct ChildHandle {
    ctx: JobContext,
    job: Arc<JobEntry>,
    next: JobSeq,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildOutcome {
    /// The status it ended in.
    pub status: JobStatus,
    /// Its inline result; `None` when it failed or streamed.
    pub result: Option<RawJson>,
    /// Why it failed.
    pub error: Option<payload::JobError>,
    /// The whole last message.
    pub terminal: RawJson,
}

/// An event of a child.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildEvent {
    /// Its place in the child's log.
    pub seq: JobSeq,
    /// What happened.
    pub event: EventPayload,
}

impl ChildHandle {
    /// The child.
    pub fn job_id(&self) -> &JobId {
        self.job.id()
    }

    /// What was granted to it.
    pub fn lease(&self) -> &Lease {
        &self.job.row.lease
    }

    /// Waits for the child's end. Cancel safe.
    pub async fn outcome(&self) -> ChildOutcome {
        self.job.ended.cancelled().await;
        let ended = self.job.lock().ended_with.clone();
        // `ended` is set after the terminal was recorded.
        let Some(ended) = ended else {
            return ChildOutcome {
                status: JobStatus::Error,
                result: None,
                error: None,
                terminal: RawJson::NULL,
            };
        };
        let result = || {
            ended
                .payload
                .read::<payload::JobResult>()
                .ok()
                .and_then(|result| result.result)
        };
        ChildOutcome {
            status: ended.status,
            result: if ended.is_result {
                result().or(Some(RawJson::NULL))
            } else {
                None
            },
            error: if ended.is_result {
                None
            } else {
                ended.payload.read().ok()
            },
            terminal: ended.payload,
        }
    }

    /// The child's next event, in order, from its first; `None` after its last. Cancel safe.
    ///
    /// # Errors
    /// [`EventError::Store`] when the log cannot be read.
    pub async fn next_event(&mut self) -> Result<Option<ChildEvent>, EventError> {
        loop {
            let job = Arc::clone(&self.job);
            let drained = job.drained.notified();
            let committed = self.job.lock().log.last_committed();
            if self.next <= committed {
                return self.read_next().await;
            }
            if self.job.ended.is_cancelled() {
                return Ok(None);
            }
            drained.await;
        }
    }

    async fn read_next(&mut self) -> Result<Option<ChildEvent>, EventError> {
        let seq = self.next;
        let block = self.ctx.hub.block(self.job.id(), seq).await?;
        let record = block.and_then(|block| block.payload(seq));
        let Some((kind, payload)) = record else {
            return Ok(None);
        };
        if matches!(kind, RecordKind::Result | RecordKind::Error) {
            return Ok(None);
        }
        self.next = seq.next();
        let event = payload.read().map_err(EventError::unserialisable)?;
        Ok(Some(ChildEvent { seq, event }))
    }

    /// Cancels the child; its end can still be awaited.
    pub fn cancel(&self, reason: Option<&str>) {
        let cause = Cause::Cancelled {
            reason: reason.map(str::to_owned),
        };
        life::stop_job(&self.ctx.hub, &self.job, cause);
    }
}

impl std::fmt::Debug for ChildHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildHandle")
            .field("job", self.job_id())
            .finish_non_exhaustive()
    }
}
