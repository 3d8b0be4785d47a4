//! The store: its writer, its readers, and what is asked of them.

use std::{fmt, pin::Pin, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use towline_store::{
    AuditRow, Batch, Block, Committed, CredentialRow, DeliveryQuery, DeliveryRow, EventStore,
    IdempotencyRow, JobPage, JobQuery, JobRow, Principal, Recovered, RetentionPolicy,
    RetentionReport, SessionRow, StoreError, StoreFuture, StoreStats,
};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

use crate::{
    address::Address,
    deliveries,
    line::Connector,
    membership,
    options::PostgresOptions,
    read,
    readers::Readers,
    retain::{Chore, Done},
    shared::Shared,
    writer::{Command, Reply, Writer},
};

/// Keeps everything in a PostgreSQL database (14 or later), in a schema of its own.
///
/// One connection writes, a few read, one shows each second that this process lives. All of them go to the server that takes
/// writes, of whichever hosts the address names. It needs tokio, and one process has the store at a time: see
/// [`PostgresOptions::standby`].
///
/// Dropping the store without [`EventStore::close`] leaves its place to whoever finds its connection gone.
///
/// ```no_run
/// # async fn example() -> Result<(), towline_store::StoreError> {
/// use towline_postgres::{PostgresOptions, PostgresStore};
///
/// let store = PostgresStore::open("postgres://towline@localhost/towline").await?;
/// let careful = PostgresOptions::new().node("a").require_sync(true);
/// let other = PostgresStore::open_with("postgres://towline@db1,db2/towline", careful).await?;
/// # Ok(()) }
/// ```
pub struct PostgresStore {
    shown: String,
    incarnation: i64,
    shared: Arc<Shared>,
    readers: Readers,
    /// `None` once the store is closed.
    commands: RwLock<Option<mpsc::Sender<Command>>>,
    living: CancellationToken,
    _stop: DropGuard,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("address", &self.shown)
            .field("incarnation", &self.incarnation)
            .finish_non_exhaustive()
    }
}

/// Reads on a connection; once more on another one where the first was broken, as all of them are after a failover.
macro_rules! reading {
    ($store:ident, $client:ident, $read:expr) => {
        Box::pin(async move {
            $store.check_open()?;
            {
                let object = $store.readers.client().await?;
                let $client = &object;
                let result = $read.await;
                if result.is_ok() || !object.is_closed() {
                    return result;
                }
            }
            let object = $store.readers.client().await?;
            let $client = &object;
            $read.await
        })
    };
}

impl PostgresStore {
    /// Opens a store, making its tables when they are not there.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a process has it that lives, [`StoreError::Incompatible`] when the address cannot be used or
    /// the tables are of a later version, and whatever keeps the database from being reached.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with(url, PostgresOptions::new()).await
    }

    /// Opens a store with options. Not cancel safe: dropped at the wrong moment, it leaves an incarnation that has the store
    /// until its silence is noticed.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn open_with(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let address = Address::parse(url, &options)?;
        let shown = address.to_string();
        let connector = Arc::new(Connector::new(address, options.require_sync)?);
        let (me, line) = membership::join(&connector, &options).await?;
        connector.tell_durability().await;
        let shared = Arc::new(Shared::new());
        let readers = Readers::new(&connector)?;
        let mut writer = Writer::new(Arc::clone(&connector), Arc::clone(&shared), me);
        writer.start().await?;
        drop(line);
        let (commands, asked) = mpsc::channel(WAITING);
        tokio::spawn(writer.run(asked));
        let living = CancellationToken::new();
        let life = membership::live(connector, Arc::clone(&shared), me, living.clone());
        tokio::spawn(life);
        Ok(Self {
            shown,
            incarnation: me,
            shared,
            readers,
            commands: RwLock::new(Some(commands)),
            _stop: living.clone().drop_guard(),
            living,
        })
    }

    /// Fails when the store is closed.
    fn check_open(&self) -> Result<(), StoreError> {
        match &*self.commands.read() {
            Some(_) => Ok(()),
            None => Err(StoreError::Closed),
        }
    }

    /// Has the writer do something.
    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, StoreError> {
        let commands = self.commands.read().clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let gone = || StoreError::Failed("the store's task gave no answer".into());
        let sent = commands.send(command(reply)).await;
        sent.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    pub(crate) async fn chore(&self, chore: Chore) -> Result<Done, StoreError> {
        self.ask(|reply| Command::Chore(chore, reply)).await
    }
}

impl EventStore for PostgresStore {
    fn commit(&self, batch: Batch) -> StoreFuture<'_, Committed> {
        Box::pin(self.ask(|reply| Command::Commit(batch, reply)))
    }

    fn read_job<'a>(
        &'a self,
        job: &'a JobId,
        from: JobSeq,
        max_bytes: usize,
    ) -> StoreFuture<'a, Vec<Arc<Block>>> {
        let from = from.max(JobSeq::FIRST);
        reading!(self, client, read::blocks(client, job, from, max_bytes))
    }

    fn job<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<JobRow>> {
        reading!(self, client, read::job(client, job))
    }

    fn session<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<SessionRow>> {
        let id = session.as_str().as_bytes();
        reading!(self, client, read::session(client, "id = $1", id))
    }

    fn session_by_token<'a>(&'a self, hash: &'a [u8; 32]) -> StoreFuture<'a, Option<SessionRow>> {
        let good = "token_hash = $1 OR previous_token_hash = $1 OR skipped_token_hash = $1";
        reading!(self, client, read::session(client, good, hash))
    }

    fn stream_end<'a>(&'a self, session: &'a SessionId) -> StoreFuture<'a, Option<EventSeq>> {
        Box::pin(self.ask(|reply| Command::StreamEnd(session.clone(), reply)))
    }

    fn list_jobs(&self, query: JobQuery) -> StoreFuture<'_, JobPage> {
        reading!(self, client, read::list(client, &query))
    }

    fn idempotency<'a>(
        &'a self,
        principal: &'a Principal,
        key: &'a str,
    ) -> StoreFuture<'a, Option<IdempotencyRow>> {
        reading!(self, client, read::idempotency(client, principal, key))
    }

    fn checkpoint<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Option<RawJson>> {
        reading!(self, client, read::checkpoint(client, job))
    }

    fn credentials_of<'a>(&'a self, job: &'a JobId) -> StoreFuture<'a, Vec<CredentialRow>> {
        reading!(self, client, read::credentials_of(client, job))
    }

    fn deliveries(&self, query: DeliveryQuery) -> StoreFuture<'_, Vec<DeliveryRow>> {
        reading!(self, client, deliveries::list(client, &query))
    }

    fn delivery<'a>(&'a self, id: &'a str) -> StoreFuture<'a, Option<DeliveryRow>> {
        reading!(self, client, deliveries::find(client, id))
    }

    fn audit(&self, latest: usize) -> StoreFuture<'_, Vec<AuditRow>> {
        reading!(self, client, read::audit(client, latest))
    }

    fn recover(&self) -> StoreFuture<'_, Recovered> {
        Box::pin(self.ask(Command::Recover))
    }

    fn retain<'a>(
        &'a self,
        now: Timestamp,
        policy: &'a RetentionPolicy,
        keep: &'a [JobId],
    ) -> StoreFuture<'a, RetentionReport> {
        Box::pin(self.remove_surplus(now, policy, keep))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        Box::pin(async move {
            let disk: StoreFuture<'_, u64> = reading!(self, client, read::disk_bytes(client));
            let disk_bytes = disk.await?;
            let totals = *self.shared.totals.lock();
            Ok(StoreStats {
                jobs: totals.tally.jobs,
                live_jobs: totals.tally.live,
                events: totals.tally.events,
                event_bytes: totals.tally.bytes,
                sessions: totals.sessions,
                disk_bytes,
            })
        })
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn fallen(&self) -> Pin<Box<dyn Future<Output = StoreError> + Send + '_>> {
        Box::pin(async move {
            self.shared.has_fallen.cancelled().await;
            let fallen = self.shared.fallen.lock().clone();
            fallen.unwrap_or(StoreError::Closed)
        })
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let Some(commands) = self.commands.write().take() else {
                return Ok(());
            };
            self.shared.closing.cancel();
            // No sign of life may come after the last one was taken back.
            self.living.cancel();
            let (reply, left) = oneshot::channel();
            let sent = commands.send(Command::Close(reply)).await;
            let left = match sent {
                Ok(()) => left.await.unwrap_or(Ok(())),
                Err(_) => Ok(()),
            };
            self.readers.close();
            left
        })
    }
}

/// How many requests may wait for the writer; whoever asks for more waits.
const WAITING: usize = 64;
