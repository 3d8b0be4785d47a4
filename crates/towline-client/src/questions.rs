//! Answering questions of jobs, and speaking to jobs.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use towline_proto::client::Request;
use towline_wire::{
    JobId, JobSeq, QuestionId, RawJson,
    payload::{self, OpenQuestion},
};

use crate::{
    ClientError,
    shared::{Answer, Shared},
};

/// An answer to a question, being put together; see [`Client::answer`](crate::Client::answer).
#[derive(Debug)]
#[must_use = "nothing is answered before it is awaited"]
pub struct AnswerBuilder {
    shared: Arc<Shared>,
    answer: payload::Answer,
}

impl AnswerBuilder {
    pub(crate) fn new(
        shared: Arc<Shared>,
        job: JobId,
        question: QuestionId,
        answer: RawJson,
    ) -> Self {
        Self {
            shared,
            answer: payload::Answer {
                job_id: Some(job),
                question_id: question,
                answer,
                note: None,
                remember: None,
            },
        }
    }

    /// A word beside the answer, for the job's log.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.answer.note = Some(note.into());
        self
    }

    /// A yes to an operation holds for everything that the job's ask pattern covers, and for the rest of the job.
    pub const fn remember(mut self, remember: bool) -> Self {
        self.answer.remember = Some(remember);
        self
    }

    /// Sends it, and waits until it is durable.
    ///
    /// Dropping the future does not take the answer back.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when somebody else was earlier (the details say who and when), the answer does not fit the
    /// question, or this session may not answer it; [`ClientError::FeatureMissing`] when the runtime has no questions to people.
    pub async fn send(self) -> Result<(), ClientError> {
        let request = Request::Answer(Box::new(self.answer));
        self.shared.ask(request).await.map(drop)
    }
}

/// Awaiting an answer sends it.
impl IntoFuture for AnswerBuilder {
    type Output = Result<(), ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Shared {
    pub(crate) async fn say(&self, job: JobId, body: RawJson) -> Result<JobSeq, ClientError> {
        match self.ask(Request::Speak { job, body }).await? {
            Answer::Spoken(accepted) => Ok(accepted.job_seq),
            _ => Err(ClientError::stopped()),
        }
    }

    pub(crate) async fn questions(
        &self,
        job: Option<JobId>,
    ) -> Result<Vec<OpenQuestion>, ClientError> {
        match self.ask(Request::Inbox { job }).await? {
            Answer::Questions(questions) => Ok(questions.questions),
            _ => Err(ClientError::stopped()),
        }
    }
}
