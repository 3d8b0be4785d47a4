//! The threads of an open store, and the order in which they start and stop.

use std::{
    fs::File,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    SqliteOptions,
    cache::Cache,
    checkpoint::{Bell, Checkpoints},
    error::{DbError, no_thread},
    open::{self, Place},
    readers::{Readers, Work},
    writer::{Command, Presence, Shared, Totals, Writer},
};
use crate::StoreError;

/// An open store. Dropping it answers what was asked, stops the threads and then releases the file.
#[derive(Debug)]
pub(super) struct Running {
    commands: Option<mpsc::Sender<Command>>,
    reads: Option<mpsc::Sender<Work>>,
    writer: Option<JoinHandle<()>>,
    readers: Readers,
    checkpoints: Option<Checkpoints>,
    _lock: File,
}

impl Running {
    /// Opens the file on a thread of its own, which is the writer's from then on.
    pub(super) async fn start(
        place: Place,
        options: SqliteOptions,
    ) -> Result<(Self, Arc<Shared>), StoreError> {
        let shared = Arc::new(Shared {
            cache: Cache::new(options.cache_bytes),
            totals: Mutex::new(Totals::default()),
            presence: Presence::default(),
        });
        let bell = Bell::default();
        let (commands, queue) = mpsc::channel();
        let (ready, opened) = oneshot::channel();
        let work = WriterWork {
            place: place.clone(),
            options: options.clone(),
            shared: Arc::clone(&shared),
            bell: bell.clone(),
            queue,
        };
        let writer = thread::Builder::new()
            .name("towline-store-write".to_owned())
            .spawn(move || work.run(ready))
            .map_err(no_thread)?;
        let lock = opened
            .await
            .map_err(|_| StoreError::Failed("the store's writer did not start".into()))??;
        // From here on whatever fails drops `running`, which ends the threads in order.
        let mut running = Self {
            commands: Some(commands.clone()),
            reads: None,
            writer: Some(writer),
            readers: Readers::default(),
            checkpoints: None,
            _lock: lock,
        };
        running.start_readers(&place, options.readers)?;
        shared.presence.begin(&place);
        let conn = open::for_checkpoints(&place)?;
        let checkpoints = Checkpoints::start(conn, bell, commands, Arc::clone(&shared));
        running.checkpoints = Some(checkpoints.map_err(no_thread)?);
        Ok((running, shared))
    }

    fn start_readers(&mut self, place: &Place, count: usize) -> Result<(), StoreError> {
        let connections = (0..count)
            .map(|_| open::for_reading(place))
            .collect::<Result<Vec<_>, _>>()?;
        let (reads, readers) = Readers::start(connections).map_err(no_thread)?;
        (self.reads, self.readers) = (Some(reads), readers);
        Ok(())
    }

    /// Gives the writer a command; whether there is a writer.
    pub(super) fn write(&self, command: Command) -> bool {
        self.commands
            .as_ref()
            .is_some_and(|commands| commands.send(command).is_ok())
    }

    /// Gives a reader something to do; whether there is a reader.
    pub(super) fn read(&self, work: Work) -> bool {
        self.reads
            .as_ref()
            .is_some_and(|reads| reads.send(work).is_ok())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The writer's connection has to be the last one: closing it copies the log and removes it.
        drop(self.reads.take());
        self.readers.join();
        // It has a sender of its own.
        if let Some(checkpoints) = self.checkpoints.take() {
            checkpoints.stop();
        }
        drop(self.commands.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// What the writer's thread does: it opens the file, tells how that went, and works until nobody sends commands any more.
struct WriterWork {
    place: Place,
    options: SqliteOptions,
    shared: Arc<Shared>,
    bell: Bell,
    queue: mpsc::Receiver<Command>,
}

impl WriterWork {
    fn run(self, ready: oneshot::Sender<Result<File, StoreError>>) {
        let (shared, bell) = (self.shared, self.bell);
        let opened = open::for_writing(&self.place, &self.options)
            .and_then(|(lock, conn)| Ok((lock, Writer::new(conn, shared, bell)?)));
        match opened {
            Err(DbError(error)) => drop(ready.send(Err(error))),
            Ok((lock, mut writer)) => {
                // When nobody waits for the store any more, nobody sends commands either; the lock is held until the file
                // is left.
                let unclaimed = ready.send(Ok(lock)).err();
                writer.run(&self.queue);
                writer.finish_log();
                drop(writer);
                drop(unclaimed);
            }
        }
    }
}
