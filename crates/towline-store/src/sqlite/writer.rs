//! The thread that owns the write connection.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    apply::Tx,
    cache::{Cache, Numbered},
    checkpoint::Bell,
    error::DbError,
    open::{Identity, JOURNAL_BYTES, Place},
    state::{State, Tally},
};
use crate::{Batch, Committed, StoreError};

/// What the writer is asked for. The queue has no bound of its own: whoever asks waits for the answer, so it holds as
/// many commands as there are callers.
pub(super) enum Command {
    Commit(Batch, Answer<Committed>),
    /// Anything else, between two transactions.
    Run(Box<dyn FnOnce(&mut Writer) + Send>),
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the others may look at without asking.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cache: Cache,
    /// As of the last commit.
    pub(super) totals: Mutex<Totals>,
    pub(super) presence: Presence,
}

/// Whether the file is still where it was opened: what is committed to a file without a name is lost with the process.
#[derive(Debug, Default)]
pub(super) struct Presence {
    opened: OnceLock<(Place, Option<Identity>)>,
    is_gone: AtomicBool,
}

impl Presence {
    /// Says which file was opened.
    pub(super) fn begin(&self, place: &Place) {
        // Once, right after the file was opened.
        let _ = self.opened.set((place.clone(), place.identity()));
    }

    /// Looks whether it is still there.
    pub(super) fn look(&self) {
        let Some((place, identity)) = self.opened.get() else {
            return;
        };
        let gone = place.identity() != *identity;
        let before = self.is_gone.swap(gone, Ordering::Relaxed);
        if gone && !before {
            tracing::error!(
                file = place.name(),
                "the store was removed or replaced while it was open; nothing more is committed to it"
            );
        }
    }

    /// Why nothing can be committed, if so. Looks again only when the file was gone before.
    fn problem(&self) -> Option<StoreError> {
        if !self.is_gone.load(Ordering::Relaxed) {
            return None;
        }
        self.look();
        let (place, _) = self.opened.get()?;
        let text = format!(
            "`{}` was removed or replaced while it was open; put it back, or restart to begin anew",
            place.name()
        );
        self.is_gone
            .load(Ordering::Relaxed)
            .then(|| StoreError::Failed(text.into()))
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) tally: Tally,
    pub(super) sessions: u64,
}

/// The write connection and what goes with it.
pub(super) struct Writer {
    pub(super) conn: Connection,
    pub(super) state: State,
    pub(super) shared: Arc<Shared>,
    /// Whether `state` is not what the file says, because a transaction failed.
    stale: bool,
    bell: Bell,
    /// About how much went into the log since it began anew.
    pub(super) log_bytes: usize,
}

impl Writer {
    /// Reads what is in the file and brings it in order: what a crash left unflushed is flushed.
    pub(super) fn new(conn: Connection, shared: Arc<Shared>, bell: Bell) -> Result<Self, DbError> {
        let state = State::load(&conn)?;
        let mut writer = Self {
            conn,
            state,
            shared,
            stale: false,
            bell,
            log_bytes: 0,
        };
        writer.flush()?;
        writer.publish(Vec::new());
        Ok(writer)
    }

    /// Works until all senders are gone. What is pending is flushed whenever there is nothing to do.
    pub(super) fn run(&mut self, commands: &mpsc::Receiver<Command>) {
        loop {
            let next = if self.state.has_pending() {
                commands.recv_timeout(IDLE)
            } else {
                commands
                    .recv()
                    .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(command) => self.obey(command, commands),
                Err(mpsc::RecvTimeoutError::Timeout) => self.flush_for_later(),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        self.flush_for_later();
    }

    fn obey(&mut self, command: Command, commands: &mpsc::Receiver<Command>) {
        let mut group = Vec::new();
        let mut other = None;
        match command {
            Command::Commit(batch, answer) => group.push((batch, answer)),
            Command::Run(work) => other = Some(work),
        }
        // Whatever waits becomes one transaction, and with it one write to the disk.
        while other.is_none() && group.len() < GROUP {
            match commands.try_recv() {
                Ok(Command::Commit(batch, answer)) => group.push((batch, answer)),
                Ok(Command::Run(work)) => other = Some(work),
                Err(_) => break,
            }
        }
        self.commit(group);
        if let Some(work) = other {
            // A panic must not take the writer with it; the caller sees that its answer never comes.
            if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
                self.stale = true;
                tracing::error!("the store's writer caught a panic; it reads its state again");
            }
        }
    }

    fn commit(&mut self, group: Vec<(Batch, Answer<Committed>)>) {
        if group.is_empty() {
            return;
        }
        if let Some(problem) = self.shared.presence.problem() {
            group
                .into_iter()
                .for_each(|(_, answer)| drop(answer.send(Err(problem.clone()))));
            return;
        }
        let together = self.transaction(|tx| {
            group
                .iter()
                .map(|(batch, _)| tx.apply(batch))
                .collect::<Result<Vec<_>, _>>()
        });
        match together {
            Ok(verdicts) => {
                for ((_, answer), verdict) in group.into_iter().zip(verdicts) {
                    // Whoever does not wait any more does not want to know.
                    let _ = answer.send(verdict.map(|()| Committed::default()));
                }
            }
            Err(DbError(error)) if group.len() == 1 => {
                group
                    .into_iter()
                    .for_each(|(_, answer)| drop(answer.send(Err(error.clone()))));
            }
            // One of them may be too large, say, and the others not.
            Err(_) => group.into_iter().for_each(|one| self.commit(vec![one])),
        }
    }

    /// Does something in a transaction of its own: all of it is committed, or nothing of it.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.fresh()?;
        let mut published = Vec::new();
        let result = self.attempt(&mut published, work);
        if result.is_ok() {
            self.publish(published);
            if self.log_bytes >= LOG_BYTES {
                // The thread that copies the log cannot keep up: commits have to wait for the disk now.
                self.restart_log();
            }
        } else {
            self.stale = true;
            // Some errors have rolled back already.
            if !self.conn.is_autocommit()
                && let Err(error) = self.conn.execute_batch("ROLLBACK")
            {
                tracing::error!(%error, "the store could not roll back");
            }
        }
        result
    }

    /// Sees to it that `state` is what the file says.
    pub(super) fn fresh(&mut self) -> Result<(), DbError> {
        if self.stale {
            self.state = State::load(&self.conn)?;
            self.stale = false;
        }
        Ok(())
    }

    fn attempt<T>(
        &mut self,
        published: &mut Vec<Numbered>,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut tx = Tx::new(&self.conn, &mut self.state, published);
        let value = work(&mut tx)?;
        tx.finish()?;
        self.conn.prepare_cached("COMMIT")?.execute([])?;
        Ok(value)
    }

    /// Lets others see what is committed.
    fn publish(&mut self, blocks: Vec<Numbered>) {
        let bytes: usize = blocks.iter().map(|(_, block)| block.text().len()).sum();
        self.log_bytes += bytes + 4096;
        self.shared.cache.publish(blocks, self.state.indexed);
        *self.shared.totals.lock() = Totals {
            tally: self.state.tally,
            sessions: self.state.streams.len() as u64,
        };
        self.bell.ring(bytes);
    }

    /// Brings index, tails and streams in the file up to date.
    pub(super) fn flush(&mut self) -> Result<(), DbError> {
        if self.stale || self.state.has_pending() {
            self.transaction(|tx| tx.state.flush(tx.conn))
        } else {
            Ok(())
        }
    }

    /// A flush nobody waits for: what it cannot write now is written with a later commit, or read again at the start.
    fn flush_for_later(&mut self) {
        if let Err(DbError(error)) = self.flush() {
            tracing::warn!(%error, "the store could not bring its index up to date; it tries again later");
            // Not at once, and not over and over while nothing else happens.
            self.state = State {
                tally: self.state.tally,
                ..State::default()
            };
            self.stale = true;
        }
    }
}

/// How large the log gets at most, about.
const LOG_BYTES: usize = 4 * JOURNAL_BYTES as usize;
/// How many batches become one transaction at most.
const GROUP: usize = 256;
/// How long nothing has to happen until what is pending is flushed.
const IDLE: Duration = Duration::from_millis(100);
