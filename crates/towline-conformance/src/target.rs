//! The runtime that is asked.

use std::{fmt, future::Future, pin::Pin, sync::Arc};

use towline_transport::Transport;

type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Transport>, String>> + Send>>;

/// Makes connections to one runtime.
#[derive(Clone)]
pub struct Target {
    connect: Arc<dyn Fn() -> Connecting + Send + Sync>,
    alone: bool,
}

impl Target {
    /// A runtime that is connected to like this, as often as the kit needs.
    pub fn new<F, Made, T>(connect: F) -> Self
    where
        F: Fn() -> Made + Send + Sync + 'static,
        Made: Future<Output = Result<T, String>> + Send + 'static,
        T: Transport,
    {
        let connect = Arc::new(move || -> Connecting {
            let made = connect();
            Box::pin(async move {
                made.await
                    .map(|transport| Box::new(transport) as Box<dyn Transport>)
            })
        });
        Self {
            connect,
            alone: false,
        }
    }

    /// Each connection is a runtime of its own (a child process, say), so what needs two to one runtime is skipped.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }

    pub(crate) const fn is_alone(&self) -> bool {
        self.alone
    }

    pub(crate) fn connect(&self) -> Connecting {
        (self.connect)()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("alone", &self.alone)
            .finish_non_exhaustive()
    }
}
