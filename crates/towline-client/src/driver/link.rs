//! One connection, and what is on its way out.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use towline_transport::{CloseFrame, FrameSink, FrameSource, Inbound, Transport, TransportError};
use towline_wire::{Envelope, MessageId};

/// A connection. Frames wait in its outbox, which is emptied while the task waits for other things.
///
/// When sending fails the peer may still have said why, so reading goes on until the end, or until [`FAREWELL`] has passed.
pub(super) struct Link {
    source: Box<dyn FrameSource>,
    out: Out,
    deaf_since: Option<Instant>,
}

struct Out {
    sink: Box<dyn FrameSink>,
    waiting: VecDeque<Envelope>,
    /// What the transport did not take, until the driver asks.
    unsent: Vec<Unsent>,
    /// Something was handed over since the last flush.
    unflushed: bool,
}

/// A frame above what the transport sends. The connection is good.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) id: Option<MessageId>,
    pub(super) size: usize,
    pub(super) limit: usize,
}

/// The half that sends, while there is something to send.
pub(super) type Writing<'a> = Option<&'a mut dyn Write>;
/// The half that receives.
pub(super) type Reading<'a> = Option<&'a mut dyn FrameSource>;

/// Sends what waits.
pub(super) trait Write: Send {
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>>;
}

impl Link {
    pub(super) fn new(transport: Box<dyn Transport>) -> Self {
        let (sink, source) = transport.split();
        Self {
            source,
            out: Out {
                sink,
                waiting: VecDeque::new(),
                unsent: Vec::new(),
                unflushed: false,
            },
            deaf_since: None,
        }
    }

    pub(super) fn push(&mut self, envelope: Envelope) {
        if self.deaf_since.is_none() {
            self.out.waiting.push_back(envelope);
        }
    }

    /// Takes what was not sent since the last time.
    pub(super) fn unsent(&mut self) -> Vec<Unsent> {
        std::mem::take(&mut self.out.unsent)
    }

    /// Sending failed.
    pub(super) fn turned_deaf(&mut self) {
        self.deaf_since = Some(Instant::now());
        self.out.waiting.clear();
        self.out.unflushed = false;
    }

    /// When to stop waiting for the end.
    pub(super) fn patience(&self) -> Option<Instant> {
        self.deaf_since.map(|since| since + FAREWELL)
    }

    /// Whether more may be asked; and whether more may be read, since reading makes replies.
    pub(super) fn has_room(&self) -> bool {
        self.out.waiting.len() < OUTBOX
    }

    pub(super) fn halves(&mut self) -> (Writing<'_>, Reading<'_>) {
        let reads = self.has_room();
        let writes = self.out.unflushed || !self.out.waiting.is_empty();
        let writing = writes.then_some(&mut self.out as &mut dyn Write);
        (writing, reads.then_some(&mut *self.source))
    }

    /// Sends what waits, says goodbye, and lets go of the connection; at most [`FAREWELL`].
    pub(super) async fn farewell(mut self, close: CloseFrame) {
        let goodbye = async {
            // Whether the peer still listens is no concern of a session that leaves.
            if poll_fn(|cx| self.out.poll_write(cx)).await.is_ok() {
                let _ = self.out.sink.close(&close).await;
            }
        };
        let _ = timeout(FAREWELL, goodbye).await;
    }
}

impl Write for Out {
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        while !self.waiting.is_empty() {
            ready!(self.sink.poll_ready(cx))?;
            let Some(envelope) = self.waiting.pop_front() else {
                break;
            };
            self.unflushed = true;
            let id = envelope.id.clone();
            match self.sink.start_send(envelope) {
                Ok(()) => {}
                Err(TransportError::FrameTooBig { size, limit }) => {
                    self.unsent.push(Unsent { id, size, limit });
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        ready!(self.sink.poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

/// Sends everything that waits and flushes once. Says whether it failed. Cancel safe.
pub(super) async fn write(writing: &mut Writing<'_>) -> bool {
    let Some(out) = writing else { return false };
    poll_fn(|cx| out.poll_write(cx)).await.is_err()
}

/// Waits for frames and takes all that are there, at most [`BATCH`]. None at the end. Cancel safe, given that what was
/// taken stays in `frames`.
pub(super) async fn read(reading: &mut Reading<'_>, frames: &mut Vec<Inbound>) {
    let Some(source) = reading else { return };
    poll_fn(|cx| {
        while frames.len() < BATCH {
            match source.poll_receive(cx) {
                Poll::Ready(Some(frame)) => frames.push(frame),
                Poll::Ready(None) => break,
                Poll::Pending if frames.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Frames taken at once.
const BATCH: usize = 256;
/// Frames waiting to be sent, above which nothing is read and no request taken.
const OUTBOX: usize = 1024;
const FAREWELL: Duration = Duration::from_secs(5);
