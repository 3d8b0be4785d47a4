//! A client's end of a connection that can go silent, one direction at a time, and is listened in on.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use towline_transport::{
    CloseFrame, Closed, FrameSink, FrameSource, Inbound, Transport, TransportError, TransportInfo,
};
use towline_wire::Envelope;

use crate::book::Page;

/// A connection whose other end is further away than it seems. What passes is written to a [`Page`].
pub(crate) struct Tap {
    info: TransportInfo,
    wire: Arc<Wire>,
}

/// The wire between, and what is wrong with it.
///
/// A silent direction carries nothing, neither frames nor the end: what is put in at one end is lost, and the other end
/// believes that the connection stands.
pub(crate) struct Wire(Mutex<State>);

struct State {
    silent_up: bool,
    silent_down: bool,
    /// The client was told that the connection is lost.
    is_stranded: bool,
    told: bool,
    sink: Option<Box<dyn FrameSink>>,
    source: Option<Box<dyn FrameSource>>,
    reader: Option<Waker>,
    page: Page,
}

impl Tap {
    pub(crate) fn over(transport: impl Transport, page: Page) -> (Self, Arc<Wire>) {
        let info = transport.info();
        let (sink, source) = Box::new(transport).split();
        let state = State {
            silent_up: false,
            silent_down: false,
            is_stranded: false,
            told: false,
            sink: Some(sink),
            source: Some(source),
            reader: None,
            page,
        };
        let wire = Arc::new(Wire(Mutex::new(state)));
        (
            Self {
                info,
                wire: Arc::clone(&wire),
            },
            wire,
        )
    }
}

impl Wire {
    /// What the client sends is lost from now on.
    pub(crate) fn silence_up(&self) {
        self.0.lock().silent_up = true;
    }

    /// What the runtime sends is lost from now on.
    pub(crate) fn silence_down(&self) {
        self.0.lock().silent_down = true;
    }

    /// The client loses the connection, and the runtime does not notice.
    pub(crate) fn strand(&self) {
        let reader = {
            let mut state = self.0.lock();
            state.silent_up = true;
            state.silent_down = true;
            state.is_stranded = true;
            state.reader.take()
        };
        reader.into_iter().for_each(Waker::wake);
    }

    /// Both ends lose the connection.
    pub(crate) fn cut(&self) {
        let (reader, halves) = {
            let mut state = self.0.lock();
            state.is_stranded = true;
            (
                state.reader.take(),
                (state.sink.take(), state.source.take()),
            )
        };
        drop(halves);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl State {
    fn sink(&mut self) -> Result<&mut dyn FrameSink, TransportError> {
        match &mut self.sink {
            Some(sink) if !self.is_stranded => Ok(&mut **sink),
            _ => Err(TransportError::Closed),
        }
    }

    /// What the transport has, as far as it gets here.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        self.reader = Some(cx.waker().clone());
        if self.is_stranded {
            let first = !std::mem::replace(&mut self.told, true);
            return Poll::Ready(first.then(lost));
        }
        loop {
            let Some(source) = &mut self.source else {
                return Poll::Ready(None);
            };
            match source.poll_receive(cx) {
                Poll::Ready(Some(_)) if self.silent_down => {}
                Poll::Ready(None) | Poll::Pending if self.silent_down => return Poll::Pending,
                Poll::Ready(Some(Inbound::Envelope(envelope))) => {
                    self.page.came(&envelope);
                    return Poll::Ready(Some(Inbound::Envelope(envelope)));
                }
                other => return other,
            }
        }
    }
}

fn lost() -> Inbound {
    Inbound::Closed(Closed::Lost {
        reason: "the wire is gone".to_owned(),
    })
}

impl Transport for Tap {
    fn info(&self) -> TransportInfo {
        self.info.clone()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        (
            Box::new(Up(Arc::clone(&self.wire))),
            Box::new(Down(self.wire)),
        )
    }
}

struct Up(Arc<Wire>);

impl FrameSink for Up {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut state = self.0.0.lock();
        if state.silent_up && !state.is_stranded {
            Poll::Ready(Ok(()))
        } else {
            state.sink()?.poll_ready(cx)
        }
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        let mut state = self.0.0.lock();
        state.page.went(&envelope);
        if state.silent_up && !state.is_stranded {
            Ok(())
        } else {
            state.sink()?.start_send(envelope)
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let mut state = self.0.0.lock();
        if state.silent_up && !state.is_stranded {
            Poll::Ready(Ok(()))
        } else {
            state.sink()?.poll_flush(cx)
        }
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        let mut state = self.0.0.lock();
        if state.silent_up && !state.is_stranded {
            Poll::Ready(Ok(()))
        } else {
            state.sink()?.poll_close(cx, close)
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        let sink = if state.silent_up {
            None
        } else {
            state.sink.take()
        };
        drop(state);
        drop(sink);
    }
}

struct Down(Arc<Wire>);

impl FrameSource for Down {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        self.0.0.lock().poll_receive(cx)
    }
}

impl Drop for Down {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        let source = if state.silent_down {
            None
        } else {
            state.source.take()
        };
        drop(state);
        drop(source);
    }
}
