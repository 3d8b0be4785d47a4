//! `x-vendor.towline.message`: a person speaks to a running job [ARCP 15-7].

use std::sync::Arc;

use towline_proto::refusal::Refusal;
use towline_store::{AuditRow, StoreError};
use towline_wire::{JobId, JobSeq, RawJson, payload};

use super::{
    asker::{Asker, envelope, store_refusal},
    cancel::live_job,
    visible::may_answer,
};
use crate::{
    audit::{Audit, Verdict},
    hub::{Command, Hub, Tx},
    job::JobEntry,
    session::Reply,
};

/// Tells a job something. Who may answer its questions may speak to it.
pub(super) async fn speak(hub: &Arc<Hub>, asker: Asker, job: JobId, body: RawJson) {
    match live_job(hub, &asker, &job, may_answer).await {
        Ok(entry) => hub.command(SpeakToJob {
            job: entry,
            body,
            asker,
            told: None,
        }),
        Err(refusal) => {
            let role = asker.role(hub);
            let actor = asker.actor(role.as_deref());
            let verdict = Verdict::Refused(&refusal.code);
            hub.audit(Audit::at(hub.now()).message(actor, &job, verdict));
            asker.refuse(&refusal);
        }
    }
}

struct SpeakToJob {
    job: Arc<JobEntry>,
    body: RawJson,
    asker: Asker,
    told: Option<Result<JobSeq, Refusal>>,
}

impl SpeakToJob {
    fn audit(&self, hub: &Hub) -> AuditRow {
        let verdict = match &self.told {
            Some(Err(refusal)) => Verdict::Refused(&refusal.code),
            _ => Verdict::Allowed,
        };
        let role = self.asker.role(hub);
        let actor = self.asker.actor(role.as_deref());
        Audit::at(hub.now()).message(actor, self.job.id(), verdict)
    }
}

impl Command for SpeakToJob {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        // Decided again, it is in the log already.
        if self.told.is_none() {
            let by = self.asker.session.principal.as_str();
            let told = self.job.lock().speak(&self.body, by, tx.hub.now());
            self.told = Some(told.map_err(|refusal| refusal.about(self.job.id())));
        }
        tx.take(&self.job);
        if matches!(self.told, Some(Ok(_))) {
            tx.audit(self.audit(tx.hub));
        }
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if result.is_err() || matches!(self.told, Some(Err(_))) {
            // As with a cancel: the entry went with the commit, or has none to go with.
            hub.audit(self.audit(hub));
        }
        match (&self.told, result) {
            (Some(Ok(seq)), Ok(())) => {
                let payload = payload::MessageAccepted {
                    request_id: self.asker.request.clone(),
                    job_id: self.job.id().clone(),
                    job_seq: *seq,
                };
                let envelope = envelope(&payload)
                    .with_job(self.job.id().clone())
                    .with_trace(Some(self.job.row.trace));
                self.asker.reply(Reply::plain(envelope));
            }
            (Some(Err(refusal)), _) => self.asker.refuse(refusal),
            (_, Err(error)) => self.asker.refuse(&store_refusal(error)),
            (None, Ok(())) => self.asker.refuse(&Refusal::internal("it was not decided")),
        }
    }
}
