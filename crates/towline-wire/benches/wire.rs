//! What one frame costs to read and to write: `cargo bench -p towline-wire`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use towline_wire::{Encode as _, Envelope, EventKind, EventPayload, Message, RawJson};

/// A `job.event` of about 300 bytes with our own ids.
const EVENT: &str = concat!(
    r#"{"arcp":"1.1","id":"msg_01K0T8Z6W3N5B7Q9R1S3T5V7X9","type":"job.event","#,
    r#""session_id":"sess_01K0T8Z6W3N5B7Q9R1S3T5V7XA","job_id":"job_01K0T8Z6W3N5B7Q9R1S3T5V7XB","#,
    r#""event_seq":1234567,"job_seq":4321,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#,
    r#""payload":{"kind":"log","ts":"2026-01-31T12:00:00.000Z","#,
    r#""body":{"level":"info","message":"line 4321"}}}"#,
);

fn decode(criterion: &mut Criterion) {
    let frame = Bytes::from_static(EVENT.as_bytes());
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("envelope", |bencher| {
        bencher.iter(|| Envelope::decode_bytes(black_box(frame.clone())));
    });
    group.bench_function("envelope and payload", |bencher| {
        bencher.iter(|| Message::of(&Envelope::decode_bytes(black_box(frame.clone())).ok()?).ok());
    });
    group.bench_function("envelope, payload and body", |bencher| {
        bencher.iter(|| {
            let envelope = Envelope::decode_bytes(black_box(frame.clone())).ok()?;
            envelope.decode::<EventPayload>().ok()?.event().ok()
        });
    });
    group.finish();
}

fn encode(criterion: &mut Criterion) {
    let Ok(envelope) = Envelope::decode_text(EVENT) else {
        return;
    };
    let Ok(payload) = envelope.decode::<EventPayload>() else {
        return;
    };
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(1));
    group.bench_function("envelope", |bencher| {
        bencher.iter(|| black_box(&envelope).encode())
    });
    group.bench_function("envelope onto a buffer", |bencher| {
        let mut out = Vec::with_capacity(1024);
        bencher.iter(|| {
            out.clear();
            black_box(&envelope).encode_onto(&mut out);
            out.len()
        });
    });
    group.bench_function("event payload", |bencher| {
        bencher.iter(|| black_box(&payload).to_json())
    });
    group.bench_function("event payload through serde", |bencher| {
        bencher.iter_batched(
            || payload.clone(),
            |payload| RawJson::of(&payload),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("word", |bencher| {
        bencher.iter(|| EventKind::new(black_box("log")))
    });
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
