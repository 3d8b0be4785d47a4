//! The transport that misbehaves does so as told.

use std::time::Duration;

use tokio::time::Instant;
use towline_transport::{
    CloseFrame, Closed, Inbound, MemoryTransport,
    testing::{Chaos, ChaosControl},
};
use towline_wire::{Envelope, EventSeq, MessageType};

use crate::raw::End;

fn numbered(seq: u64) -> Envelope {
    Envelope {
        event_seq: Some(EventSeq::new(seq)),
        ..Envelope::new(MessageType::JOB_EVENT)
    }
}

fn linked(chaos: Chaos) -> (End, ChaosControl, End) {
    let (near, far) = MemoryTransport::pair();
    let (near, control) = chaos.wrap(near);
    (End::of(near), control, End::of(far))
}

#[tokio::test]
async fn a_cut_after_so_many_frames() {
    let (mut near, control, mut far) = linked(Chaos::seeded(1).cut_after(3));
    near.sink.send(numbered(1)).await.unwrap();
    far.sink.send(numbered(2)).await.unwrap();
    assert!(matches!(
        near.source.receive().await,
        Some(Inbound::Envelope(_))
    ));
    near.sink.feed(numbered(3)).await.unwrap();
    assert!(control.is_cut());
    assert_eq!(control.passed(), 3);
    assert!(near.sink.send(numbered(4)).await.is_err());
    assert!(matches!(
        near.source.receive().await,
        Some(Inbound::Closed(Closed::Lost { .. }))
    ));
    assert_eq!(near.source.receive().await, None);

    assert_eq!(
        far.source.receive().await,
        Some(Inbound::Envelope(numbered(1)))
    );
    assert_eq!(
        far.source.receive().await,
        Some(Inbound::Envelope(numbered(3)))
    );
    assert!(matches!(
        far.source.receive().await,
        Some(Inbound::Closed(Closed::Lost { .. }))
    ));
    assert_eq!(far.source.receive().await, None);
}

#[tokio::test]
async fn a_cut_from_outside_ends_a_waiting_receive() {
    let (mut near, control, mut far) = linked(Chaos::seeded(1));
    let waiting = tokio::spawn(async move { near.source.receive().await });
    tokio::task::yield_now().await;
    control.cut();
    assert!(matches!(
        waiting.await.unwrap(),
        Some(Inbound::Closed(Closed::Lost { .. }))
    ));
    assert!(matches!(
        far.source.receive().await,
        Some(Inbound::Closed(Closed::Lost { .. }))
    ));
}

#[tokio::test]
async fn a_seed_picks_the_same_cut_every_time() {
    let cut_of = async |seed| {
        let (mut near, control, _far) = linked(Chaos::seeded(seed).cut_within(10..200));
        while near.sink.send(numbered(1)).await.is_ok() {}
        control.passed()
    };
    let mut seen = Vec::new();
    for seed in 0..20 {
        let cut = cut_of(seed).await;
        assert!((10..200).contains(&cut));
        assert_eq!(cut_of(seed).await, cut);
        seen.push(cut);
    }
    seen.dedup();
    assert!(seen.len() > 10, "the seed makes no difference: {seen:?}");
}

#[tokio::test(start_paused = true)]
async fn delays_take_virtual_time_and_keep_the_order() {
    let range = Duration::from_millis(10)..=Duration::from_millis(500);
    let (mut near, _control, mut far) = linked(Chaos::seeded(3).delay(range));
    let start = Instant::now();
    for seq in 1..=20 {
        far.sink.send(numbered(seq)).await.unwrap();
    }
    far.sink.close(&CloseFrame::normal()).await.unwrap();
    for seq in 1..=20 {
        assert_eq!(
            near.source.receive().await,
            Some(Inbound::Envelope(numbered(seq)))
        );
    }
    assert!(matches!(
        near.source.receive().await,
        Some(Inbound::Closed(Closed::ByPeer(_)))
    ));
    assert_eq!(near.source.receive().await, None);
    let taken = start.elapsed();
    assert!(
        (Duration::from_millis(10)..=Duration::from_millis(501)).contains(&taken),
        "{taken:?}"
    );
}
