//! The client: one session, for as many tasks as share it.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use towline_proto::client::{Counters, Request};
use towline_transport::Transport;
use towline_wire::{
    JobId, JobSeq, QuestionId, RawJson,
    payload::{OpenQuestion, Submit},
};

use crate::{
    AnswerBuilder, ClientError, ClientOptions, Connection, JobHandle, ListBuilder, ResumeState,
    SessionInfo, SubmitBuilder, SubscribeBuilder, UnsolicitedJobs,
    driver::Driver,
    shared::{Boxed, Command, Shared, over},
};

/// A session with a runtime.
///
/// Clones share the session. A task behind it reads and writes the connection, answers pings, acknowledges events and,
/// given a [connector](ClientOptions::connector), connects and resumes after a loss. Requests made meanwhile wait for
/// that, at most the reply timeout.
///
/// The session is closed when every clone and every handle is dropped; [`close`](Self::close) does so and waits for the
/// answer. Jobs go on either way.
///
/// ```no_run
/// # async fn run(transport: towline_transport::MemoryTransport) -> Result<(), towline_client::ClientError> {
/// use towline_client::{Client, ClientOptions};
///
/// let client = Client::connect(transport, ClientOptions::bearer("secret")).await?;
/// let mut job = client.submit("echo").input([1, 2]).send().await?;
/// while let Some(event) = job.next_event().await? {
///     println!("{}", event.kind());
/// }
/// let echoed: Vec<u32> = job.result_json().await?;
/// client.close("done").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

impl Client {
    /// Defaults to start from; see [`ClientOptions`].
    pub fn builder() -> ClientOptions {
        ClientOptions::new()
    }

    /// Opens a session, or resumes one ([`ClientOptions::resume`]), on a connection.
    ///
    /// Dropping the future gives the connection up.
    ///
    /// # Errors
    /// [`ClientError::Handshake`] when the runtime refuses, does not answer, or speaks an older protocol.
    pub async fn connect(
        transport: impl Transport,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let (shared, greeting) = Driver::start(Box::new(transport), options);
        let client = Self { shared };
        match greeting.await {
            Ok(greeted) => greeted.map(|()| client),
            Err(_) => Err(ClientError::stopped()),
        }
    }

    /// Connects with the connector of the options, which also serves to reconnect. The first try has to succeed.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] without a connector, [`ClientError::Connect`] when it fails, and as
    /// [`connect`](Self::connect).
    pub async fn dial(options: ClientOptions) -> Result<Self, ClientError> {
        let connector = options.connector.clone();
        let connector = connector
            .ok_or_else(|| ClientError::Invalid("the options have no connector".to_owned()))?;
        let transport = connector.connect().await?;
        Self::connect(transport, options).await
    }

    /// A job to be submitted to an agent: `name`, or `name@version` (which needs `agent_versions`).
    pub fn submit(&self, agent: impl Into<String>) -> SubmitBuilder {
        SubmitBuilder::new(self.shared.clone(), agent.into())
    }

    /// A job to be submitted as a payload says that was made elsewhere.
    pub fn submit_payload(&self, submit: Submit) -> SubmitBuilder {
        SubmitBuilder::of(self.shared.clone(), submit)
    }

    /// Asks the runtime to end a job of this session; see [`JobHandle::cancel`].
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the job is unknown, over, or not this session's.
    pub async fn cancel(&self, job: JobId, reason: impl Into<String>) -> Result<(), ClientError> {
        self.shared.cancel(job, reason.into()).await
    }

    /// Answers a question of a job: one of this session's, or of others where one may
    /// ([`Client::inbox`]). Awaiting it sends it.
    ///
    /// ```no_run
    /// # async fn run(client: towline_client::Client) -> Result<(), towline_client::ClientError> {
    /// for question in client.inbox().await? {
    ///     println!("{}: {}", question.agent, question.request.title);
    ///     let id = question.request.question_id.clone();
    ///     client.answer(question.job_id, id, true).note("looks fine").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn answer(
        &self,
        job: JobId,
        question: QuestionId,
        answer: impl Into<RawJson>,
    ) -> AnswerBuilder {
        AnswerBuilder::new(self.shared.clone(), job, question, answer.into())
    }

    /// Tells a running job something, unasked. Gives where that stands in the job's log: its agent will hear it.
    ///
    /// Dropping the future does not take it back. It is said once: when the connection is lost before the runtime answered,
    /// it fails and may have been said.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the job's agent does not listen, or the job is over or not one that may be spoken to;
    /// [`ClientError::FeatureMissing`] when the runtime has no questions to people.
    pub async fn say(&self, job: JobId, body: impl Into<RawJson>) -> Result<JobSeq, ClientError> {
        self.shared.say(job, body.into()).await
    }

    /// The open questions that one may answer, of all jobs there are, the oldest first.
    ///
    /// # Errors
    /// [`ClientError::FeatureMissing`] when the runtime has no questions to people.
    pub async fn inbox(&self) -> Result<Vec<OpenQuestion>, ClientError> {
        self.shared.questions(None).await
    }

    /// The open questions of one job.
    ///
    /// # Errors
    /// As [`Client::inbox`].
    pub async fn questions_of(&self, job: &JobId) -> Result<Vec<OpenQuestion>, ClientError> {
        self.shared.questions(Some(job.clone())).await
    }

    /// A job to be watched, of whatever session.
    pub fn subscribe(&self, job: JobId) -> SubscribeBuilder {
        SubscribeBuilder::new(self.shared.clone(), job)
    }

    /// The jobs this principal may see.
    pub fn list_jobs(&self) -> ListBuilder {
        ListBuilder::new(self.shared.clone())
    }

    /// Jobs that were delivered to this session without a request: children that its jobs delegated, and jobs from before
    /// a resume. Each is given once.
    pub fn unsolicited_jobs(&self) -> UnsolicitedJobs {
        UnsolicitedJobs::new(self.shared.clone())
    }

    /// The handle of a job that was delivered without a request.
    ///
    /// # Errors
    /// [`ClientError::NotHere`] when no such job was delivered, or it was taken already.
    pub fn attach(&self, job: &JobId) -> Result<JobHandle, ClientError> {
        let seat = self.shared.unclaimed.take(job, self.shared.buffer);
        let seat = seat.ok_or_else(|| ClientError::NotHere { job: job.clone() })?;
        Ok(JobHandle::new(seat, self.shared.clone()))
    }

    /// Asks whether the runtime is there; gives the time the answer took. Needs `heartbeat`.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] when it does not answer.
    pub async fn ping(&self) -> Result<Duration, ClientError> {
        let asked = Instant::now();
        self.shared.ask(Request::Ping).await?;
        Ok(asked.elapsed())
    }

    /// What was settled when the session was opened, or last resumed.
    pub fn session(&self) -> Option<Arc<SessionInfo>> {
        self.shared.view.borrow().session.clone()
    }

    /// How the connection is now.
    pub fn connection(&self) -> Connection {
        self.shared.view.borrow().connection.clone()
    }

    /// Waits until the connection is no longer as [`connection`](Self::connection) last showed it to this future, and says
    /// how it is then. Cancel safe.
    pub fn connection_changed(&self) -> impl Future<Output = Connection> + Send + use<> {
        let mut view = self.shared.view.clone();
        view.mark_unchanged();
        async move {
            match view.changed().await {
                Ok(()) => view.borrow().connection.clone(),
                Err(_) => over(&view),
            }
        }
    }

    /// Takes the session up on another connection, after a loss without a connector.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when the connection is not lost, and as [`connect`](Self::connect).
    pub async fn resume_with(&self, transport: impl Transport) -> Result<(), ClientError> {
        let transport = Boxed(Box::new(transport));
        self.shared
            .tell(|reply| Command::ResumeWith { transport, reply })
            .await?
    }

    /// What it takes to resume this session later, or from another process: as of now, with the last event that its
    /// handles have given out. `None` when the runtime gave no token. Good until the next resume.
    ///
    /// # Errors
    /// [`ClientError::SessionOver`] when the session is over.
    pub async fn resume_state(&self) -> Result<Option<ResumeState>, ClientError> {
        self.shared
            .tell(|reply| Command::ResumeState { reply })
            .await
    }

    /// What was counted since the session began.
    ///
    /// # Errors
    /// [`ClientError::SessionOver`] when the session is over.
    pub async fn counters(&self) -> Result<Counters, ClientError> {
        self.shared.tell(|reply| Command::Counters { reply }).await
    }

    /// Closes the session: acknowledges what was processed, says goodbye and waits for the answer, at most 5 s. Jobs go on,
    /// and the session can be resumed for the runtime's window.
    ///
    /// Dropping the future does not take the close back.
    ///
    /// # Errors
    /// None when the session is over already.
    pub async fn close(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        let reason = reason.into();
        match self
            .shared
            .tell(|reply| Command::Close { reason, reply })
            .await
        {
            Ok(()) | Err(ClientError::SessionOver(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Lets the session go without a word: nothing more is acknowledged, nothing is closed, the connection is dropped. To a
    /// runtime that forgets closed sessions, or frees what was acknowledged, the session stays what it was, to be taken up
    /// with the [`Client::resume_state`] of before.
    ///
    /// # Errors
    /// None when the session is over already.
    pub async fn leave(&self) -> Result<(), ClientError> {
        match self.shared.tell(|reply| Command::Leave { reply }).await {
            Ok(()) | Err(ClientError::SessionOver(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
