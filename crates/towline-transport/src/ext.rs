//! The halves as futures.

use std::future::poll_fn;

use towline_wire::{Envelope, EventFrame};

use crate::{CloseFrame, FrameSink, FrameSource, Inbound, TransportError};

async fn feed<S: FrameSink + ?Sized>(
    sink: &mut S,
    envelope: Envelope,
) -> Result<(), TransportError> {
    poll_fn(|cx| sink.poll_ready(cx)).await?;
    sink.start_send(envelope)
}

impl dyn FrameSink + '_ {
    /// Hands one frame over without flushing. Not cancel safe: the frame may or may not be taken.
    ///
    /// # Errors
    /// [`TransportError`] when the connection is gone or the frame is too big.
    pub async fn feed(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        feed(self, envelope).await
    }

    /// `feed` for an event that is not yet put together.
    ///
    /// # Errors
    /// As `feed`.
    pub async fn feed_event(&mut self, frame: &EventFrame<'_>) -> Result<(), TransportError> {
        poll_fn(|cx| self.poll_send_event(cx, frame)).await
    }

    /// Waits until everything taken is out. Cancel safe.
    ///
    /// # Errors
    /// [`TransportError`] when the connection is gone.
    pub async fn flush(&mut self) -> Result<(), TransportError> {
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Hands one frame over and flushes. Not cancel safe.
    ///
    /// # Errors
    /// [`TransportError`] when the connection is gone or the frame is too big.
    pub async fn send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        feed(self, envelope).await?;
        self.flush().await
    }

    /// Says goodbye. Cancel safe: calling it again goes on.
    ///
    /// # Errors
    /// [`TransportError`] when the connection broke first.
    pub async fn close(&mut self, close: &CloseFrame) -> Result<(), TransportError> {
        poll_fn(|cx| self.poll_close(cx, close)).await
    }
}

impl dyn FrameSource + '_ {
    /// What comes next; `None` is the end. Cancel safe.
    pub async fn receive(&mut self) -> Option<Inbound> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }
}
