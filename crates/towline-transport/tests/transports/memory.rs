//! The memory transport by itself; what it shares with the others is in the behaviour suite.

use towline_transport::{Inbound, MemoryTransport, Transport, TransportKind};
use towline_wire::{Envelope, MessageType};

/// [ARCP 4-3] The payload the receiver sees is the very text the sender made.
#[tokio::test]
async fn nothing_is_serialised() {
    let (near, far) = MemoryTransport::pair();
    assert_eq!(near.info().kind, TransportKind::Memory);
    assert!(near.info().confidential);
    let (mut sink, _near_source) = Box::new(near).split();
    let (_far_sink, mut source) = Box::new(far).split();

    let frame = r#"{"type":"job.event","payload":{"kind":"log","body":{}}}"#;
    let sent = Envelope::decode_text(frame).unwrap();
    let text = sent.payload.as_str().as_ptr();
    sink.send(sent).await.unwrap();

    let Some(Inbound::Envelope(received)) = source.receive().await else {
        panic!("an envelope was sent")
    };
    assert_eq!(received.payload.as_str().as_ptr(), text);
}

/// [ARCP 4-3] An end that was never taken apart still counts as dropped.
#[tokio::test]
async fn an_unsplit_end_can_be_dropped() {
    let (near, far) = MemoryTransport::pair_with(1);
    drop(near);
    let (mut sink, mut source) = Box::new(far).split();
    assert!(matches!(source.receive().await, Some(Inbound::Closed(_))));
    assert_eq!(source.receive().await, None);
    assert!(
        sink.send(Envelope::new(MessageType::SESSION_PING))
            .await
            .is_err()
    );
}
