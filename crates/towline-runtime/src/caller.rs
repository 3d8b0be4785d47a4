//! Callers: principals who ask without a connection, one request at a time.

mod document;
mod events;
mod hooks;
mod result;
mod schedules;

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use towline_proto::{
    limits,
    refusal::Refusal,
    server::{Reply, RequestKind, read_alone},
};
use towline_store::{Principal, StoreError};
use towline_wire::{
    Envelope, Feature, FeatureSet, JobId, JobSeq, MessageType, RawJson, Secret, SpanId, TraceId,
    payload,
};

use crate::{
    audit::{Actor, Audit},
    auth::{Proof, Proven},
    command::{self, Asker, Call, Way, shutting_down, store_refusal},
    connection::{Unproven, prove},
    hub::{Hub, LongRequest, Virtual},
    life,
    session::{Attachment, SessionEntry},
    webhook::WebhookDocument,
};

pub use document::{JobDocument, JobFailure, JobsPage};
pub use events::{EventReader, LogRecord};
pub(crate) use hooks::messages;
pub use result::{JobOutput, StreamedResult};
pub use schedules::ScheduleDocument;

/// Somebody who asks without a connection: over HTTP, say. What it asks for goes through the same commands as the frames of a
/// session, in a virtual session that its principal has, so nothing is decided here [ARCP 16-1].
///
/// A virtual session has no stream: no `event_seq`, no lag, no place among the sessions a principal may have. What a caller
/// submits belongs to it, and what it watches it reads from the job's own log, at its own speed ([`Caller::events`]).
///
/// Get one from [`Runtime::caller`](crate::Runtime::caller) for each request. All methods are cancel safe: what was asked for is
/// done though nobody waits for it any more.
#[derive(Clone)]
pub struct Caller {
    hub: Arc<Hub>,
    session: Arc<SessionEntry>,
    attachment: Arc<Attachment>,
    proof: Proof,
    known: Virtual,
}

/// The trace a request is part of.
#[derive(Debug, Clone, Copy, Default)]
pub struct CallTrace {
    /// The trace.
    pub trace: Option<TraceId>,
    /// The span of whoever asks.
    pub span: Option<SpanId>,
}

/// Why nobody was proved to call.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotProven {
    /// What was shown is not good.
    #[error("{0}")]
    Refused(Refusal),
    /// Too many refusals of this address wait to be told [ARCP 14-2].
    #[error("too many failed attempts from this address, try again later")]
    TooMany,
}

impl Caller {
    pub(crate) fn new(hub: &Arc<Hub>, proven: Proven, confidential: bool) -> Self {
        let Proven { principal, proof } = proven;
        let callers = &hub.books.callers;
        let (known, is_new) = callers.of(&principal, || hub.services.ids.session());
        let features = if confidential {
            hub.services.features
        } else {
            hub.services
                .features
                .without(Feature::ProvisionedCredentials)
        };
        let (session, attachment) =
            command::virtual_session(hub, known.name.clone(), principal, features, confidential);
        let caller = Self {
            hub: Arc::clone(hub),
            session,
            attachment,
            proof,
            known,
        };
        if is_new {
            caller.tell_of_session();
        }
        caller
    }

    /// Who calls.
    pub fn principal(&self) -> &Principal {
        &self.session.principal
    }

    /// Submits a job. `submit` is the payload of a `job.submit` (§7.1).
    ///
    /// # Errors
    /// The refusal; there is no job then.
    pub async fn submit(&self, submit: RawJson, trace: CallTrace) -> Result<JobDocument, Refusal> {
        let mut envelope = Envelope::new(MessageType::JOB_SUBMIT);
        envelope.payload = submit;
        envelope.trace_id = trace.trace;
        envelope.parent_span = trace.span;
        let accepted: payload::Accepted = self.ask(envelope).await?;
        let job = accepted
            .job_id
            .ok_or_else(|| Refusal::internal("the job has no name"))?;
        let mut document = self.job(&job).await?;
        document.credentials = accepted.credentials;
        Ok(document)
    }

    /// Has a job cancelled (§7.4). Its end may still be to come.
    ///
    /// # Errors
    /// The refusal.
    pub async fn cancel(&self, job: &JobId, reason: Option<String>) -> Result<(), Refusal> {
        let mut envelope = Envelope::new(MessageType::JOB_CANCEL).with_job(job.clone());
        let cancel = payload::Cancel {
            job_id: Some(job.clone()),
            reason,
        };
        envelope.payload = RawJson::of(&cancel).unwrap_or(RawJson::EMPTY_OBJECT);
        let _cancelled: payload::Cancelled = self.ask(envelope).await?;
        Ok(())
    }

    /// Answers a question of a job. `answer` is the payload of an `x-vendor.towline.answer` (§15), less the job. The same answer of the
    /// same principal once more is taken once more [ARCP 15-2].
    ///
    /// # Errors
    /// The refusal.
    pub async fn answer(&self, job: &JobId, answer: RawJson) -> Result<(), Refusal> {
        let mut envelope = Envelope::new(MessageType::ANSWER).with_job(job.clone());
        envelope.payload = answer;
        let _answered: payload::Answered = self.ask(envelope).await?;
        Ok(())
    }

    /// Tells a running job something (§15). Gives where that stands in the job's log.
    ///
    /// # Errors
    /// The refusal: the job has ended, or its agent does not listen.
    pub async fn speak(&self, job: &JobId, body: RawJson) -> Result<JobSeq, Refusal> {
        let mut envelope = Envelope::new(MessageType::MESSAGE).with_job(job.clone());
        let speak = payload::Speak { job_id: None, body };
        envelope.payload = RawJson::of(&speak).unwrap_or(RawJson::EMPTY_OBJECT);
        let accepted: payload::MessageAccepted = self.ask(envelope).await?;
        Ok(accepted.job_seq)
    }

    /// The open questions of all jobs whose questions the principal may answer, the oldest first (§15).
    pub fn inbox(&self) -> Vec<payload::OpenQuestion> {
        command::open_questions(&self.hub, &self.session, None)
    }

    /// A page of the jobs the principal may see. `list` is the payload of a `session.list_jobs` (§6.6).
    ///
    /// # Errors
    /// The refusal.
    pub async fn jobs(&self, list: RawJson) -> Result<JobsPage, Refusal> {
        let mut envelope = Envelope::new(MessageType::SESSION_LIST_JOBS);
        envelope.payload = list;
        let request = read_alone(envelope, self.features())?;
        let RequestKind::List(list) = request.kind else {
            return Err(Refusal::invalid("this is no list"));
        };
        let page = command::jobs(&self.hub, self.principal(), list).await?;
        document::page(&self.hub, &self.session, page)
            .await
            .map_err(|error| store_refusal(&error))
    }

    /// A job the principal may see.
    ///
    /// # Errors
    /// The refusal.
    pub async fn job(&self, job: &JobId) -> Result<JobDocument, Refusal> {
        let row = self.look(job, false).await?;
        document::of_row(&self.hub, &self.session, row)
            .await
            .map_err(|error| store_refusal(&error))
    }

    /// Waits for a job's end, but not for longer than this; returns earlier when the runtime shuts down, and within a second when
    /// the caller's access is taken away [ARCP 14-7]. For a job that is not running at once.
    pub async fn ended(&self, job: &JobId, limit: Duration) {
        let Some(entry) = self.hub.books.jobs.get(job) else {
            return;
        };
        tokio::select! {
            () = entry.ended.cancelled() => {}
            () = tokio::time::sleep(limit) => {}
            () = self.barred(&entry.row.principal) => {}
            () = self.hub.scope.draining.cancelled() => {}
        }
    }

    /// Reads a job's log after a record of it, and goes on as it grows. `None` when the job is over and has nothing after that
    /// record. Beyond the end of a live log means from its end on.
    ///
    /// # Errors
    /// The refusal: `RESUME_WINDOW_EXPIRED` when the beginning asked for is not kept any more.
    pub async fn events(&self, job: &JobId, after: JobSeq) -> Result<Option<EventReader>, Refusal> {
        let row = self.look(job, true).await?;
        let last = row.state.last_seq;
        if row.state.status.is_terminal() && after >= last {
            return Ok(None);
        }
        let mut reader = EventReader::new(self.clone(), &row, after.min(last).next());
        reader.fill().await?;
        Ok(Some(reader))
    }

    /// What a job gave.
    ///
    /// # Errors
    /// The refusal. A job that gave nothing (yet) is none: see [`JobOutput::Nothing`].
    pub async fn result(&self, job: &JobId) -> Result<JobOutput, Refusal> {
        let row = self.look(job, false).await?;
        result::of_row(&self.hub, row).await
    }

    /// The agents there are.
    pub fn agents(&self) -> Vec<payload::AgentListing> {
        self.hub.services.agents.listing()
    }

    /// The latest messages to receivers that the principal may know of, at most so many, 100 when nobody says: those of its jobs, and an administrator
    /// of all [ARCP 16-6].
    ///
    /// # Errors
    /// The refusal.
    pub async fn webhooks(&self, limit: Option<usize>) -> Result<Vec<WebhookDocument>, Refusal> {
        let limit = limits::page_webhooks(limit.unwrap_or(limits::DEFAULT_PAGE_WEBHOOKS))?;
        command::webhooks(&self.hub, &self.session, limit).await
    }

    /// Has a message delivered once more, whatever became of it, under the name it has.
    ///
    /// # Errors
    /// The refusal: there is none of the name that the principal may know of.
    pub async fn redeliver(&self, id: &str) -> Result<WebhookDocument, Refusal> {
        command::redeliver(&self.hub, &self.session, id).await
    }

    /// Whether what proved the principal proves it still [ARCP 14-7]. Whoever goes on reading asks now and then.
    pub fn is_still_proved(&self) -> bool {
        let services = &self.hub.services;
        !self.known.revoked.is_cancelled() && services.still_proved(self.principal(), &self.proof)
    }

    /// Waits until what proved the principal proves it no more, and finds out within a second [ARCP 14-7]. Cancel safe.
    pub async fn unproved(&self) {
        while self.is_still_proved() {
            tokio::select! {
                () = self.known.revoked.cancelled() => {}
                () = tokio::time::sleep(life::LOOK_EVERY) => {}
            }
        }
    }

    /// A place among the principal's long requests. Whoever serves a request that stays, a stream or a wait, keeps it for as
    /// long, for no principal takes up every connection of a server [ARCP 14-6].
    ///
    /// # Errors
    /// INTERNAL_ERROR, for the principal's own bound, when it has as many as it may
    /// ([`RuntimeOptions::long_requests_per_principal`](crate::RuntimeOptions::long_requests_per_principal)).
    pub fn long_request(&self) -> Result<LongRequest, Refusal> {
        let most = self.hub.services.options.long_requests_per_principal;
        self.known.long_request(most).ok_or_else(|| {
            Refusal::internal(format!(
                "{most} requests of this principal stay already, as event streams or waits, end one of them"
            ))
            .for_own_bound()
        })
    }

    /// Whether the caller may watch jobs of this principal now, and is still who it was.
    fn still_watches(&self, owner: &Principal) -> bool {
        self.is_still_proved() && self.hub.services.observes(self.principal(), owner)
    }

    /// Waits until the caller may watch jobs of this principal no more. Found out within a second, as for those who are
    /// connected. Cancel safe.
    async fn barred(&self, owner: &Principal) {
        while self.still_watches(owner) {
            tokio::select! {
                () = self.known.revoked.cancelled() => {}
                () = tokio::time::sleep(life::LOOK_EVERY) => {}
            }
        }
    }

    fn features(&self) -> FeatureSet {
        self.session.lock().features
    }

    fn asker(&self, call: Call) -> Asker {
        Asker {
            session: Arc::clone(&self.session),
            attachment: Arc::clone(&self.attachment),
            way: Way::Call(call),
            request: None,
        }
    }

    async fn look(&self, job: &JobId, watches: bool) -> Result<towline_store::JobRow, Refusal> {
        let (call, _nobody_waits) = Call::new();
        command::look(&self.hub, &self.asker(call), job, watches).await
    }

    async fn ask<P: towline_wire::Payload>(&self, envelope: Envelope) -> Result<P, Refusal> {
        let envelope = self.carry_out(envelope).await?;
        envelope.decode().map_err(|_| unreadable())
    }

    /// Has a request carried out, and waits for the reply. It is carried out by a task of its own, for a caller may stop
    /// waiting at any time and half a submit is nothing.
    async fn carry_out(&self, envelope: Envelope) -> Result<Envelope, Refusal> {
        let request = read_alone(envelope, self.features())?;
        let (call, reply) = Call::new();
        let (hub, asker) = (Arc::clone(&self.hub), self.asker(call));
        let tasks = hub.scope.tasks.clone();
        tasks.spawn(async move { command::run(&hub, asker, request).await });
        let Reply { envelope, .. } = reply.await.map_err(|_| shutting_down())??;
        envelope.ok_or_else(unreadable)
    }

    /// The first request of a principal is what opening a session is for those who connect.
    fn tell_of_session(&self) {
        let role = self.hub.services.role_of(self.principal());
        let actor = Actor {
            principal: self.principal(),
            session: &self.session.id,
            role: role.as_deref(),
        };
        let audit = Audit::at(self.hub.now());
        self.hub.audit(audit.auth_accepted(actor, None));
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("principal", self.principal())
            .finish_non_exhaustive()
    }
}

/// Finds out who a bearer token proves. A good one goes on at once; a guess is answered later and later [ARCP 14-2].
pub(crate) async fn prove_caller(
    hub: &Hub,
    scheme: Option<String>,
    token: Option<Secret>,
    peer: Option<SocketAddr>,
) -> Result<Proven, NotProven> {
    let auth = payload::Auth { scheme, token };
    prove(hub, &auth, peer).await.map_err(|cause| match cause {
        Unproven::Refused(refusal) => NotProven::Refused(refusal),
        Unproven::TooMany => NotProven::TooMany,
    })
}

fn unreadable() -> Refusal {
    Refusal::internal("the runtime's reply cannot be read")
}

/// What reading a job's log failed with.
fn log_refusal(job: &JobId, error: &StoreError) -> Refusal {
    match error {
        StoreError::Evicted { oldest, .. } => Refusal::new(
            towline_wire::ErrorCode::RESUME_WINDOW_EXPIRED,
            format!(
                "the beginning of job `{job}` is no longer kept; ask for what comes after {}",
                oldest.value().saturating_sub(1)
            ),
        )
        .about(job),
        _ => store_refusal(error),
    }
}

/// Unknown members of a submit say nothing [ARCP 5-2]. These do not either, but whoever sends one believes that it bounds the job:
/// they are members of the answer, or of `lease_constraints`. Callers that write a submit by hand are told, for a job that
/// runs without its bound is worse than one that does not run.
///
/// # Errors
/// INVALID_REQUEST, naming where the bound belongs.
pub fn check_bounds(has: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    const MISPLACED: [(&str, &str); 4] = [
        ("lease", "`lease_request`"),
        (
            "budget",
            "`lease_request` under `cost.budget`, as in [\"USD:1.50\"]",
        ),
        ("cost.budget", "`lease_request`, as in [\"USD:1.50\"]"),
        ("expires_at", "`lease_constraints`"),
    ];
    let misplaced = MISPLACED.iter().find(|(name, _)| has(name));
    misplaced.map_or(Ok(()), |(name, place)| {
        Err(Refusal::invalid(format!(
            "`{name}` at this place bounds nothing, send it in {place}"
        )))
    })
}
