//! Somebody who watches one job to its end, through whatever sessions it takes.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::sleep;
use towline::client::{Client, ClientError, JobEvent, JobHandle, Outcome, Subscription};
use towline_wire::{JobId, JobSeq, JobStatus, RawJson};

/// The client of an actor at the moment; another one when a session could not be resumed.
#[derive(Clone)]
pub(crate) struct Seat(Arc<Mutex<Client>>);

impl Seat {
    pub(crate) fn new(client: Client) -> Self {
        Self(Arc::new(Mutex::new(client)))
    }

    pub(crate) fn client(&self) -> Client {
        self.0.lock().clone()
    }

    pub(crate) fn replace(&self, client: Client) {
        *self.0.lock() = client;
    }
}

/// What an observer saw of a job.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) who: String,
    pub(crate) job: JobId,
    /// The job's own number of the event before the first one it wanted.
    pub(crate) after: JobSeq,
    /// Every event, in the order it was given out.
    pub(crate) events: Vec<(JobSeq, RawJson)>,
    /// How the job ended; unknown only to those who did not see all of it.
    pub(crate) end: Option<JobStatus>,
    /// Whether one handle saw all of it.
    pub(crate) is_whole: bool,
}

/// Where events come from.
pub(crate) enum Source {
    Own(Box<JobHandle>),
    Watched(Box<Subscription>),
}

impl Source {
    async fn next_event(&mut self) -> Result<Option<JobEvent>, ClientError> {
        match self {
            Self::Own(job) => job.next_event().await,
            Self::Watched(job) => job.next_event().await,
        }
    }

    async fn outcome(&mut self) -> Result<Outcome, ClientError> {
        match self {
            Self::Own(job) => job.outcome().await,
            Self::Watched(job) => job.outcome().await,
        }
    }
}

impl Observed {
    pub(crate) fn new(who: String, job: JobId, after: JobSeq) -> Self {
        Self {
            who,
            job,
            after,
            events: Vec::new(),
            end: None,
            is_whole: after == JobSeq::ZERO,
        }
    }

    fn last(&self) -> JobSeq {
        self.events.last().map_or(self.after, |(seq, _)| *seq)
    }

    /// Watches to the end. When the session is over, goes on in the next one from the last event it has.
    pub(crate) async fn watch(mut self, mut source: Source, seat: Seat) -> Self {
        loop {
            match source.next_event().await {
                Ok(Some(event)) => self.take(&event),
                Ok(None) => match source.outcome().await {
                    Ok(outcome) => {
                        self.end = Some(outcome.status());
                        return self;
                    }
                    // A result that was streamed can only be put together by who saw its first piece.
                    Err(ClientError::Result(_) | ClientError::AlreadyEnded { .. })
                        if !self.is_whole =>
                    {
                        return self;
                    }
                    Err(error @ ClientError::Result(_)) => panic!("{}: {error:?}", self.who),
                    Err(_) => source = self.find_again(&seat).await,
                },
                Err(ClientError::SessionOver(_) | ClientError::EventsDropped { .. }) => {
                    source = self.find_again(&seat).await;
                }
                Err(error) => panic!("{}: {error}", self.who),
            }
        }
    }

    fn take(&mut self, event: &JobEvent) {
        self.events
            .push((event.job_seq().unwrap_or_default(), event.raw().clone()));
    }

    async fn find_again(&mut self, seat: &Seat) -> Source {
        self.is_whole = false;
        loop {
            let found = seat
                .client()
                .subscribe(self.job.clone())
                .from(self.last())
                .send()
                .await;
            match found {
                Ok(watched) => return Source::Watched(Box::new(watched)),
                Err(_) => sleep(Duration::from_millis(300)).await,
            }
        }
    }
}
