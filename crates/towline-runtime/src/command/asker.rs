//! Where a request came from, and how it is answered.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use towline_proto::refusal::Refusal;
use towline_store::{JobState, StoreError};
use towline_wire::{
    Envelope, EventSeq, Feature, JobId, JobStatus, MessageId, MessageType, Payload, TraceId,
    payload,
};

use crate::{
    audit::Actor,
    hub::Hub,
    session::{Attachment, Reply, SessionEntry, Slot},
};

/// Where a request came from, and where its reply goes.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) session: Arc<SessionEntry>,
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) way: Way,
    pub(crate) request: Option<MessageId>,
}

/// How a reply gets to whoever asked.
#[derive(Clone)]
pub(crate) enum Way {
    /// Over the connection, in the order of requests.
    Slot(Slot),
    /// To a caller that waits for this one reply. Its session is virtual: it has no stream, so it watches nothing.
    Call(Call),
}

/// A reply that a caller waits for. Only the first one counts.
#[derive(Clone)]
pub(crate) struct Call(Arc<Mutex<Option<oneshot::Sender<Answer>>>>);

/// What a caller gets.
pub(crate) type Answer = Result<Reply, Refusal>;

impl Call {
    /// A call, and where its reply comes. The sender is gone without a reply when the runtime stops.
    pub(crate) fn new() -> (Self, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    fn answer(&self, answer: Answer) {
        if let Some(waiting) = self.0.lock().take() {
            // Whoever called may have gone; what was asked for is done all the same.
            let _ = waiting.send(answer);
        }
    }
}

impl Asker {
    /// Who asks, as the audit log has it.
    pub(super) fn actor<'a>(&'a self, role: Option<&'a str>) -> Actor<'a> {
        Actor {
            principal: &self.session.principal,
            session: &self.session.id,
            role,
        }
    }

    /// The role under which it is decided about the asker.
    pub(super) fn role(&self, hub: &Hub) -> Option<String> {
        hub.services.role_of(&self.session.principal)
    }

    /// Whether the session has a stream, in which what it asks for shows.
    pub(crate) const fn has_stream(&self) -> bool {
        matches!(self.way, Way::Slot(_))
    }

    /// Replies.
    pub(crate) fn reply(&self, reply: Reply) {
        match &self.way {
            Way::Slot(slot) => self.attachment.fill(*slot, reply),
            Way::Call(call) => call.answer(Ok(reply)),
        }
    }

    /// Somebody else is waited for. A peer that minds no order is answered meanwhile.
    pub(super) fn waits(&self) {
        if let Way::Slot(slot) = &self.way
            && self.session.lock().features.has(Feature::AnyOrder)
        {
            self.attachment.postpone(*slot);
        }
    }

    /// The number under which the session had the end of a job that is over. Sent once more behind a repeated submit's
    /// acceptance, clients that count drop it as known, and clients that wait for the end on the handle of this submit get
    /// it [ARCP 7.2-1].
    pub(super) fn number_of_end(&self, job: &JobId, state: &JobState) -> Option<EventSeq> {
        let is_over = state.status.is_terminal();
        is_over
            .then(|| self.session.lock().stream.number_of(job, state.last_seq))
            .flatten()
    }

    /// Answers a vendor request: with a document, which names the request, or a refusal.
    pub(super) fn answer(&self, kind: &'static str, answer: Result<Value, Refusal>) {
        match answer {
            Ok(mut document) => {
                document["request_id"] = json!(self.request);
                let mut envelope = Envelope::new(MessageType::new(kind));
                envelope.payload = document.into();
                self.reply(Reply::plain(envelope));
            }
            Err(refusal) => self.refuse(&refusal),
        }
    }

    /// Says no.
    pub(crate) fn refuse(&self, refusal: &Refusal) {
        if let Way::Call(call) = &self.way {
            return call.answer(Err(refusal.clone()));
        }
        let payload = refusal.payload(self.request.clone());
        self.reply(Reply::plain(envelope(&payload)));
    }

    /// Says no to a request that not every client waits for an answer to. One SDK's client takes an error it does not wait
    /// for as the end of all its jobs, which is worse than not knowing; it gets no answer.
    pub(super) fn refuse_quietly(&self, refusal: &Refusal) {
        if self.session.lock().dialect.fails_every_job_on_an_error() {
            self.reply(Reply::silent());
        } else {
            self.refuse(refusal);
        }
    }

    /// Refuses a submit, in the form the client's SDK can read.
    pub(super) fn refuse_submit(&self, refusal: &Refusal, trace: Option<TraceId>) {
        let dialect = self.session.lock().dialect;
        if !dialect.refuses_submit_with_job_error() {
            return self.refuse(refusal);
        }
        let payload = self.as_job_error(refusal);
        // That SDK drops a `job.error` without a job; a fresh id is one nothing else has.
        let fresh = JobId::minted(self.request.as_ref().map_or("refused", |id| id.as_str()));
        self.reply(Reply::plain(
            envelope(&payload).with_job(fresh).with_trace(trace),
        ));
    }

    /// Says no to a subscribe, in the form the client's SDK can read.
    pub(super) fn refuse_subscribe(&self, job: &JobId, refusal: &Refusal) {
        let dialect = self.session.lock().dialect;
        if !dialect.refuses_subscribe_with_job_error() {
            return self.refuse(refusal);
        }
        let error = envelope(&self.as_job_error(refusal)).with_job(job.clone());
        self.reply(Reply::plain(error));
    }

    /// A refusal for those who read it as the end of a job.
    fn as_job_error(&self, refusal: &Refusal) -> payload::JobError {
        payload::JobError {
            final_status: JobStatus::Error,
            code: refusal.code.clone(),
            message: refusal.message.clone(),
            retryable: refusal.code.is_retryable(),
            details: refusal.details.clone(),
            request_id: self.request.clone(),
            completed_at: None,
        }
    }
}

/// An envelope around one of our payloads. Each of them has a JSON form; should one ever not, the peer gets its message
/// without the fields and can tell that something is wrong, which a message that never comes would not show.
pub(crate) fn envelope<P: Payload>(payload: &P) -> Envelope {
    let envelope = Envelope::of(payload);
    debug_assert!(envelope.is_ok(), "a payload of ours has a JSON form");
    envelope.unwrap_or_else(|_| Envelope::new(P::TYPE))
}

/// The store's failures as the peer sees them: ours, and worth another try [ARCP 12-1].
pub(crate) fn store_refusal(error: &StoreError) -> Refusal {
    tracing::error!(target: "towline::store", %error, "request failed");
    match error {
        StoreError::Full(_) => {
            Refusal::internal("the runtime's store is out of space; try again later")
        }
        _ => Refusal::internal("the runtime's store failed; try again later"),
    }
}

/// The runtime takes no new work.
pub(crate) fn shutting_down() -> Refusal {
    Refusal::internal("the runtime is shutting down")
}
