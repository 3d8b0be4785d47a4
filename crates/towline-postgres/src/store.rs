//! The store: its writer, its readers, and what is asked of them.

use std::{fmt, pin::Pin, sync::Arc};

use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use towline_store::{
    AuditRow, Batch, Block, Committed, CredentialRow, DeliveryQuery, DeliveryRow, EventStore,
    IdempotencyRow, Incarnation, JobPage, JobQuery, JobRow, Principal, Recovered, RetentionPolicy,
    RetentionReport, SessionRow, StoreError, StoreFuture, StoreStats,
};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

use crate::{
    address::Address,
    deliveries,
    errand::{Errand, Found},
    line::{Connector, Line},
    membership,
    options::PostgresOptions,
    read,
    readers::Readers,
    retain::{Chore, Done},
    rows::job_id,
    shared as parts,
    state::Claim,
    tally::Totals,
    writer::{Command, Reply, Writer},
};

/// Keeps everything in a PostgreSQL database (14 or later), in a schema of its own.
///
/// One connection writes, a few read, one shows each second that this process lives. All of them go to the server that takes
/// writes, of whichever hosts the address names. It needs tokio. One process has the store at a time, or several share it: see
/// [`PostgresOptions::standby`] and [`PostgresOptions::shared`].
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
    pub(crate) node: String,
    claim: Claim,
    pub(crate) connector: Arc<Connector>,
    /// The connection by which a member shows that it lives.
    pub(crate) pulse_line: tokio::sync::Mutex<Option<Line>>,
    shared: Arc<parts::Shared>,
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
            .field("incarnation", &self.claim.inc)
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
        let shared = Arc::new(parts::Shared::new());
        let readers = Readers::new(&connector)?;
        let claim = Claim {
            inc: me,
            is_shared: options.shared,
        };
        let mut writer = Writer::new(Arc::clone(&connector), Arc::clone(&shared), claim);
        writer.start().await?;
        drop(line);
        let (commands, asked) = mpsc::channel(WAITING);
        tokio::spawn(writer.run(asked));
        let living = CancellationToken::new();
        if !options.shared {
            let (connector, shared) = (Arc::clone(&connector), Arc::clone(&shared));
            tokio::spawn(membership::live(connector, shared, me, living.clone()));
        }
        Ok(Self {
            shown,
            node: options.node,
            claim,
            connector,
            pulse_line: tokio::sync::Mutex::default(),
            shared,
            readers,
            commands: RwLock::new(Some(commands)),
            _stop: living.clone().drop_guard(),
            living,
        })
    }

    /// Waits until somebody asks this member to leave the store to the others. Whoever has it should then shut down; nothing
    /// else comes of it. Cancel safe.
    pub async fn asked_to_leave(&self) {
        self.shared.leaving.cancelled().await;
    }

    pub(crate) fn incarnation(&self) -> i64 {
        self.claim.inc
    }

    pub(crate) fn incarnation_number(&self) -> Incarnation {
        Incarnation::new(self.claim.inc.unsigned_abs())
    }

    pub(crate) fn parts(&self) -> &parts::Shared {
        &self.shared
    }

    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// The jobs that streams of other members' sessions point into.
    pub(crate) async fn needed_beside(&self) -> Result<Vec<JobId>, StoreError> {
        if !self.claim.is_shared {
            return Ok(Vec::new());
        }
        let sql = "SELECT DISTINCT p.job FROM span p JOIN session s ON s.key = p.session WHERE s.owner IS DISTINCT FROM $1";
        let client = self.readers.client().await?;
        read::all(&client, sql, &[&self.claim.inc], |row| job_id(row, 0)).await
    }

    /// Fails when the store is closed.
    pub(crate) fn check_open(&self) -> Result<(), StoreError> {
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

    pub(crate) async fn errand(&self, errand: Errand) -> Result<Found, StoreError> {
        self.ask(|reply| Command::Errand(errand, reply)).await
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
        if self.claim.is_shared {
            let id = session.as_str().as_bytes();
            return reading!(self, client, read::stream_end(client, id));
        }
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
        if self.claim.is_shared {
            return Box::pin(self.recover_own());
        }
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
            let totals = if self.claim.is_shared {
                let all: StoreFuture<'_, Totals> = reading!(self, client, read::totals(client));
                all.await?
            } else {
                *self.shared.totals.lock()
            };
            Ok(totals.stats(disk_bytes))
        })
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn shared(&self) -> Option<&dyn towline_store::Shared> {
        self.claim.is_shared.then_some(self)
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
