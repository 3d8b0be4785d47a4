//! The two halves of a WebSocket, and the end they share.
//!
//! ```text
//!   Open ──too big, end──▶ Deaf     (still sends)
//!    │  └─────────────┤
//!    │ peer's Close   │ poll_close, or the peer broke the protocol
//!    ▼                ▼
//!  Answered        Parting          (a goodbye is queued)
//!    └───poll_close───┴──flushed──▶ Draining ──▶ Over
//!  any ──the socket failed──▶ Lost
//! ```

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Sleep;
use towline_wire::{Envelope, EventFrame};

use super::{MessageSocket, SocketMessage};
use crate::{CloseFrame, Closed, FrameSink, FrameSource, Inbound, TransportError};

pub(super) fn halves<S: MessageSocket>(
    socket: S,
    send_limit: usize,
    close_timeout: Duration,
) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
    let state = State {
        socket,
        phase: Phase::Open,
        ahead: None,
        reader: None,
        writer: None,
        deadline: None,
    };
    let shared = Arc::new(Shared {
        send_limit,
        close_timeout,
        state: Mutex::new(state),
    });
    (
        Box::new(Sink {
            shared: shared.clone(),
        }),
        Box::new(Source { shared }),
    )
}

struct Shared<S> {
    send_limit: usize,
    close_timeout: Duration,
    state: Mutex<State<S>>,
}

struct State<S> {
    socket: S,
    phase: Phase,
    /// Read while writing out a pong, not yet handed over.
    ahead: Option<SocketMessage>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// When a close that has begun is given up.
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Deaf,
    Answered,
    Parting,
    Draining,
    Over,
    Lost,
}

impl<S: MessageSocket> State<S> {
    fn check_open(&self) -> Result<(), TransportError> {
        match self.phase {
            Phase::Open | Phase::Deaf => Ok(()),
            _ => Err(TransportError::Closed),
        }
    }

    /// Leaves the open state; whoever waits on either half has to see it.
    fn leave(&mut self, phase: Phase) {
        self.phase = phase;
        let wakers = [self.reader.take(), self.writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<SocketMessage>> {
        if self.phase != Phase::Open {
            return Poll::Ready(None);
        }
        let message = match self.ahead.take() {
            Some(message) => message,
            None => ready!(self.poll_socket(cx)),
        };
        match &message {
            SocketMessage::Text(_) | SocketMessage::Binary(_) => {}
            // The pong goes out with the next read, whenever our owner comes back.
            SocketMessage::Alive => {
                if let Poll::Ready(next) = self.poll_socket(cx) {
                    self.ahead = Some(next);
                }
            }
            SocketMessage::TooBig { .. } | SocketMessage::Ended => self.phase = Phase::Deaf,
            SocketMessage::Close(_) => {
                // Writes the answer out; what this read yields is beyond the end.
                let _ = self.socket.poll_message(cx);
                self.leave(Phase::Answered);
            }
            SocketMessage::Violation(close) => {
                let told = self.socket.start_close(close);
                // Best effort: `poll_close` goes on with it.
                let _ = self.socket.poll_flush(cx);
                self.leave(if told.is_ok() {
                    Phase::Parting
                } else {
                    Phase::Lost
                });
            }
            SocketMessage::Lost(_) => self.leave(Phase::Lost),
        }
        Poll::Ready(Some(message))
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage> {
        let polled = self.socket.poll_message(cx);
        if polled.is_pending() {
            remember(&mut self.reader, cx);
        }
        polled
    }

    fn poll_sending(
        &mut self,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut S, &mut Context<'_>) -> Poll<Result<(), TransportError>>,
    ) -> Poll<Result<(), TransportError>> {
        self.check_open()?;
        let polled = poll(&mut self.socket, cx);
        if polled.is_pending() {
            remember(&mut self.writer, cx);
        }
        polled
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        loop {
            match self.phase {
                // Read ahead and answered, only not handed over.
                Phase::Open if matches!(self.ahead, Some(SocketMessage::Close(_))) => {
                    self.leave(Phase::Answered);
                }
                Phase::Open | Phase::Deaf => {
                    let told = self.socket.start_close(close);
                    self.leave(if told.is_ok() {
                        Phase::Parting
                    } else {
                        Phase::Lost
                    });
                    told?;
                }
                Phase::Answered | Phase::Parting => {
                    let flushed = ready!(self.socket.poll_flush(cx));
                    self.phase = if flushed.is_ok() {
                        Phase::Draining
                    } else {
                        Phase::Lost
                    };
                    flushed?;
                }
                Phase::Draining => {
                    ready!(self.socket.poll_drain(cx));
                    self.phase = Phase::Over;
                }
                Phase::Over => return Poll::Ready(Ok(())),
                Phase::Lost => return Poll::Ready(Err(TransportError::Closed)),
            }
        }
    }

    /// The time for closing is up.
    fn give_up(&mut self) -> Result<(), TransportError> {
        // The goodbye is out; that the peer did not answer is its own business.
        if self.phase == Phase::Draining {
            self.phase = Phase::Over;
            return Ok(());
        }
        self.phase = Phase::Lost;
        Err(TransportError::timed_out(
            "the peer did not take the goodbye in time",
        ))
    }
}

fn remember(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

struct Sink<S> {
    shared: Arc<Shared<S>>,
}

impl<S: MessageSocket> FrameSink for Sink<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.shared.state.lock().poll_sending(cx, S::poll_ready)
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        let mut state = self.shared.state.lock();
        state.check_open()?;
        state.socket.start_send(&envelope, self.shared.send_limit)
    }

    fn start_send_text(&mut self, text: &str) -> Result<(), TransportError> {
        let mut state = self.shared.state.lock();
        state.check_open()?;
        let limit = self.shared.send_limit;
        state.socket.start_send(&crate::Text(text), limit)
    }

    fn poll_send_event(
        &mut self,
        cx: &mut Context<'_>,
        frame: &EventFrame<'_>,
    ) -> Poll<Result<(), TransportError>> {
        let mut state = self.shared.state.lock();
        ready!(state.poll_sending(cx, S::poll_ready))?;
        Poll::Ready(state.socket.start_send(frame, self.shared.send_limit))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.shared.state.lock().poll_sending(cx, S::poll_flush)
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        let state = &mut *self.shared.state.lock();
        let polled = state.poll_close(cx, close);
        if polled.is_ready() {
            state.deadline = None;
            return polled;
        }
        let timeout = self.shared.close_timeout;
        let deadline = state
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(state.give_up())
    }
}

struct Source<S> {
    shared: Arc<Shared<S>>,
}

impl<S: MessageSocket> FrameSource for Source<S> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        // The lock is held for the socket, not for the parsing.
        let message = ready!(self.shared.state.lock().poll_message(cx));
        Poll::Ready(message.map(read))
    }

    fn restrict(&mut self, bytes: Option<usize>) {
        self.shared.state.lock().socket.restrict(bytes);
    }
}

fn read(message: SocketMessage) -> Inbound {
    let decoded = match message {
        SocketMessage::Text(text) => Envelope::decode_text(text),
        SocketMessage::Binary(bytes) => Envelope::decode_bytes(bytes),
        SocketMessage::Alive => return Inbound::Alive,
        SocketMessage::TooBig { limit } => return Inbound::TooBig { limit, fatal: true },
        SocketMessage::Close(close) => return Inbound::Closed(Closed::ByPeer(close)),
        SocketMessage::Ended => return Inbound::Closed(Closed::Ended),
        SocketMessage::Violation(close) => {
            let reason = format!("the peer broke the WebSocket protocol: {}", close.reason);
            return Inbound::Closed(Closed::Lost { reason });
        }
        SocketMessage::Lost(reason) => return Inbound::Closed(Closed::Lost { reason }),
    };
    decoded.map_or_else(Inbound::Malformed, Inbound::Envelope)
}
