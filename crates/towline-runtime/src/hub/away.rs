//! Long work, away from the threads that serve.

use std::{sync::Arc, thread::available_parallelism};

use tokio::sync::Semaphore;
use towline_proto::refusal::Refusal;

/// Room for work that a peer sizes and that takes milliseconds [ARCP 14-6]. Never so much of it that all processors are
/// busy with it; what finds no room waits, in order.
pub(crate) struct Away(Arc<Semaphore>);

impl Default for Away {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((processors / 2).max(1))))
    }
}

impl Away {
    /// Does some work on a thread that nobody waits for. Cancel safe: work that has begun goes on, and has a bound of its own.
    ///
    /// # Errors
    /// A refusal when the work panicked, or the process is going down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let lost = || Refusal::internal("the runtime could not decide; try again later");
        let room = Arc::clone(&self.0);
        let place = room.acquire_owned().await.map_err(|_| lost())?;
        let work = move || {
            let done = work();
            drop(place);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| lost())
    }
}
