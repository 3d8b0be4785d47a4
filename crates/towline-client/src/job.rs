//! A job of this session.

use std::{
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWrite;
use towline_proto::client::Request;
use towline_wire::{JobId, JobSeq, QuestionId, RawJson, payload::Accepted};

use crate::{
    AnswerBuilder, ClientError, JobEvent, Outcome, ResultStream,
    feed::Feed,
    mailbox::Mailbox,
    result,
    shared::{Answer, Shared},
};

/// A job, from its acceptance to its end.
///
/// Read its events with [`next_event`](Self::next_event) (or as a `Stream`), or go straight to
/// [`outcome`](Self::outcome). All methods may be given up and called again: nothing is lost when a future is dropped.
///
/// # What happens when it is not read
/// All jobs of a session share one connection. A handle holds a bounded number of events
/// ([`ClientOptions::buffer`](crate::ClientOptions::buffer)); when it is full, the session stops reading its connection
/// until the handle is read, so that memory stays bounded and the runtime notices. **Everything behind those events then
/// waits too**: events of other jobs and replies to requests, which may time out
/// ([`ClientError::Timeout`] names the job that is in the way). The session stays alive meanwhile. So of several handles
/// read all, drop those you do not need, or say [`discard_events`](Self::discard_events). Waiting for the outcome alone
/// never stops the session: events are then let go as they come.
///
/// # Dropping it
/// Its events are let go; the job goes on. Cancel it to end it.
#[derive(Debug)]
pub struct JobHandle {
    feed: Feed,
    accepted: Option<Arc<Accepted>>,
    shared: Arc<Shared>,
}

/// What makes a handle.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) accepted: Option<Arc<Accepted>>,
}

impl JobHandle {
    pub(crate) fn new(seat: Seat, shared: Arc<Shared>) -> Self {
        let feed = Feed::new(seat.mailbox, shared.result_cap);
        Self {
            feed,
            accepted: seat.accepted,
            shared,
        }
    }

    /// The job.
    pub fn id(&self) -> &JobId {
        self.feed.job()
    }

    /// What was granted. `None` for a job attached after a resume from a runtime that did not say it again.
    pub fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_deref()
    }

    /// The next event; `None` once the job has ended and every event was given. Chunks of a streamed result are events
    /// too, and are also put together for the outcome.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// [`ClientError::Disconnected`] while there is no connection and no connector to make one: after
    /// [`Client::resume_with`](crate::Client::resume_with) the handle goes on. [`ClientError::SessionOver`] when nothing
    /// can come any more.
    pub async fn next_event(&mut self) -> Result<Option<JobEvent>, ClientError> {
        self.feed.next_event().await
    }

    /// How the job ended, with its result. Events not yet read are let go.
    ///
    /// Cancel safe; a second call gives the same again.
    ///
    /// # Errors
    /// As [`next_event`](Self::next_event), and [`ClientError::Result`] when a streamed result is not whole or above the
    /// cap. A job that failed is no error here.
    pub async fn outcome(&mut self) -> Result<Outcome, ClientError> {
        self.feed.outcome().await
    }

    /// The result as bytes.
    ///
    /// # Errors
    /// As [`outcome`](Self::outcome), and [`ClientError::JobFailed`] when the job did not succeed.
    pub async fn result_bytes(&mut self) -> Result<Bytes, ClientError> {
        self.outcome().await?.into_success()?.result.to_bytes()
    }

    /// The result as text.
    ///
    /// # Errors
    /// As [`result_bytes`](Self::result_bytes), and [`ClientError::ResultFormat`] when it is not UTF-8.
    pub async fn result_text(&mut self) -> Result<String, ClientError> {
        self.outcome().await?.into_success()?.result.to_text()
    }

    /// The result as JSON, read as a type.
    ///
    /// # Errors
    /// As [`result_bytes`](Self::result_bytes), and [`ClientError::ResultFormat`] when it does not fit.
    pub async fn result_json<T: DeserializeOwned>(&mut self) -> Result<T, ClientError> {
        self.outcome().await?.into_success()?.result.to_json()
    }

    /// The result as it comes, piece by piece, without holding it in memory. Other events are let go. An inline result is
    /// one piece.
    pub fn result_stream(&mut self) -> ResultStream<'_> {
        ResultStream::new(&mut self.feed)
    }

    /// Writes the result as it comes; gives its size in bytes.
    ///
    /// Not cancel safe: what was written stays written.
    ///
    /// # Errors
    /// As [`result_bytes`](Self::result_bytes), and [`ClientError::Write`].
    pub async fn write_result_to(
        &mut self,
        writer: impl AsyncWrite + Unpin,
    ) -> Result<u64, ClientError> {
        result::copy(self.result_stream(), writer).await
    }

    /// Writes the result to a file that has its name only once it is whole: until then it is `PATH.part`, which is removed
    /// when the result does not come. Gives its size in bytes.
    ///
    /// # Errors
    /// As [`write_result_to`](Self::write_result_to).
    pub async fn save_result(&mut self, path: impl AsRef<Path>) -> Result<u64, ClientError> {
        result::save(self.result_stream(), path.as_ref()).await
    }

    /// The most bytes of a streamed result this handle takes. Default:
    /// [`ClientOptions::result_cap`](crate::ClientOptions::result_cap).
    pub fn set_result_cap(&mut self, bytes: u64) {
        self.feed.set_cap(bytes);
    }

    /// How many events this handle holds before the session stops reading. Default:
    /// [`ClientOptions::buffer`](crate::ClientOptions::buffer).
    pub fn set_buffer(&self, events: usize) {
        self.feed.set_buffer(events);
    }

    /// Lets events go as they come, except the chunks of a result: the handle never stops the session, and
    /// [`outcome`](Self::outcome) still works.
    pub fn discard_events(&mut self) {
        self.feed.discard_events();
    }

    /// Asks the runtime to end the job. It ends a little later: [`outcome`](Self::outcome) says as what.
    ///
    /// Dropping the future does not take the request back.
    ///
    /// # Errors
    /// [`ClientError::Refused`] when the job is over already, or not this session's.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<(), ClientError> {
        self.shared.cancel(self.id().clone(), reason.into()).await
    }

    /// Answers a question that the job asked with an
    /// [`Event::InputRequest`](towline_wire::Event::InputRequest). Awaiting it sends it.
    ///
    /// ```no_run
    /// # async fn run(mut job: towline_client::JobHandle) -> Result<(), Box<dyn std::error::Error>> {
    /// use towline_wire::Event;
    ///
    /// while let Some(event) = job.next_event().await? {
    ///     if let Event::InputRequest(request) = event.event()? {
    ///         println!("{}", request.title);
    ///         job.answer(request.question_id, true).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn answer(&self, question: QuestionId, answer: impl Into<RawJson>) -> AnswerBuilder {
        let job = self.id().clone();
        AnswerBuilder::new(self.shared.clone(), job, question, answer.into())
    }

    /// Tells the job something, unasked; see [`Client::say`](crate::Client::say).
    ///
    /// # Errors
    /// As [`Client::say`](crate::Client::say).
    pub async fn say(&self, body: impl Into<RawJson>) -> Result<JobSeq, ClientError> {
        self.shared.say(self.id().clone(), body.into()).await
    }
}

impl Shared {
    pub(crate) async fn cancel(&self, job: JobId, reason: String) -> Result<(), ClientError> {
        match self.ask(Request::Cancel { job, reason }).await? {
            Answer::Done => Ok(()),
            _ => Err(ClientError::stopped()),
        }
    }
}

impl Stream for JobHandle {
    type Item = Result<JobEvent, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.feed.poll_event(cx)
    }
}
