//! Copying the log into the database, off the commit path.

use std::{
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use super::{
    error::DbError,
    open::JOURNAL_BYTES,
    writer::{Command, Shared, Writer},
};

/// What the writer rings when there is something in the log.
#[derive(Debug, Clone, Default)]
pub(super) struct Bell(Arc<(Mutex<Rung>, Condvar)>);

#[derive(Debug, Default)]
struct Rung {
    /// About how much was committed since the last checkpoint.
    bytes: usize,
    since: Option<Instant>,
    stop: bool,
}

impl Bell {
    pub(super) fn ring(&self, bytes: usize) {
        let (rung, condition) = &*self.0;
        let mut rung = rung.lock();
        rung.bytes += bytes + 4096;
        let first = rung.since.is_none();
        rung.since.get_or_insert_with(Instant::now);
        if first || rung.bytes >= ENOUGH_BYTES {
            condition.notify_one();
        }
    }

    fn stop(&self) {
        let (rung, condition) = &*self.0;
        rung.lock().stop = true;
        condition.notify_one();
    }

    /// Waits until a checkpoint is worth its syncs; `false` means that none will be any more.
    fn wait(&self) -> bool {
        let (rung, condition) = &*self.0;
        let mut rung = rung.lock();
        while !rung.stop {
            match rung.since {
                None => condition.wait(&mut rung),
                Some(since) if rung.bytes >= ENOUGH_BYTES || since.elapsed() >= LATEST => {
                    (rung.bytes, rung.since) = (0, None);
                    return true;
                }
                Some(since) => {
                    condition.wait_until(&mut rung, since + LATEST);
                }
            }
        }
        false
    }
}

/// The thread that does it.
#[derive(Debug)]
pub(super) struct Checkpoints {
    bell: Bell,
    thread: JoinHandle<()>,
}

impl Checkpoints {
    pub(super) fn start(
        conn: Connection,
        bell: Bell,
        writer: mpsc::Sender<Command>,
        shared: Arc<Shared>,
    ) -> std::io::Result<Self> {
        let heard = bell.clone();
        let run = move || {
            while heard.wait() {
                shared.presence.look();
                match copy(&conn, "PASSIVE") {
                    Ok(log) if log.pages >= RESTART_PAGES => {
                        // As long as commits go on the log never ends where the copy ends, and only then does it begin
                        // anew. So the writer copies the little that is left while nothing is committed.
                        let _ = writer.send(Command::Run(Box::new(Writer::restart_log)));
                    }
                    Ok(_) => {}
                    Err(DbError(error)) => {
                        tracing::warn!(%error, "a checkpoint of the store failed")
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("towline-store-checkpoint".to_owned())
            .spawn(run)?;
        Ok(Self { bell, thread })
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(self) {
        self.bell.stop();
        if self.thread.join().is_err() {
            tracing::error!("the store's checkpoint thread panicked");
        }
    }
}

impl Writer {
    /// Copies the rest of the log, so that the next commit begins it anew.
    pub(super) fn restart_log(&mut self) {
        let brief = self.conn.busy_timeout(RESTART_WAIT).map_err(DbError::from);
        match brief.and_then(|()| copy(&self.conn, "RESTART")) {
            // A reader may still need the log; then it is tried again when as much has come as makes a try worth while.
            Ok(log) if log.busy => self.log_bytes /= 2,
            Ok(_) => self.log_bytes = 0,
            Err(DbError(error)) => {
                self.log_bytes /= 2;
                tracing::warn!(%error, "the store's log could not begin anew; it is tried again");
            }
        }
        if let Err(error) = self.conn.busy_timeout(super::open::BUSY) {
            tracing::warn!(%error, "the store's busy timeout could not be set");
        }
    }

    /// Copies the log and empties it: at the end, so that the database stands alone.
    pub(super) fn finish_log(&mut self) {
        if let Err(DbError(error)) = copy(&self.conn, "TRUNCATE") {
            tracing::warn!(%error, "the last checkpoint of the store failed; the log stays beside it");
        }
    }
}

/// What a checkpoint says of the log.
struct Log {
    /// Whether somebody kept the checkpoint from being complete.
    busy: bool,
    pages: i64,
}

/// Copies as much as the mode says.
fn copy(conn: &Connection, mode: &str) -> Result<Log, DbError> {
    let log = |row: &rusqlite::Row<'_>| {
        Ok(Log {
            busy: row.get(0)?,
            pages: row.get(1)?,
        })
    };
    Ok(conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], log)?)
}

const ENOUGH_BYTES: usize = 8 << 20;
const LATEST: Duration = Duration::from_secs(2);
const RESTART_PAGES: i64 = JOURNAL_BYTES / 4096;
/// How long a restart waits for readers, and commits with it.
const RESTART_WAIT: Duration = Duration::from_millis(20);
