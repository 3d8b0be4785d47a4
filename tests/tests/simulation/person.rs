//! A client that never gives up: it connects again, takes up its session or opens another one, and asks again for what was
//! refused for now.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::sleep,
};
use towline::client::{Client, ClientError, Connection, SessionOver, SubmitBuilder};
use towline_wire::{JobId, JobSeq};

use crate::{
    book::Book,
    observer::{Observed, Seat, Source},
    world::{Fate, World},
};

/// Decides about each connection, by its number from 0.
pub(crate) type Fates = Arc<dyn Fn(u64) -> Fate + Send + Sync>;

/// Observers at work.
type Watching = Arc<Mutex<JoinSet<Observed>>>;

/// One of the clients.
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) book: Book,
    seat: Seat,
    watching: Watching,
    keeper: JoinHandle<()>,
}

/// From where a job is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    Start,
    After(JobSeq),
    Now,
}

/// Makes connections for one person.
#[derive(Clone)]
struct Line {
    world: World,
    name: String,
    book: Book,
    seed: u64,
    fates: Fates,
    made: Arc<AtomicU64>,
}

impl Person {
    pub(crate) async fn enter(world: &World, name: String, seed: u64, fates: Fates) -> Self {
        let book = Book::new();
        let made = Arc::default();
        let line = Line {
            world: world.clone(),
            name: name.clone(),
            book: book.clone(),
            seed,
            fates,
            made,
        };
        let seat = Seat::new(line.dial().await);
        let watching = Watching::default();
        let keeper = tokio::spawn(line.keep(seat.clone(), Arc::clone(&watching)));
        Self {
            name,
            book,
            seat,
            watching,
            keeper,
        }
    }

    pub(crate) fn client(&self) -> Client {
        self.seat.client()
    }

    /// Submits once, and watches the job.
    pub(crate) async fn try_submit(
        &self,
        agent: &str,
        input: &Value,
    ) -> Result<JobId, ClientError> {
        let handle = with_key(self.client().submit(agent).input(input), input)
            .send()
            .await?;
        let id = handle.id().clone();
        let observed = Observed::new(
            format!("{} submitted {input}", self.name),
            id.clone(),
            JobSeq::ZERO,
        );
        self.watch(observed, Source::Own(Box::new(handle)));
        Ok(id)
    }

    /// Submits until it is accepted.
    pub(crate) async fn submit(&self, agent: &str, input: &Value) -> JobId {
        loop {
            match self.try_submit(agent, input).await {
                Ok(job) => return job,
                Err(error) => self.judge("submit", &error),
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Watches a job, if the runtime lets it.
    pub(crate) async fn try_subscribe(&self, job: &JobId, from: From) -> Result<(), ClientError> {
        let subscribe = self.client().subscribe(job.clone());
        let subscribe = match from {
            From::Start => subscribe.history(true),
            From::After(seq) => subscribe.from(seq),
            From::Now => subscribe,
        };
        let watched = subscribe.send().await?;
        let after = match from {
            From::Start => JobSeq::ZERO,
            From::After(seq) => seq,
            From::Now => watched.subscribed().subscribed_from,
        };
        let observed = Observed::new(
            format!("{} watches from {from:?}", self.name),
            job.clone(),
            after,
        );
        self.watch(observed, Source::Watched(Box::new(watched)));
        Ok(())
    }

    /// Watches a job, however long it takes to be let.
    pub(crate) async fn subscribe(&self, job: &JobId, from: From) {
        while let Err(error) = self.try_subscribe(job, from).await {
            self.judge("subscribe", &error);
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// What may go wrong is what may be tried again.
    pub(crate) fn judge(&self, what: &str, error: &ClientError) {
        if !error.is_retryable() && !matches!(error, ClientError::SessionOver(_)) {
            self.book.fault(format!("{}: {what}: {error}", self.name));
        }
    }

    /// Waits until everything that is watched has ended.
    pub(crate) async fn observed(&self) -> Vec<Observed> {
        let mut observed = Vec::new();
        loop {
            // Observers that are found while others end are in the next set.
            let mut set = std::mem::take(&mut *self.watching.lock());
            if set.is_empty() {
                return observed;
            }
            while let Some(done) = set.join_next().await {
                observed.push(done.expect("an observer ends by itself"));
            }
        }
    }

    /// Leaves for good.
    pub(crate) async fn leave(self) {
        self.keeper.abort();
        // A session that is over already is closed.
        let _ = self.client().close("done").await;
    }

    fn watch(&self, observed: Observed, source: Source) {
        self.watching
            .lock()
            .spawn(observed.watch(source, self.seat.clone()));
    }
}

fn with_key(submit: SubmitBuilder, input: &Value) -> SubmitBuilder {
    match input["key"].as_str() {
        Some(key) => submit.idempotency_key(key),
        None => submit,
    }
}

impl Line {
    /// Opens a session, however long it takes.
    async fn dial(&self) -> Client {
        loop {
            let (fates, made) = (Arc::clone(&self.fates), Arc::clone(&self.made));
            let fate = move |_| fates(made.fetch_add(1, Ordering::Relaxed));
            let seed = self
                .seed
                .wrapping_add(self.made.load(Ordering::Relaxed) << 20);
            match Client::dial(self.world.client_options(&self.book, seed, fate)).await {
                Ok(client) => return client,
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Opens another session when one is over, and looks after the jobs nobody asked for.
    async fn keep(self, seat: Seat, watching: Watching) {
        loop {
            let client = seat.client();
            let mut unsolicited = client.unsolicited_jobs();
            while let Some(job) = unsolicited.next().await {
                let observed = Observed::new(
                    format!("{} was given", self.name),
                    job.id().clone(),
                    JobSeq::ZERO,
                );
                watching
                    .lock()
                    .spawn(observed.watch(Source::Own(Box::new(job)), seat.clone()));
            }
            if let Connection::Over(why) = client.connection() {
                self.judge(&why);
            }
            seat.replace(self.dial().await);
        }
    }

    /// There is no way to lose a session while its window lasts: not even a welcome that never came costs one [ARCP 6.3-1].
    fn judge(&self, why: &SessionOver) {
        self.book
            .fault(format!("{}: the session is over: {why}", self.name));
    }
}
