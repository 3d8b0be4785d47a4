//! A linked pair inside one process [ARCP 4-3].

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use towline_wire::Envelope;

use crate::{
    CloseFrame, Closed, FrameSink, FrameSource, Inbound, Transport, TransportError, TransportInfo,
    TransportKind,
};

/// One end of a connection that never leaves the process.
///
/// Envelopes are handed over as they are: nothing is serialised, payloads stay shared, and no receive limit applies.
/// Each direction holds at most its capacity of envelopes; a sender waits when the peer does not read. A close reaches
/// the peer after everything sent before it. Dropping the sending half without a close is the end of the stream for the
/// peer ([`Closed::Lost`]); dropping the receiving half makes the peer's sends fail.
///
/// ```
/// use towline_transport::{Inbound, Transport, memory::MemoryTransport};
/// use towline_wire::{Envelope, MessageType};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (near, far) = MemoryTransport::pair();
/// let (mut sink, _) = Box::new(near).split();
/// let (_, mut source) = Box::new(far).split();
/// sink.send(Envelope::new(MessageType::SESSION_PING)).await.unwrap();
/// assert!(matches!(source.receive().await, Some(Inbound::Envelope(_))));
/// # });
/// ```
pub struct MemoryTransport {
    sink: Sink,
    source: Source,
}

impl MemoryTransport {
    /// Two linked ends, 256 envelopes in flight each way.
    pub fn pair() -> (Self, Self) {
        Self::pair_with(DEFAULT_CAPACITY)
    }

    /// Two linked ends with room for `capacity` envelopes each way; 0 counts as 1.
    pub fn pair_with(capacity: usize) -> (Self, Self) {
        let there = Arc::new(Lane::new(capacity.max(1)));
        let back = Arc::new(Lane::new(capacity.max(1)));
        (Self::over(&there, &back), Self::over(&back, &there))
    }

    fn over(outgoing: &Arc<Lane>, incoming: &Arc<Lane>) -> Self {
        let sink = Sink {
            lane: outgoing.clone(),
            back: incoming.clone(),
            closed: false,
        };
        Self {
            sink,
            source: Source {
                lane: incoming.clone(),
            },
        }
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("capacity", &self.sink.lane.capacity)
            .finish()
    }
}

impl Transport for MemoryTransport {
    fn info(&self) -> TransportInfo {
        TransportInfo::new(TransportKind::Memory).confidential(true)
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        (Box::new(self.sink), Box::new(self.source))
    }
}

/// One direction.
struct Lane {
    capacity: usize,
    state: Mutex<LaneState>,
}

struct LaneState {
    queue: VecDeque<Inbound>,
    tail: Tail,
    reader: Reader,
    reader_waker: Option<Waker>,
    writer_waker: Option<Waker>,
}

/// What comes after the queue.
enum Tail {
    /// More may come.
    Open,
    /// This is said, then nothing.
    Ends(Closed),
    /// Nothing.
    Over,
}

/// Who takes the frames out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    Reads,
    /// Its side said goodbye.
    Left,
    /// It was dropped.
    Dropped,
}

impl Lane {
    fn new(capacity: usize) -> Self {
        let state = LaneState {
            queue: VecDeque::new(),
            tail: Tail::Open,
            reader: Reader::Reads,
            reader_waker: None,
            writer_waker: None,
        };
        Self {
            capacity,
            state: Mutex::new(state),
        }
    }

    /// Changes the lane and wakes whoever waits on either end of it.
    fn end(&self, change: impl FnOnce(&mut LaneState)) {
        let wakers = {
            let mut state = self.state.lock();
            change(&mut state);
            [state.reader_waker.take(), state.writer_waker.take()]
        };
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn wake_reader(&self) {
        let waker = self.state.lock().reader_waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl LaneState {
    fn check_open(&self) -> Result<(), TransportError> {
        if self.reader == Reader::Reads {
            Ok(())
        } else {
            Err(TransportError::Closed)
        }
    }

    fn finish(&mut self, tail: Tail) {
        if matches!(self.tail, Tail::Open) {
            self.tail = tail;
        }
    }
}

struct Sink {
    lane: Arc<Lane>,
    /// The other direction, which a close ends too.
    back: Arc<Lane>,
    closed: bool,
}

impl Sink {
    fn check_open(&self) -> Result<(), TransportError> {
        if self.closed {
            Err(TransportError::Closed)
        } else {
            Ok(())
        }
    }
}

impl Sink {
    fn put(&mut self, inbound: Inbound) -> Result<(), TransportError> {
        self.check_open()?;
        let mut state = self.lane.state.lock();
        state.check_open()?;
        debug_assert!(
            state.queue.len() < self.lane.capacity,
            "poll_ready comes first"
        );
        state.queue.push_back(inbound);
        Ok(())
    }
}

impl FrameSink for Sink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.check_open()?;
        let reader = {
            let mut state = self.lane.state.lock();
            state.check_open()?;
            if state.queue.len() < self.lane.capacity {
                return Poll::Ready(Ok(()));
            }
            state.writer_waker = Some(cx.waker().clone());
            state.reader_waker.take()
        };
        // A full queue has to be read before the flush that would have announced it.
        if let Some(reader) = reader {
            reader.wake();
        }
        Poll::Pending
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        self.put(Inbound::Envelope(envelope))
    }

    fn start_send_text(&mut self, text: &str) -> Result<(), TransportError> {
        let inbound =
            Envelope::decode_text(text).map_or_else(Inbound::Malformed, Inbound::Envelope);
        self.put(inbound)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.check_open()?;
        self.lane.wake_reader();
        Poll::Ready(self.lane.state.lock().check_open())
    }

    fn poll_close(
        &mut self,
        _: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        if self.closed {
            return Poll::Ready(Ok(()));
        }
        self.closed = true;
        self.lane
            .end(|state| state.finish(Tail::Ends(Closed::ByPeer(Some(close.clone())))));
        self.back.end(|state| {
            state.finish(Tail::Over);
            if state.reader == Reader::Reads {
                state.reader = Reader::Left;
            }
        });
        let heard = self.lane.state.lock().reader != Reader::Dropped;
        Poll::Ready(if heard {
            Ok(())
        } else {
            Err(TransportError::Closed)
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.lane.end(|state| state.finish(Tail::Ends(dropped())));
    }
}

struct Source {
    lane: Arc<Lane>,
}

impl FrameSource for Source {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let (inbound, writer) = {
            let mut state = self.lane.state.lock();
            let inbound = match state.queue.pop_front() {
                Some(inbound) => inbound,
                None if matches!(state.tail, Tail::Open) => {
                    state.reader_waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                None => match std::mem::replace(&mut state.tail, Tail::Over) {
                    Tail::Ends(closed) => Inbound::Closed(closed),
                    Tail::Open | Tail::Over => return Poll::Ready(None),
                },
            };
            (inbound, state.writer_waker.take())
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Some(inbound))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.lane.end(|state| {
            state.queue = VecDeque::new();
            if state.reader == Reader::Reads {
                state.reader = Reader::Dropped;
            }
        });
    }
}

fn dropped() -> Closed {
    Closed::Lost {
        reason: "the other end was dropped".to_owned(),
    }
}

/// Enough that a writer and a reader on different threads do not take turns frame by frame.
const DEFAULT_CAPACITY: usize = 256;
