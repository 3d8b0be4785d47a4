//! A socket that outlives its transport.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use parking_lot::Mutex;
use towline_wire::Encode;

use super::{MessageSocket, SocketMessage};
use crate::{CloseFrame, TransportError};

/// A socket its owner lends to a transport.
///
/// Closing the transport writes out what was sent and says no goodbye; the socket stays as it is for its owner.
pub struct LentSocket<S>(Arc<Mutex<S>>);

/// The owner's claim on a lent socket.
pub struct Loan<S>(Arc<Mutex<S>>);

pub(super) fn lend<S>(socket: S) -> (LentSocket<S>, Loan<S>) {
    let socket = Arc::new(Mutex::new(socket));
    (LentSocket(socket.clone()), Loan(socket))
}

impl<S> Loan<S> {
    /// The socket, once the transport and both its halves are gone.
    ///
    /// # Errors
    /// The loan itself, while one of them still exists.
    pub fn take_back(self) -> Result<S, Self> {
        Arc::try_unwrap(self.0).map(Mutex::into_inner).map_err(Self)
    }
}

impl<S> fmt::Debug for Loan<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loan").finish_non_exhaustive()
    }
}

impl<S> fmt::Debug for LentSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LentSocket").finish_non_exhaustive()
    }
}

impl<S: MessageSocket> MessageSocket for LentSocket<S> {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage> {
        self.0.lock().poll_message(cx)
    }

    fn restrict(&mut self, bytes: Option<usize>) {
        self.0.lock().restrict(bytes);
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.lock().poll_ready(cx)
    }

    fn start_send(&mut self, frame: &dyn Encode, limit: usize) -> Result<(), TransportError> {
        self.0.lock().start_send(frame, limit)
    }

    fn start_close(&mut self, _: &CloseFrame) -> Result<(), TransportError> {
        Ok(())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.lock().poll_flush(cx)
    }

    fn poll_drain(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}
