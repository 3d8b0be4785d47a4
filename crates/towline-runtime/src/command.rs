//! What clients ask for, one request a file.
//!
//! A request is prepared outside the committer (it may wait there), decided inside it, and answered when the decision is
//! durable. The worker of a session prepares one request after the other, so requests take effect in the order they came.

mod cancel;
mod delegate;
mod list;
mod open;
mod resume;
mod submit;
mod subscribe;

use std::sync::Arc;

use towline_proto::{
    refusal::Refusal,
    server::{Request, RequestKind},
};
use towline_store::StoreError;
use towline_wire::{Envelope, JobId, JobStatus, MessageId, Payload, payload};

use crate::hub::Hub;
use crate::session::{Attachment, Reply, SessionEntry, SlotId};

pub(crate) use delegate::{ChildRequest, delegate};
pub(crate) use open::{Opened, open};
pub(crate) use resume::{ResumeRequest, resume};
pub(crate) use submit::accepted;

/// Where a request came from, and where its reply goes.
#[derive(Clone)]
pub(crate) struct Asker {
    pub(crate) session: Arc<SessionEntry>,
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) slot: SlotId,
    pub(crate) request: Option<MessageId>,
}

impl Asker {
    /// Replies.
    pub(crate) fn reply(&self, reply: Reply) {
        self.attachment.fill(self.slot, reply);
    }

    /// Says no to a subscribe, in the form the client's SDK can read.
    pub(crate) fn refuse_subscribe(&self, job: &JobId, refusal: &Refusal) {
        if !self
            .session
            .lock()
            .dialect
            .refuses_subscribe_with_job_error()
        {
            return self.refuse(refusal);
        }
        let error = envelope(&self.as_job_error(refusal)).with_job(job.clone());
        self.reply(Reply::plain(error));
    }

    /// A refusal for those who read it as the end of a job.
    pub(crate) fn as_job_error(&self, refusal: &Refusal) -> payload::JobError {
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

    /// Says no, unless that would cost the client more than it is worth: one SDK's client waits for no answer here, and
    /// takes an error for the end of all its jobs.
    pub(crate) fn refuse_quietly(&self, refusal: &Refusal) {
        match self.session.lock().dialect.fails_every_job_on_an_error() {
            true => self.reply(Reply::silent()),
            false => self.refuse(refusal),
        }
    }

    /// Says no.
    pub(crate) fn refuse(&self, refusal: &Refusal) {
        let payload = refusal.payload(self.request.clone());
        self.reply(Reply::plain(envelope(&payload)));
    }
}

/// An envelope around one of our payloads, which always have a JSON form.
pub(crate) fn envelope<P: Payload>(payload: &P) -> Envelope {
    Envelope::of(payload).unwrap_or_else(|_| Envelope::new(P::TYPE))
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

/// Carries a request out, as far as it has to happen in the order of requests.
pub(crate) async fn run(hub: &Arc<Hub>, asker: Asker, request: Request) {
    match request.kind {
        RequestKind::Submit(submission) => {
            let origin = submit::Origin {
                trace: request.trace,
                span: request.parent_span,
            };
            submit::submit(hub, asker, *submission, origin).await;
        }
        RequestKind::Cancel { job, reason } => cancel::cancel(hub, asker, job, reason).await,
        RequestKind::Subscribe { job, history } => {
            subscribe::subscribe(hub, asker, job, history).await
        }
        RequestKind::Unsubscribe { job } => subscribe::unsubscribe(hub, &asker, job),
        RequestKind::List(list) => list::list(hub, &asker, list).await,
    }
}
