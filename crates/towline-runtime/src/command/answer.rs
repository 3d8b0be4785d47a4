//! `x-vendor.towline.answer`: a person answers a question of a job [ARCP 15-2].

use std::sync::Arc;

use towline_proto::{
    questions::{self, Answered},
    refusal::Refusal,
};
use towline_store::{AuditRow, StoreError};
use towline_wire::{JobId, payload};

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

/// Takes an answer. Who asks without a connection cannot tell a lost answer from one that was refused: to them the same answer of
/// the same principal once more is acknowledged once more [ARCP 16-1].
pub(super) async fn answer(hub: &Arc<Hub>, asker: Asker, job: JobId, answer: payload::Answer) {
    let repeats = !asker.has_stream();
    let by = asker.session.principal.as_str().to_owned();
    match live_job(hub, &asker, &job, may_answer).await {
        Ok(entry) => hub.command(AnswerQuestion {
            job: entry,
            answer: questions::Answer {
                question: answer.question_id,
                answer: answer.answer,
                note: answer.note,
                remember: answer.remember.unwrap_or(false),
                by,
            },
            repeats,
            asker,
            answered: None,
        }),
        Err(refusal) => {
            let role = asker.role(hub);
            let actor = asker.actor(role.as_deref());
            let (question, verdict) = (&answer.question_id, Verdict::Refused(&refusal.code));
            hub.audit(Audit::at(hub.now()).answer(actor, &job, question, None, verdict));
            asker.refuse(&refusal);
        }
    }
}

struct AnswerQuestion {
    job: Arc<JobEntry>,
    answer: questions::Answer,
    repeats: bool,
    asker: Asker,
    answered: Option<Result<Answered, Refusal>>,
}

impl AnswerQuestion {
    fn audit(&self, hub: &Hub) -> AuditRow {
        let (answered, verdict) = match &self.answered {
            Some(Ok(answered)) => (Some(answered), Verdict::Allowed),
            Some(Err(refusal)) => (None, Verdict::Refused(&refusal.code)),
            None => (None, Verdict::Failed("it was not decided")),
        };
        let role = self.asker.role(hub);
        let actor = self.asker.actor(role.as_deref());
        let question = &self.answer.question;
        Audit::at(hub.now()).answer(actor, self.job.id(), question, answered, verdict)
    }

    /// Whether the answer is what settles the question.
    fn is_news(&self) -> bool {
        matches!(&self.answered, Some(Ok(answered)) if !answered.repeated)
    }
}

impl Command for AnswerQuestion {
    fn decide(&mut self, tx: &mut Tx<'_>) {
        // Decided again, it is answered already, by this.
        if self.answered.is_none() {
            let now = tx.hub.now();
            let answered = self.job.lock().answer(&self.answer, self.repeats, now);
            self.answered = Some(answered.map_err(|refusal| refusal.about(self.job.id())));
        }
        // Also for one that is repeated: it is acknowledged when the first one is durable.
        tx.take(&self.job);
        if self.is_news() {
            tx.audit(self.audit(tx.hub));
        }
    }

    fn done(self: Box<Self>, hub: &Arc<Hub>, result: Result<(), &StoreError>) {
        if result.is_err() || !self.is_news() {
            // The entry went with the commit, or has none to go with; what it tells of stays decided.
            hub.audit(self.audit(hub));
        }
        if let Some(Err(refusal)) = &self.answered {
            return self.asker.refuse(refusal);
        }
        match result {
            Ok(()) => {
                let payload = payload::Answered {
                    request_id: self.asker.request.clone(),
                    job_id: self.job.id().clone(),
                    question_id: self.answer.question.clone(),
                };
                let envelope = envelope(&payload)
                    .with_job(self.job.id().clone())
                    .with_trace(Some(self.job.row.trace));
                self.asker.reply(Reply::plain(envelope));
            }
            Err(error) => self.asker.refuse(&store_refusal(error)),
        }
    }
}
