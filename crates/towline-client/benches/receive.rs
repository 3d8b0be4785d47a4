//! What it costs to receive: frames that are decoded, through the session's task, into a handle that reads them all.
//!
//! The peer is in the same process, so the figures are those of the client alone.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use towline_client::{Client, ClientOptions, JobHandle};
use towline_transport::{FrameSink, FrameSource, Inbound, MemoryTransport, Transport};
use towline_wire::Envelope;

const EVENTS: u64 = 200_000;

struct Peer {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
}

impl Peer {
    async fn send(&mut self, frame: &str) {
        self.sink
            .send(Envelope::decode_text(frame.to_owned()).expect("a frame"))
            .await
            .expect("a client");
    }

    async fn request(&mut self) -> Envelope {
        match self.source.receive().await {
            Some(Inbound::Envelope(envelope)) => envelope,
            other => panic!("{other:?}"),
        }
    }
}

async fn connect() -> (JobHandle, Peer) {
    let (near, far) = MemoryTransport::pair_with(1024);
    let (sink, source) = Box::new(far).split();
    let mut peer = Peer { sink, source };
    let runtime = async {
        peer.request().await;
        peer.send(
            r#"{"type":"session.welcome","session_id":"sess_1","payload":{"resume_token":"t"}}"#,
        )
        .await;
        let submit = peer.request().await;
        let id = submit.id.expect("an id");
        let frame = format!(
            r#"{{"type":"job.accepted","job_id":"job_1","payload":{{"request_id":"{id}","agent":"burst@1"}}}}"#
        );
        peer.send(&frame).await;
    };
    let user = async {
        let client = Client::connect(near, ClientOptions::new())
            .await
            .expect("a session");
        client.submit("burst").send().await.expect("a job")
    };
    let (job, ()) = tokio::join!(user, runtime);
    (job, peer)
}

fn frame(seq: u64) -> String {
    format!(
        r#"{{"arcp":"1.1","id":"msg_01M81RHPASYRMZKKHBZTJJCD3N","type":"job.event","session_id":"sess_1","job_id":"job_1","event_seq":{seq},"job_seq":{seq},"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","payload":{{"kind":"log","ts":"2026-01-01T00:00:00.000Z","body":{{"level":"info","message":"{}"}}}}}}"#,
        "x".repeat(100)
    )
}

async fn round(frames: Vec<Envelope>) -> Duration {
    let (mut job, mut peer) = connect().await;
    let begun = Instant::now();
    let sending = tokio::spawn(async move {
        for batch in frames.chunks(64) {
            for frame in batch {
                peer.sink.feed(frame.clone()).await.expect("a client");
            }
            peer.sink.flush().await.expect("a client");
        }
        peer
    });
    for _ in 0..EVENTS {
        job.next_event()
            .await
            .expect("a session")
            .expect("an event");
    }
    let took = begun.elapsed();
    drop(sending.await);
    took
}

fn receive(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let texts: Vec<_> = (1..=EVENTS).map(frame).collect();
    let frames: Vec<_> = texts
        .iter()
        .map(|text| Envelope::decode_text(text.clone()).expect("a frame"))
        .collect();
    let mut group = criterion.benchmark_group("client");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(EVENTS));
    group.bench_function("events to one handle", |bench| {
        bench.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| runtime.block_on(round(frames.clone())))
                .sum()
        });
    });
    group.finish();
}

criterion_group!(benches, receive);
criterion_main!(benches);
