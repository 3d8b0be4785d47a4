//! What is needed of a runtime.

use towline_runtime::Runtime;
use towline_transport::Transport;

/// Takes connections. [`Runtime`] in earnest; the tests of this crate look at the transports themselves.
pub(crate) trait Host: Clone + Send + Sync + 'static {
    /// Takes a connection over; it is served without anybody waiting for it.
    fn accept(&self, transport: Box<dyn Transport>);

    /// Whether new sessions are welcome.
    fn is_ready(&self) -> bool;
}

impl Host for Runtime {
    fn accept(&self, transport: Box<dyn Transport>) {
        // The connection drives itself; the handle is for those who want to wait for its end.
        drop(Self::accept(self, transport));
    }

    fn is_ready(&self) -> bool {
        Self::is_ready(self)
    }
}
