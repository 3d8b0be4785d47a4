//! What every transport does alike [ARCP 4-4].
//!
//! One function a case, over a fresh [`Pair`]. [`transport_suite!`](crate::transport_suite) writes a test for each.

use std::{future::poll_fn, task::Poll};

use towline_wire::{Envelope, EventSeq, MessageType};

use crate::{
    CloseCode, CloseFrame, Closed, FrameSink, FrameSource, Inbound, Transport, TransportError,
};

/// Writes a module of tests, one a case. `$pair` is an expression of type [`Pair`], evaluated afresh, in an async
/// function, for each test.
///
/// [`Pair`]: crate::testing::suite::Pair
#[macro_export]
macro_rules! transport_suite {
    ($module:ident, $pair:expr) => {
        $crate::transport_suite! { @tests $module, $pair,
            order_is_kept
            one_flush_is_enough_for_many_frames
            both_directions_at_once
            large_frames_pass
            the_close_comes_after_everything_sent
            sending_after_the_close_is_an_error
            a_pending_receive_ends_with_the_close
            a_closed_end_can_be_closed_in_return
            a_dropped_end_is_seen
            a_slow_reader_makes_the_sender_wait
            a_dropped_receive_loses_nothing
        }
    };
    (@tests $module:ident, $pair:expr, $($case:ident)+) => {
        mod $module {
            use super::*;

            $(
                #[tokio::test]
                async fn $case() {
                    $crate::testing::suite::$case($pair).await;
                }
            )+
        }
    };
}

/// Two connected ends.
pub struct Pair {
    near: End,
    far: End,
}

struct End {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
}

impl Pair {
    /// Two connected ends.
    pub fn new(near: impl Transport, far: impl Transport) -> Self {
        Self {
            near: End::of(near),
            far: End::of(far),
        }
    }

    /// The halves of the near and of the far end, for cases of one's own.
    pub fn into_halves(self) -> [(Box<dyn FrameSink>, Box<dyn FrameSource>); 2] {
        [
            (self.near.sink, self.near.source),
            (self.far.sink, self.far.source),
        ]
    }
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

impl End {
    fn of(transport: impl Transport) -> Self {
        let (sink, source) = Box::new(transport).split();
        Self { sink, source }
    }

    async fn feed(&mut self, seq: u64) {
        self.sink
            .feed(numbered(seq))
            .await
            .expect("the connection is open");
    }

    async fn flush(&mut self) {
        self.sink.flush().await.expect("the connection is open");
    }

    async fn expect(&mut self, seq: u64) {
        assert_eq!(
            self.source.receive().await,
            Some(Inbound::Envelope(numbered(seq)))
        );
    }

    /// Receives until the end and returns what came.
    async fn receive_all(&mut self) -> Vec<Inbound> {
        let mut all = Vec::new();
        while let Some(inbound) = self.source.receive().await {
            all.push(inbound);
        }
        assert_eq!(self.source.receive().await, None, "the end stays the end");
        all
    }
}

fn numbered(seq: u64) -> Envelope {
    Envelope {
        event_seq: Some(EventSeq::new(seq)),
        ..Envelope::new(MessageType::JOB_EVENT)
    }
}

fn large(seq: u64, bytes: usize) -> Envelope {
    let payload = format!(
        r#"{{"kind":"log","body":{{"message":"{}"}}}}"#,
        "ä".repeat(bytes / 2)
    );
    let frame = format!(r#"{{"type":"job.event","event_seq":{seq},"payload":{payload}}}"#);
    Envelope::decode_text(frame).expect("it is an envelope")
}

/// [ARCP 4-4] Frames arrive in the order they were sent, none missing, none twice.
pub async fn order_is_kept(mut pair: Pair) {
    let sender = async {
        for seq in 1..=2000 {
            pair.near.feed(seq).await;
            if seq % 64 == 0 {
                pair.near.flush().await;
            }
        }
        pair.near.flush().await;
    };
    let receiver = async {
        for seq in 1..=2000 {
            pair.far.expect(seq).await;
        }
    };
    tokio::join!(sender, receiver);
}

/// [ARCP 4-4] What was fed is out after one flush, in both roles of the connection.
pub async fn one_flush_is_enough_for_many_frames(mut pair: Pair) {
    async fn batch(from: &mut End, to: &mut End) {
        let sender = async {
            for seq in 1..=100 {
                from.feed(seq).await;
            }
            from.flush().await;
        };
        let receiver = async {
            for seq in 1..=100 {
                to.expect(seq).await;
            }
        };
        tokio::join!(sender, receiver);
    }
    batch(&mut pair.near, &mut pair.far).await;
    batch(&mut pair.far, &mut pair.near).await;
}

/// [ARCP 4-4] Neither direction waits for the other.
pub async fn both_directions_at_once(pair: Pair) {
    const FRAMES: u64 = 500;

    async fn send(mut sink: Box<dyn FrameSink>) -> Box<dyn FrameSink> {
        for seq in 1..=FRAMES {
            sink.send(large(seq, 4096))
                .await
                .expect("the connection is open");
        }
        sink
    }

    async fn receive(mut source: Box<dyn FrameSource>) {
        for seq in 1..=FRAMES {
            assert_eq!(
                source.receive().await,
                Some(Inbound::Envelope(large(seq, 4096)))
            );
        }
    }

    let Pair { near, far } = pair;
    tokio::join!(
        send(near.sink),
        receive(near.source),
        send(far.sink),
        receive(far.source)
    );
}

/// [ARCP 4-4] A megabyte arrives as it was sent.
pub async fn large_frames_pass(mut pair: Pair) {
    let sender = async {
        for seq in 1..=3 {
            pair.near
                .sink
                .send(large(seq, 1 << 20))
                .await
                .expect("the connection is open");
        }
    };
    let receiver = async {
        for seq in 1..=3 {
            assert_eq!(
                pair.far.source.receive().await,
                Some(Inbound::Envelope(large(seq, 1 << 20)))
            );
        }
    };
    tokio::join!(sender, receiver);
}

/// [ARCP 4-4] The peer gets everything that was sent, flushed or not, then one goodbye, then the end.
pub async fn the_close_comes_after_everything_sent(mut pair: Pair) {
    let goodbye = CloseFrame::new(CloseCode::GOING_AWAY, "shutting down");
    let closer = async {
        for seq in 1..=3 {
            pair.near.feed(seq).await;
        }
        pair.near
            .sink
            .close(&goodbye)
            .await
            .expect("the peer reads");
    };
    let (all, ()) = tokio::join!(pair.far.receive_all(), closer);

    let (last, frames) = all.split_last().expect("something arrived");
    let expected: Vec<_> = (1..=3)
        .map(|seq| Inbound::Envelope(numbered(seq)))
        .collect();
    assert_eq!(frames, expected);
    let Inbound::Closed(Closed::ByPeer(said)) = last else {
        panic!("{last:?} is no goodbye")
    };
    // Not every transport has codes; what arrives is what was said.
    assert!(
        said.as_ref().is_none_or(|said| *said == goodbye),
        "{said:?}"
    );
}

/// [ARCP 4-4] After the close nothing can be sent, and closing again is no error.
pub async fn sending_after_the_close_is_an_error(mut pair: Pair) {
    let closer = async {
        let sink = &mut pair.near.sink;
        sink.close(&CloseFrame::normal())
            .await
            .expect("the peer reads");
        let refused = sink.send(numbered(1)).await;
        assert!(
            matches!(refused, Err(TransportError::Closed)),
            "{refused:?}"
        );
        let refused = sink.flush().await;
        assert!(
            matches!(refused, Err(TransportError::Closed)),
            "{refused:?}"
        );
        sink.close(&CloseFrame::normal())
            .await
            .expect("closing twice is no error");
    };
    let (all, ()) = tokio::join!(pair.far.receive_all(), closer);
    assert_eq!(all.len(), 1, "one close and nothing else: {all:?}");
}

/// [ARCP 4-4] Who waits for a frame while the connection is closed on its own side waits no longer.
pub async fn a_pending_receive_ends_with_the_close(pair: Pair) {
    let Pair { mut near, mut far } = pair;
    let waiting = tokio::spawn(async move { near.source.receive().await });
    tokio::task::yield_now().await;
    let (closed, _) = tokio::join!(
        async { near.sink.close(&CloseFrame::normal()).await },
        far.receive_all(),
    );
    closed.expect("the peer reads");
    let received = waiting.await.expect("the receive does not panic");
    assert_eq!(received, None, "nothing was sent, and the goodbye was ours");
}

/// [ARCP 4-4] Who was told goodbye may say it too.
pub async fn a_closed_end_can_be_closed_in_return(mut pair: Pair) {
    let close = CloseFrame::normal();
    let answer = async {
        pair.far.receive_all().await;
        pair.far.sink.close(&close).await
    };
    let (closed, answered) = tokio::join!(pair.near.sink.close(&close), answer);
    closed.expect("the peer reads");
    answered.expect("an answer is no error");
}

/// [ARCP 4-4] An end that is dropped without a close is the end of the stream for the other.
pub async fn a_dropped_end_is_seen(mut pair: Pair) {
    pair.near.feed(1).await;
    pair.near.flush().await;
    drop(pair.near);
    let all = pair.far.receive_all().await;
    assert_eq!(all.first(), Some(&Inbound::Envelope(numbered(1))));
    assert!(matches!(all[1..], [Inbound::Closed(_)]), "{all:?}");
}

/// [ARCP 4-4] A sender is held up by a peer that does not read, after a bounded amount, and goes on when it does.
pub async fn a_slow_reader_makes_the_sender_wait(mut pair: Pair) {
    const FRAME: usize = 64 << 10;
    const BOUND: u64 = (256 << 20) / FRAME as u64;

    let mut taken = 0;
    while has_room(&mut *pair.near.sink).await {
        taken += 1;
        pair.near
            .sink
            .start_send(large(taken, FRAME))
            .expect("there was room");
        assert!(taken < BOUND, "the sender is not held up");
    }
    let reader = async {
        for seq in 1..=taken {
            assert_eq!(
                pair.far.source.receive().await,
                Some(Inbound::Envelope(large(seq, FRAME)))
            );
        }
    };
    let (flushed, ()) = tokio::join!(pair.near.sink.flush(), reader);
    flushed.expect("the connection is open");
}

/// Whether the sink takes a frame, now or after everything else that is ready has run a while.
async fn has_room(sink: &mut dyn FrameSink) -> bool {
    for _ in 0..100 {
        let polled = poll_fn(|cx| Poll::Ready(sink.poll_ready(cx))).await;
        if let Poll::Ready(ready) = polled {
            ready.expect("the connection is open");
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// [ARCP 4-4] A receive that is given up takes nothing with it.
pub async fn a_dropped_receive_loses_nothing(mut pair: Pair) {
    for seq in 1..=20 {
        let polled = poll_fn(|cx| Poll::Ready(pair.far.source.poll_receive(cx))).await;
        assert!(polled.is_pending(), "nothing was sent yet");
        pair.near.feed(seq).await;
        pair.near.flush().await;
        pair.far.expect(seq).await;
    }
}
