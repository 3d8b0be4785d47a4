//! Requests above what a transport sends.

use std::task::{Context, Poll};

use tokio::{join, time::Instant};
use towline_client::{Client, ClientError};
use towline_transport::{
    CloseFrame, FrameSink, FrameSource, MemoryTransport, Transport, TransportError, TransportInfo,
};
use towline_wire::Envelope;

use crate::peer::*;

const LIMIT: usize = 2000;

/// A transport that sends small messages only.
struct Narrow(MemoryTransport);

struct NarrowSink(Box<dyn FrameSink>);

impl Transport for Narrow {
    fn info(&self) -> TransportInfo {
        self.0.info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let (sink, source) = Box::new(self.0).split();
        (Box::new(NarrowSink(sink)), source)
    }
}

impl FrameSink for NarrowSink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_ready(cx)
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        match envelope.encode().len() {
            size if size > LIMIT => Err(TransportError::FrameTooBig { size, limit: LIMIT }),
            _ => self.0.start_send(envelope),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_flush(cx)
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        close: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        self.0.poll_close(cx, close)
    }
}

/// [ARCP 4-6] A request that the transport does not send fails at once, with its size and the limit, and the others go on.
#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_send_is_refused_at_once() {
    let (mut peer, near) = Peer::pair();
    let (client, _) = join!(
        Client::connect(Narrow(near), options()),
        peer.welcome(&["subscribe"])
    );
    let client = client.unwrap();
    let begun = Instant::now();
    let large = client.submit("echo").input("x".repeat(LIMIT)).send();
    let small = client.submit("echo").input("x").send();
    let (large, small, _) = join!(large, small, peer.accept("job_1"));
    let Err(ClientError::Invalid(words)) = large else {
        panic!("{large:?}");
    };
    assert!(
        words.contains("at most 2000") && words.contains("the request has 2"),
        "{words}"
    );
    assert_eq!(small.unwrap().id().as_str(), "job_1");
    assert_eq!(begun.elapsed().as_secs(), 0, "no deadline was waited for");
}
