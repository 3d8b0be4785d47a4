//! Asking people, and hearing them (chapter 15).

use serde::de::DeserializeOwned;
use towline_proto::questions::{Asked, Question, Settled};
use towline_wire::{
    EventPayload, JobSeq, RawJson,
    event::{self, QuestionOutcome},
};

use super::{Denied, EventError, JobContext};
use crate::{job::CannotAsk, life};

/// What became of a question.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    resolved: event::InputResolved,
}

/// Why a question was not asked, or nobody can answer it any more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The question cannot be asked: an approval that is yes by default, a choice without options, a schema that is none, or
    /// one question too many. An agent that passes it on with `?` ends with INVALID_REQUEST.
    #[error("{0}")]
    Refused(#[source] Denied),
    /// The job has ended or is about to, so that the question was withdrawn.
    #[error(transparent)]
    Event(#[from] EventError),
}

impl Answer {
    fn of(settled: Settled) -> Self {
        Self {
            resolved: settled.resolved,
        }
    }

    /// Whether somebody answered, or nobody did in time.
    pub const fn outcome(&self) -> &QuestionOutcome {
        &self.resolved.outcome
    }

    /// The answer, or the question's default; `None` when nobody answered and there is none.
    pub const fn value(&self) -> Option<&RawJson> {
        self.resolved.answer.as_ref()
    }

    /// Whether it is a yes. Nobody's answer never is [ARCP 15-3].
    pub fn is_yes(&self) -> bool {
        *self.outcome() == QuestionOutcome::ANSWERED && self.text_is("true")
    }

    fn text_is(&self, text: &str) -> bool {
        self.value().is_some_and(|value| value.as_str() == text)
    }

    /// The answer as a type; `null` is what there is without one.
    ///
    /// # Errors
    /// [`EventError::Json`] when it reads as another type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, EventError> {
        let value = self.value().cloned().unwrap_or(RawJson::NULL);
        value.read().map_err(EventError::unserialisable)
    }

    /// What whoever answered wrote beside it.
    pub fn note(&self) -> Option<&str> {
        self.resolved.note.as_deref()
    }

    /// Who answered.
    pub fn by(&self) -> Option<&str> {
        self.resolved.by.as_deref()
    }
}

impl JobContext {
    /// Asks people a question and waits for what becomes of it: an answer, or at its expiry the default [ARCP 15-1, 15-3].
    ///
    /// `key` names the question within the job. Asked again with the same key, by a clone of this context, after this future
    /// was dropped, or by a later run of the job, it is the same question: the answer that was given, or the wait that goes on
    /// [ARCP 15-4].
    ///
    /// Cancel safe: a question whose future is dropped stays open.
    ///
    /// ```
    /// use towline_runtime::{AgentError, JobContext, Question};
    ///
    /// async fn release(ctx: JobContext, version: String) -> Result<String, AgentError> {
    ///     let question = Question::approval(format!("Release {version}?"));
    ///     if !ctx.ask("release", question).await?.is_yes() {
    ///         return Ok(format!("{version} is not released"));
    ///     }
    ///     Ok(format!("{version} is released"))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, key: &str, question: Question) -> Result<Answer, AskError> {
        // Agents cannot name the questions that the runtime asks about operations, nor have a yes grant them anything.
        let question = question.granting_nothing();
        let settled = self.settle(&format!("agent:{key}"), question).await?;
        Ok(Answer::of(settled))
    }

    /// Asks, and waits until what became of it is durable.
    pub(super) async fn settle(&self, key: &str, question: Question) -> Result<Settled, AskError> {
        let job = &self.job;
        let id = self.hub.services.ids.question();
        let asked = job.lock().ask(key, question, id, self.hub.now());
        match asked {
            Ok(Asked::New(_)) => {
                self.hub.enqueue(job);
                life::watch_questions(&self.hub, job);
            }
            Ok(Asked::Waiting(_) | Asked::Settled(_)) => {}
            Err(CannotAsk::Ended) => return Err(EventError::JobEnded.into()),
            Err(CannotAsk::Question(error)) => {
                let refused = Denied::new(error.code(), error.to_string());
                return Err(AskError::Refused(refused));
            }
        }
        loop {
            // Made before the look, so that no commit is missed.
            let drained = job.drained.notified();
            if let Some(settled) = job.lock().settled(key) {
                if settled.resolved.outcome == QuestionOutcome::WITHDRAWN {
                    return Err(EventError::JobEnded.into());
                }
                return Ok(settled);
            }
            tokio::select! {
                () = drained => {}
                () = job.stop.cancelled() => return Err(EventError::JobEnded.into()),
            }
        }
    }

    /// Uses an answer up that holds for once, before anything is done that it lets through. `false` when another clone of this
    /// context has.
    pub(super) async fn use_up(&self, key: &str, settled: &Settled) -> bool {
        let question = &settled.resolved.question_id;
        if !self.job.lock().use_up(key, question) {
            return false;
        }
        // After a crash nothing is let through twice.
        self.hub.enqueue(&self.job);
        self.hub.barrier().await;
        true
    }

    /// What people say to the job unasked, from the first message on [ARCP 15-7]. Only jobs of agents that were registered as
    /// [listening](crate::AgentOptions::listens) are told anything. A later run of the job hears everything again.
    pub fn messages(&self) -> Messages {
        Messages {
            ctx: self.clone(),
            heard: 0,
        }
    }
}

/// The messages of a job, in order; see [`JobContext::messages`].
pub struct Messages {
    ctx: JobContext,
    heard: usize,
}

/// Something that was said to a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobMessage {
    /// What was said.
    pub body: RawJson,
    /// Who said it.
    pub by: Option<String>,
    /// Where it stands in the job's log.
    pub seq: JobSeq,
}

impl Messages {
    /// The next message; `None` when the job has to end. Cancel safe.
    ///
    /// # Errors
    /// [`EventError::Store`] when the log cannot be read.
    pub async fn next(&mut self) -> Result<Option<JobMessage>, EventError> {
        let job = std::sync::Arc::clone(&self.ctx.job);
        loop {
            let drained = job.drained.notified();
            let next = {
                let core = job.lock();
                let next = core.talk.message(self.heard);
                next.filter(|seq| *seq <= core.log.last_committed())
            };
            if let Some(seq) = next {
                let message = self.read(seq).await?;
                self.heard += 1;
                return Ok(Some(message));
            }
            tokio::select! {
                () = drained => {}
                () = job.stop.cancelled() => return Ok(None),
            }
        }
    }

    async fn read(&self, seq: JobSeq) -> Result<JobMessage, EventError> {
        let block = self.ctx.hub.block(self.ctx.job.id(), seq).await?;
        let record = block.and_then(|block| block.payload(seq));
        let (_, payload) = record.ok_or_else(|| {
            EventError::Invalid(format!("the message at {seq} of the log is no longer kept"))
        })?;
        let event: EventPayload = payload.read().map_err(EventError::unserialisable)?;
        let message: event::Message = event.body.read().map_err(EventError::unserialisable)?;
        Ok(JobMessage {
            body: message.body,
            by: message.by,
            seq,
        })
    }
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages")
            .field("job", self.ctx.job_id())
            .field("heard", &self.heard)
            .finish()
    }
}
