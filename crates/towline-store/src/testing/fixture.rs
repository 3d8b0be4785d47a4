//! Rows to test with, and short words for committing and reading them.

use std::{sync::Arc, time::Duration};

use towline_wire::{
    AgentRef, CredentialId, EventSeq, FeatureSet, JobId, JobSeq, JobStatus, Lease,
    LeaseConstraints, MessageId, RawJson, Secret, SessionId, Timestamp, TraceId,
    payload::{Firing, Notify},
};

use crate::{
    AuditRow, Batch, Block, BlockBuilder, Change, CredentialRow, DeliveryRow, EventStore,
    IdempotencyRow, JobRow, JobState, Planned, Principal, RecordKind, SessionRow, Span, SpanView,
    StoreError,
};

/// A job's name.
pub fn job_id(number: u64) -> JobId {
    JobId::minted(&format!("{number:06}"))
}

/// A session's name.
pub fn session_id(number: u64) -> SessionId {
    SessionId::minted(&format!("{number:06}"))
}

/// A point in time, in seconds after one that is as good as any.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_900_000_000_000_000 + seconds * 1_000_000)
}

/// The state of a job that runs.
pub fn running() -> JobState {
    JobState {
        status: JobStatus::Running,
        ..JobState::accepted()
    }
}

/// The state of a job that ended well at a time.
pub fn succeeded(time: Timestamp) -> JobState {
    JobState {
        status: JobStatus::Success,
        finished_at: Some(time),
        ..running()
    }
}

/// A running job of `alice`, created that many seconds later than job 0.
pub fn job(number: u64) -> JobRow {
    JobRow {
        id: job_id(number),
        principal: Principal::new("alice"),
        session: session_id(0),
        request_id: None,
        agent: AgentRef::parse("echo").expect("a good name"),
        input: RawJson::NULL,
        lease: Lease::new(),
        constraints: LeaseConstraints::default(),
        max_runtime: None,
        parent: None,
        depth: 0,
        rerun_of: None,
        planned: None,
        trace: TraceId::from_bytes([7; 16]).expect("not zero"),
        created_at: at(i64::try_from(number).expect("small")),
        state: running(),
    }
}

/// A job that has something in every field.
pub fn full_job(number: u64) -> JobRow {
    JobRow {
        request_id: Some(MessageId::minted("r")),
        agent: AgentRef::parse("reviewer@1.2.0+x").expect("a good name"),
        input: RawJson::parse(r#"{"text":"größer ✓","n":1.50,"deep":[[],{}]}"#).expect("good JSON"),
        lease: Lease::new()
            .with("fs.read", "/workspace/**")
            .with("cost.budget", "USD:1.00")
            .with("x.own", "a"),
        constraints: LeaseConstraints {
            expires_at: Some("2031-01-01T00:00:00Z".to_owned()),
        },
        max_runtime: Some(Duration::from_nanos(1_500_000_001)),
        parent: Some(job_id(999)),
        depth: 3,
        rerun_of: Some(job_id(998)),
        planned: Some(Box::new(Planned {
            not_before: Some(at(77)),
            queue: Some("nightly builds".to_owned()),
            priority: -100,
            schedule: Some(Firing {
                name: "nightly".to_owned(),
                at: at(76),
                after: Some(job_id(997)),
            }),
            notified_by_agent: true,
            notify: Some(Notify {
                url: "https://hooks.example/é".to_owned(),
                events: vec!["started".to_owned()],
            }),
        })),
        state: JobState {
            budget: Some(RawJson::parse(r#"{"USD":"0.40"}"#).expect("good JSON")),
            ending: Some(RawJson::parse(r#"{"cancel":true}"#).expect("good JSON")),
            attempt: 7,
            progressed: 5,
            retried: 2,
            started_at: Some(at(3)),
            chunked: true,
            ..JobState::accepted()
        },
        ..job(number)
    }
}

/// A session of `alice`.
pub fn session(number: u64) -> SessionRow {
    SessionRow {
        id: session_id(number),
        principal: Principal::new("alice"),
        token_hash: [number as u8; 32],
        previous_token_hash: None,
        skipped_token_hash: None,
        features: FeatureSet::ALL,
        dialect: "own".to_owned(),
        created_at: at(0),
        detached_at: None,
        acked: EventSeq::ZERO,
        evicted: EventSeq::ZERO,
        proof: None,
    }
}

/// What record `seq` of a job says.
pub fn text(job: &JobId, seq: u64) -> String {
    format!(
        r#"{{"kind":"log","job":"{job}","n":{seq},"fill":"{}"}}"#,
        "ä".repeat(seq as usize % 17)
    )
}

/// Records of a job, each as [`text`] has it.
pub fn block(job: &JobId, first: u64, count: u64) -> Block {
    let records: Vec<_> = (first..first + count)
        .map(|seq| (RecordKind::Event, text(job, seq)))
        .collect();
    block_of(job, first, &records)
}

/// The last record of a job, alone in its block.
pub fn end(job: &JobId, seq: u64) -> Block {
    block_of(job, seq, &[(RecordKind::Result, text(job, seq))])
}

/// Records as given.
pub fn block_of(job: &JobId, first: u64, records: &[(RecordKind, String)]) -> Block {
    let mut builder = BlockBuilder::default();
    for (kind, text) in records {
        let write = |buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(text.as_bytes());
            Ok::<_, std::convert::Infallible>(())
        };
        builder
            .push_with(*kind, write)
            .expect("writing into memory works");
    }
    builder
        .take(job, JobSeq::new(first))
        .expect("there are records")
}

/// A piece of a stream.
pub fn span(first: u64, job: &JobId, from: u64, count: u32) -> Span {
    Span {
        first: EventSeq::new(first),
        job: job.clone(),
        from: JobSeq::new(from),
        count,
        view: SpanView::default(),
    }
}

/// The use of a key by `alice`.
pub fn key(name: &str, job: &JobId, time: Timestamp) -> IdempotencyRow {
    let principal = Principal::new("alice");
    IdempotencyRow {
        principal,
        key: name.to_owned(),
        job: job.clone(),
        fingerprint: [9; 32],
        created_at: time,
    }
}

/// A credential's ledger entry.
pub fn credential(number: u64, job: &JobId, outstanding: bool) -> CredentialRow {
    let id = CredentialId::minted(&number.to_string());
    CredentialRow {
        id,
        job: job.clone(),
        outstanding,
        data: Secret::new(format!("secret {number}")),
    }
}

/// A message that is to be delivered.
pub fn delivery(number: u64, job: &JobId) -> DeliveryRow {
    let json = |name: &str| RawJson::parse(format!(r#"{{"{name}":{number}}}"#)).expect("good JSON");
    DeliveryRow {
        id: format!("msg_{number}"),
        job: job.clone(),
        principal: Principal::new("alice"),
        created_at: at(1),
        pending: true,
        data: json("tries"),
        body: json("data"),
    }
}

/// An entry of the audit log.
pub fn audit(number: u64, time: Timestamp) -> AuditRow {
    let data = RawJson::parse(format!(r#"{{"n":{number}}}"#)).expect("good JSON");
    AuditRow {
        at: time,
        action: "submit".to_owned(),
        data,
    }
}

impl From<Block> for Change {
    fn from(block: Block) -> Self {
        Self::Block(Arc::new(block))
    }
}

impl From<JobRow> for Change {
    fn from(row: JobRow) -> Self {
        Self::Job(Box::new(row))
    }
}

impl From<SessionRow> for Change {
    fn from(row: SessionRow) -> Self {
        Self::Session(Box::new(row))
    }
}

/// A piece of a session's stream, as a change.
pub fn sees(session: u64, span: Span) -> Change {
    Change::Span {
        session: session_id(session),
        span,
    }
}

/// A new state of a job, as a change.
pub fn becomes(job: &JobId, state: JobState) -> Change {
    Change::JobState {
        job: job.clone(),
        state,
    }
}

/// Commits changes as one batch.
///
/// # Errors
/// What the store says.
pub async fn try_commit(
    store: &dyn EventStore,
    changes: impl IntoIterator<Item = Change>,
) -> Result<(), StoreError> {
    store
        .commit(Batch {
            changes: changes.into_iter().collect(),
        })
        .await
        .map(drop)
}

/// Commits changes as one batch, which has to succeed.
pub async fn commit(store: &dyn EventStore, changes: impl IntoIterator<Item = Change>) {
    try_commit(store, changes)
        .await
        .expect("the batch is committed");
}

/// Every record of a log from a place on, with its kind, read `max_bytes` at a time.
///
/// # Errors
/// What the store says.
pub async fn read_from(
    store: &dyn EventStore,
    job: &JobId,
    from: u64,
    max_bytes: usize,
) -> Result<Vec<(u64, RecordKind, String)>, StoreError> {
    let mut records = Vec::new();
    let mut next = JobSeq::new(from.max(1));
    loop {
        let blocks = store.read_job(job, next, max_bytes).await?;
        let Some(last) = blocks.last().map(|block| block.last()) else {
            return Ok(records);
        };
        assert!(
            blocks[0].first() <= next && next <= blocks[0].last(),
            "the first block holds what was asked for"
        );
        for block in &blocks {
            assert_eq!(block.job(), job);
            for seq in next.value()..=block.last().value() {
                let (kind, payload) = block
                    .payload(JobSeq::new(seq))
                    .expect("blocks follow one another");
                records.push((seq, kind, payload.as_str().to_owned()));
            }
            next = block.last().next();
        }
        assert_eq!(next, last.next());
    }
}

/// Asserts that a log holds the records `first..=last` as [`text`] has them.
pub async fn assert_log(store: &dyn EventStore, job: &JobId, first: u64, last: u64) {
    let records = read_from(store, job, first, 64 << 10)
        .await
        .expect("the log can be read");
    let seqs: Vec<_> = records.iter().map(|record| record.0).collect();
    assert_eq!(seqs, (first..=last).collect::<Vec<_>>(), "records of {job}");
    for (seq, _, payload) in &records {
        assert_eq!(*payload, text(job, *seq));
    }
}
