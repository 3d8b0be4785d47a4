//! A store in one SQLite file.

mod apply;
mod cache;
mod checkpoint;
mod deliveries;
mod error;
mod maintain;
mod open;
mod options;
mod read;
mod readers;
mod retain;
mod rows;
mod running;
mod schema;
mod state;
mod verify;
mod writer;

use std::{path::Path, sync::Arc};

use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

pub use self::options::{Durability, SqliteOptions};
use self::{
    cache::Lookup,
    error::{DbError, no_thread},
    open::Place,
    rows::{all, read_credential, read_idempotency},
    running::Running,
    writer::{Command, Shared, Writer},
};
use crate::{
    AuditRow, Batch, Block, Committed, CredentialRow, DeliveryQuery, DeliveryRow, EventStore,
    IdempotencyRow, JobPage, JobQuery, JobRow, Principal, Recovered, RetentionPolicy,
    RetentionReport, SessionRow, StoreError, StoreFuture, StoreStats,
};

/// Keeps everything in one SQLite file, with its write-ahead log beside it.
///
/// One thread writes: batches that wait for it become one transaction, so that commits cost the disk one sync for all of
/// them (or none, by [`Durability`]). A few threads read. The latest events stay in memory, so that whoever follows a
/// job does not touch the file. None of this needs a particular async runtime.
///
/// One process has the file at a time; a lock file beside it (`NAME-lock`) sees to that, and the system releases the
/// lock however the process ends. The file is readable by its owner alone.
///
/// Dropping the store without [`EventStore::close`] waits for the commit under way.
///
/// ```no_run
/// # async fn example() -> Result<(), towline_store::StoreError> {
/// use towline_store::{Durability, SqliteOptions, SqliteStore};
///
/// let store = SqliteStore::open("towline.db").await?;
/// let careful = SqliteOptions::new().durability(Durability::Power);
/// let other = SqliteStore::open_with("other.db", careful).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SqliteStore {
    place: Place,
    shared: Arc<Shared>,
    /// `None` once the store is closed.
    running: RwLock<Option<Running>>,
}

impl SqliteStore {
    /// Opens a store, creating the file and its directory when they are not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a process has it open, [`StoreError::Incompatible`] when the file is something else or
    /// of a later version, and whatever keeps it from being read.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::open_with(path, SqliteOptions::new()).await
    }

    /// Opens a store with options.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub async fn open_with(
        path: impl AsRef<Path>,
        options: SqliteOptions,
    ) -> Result<Self, StoreError> {
        let place = Place::of(path.as_ref())?;
        let (running, shared) = Running::start(place.clone(), options).await?;
        Ok(Self {
            place,
            shared,
            running: RwLock::new(Some(running)),
        })
    }

    /// Has the writer do something between two transactions.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> StoreFuture<'static, T> {
        let (answer, asked) = oneshot::channel();
        let work = move |writer: &mut Writer| drop(answer.send(work(writer)));
        self.ask(Command::Run(Box::new(work)), asked)
    }

    fn ask<T: Send + 'static>(
        &self,
        command: Command,
        asked: oneshot::Receiver<Result<T, StoreError>>,
    ) -> StoreFuture<'static, T> {
        let sent = self
            .running
            .read()
            .as_ref()
            .is_some_and(|running| running.write(command));
        Box::pin(async move {
            if sent {
                answer(asked).await
            } else {
                Err(StoreError::Closed)
            }
        })
    }

    /// Has a reader do something.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, DbError> + Send + 'static,
    ) -> StoreFuture<'static, T> {
        let (answered, asked) = oneshot::channel();
        let work =
            move |conn: &Connection| drop(answered.send(work(conn).map_err(StoreError::from)));
        let sent = self
            .running
            .read()
            .as_ref()
            .is_some_and(|running| running.read(Box::new(work)));
        Box::pin(async move {
            if sent {
                answer(asked).await
            } else {
                Err(StoreError::Closed)
            }
        })
    }
}

/// An answer that never comes is the store's failure, not the caller's.
async fn answer<T>(asked: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    asked.await.unwrap_or_else(|_| {
        Err(StoreError::Failed(
            "the store's thread gave no answer".into(),
        ))
    })
}

impl EventStore for SqliteStore {
    fn commit(&self, batch: Batch) -> StoreFuture<'_, Committed> {
        let (answer, asked) = oneshot::channel();
        self.ask(Command::Commit(batch, answer), asked)
    }

    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        let from = from.max(JobSeq::FIRST);
        if self.running.read().is_none() {
            return Box::pin(std::future::ready(Err(StoreError::Closed)));
        }
        match self.shared.cache.look_up(job, from, max_bytes) {
            Lookup::Found(blocks) => Box::pin(std::future::ready(Ok(blocks))),
            Lookup::Partly(recent) => {
                let job = job.clone();
                self.read(move |conn| read::blocks(conn, &job, from, max_bytes, &recent))
            }
        }
    }

    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        let (job, shared) = (job.clone(), Arc::clone(&self.shared));
        self.read(move |conn| read::job(conn, &shared.cache, &job))
    }

    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>> {
        let session = session.clone();
        self.read(move |conn| read::session(conn, "id = ?1", session.as_str()))
    }

    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>> {
        let hash = *hash;
        self.read(move |conn| {
            let good = "token_hash = ?1 OR previous_token_hash = ?1 OR skipped_token_hash = ?1";
            read::session(conn, good, hash)
        })
    }

    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>> {
        let session = session.clone();
        // The file is behind with streams; the writer knows.
        self.run(move |writer| {
            writer.fresh()?;
            let stream = writer.state.streams.get(&session);
            Ok(stream.map(|stream| stream.last))
        })
    }

    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage> {
        let shared = Arc::clone(&self.shared);
        self.read(move |conn| read::list(conn, &shared.cache, &query))
    }

    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>> {
        let (principal, key) = (principal.clone(), key.to_owned());
        self.read(move |conn| {
            let sql = "SELECT principal, key, job, fingerprint, created_at FROM idempotency \
                       WHERE principal = ?1 AND key = ?2";
            let mut statement = conn.prepare_cached(sql)?;
            let row = |row: &rusqlite::Row<'_>| Ok(read_idempotency(row));
            statement
                .query_row(params![principal.as_str(), key], row)
                .optional()?
                .transpose()
        })
    }

    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        let job = job.clone();
        self.read(move |conn| {
            let sql =
                "SELECT c.value FROM checkpoint c JOIN job j ON j.key = c.job WHERE j.id = ?1";
            let text = conn
                .prepare_cached(sql)?
                .query_row([job.as_str()], |row| row.get::<_, String>(0))
                .optional()?;
            Ok(text.map(|text| RawJson::from_checked(text.into())))
        })
    }

    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        let job = job.clone();
        self.read(move |conn| {
            let sql = "SELECT id, job, outstanding, data FROM credential WHERE job = ?1 ORDER BY n";
            all(
                &mut conn.prepare_cached(sql)?.query([job.as_str()])?,
                read_credential,
            )
        })
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>> {
        self.read(move |conn| deliveries::list(conn, &query))
    }

    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>> {
        let id = id.to_owned();
        self.read(move |conn| deliveries::find(conn, &id))
    }

    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>> {
        self.read(move |conn| maintain::latest_audits(conn, latest))
    }

    fn recover(&self) -> StoreFuture<'_, Recovered> {
        self.run(|writer| {
            writer.flush()?;
            Ok(read::recover(&writer.conn)?)
        })
    }

    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport> {
        let keep = keep.iter().cloned().collect();
        Box::pin(self.remove_surplus(now, policy.clone(), keep))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        let stats = if self.running.read().is_some() {
            let totals = *self.shared.totals.lock();
            Ok(StoreStats {
                jobs: totals.tally.jobs,
                live_jobs: totals.tally.live,
                events: totals.tally.events,
                event_bytes: totals.tally.bytes,
                sessions: totals.sessions,
                disk_bytes: self.place.bytes(),
            })
        } else {
            Err(StoreError::Closed)
        };
        Box::pin(std::future::ready(stats))
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        let running = self.running.write().take();
        Box::pin(async move {
            let Some(running) = running else {
                return Ok(());
            };
            let (done, finished) = oneshot::channel();
            let stop = move || {
                drop(running);
                // Whoever closes and does not wait does not want to know.
                let _ = done.send(());
            };
            std::thread::Builder::new()
                .name("towline-store-close".to_owned())
                .spawn(stop)
                .map_err(no_thread)?;
            finished
                .await
                .map_err(|_| StoreError::Failed("the store did not close in order".into()))
        })
    }
}
