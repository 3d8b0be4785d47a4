//! A transport of somebody else: channels of text, as over a message queue.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, PollSender, WaitForCancellationFutureOwned};
use towline_transport::{
    CloseFrame, Closed, FrameSink, FrameSource, Inbound, Transport, TransportError, TransportInfo,
    TransportKind, testing::suite::Pair, transport_suite,
};
use towline_wire::Envelope;

enum Item {
    Frame(String),
    Goodbye(CloseFrame),
}

struct Queue {
    outgoing: mpsc::Sender<Item>,
    incoming: mpsc::Receiver<Item>,
}

fn linked() -> Pair {
    let (there, here) = (mpsc::channel(32), mpsc::channel(32));
    let near = Queue {
        outgoing: there.0,
        incoming: here.1,
    };
    let far = Queue {
        outgoing: here.0,
        incoming: there.1,
    };
    Pair::new(near, far)
}

impl Transport for Queue {
    fn info(&self) -> TransportInfo {
        TransportInfo::new(TransportKind::Other)
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let closed = CancellationToken::new();
        let source = Source {
            queue: self.incoming,
            closed: Box::pin(closed.clone().cancelled_owned()),
            is_over: false,
        };
        (
            Box::new(Sink {
                queue: PollSender::new(self.outgoing),
                closed,
            }),
            Box::new(source),
        )
    }
}

struct Sink {
    queue: PollSender<Item>,
    closed: CancellationToken,
}

impl Sink {
    fn check_open(&self) -> Result<(), TransportError> {
        if self.closed.is_cancelled() {
            Err(TransportError::Closed)
        } else {
            Ok(())
        }
    }
}

impl FrameSink for Sink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.check_open()?;
        self.queue
            .poll_reserve(cx)
            .map_err(|_| TransportError::Closed)
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        self.check_open()?;
        self.queue
            .send_item(Item::Frame(envelope.encode()))
            .map_err(|_| TransportError::Closed)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(self.check_open())
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        if !self.closed.is_cancelled() {
            // A peer that is gone needs no goodbye.
            if ready!(self.queue.poll_reserve(cx)).is_ok() {
                let _ = self.queue.send_item(Item::Goodbye(close.clone()));
            }
            self.queue.close();
            self.closed.cancel();
        }
        Poll::Ready(Ok(()))
    }
}

struct Source {
    queue: mpsc::Receiver<Item>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
}

impl FrameSource for Source {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        if self.is_over || self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let item = ready!(self.queue.poll_recv(cx));
        self.is_over = !matches!(item, Some(Item::Frame(_)));
        Poll::Ready(Some(match item {
            Some(Item::Frame(text)) => {
                Envelope::decode_text(text).map_or_else(Inbound::Malformed, Inbound::Envelope)
            }
            Some(Item::Goodbye(close)) => Inbound::Closed(Closed::ByPeer(Some(close))),
            None => Inbound::Closed(Closed::Lost {
                reason: "the queue has gone".to_owned(),
            }),
        }))
    }
}

transport_suite!(on_a_queue, linked());

/// [ARCP 4-9] What is above a transport only sees the trait: one made of queues behaves like the rest, with no change to
/// the trait. (Every case of the suite runs on it, too.)
#[tokio::test]
async fn a_transport_of_somebody_else_fits_the_trait() {
    towline_transport::testing::suite::order_is_kept(linked()).await;
    towline_transport::testing::suite::the_close_comes_after_everything_sent(linked()).await;
    towline_transport::testing::suite::a_dropped_end_is_seen(linked()).await;
}
