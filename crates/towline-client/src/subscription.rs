//! Watching a job.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, future::BoxFuture};
use towline_proto::client::Request;
use towline_wire::{JobId, JobSeq, payload::Subscribed};

use crate::{
    ClientError, JobEvent, Outcome, ResultStream,
    feed::Feed,
    seat::Seat,
    shared::{Answer, Shared},
};

/// A subscribe to be sent; see [`crate::Client::subscribe`].
#[derive(Debug)]
#[must_use = "nothing is sent before it is awaited or sent"]
pub struct SubscribeBuilder {
    shared: Arc<Shared>,
    job: JobId,
    from: Option<JobSeq>,
    history: bool,
    input: bool,
}

impl SubscribeBuilder {
    pub(crate) const fn new(shared: Arc<Shared>, job: JobId) -> Self {
        Self {
            shared,
            job,
            from: None,
            history: false,
            input: false,
        }
    }

    /// History from the event after this one, counted in the job's own events ([`JobEvent::job_seq`]). Asks for history.
    pub const fn from(mut self, seq: JobSeq) -> Self {
        self.from = Some(seq);
        self.history = true;
        self
    }

    /// Whether what has happened is wanted too. Default: no.
    pub const fn history(mut self, history: bool) -> Self {
        self.history = history;
        self
    }

    /// Whether what the job was given is wanted too, in [`Subscribed::input`]; other runtimes than towline's pass that over,
    /// an input above 8 MiB is left out, and so is that of a job this client watches already. Default: no.
    pub const fn input(mut self, input: bool) -> Self {
        self.input = input;
        self
    }

    /// Subscribes.
    ///
    /// Dropping the future leaves the subscription to end by itself with the next event.
    ///
    /// # Errors
    /// [`ClientError::FeatureMissing`] without `subscribe`; [`ClientError::Refused`] when the job is unknown or may not be
    /// observed.
    pub async fn send(self) -> Result<Subscription, ClientError> {
        let Self {
            shared,
            job,
            from,
            history,
            input,
        } = self;
        let request = Request::Subscribe {
            job: job.clone(),
            from,
            history,
            input,
        };
        match shared.ask(request).await? {
            Answer::Subscribed(seat, subscribed) => {
                let after = history.then(|| from.unwrap_or_default());
                Ok(Subscription::new(seat, *subscribed, after, shared))
            }
            _ => Err(ClientError::stopped()),
        }
    }
}

/// Awaiting a subscribe sends it.
impl IntoFuture for SubscribeBuilder {
    type Output = Result<Subscription, ClientError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

/// A job that is watched. It cannot be cancelled from here [ARCP 7.6-7].
///
/// Events, outcome and back-pressure are those of a [`crate::JobHandle`]. Dropping it unsubscribes, when the next event
/// comes; [`unsubscribe`](Self::unsubscribe) does so at once.
#[derive(Debug)]
pub struct Subscription {
    feed: Feed,
    subscribed: Subscribed,
    shared: Arc<Shared>,
}

impl Subscription {
    fn new(seat: Seat, subscribed: Subscribed, after: Option<JobSeq>, shared: Arc<Shared>) -> Self {
        // Without its history, or from its end on, nothing comes of a job that is over.
        let comes = |after| after < subscribed.subscribed_from || !shared.counts_job_events();
        let over = subscribed.current_status.is_terminal() && !after.is_some_and(comes);
        let feed = Feed::new(seat.mailbox, shared.result_cap);
        Self {
            feed: feed.ended_before(over.then_some(subscribed.current_status)),
            subscribed,
            shared,
        }
    }

    /// The job.
    pub fn job_id(&self) -> &JobId {
        self.feed.job()
    }

    /// What the runtime said of the job.
    pub const fn subscribed(&self) -> &Subscribed {
        &self.subscribed
    }

    /// The next event; `None` once the job has ended and every event was given. Cancel safe.
    ///
    /// # Errors
    /// As [`JobHandle::next_event`](crate::JobHandle::next_event).
    pub async fn next_event(&mut self) -> Result<Option<JobEvent>, ClientError> {
        self.feed.next_event().await
    }

    /// How the job ended. A streamed result is whole only if it was watched from its first chunk. Cancel safe.
    ///
    /// # Errors
    /// As [`JobHandle::outcome`](crate::JobHandle::outcome), and [`ClientError::AlreadyEnded`] when the job was over
    /// before and its history was not asked for.
    pub async fn outcome(&mut self) -> Result<Outcome, ClientError> {
        self.feed.outcome().await
    }

    /// The result as it comes; see [`JobHandle::result_stream`](crate::JobHandle::result_stream).
    pub fn result_stream(&mut self) -> ResultStream<'_> {
        ResultStream::new(&mut self.feed)
    }

    /// The most bytes of a streamed result that are taken.
    pub fn set_result_cap(&mut self, bytes: u64) {
        self.feed.set_cap(bytes);
    }

    /// How many events are held before the session stops reading.
    pub fn set_buffer(&self, events: usize) {
        self.feed.set_buffer(events);
    }

    /// Lets events go as they come, except the chunks of a result.
    pub fn discard_events(&mut self) {
        self.feed.discard_events();
    }

    /// Stops watching.
    ///
    /// # Errors
    /// [`ClientError::SessionOver`] when there is no session any more.
    pub async fn unsubscribe(self) -> Result<(), ClientError> {
        let Self { feed, shared, .. } = self;
        shared.unsubscribe(feed).await
    }
}

impl Stream for Subscription {
    type Item = Result<JobEvent, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.feed.poll_event(cx)
    }
}
