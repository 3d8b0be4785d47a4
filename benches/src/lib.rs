//! The pieces of the event path, each as a function that does it once.
//!
//! `cargo bench -p towline-benches` times them; `benches/instructions.sh` counts their instructions under callgrind,
//! which no load on the machine disturbs, and compares with `benches/instructions.txt`; `benches/counts.sh` counts what they
//! ask the heap for.

mod whole;

use std::{hint::black_box, sync::Arc};

use towline_proto::{
    lease::{Authority, Operation, validate_request},
    outbox::Outbox,
    span::{RecordKind, Span, SpanView, project},
};
use towline_store::{
    Batch, BlockBuilder, Change, EventStore, JobRow, JobState, MemoryStore, Principal,
};
use towline_wire::{
    AgentRef, Encode as _, Envelope, EventFrame, EventHeader, EventPayload, EventSeq, FeatureSet,
    JobId, JobSeq, JobStatus, Lease, LeaseConstraints, MessageId, RawJson, SessionId, Timestamp,
    TraceId, event,
};

/// A `job.event` of 100 bytes of message, as it comes and goes.
pub const FRAME: &str = r#"{"arcp":"1.1","id":"msg_01JB3R5Q0M9T8V7W6X5Y4Z3A2B","type":"job.event","session_id":"sess_01JB3R5Q0M9T8V7W6X5Y4Z3A2B","job_id":"job_01JB3R5Q0M9T8V7W6X5Y4Z3A2B","event_seq":123456,"job_seq":123450,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","payload":{"kind":"log","ts":"2026-11-22T17:00:00.000Z","body":{"level":"info","message":"123450 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}}}"#;

/// A piece: set up once, run often.
pub type Piece = Box<dyn FnMut()>;

/// A piece's name, and how to set it up.
pub type Named = (&'static str, fn() -> Piece);

/// Every piece by name.
pub fn pieces() -> Vec<Named> {
    vec![
        ("decode", decode),
        ("decode_event", decode_event),
        ("encode", encode),
        ("splice", splice),
        ("record", record),
        ("project", project_block),
        ("outbox", outbox),
        ("lease_path", lease_path),
        ("lease_url", lease_url),
        ("commit_64", commit),
        ("session", whole::session),
        ("silent", whole::silent),
        ("job", whole::job),
        ("events_64", whole::events),
    ]
}

/// A frame's header, the payload left as it is.
fn decode() -> Piece {
    let frame = bytestring(FRAME);
    Box::new(move || {
        black_box(Envelope::decode_text(frame.clone())).ok();
    })
}

/// A frame down to the event's fields.
fn decode_event() -> Piece {
    let frame = bytestring(FRAME);
    Box::new(move || {
        let envelope = Envelope::decode_text(frame.clone()).ok();
        let payload = envelope.and_then(|envelope| envelope.decode::<EventPayload>().ok());
        black_box(payload.and_then(|payload| payload.event().ok()));
    })
}

/// A header around a shared payload.
fn encode() -> Piece {
    let envelope = Envelope::decode_text(FRAME)
        .unwrap_or_else(|_| Envelope::new(towline_wire::MessageType::JOB_EVENT));
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        out.clear();
        envelope.encode_onto(&mut out);
        black_box(out.len());
    })
}

/// The same, for an event whose header is shared too.
fn splice() -> Piece {
    let header = EventHeader::new(
        SessionId::minted("01JB3R5Q0M9T8V7W6X5Y4Z3A2B"),
        job(),
        TraceId::from_bytes([1; 16]),
    );
    let payload = Envelope::decode_text(FRAME).map_or(RawJson::NULL, |frame| frame.payload);
    let id = MessageId::minted("01JB3R5Q0M9T8V7W6X5Y4Z3A2B");
    let mut out = Vec::with_capacity(1024);
    Box::new(move || {
        let frame = EventFrame {
            header: &header,
            id: id.clone(),
            event_seq: EventSeq::new(123_456),
            job_seq: JobSeq::new(123_450),
            payload: payload.clone(),
        };
        out.clear();
        frame.encode_onto(&mut out);
        black_box(out.len());
    })
}

/// An event's body, serialised into a block.
fn record() -> Piece {
    let body = event::Log {
        level: "info".to_owned(),
        message: "x".repeat(100),
        attributes: None,
    };
    let job = job();
    let mut builder = BlockBuilder::default();
    Box::new(move || {
        let added = builder.push_with(RecordKind::Event, |out| serde_json::to_writer(out, &body));
        black_box(added.is_ok());
        if builder.len() >= 64 {
            black_box(builder.take(&job, JobSeq::FIRST));
        }
    })
}

/// A block of 64 records, fitted to a session with every feature.
fn project_block() -> Piece {
    let (job, kinds) = (job(), [RecordKind::Event; 64]);
    Box::new(move || {
        black_box(project(
            &job,
            JobSeq::FIRST,
            &kinds,
            FeatureSet::ALL,
            EventSeq::FIRST,
            false,
        ));
    })
}

/// A span added, found, acknowledged.
fn outbox() -> Piece {
    let mut outbox = Outbox::default();
    let jobs = [job(), JobId::minted("other")];
    let mut logs = [JobSeq::ZERO; 2];
    let mut turn = 0;
    Box::new(move || {
        turn = 1 - turn;
        let (first, from) = (outbox.last().next(), logs[turn].next());
        logs[turn] = logs[turn].plus(64);
        outbox.push(Span {
            first,
            job: jobs[turn].clone(),
            from,
            count: 64,
            view: SpanView::default(),
        });
        black_box(outbox.after(outbox.acked()));
        outbox.ack(outbox.last(), outbox.last());
        if let Some(up_to) = outbox.overflow(1024) {
            outbox.evict(up_to);
        }
    })
}

/// A path asked of a lease with a few patterns.
fn lease_path() -> Piece {
    let authority = authority();
    Box::new(move || {
        black_box(authority.decide(Operation::FsRead("/workspace/src/lib/mod.rs"), now())).ok();
    })
}

/// A URL asked of it.
fn lease_url() -> Piece {
    let authority = authority();
    Box::new(move || {
        black_box(authority.decide(
            Operation::NetFetch("https://api.example.com/v1/items?page=2"),
            now(),
        ))
        .ok();
    })
}

/// 64 records committed to the memory store.
fn commit() -> Piece {
    let store = MemoryStore::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok();
    let job = job();
    let mut last = JobSeq::ZERO;
    if let Some(runtime) = &runtime {
        let row = Change::Job(Box::new(row(&job)));
        runtime
            .block_on(store.commit(Batch { changes: vec![row] }))
            .ok();
    }
    let mut builder = BlockBuilder::default();
    Box::new(move || {
        for _ in 0..64 {
            let pushed: Result<(), ()> = builder.push_with(RecordKind::Event, |out| {
                out.extend_from_slice(br#"{"kind":"log"}"#);
                Ok(())
            });
            black_box(pushed.is_ok());
        }
        let Some(block) = builder.take(&job, last.next()) else {
            return;
        };
        last = block.last();
        let changes = vec![Change::Block(Arc::new(block))];
        if let Some(runtime) = &runtime {
            black_box(runtime.block_on(store.commit(Batch { changes }))).ok();
        }
    })
}

fn bytestring(text: &str) -> String {
    text.to_owned()
}

fn job() -> JobId {
    JobId::minted("01JB3R5Q0M9T8V7W6X5Y4Z3A2B")
}

fn now() -> Timestamp {
    Timestamp::from_unix_micros(1_700_000_000_000_000)
}

fn authority() -> Authority {
    let lease = Lease::new()
        .with("fs.read", "/workspace/**")
        .with("fs.read", "/etc/*.conf")
        .with("net.fetch", "https://api.example.com/v1/**")
        .with("tool.call", "search.*");
    let valid = validate_request(&lease, &LeaseConstraints::default(), now());
    let valid = valid.unwrap_or_else(|error| unreachable!("{error}"));
    Authority::new(valid, true)
}

fn row(job: &JobId) -> JobRow {
    let state = JobState {
        status: JobStatus::Running,
        ..JobState::accepted()
    };
    JobRow {
        id: job.clone(),
        principal: Principal::new("bench"),
        session: SessionId::minted("bench"),
        request_id: Some(MessageId::minted("bench")),
        agent: AgentRef::parse("burst").unwrap_or_else(|error| unreachable!("{error}")),
        input: RawJson::NULL,
        lease: Lease::new(),
        constraints: LeaseConstraints::default(),
        max_runtime: None,
        parent: None,
        depth: 0,
        rerun_of: None,
        planned: None,
        trace: TraceId::from_bytes([1; 16]).unwrap_or_else(|| unreachable!("not zero")),
        created_at: now(),
        state,
    }
}
