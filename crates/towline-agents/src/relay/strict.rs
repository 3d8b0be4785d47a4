//! A child's lines, where none may be lost without a word: a line that was skipped may have been the one that is waited for.

use std::task::{Context, Poll};

use tokio::sync::mpsc;
use towline_transport::{FrameSink, FrameSource, Inbound, Transport, TransportInfo};

/// Ends the connection with a line above the limit, and tells of lines that are no messages.
pub(crate) struct Strict<T> {
    inner: T,
    strays: mpsc::Sender<String>,
}

/// What is to be told of lines that are no messages. A child that prints more of them than are read goes on untold: it
/// was told enough.
pub(crate) type Strays = mpsc::Receiver<String>;

impl<T: Transport> Strict<T> {
    pub(crate) fn new(inner: T) -> (Self, Strays) {
        let (strays, receiver) = mpsc::channel(STRAYS);
        (Self { inner, strays }, receiver)
    }
}

impl<T: Transport> Transport for Strict<T> {
    fn info(&self) -> TransportInfo {
        self.inner.info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let Self { inner, strays } = *self;
        let (sink, source) = Box::new(inner).split();
        let source = Source {
            inner: source,
            strays,
            is_over: false,
        };
        (sink, Box::new(source))
    }
}

struct Source {
    inner: Box<dyn FrameSource>,
    strays: mpsc::Sender<String>,
    is_over: bool,
}

impl FrameSource for Source {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let inbound = std::task::ready!(self.inner.poll_receive(cx));
        Poll::Ready(match inbound {
            Some(Inbound::TooBig { limit, .. }) => {
                self.is_over = true;
                Some(Inbound::TooBig { limit, fatal: true })
            }
            Some(Inbound::Malformed(cause)) => {
                let text = format!(
                    "the agent's process wrote a line to its standard output that is no message ({}); print to standard error",
                    cause.message
                );
                // Full: see `Strays`.
                let _ = self.strays.try_send(text);
                Some(Inbound::Malformed(cause))
            }
            other => other,
        })
    }

    fn restrict(&mut self, bytes: Option<usize>) {
        self.inner.restrict(bytes);
    }
}

/// How many may wait to be told.
const STRAYS: usize = 8;
