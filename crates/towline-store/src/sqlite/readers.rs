//! A few threads with a read connection each.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

use parking_lot::Mutex;
use rusqlite::Connection;

/// Something to read. As with the writer, the queue holds as much as there are callers waiting.
pub(super) type Work = Box<dyn FnOnce(&Connection) + Send>;

/// The threads; they end when the sender given out with them is gone.
#[derive(Debug, Default)]
pub(super) struct Readers(Vec<JoinHandle<()>>);

impl Readers {
    pub(super) fn start(
        connections: Vec<Connection>,
    ) -> std::io::Result<(mpsc::Sender<Work>, Self)> {
        let (sender, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::with_capacity(connections.len());
        for (index, conn) in connections.into_iter().enumerate() {
            let receiver = Arc::clone(&receiver);
            let name = format!("towline-store-read-{index}");
            threads.push(
                thread::Builder::new()
                    .name(name)
                    .spawn(move || run(&conn, &receiver))?,
            );
        }
        Ok((sender, Self(threads)))
    }

    /// Waits for the threads.
    pub(super) fn join(&mut self) {
        for thread in self.0.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader of the store panicked");
            }
        }
    }
}

fn run(conn: &Connection, receiver: &Mutex<mpsc::Receiver<Work>>) {
    loop {
        // The lock is held while waiting: whoever has it takes the next piece of work, the others queue for the lock.
        let next = receiver.lock().recv();
        let Ok(work) = next else { return };
        if catch_unwind(AssertUnwindSafe(|| work(conn))).is_err() {
            tracing::error!("a read of the store panicked");
        }
    }
}
