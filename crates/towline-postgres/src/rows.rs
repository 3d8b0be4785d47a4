//! Rows as the tables have them.

use std::time::Duration;

use bytestring::ByteString;
use tokio_postgres::Row;
use towline_store::{
    AuditRow, Block, CredentialRow, IdempotencyRow, JobRow, JobState, JobSummary, Principal,
    ScheduleRow, SessionRow, Span, StoreError,
    building::{Head, block, status_of, view_of},
};
use towline_wire::{
    AgentRef, CredentialId, EventSeq, FeatureSet, JobId, JobSeq, MessageId, RawJson, Secret,
    SessionId, Timestamp, TraceId,
};

use crate::error::corrupt;

pub(crate) type Read<T> = Result<T, StoreError>;

pub(crate) fn bytes(row: &Row, column: usize) -> Read<&[u8]> {
    row.try_get(column).map_err(corrupt)
}

fn maybe_bytes(row: &Row, column: usize) -> Read<Option<&[u8]>> {
    row.try_get(column).map_err(corrupt)
}

pub(crate) fn text(row: &Row, column: usize) -> Read<&str> {
    std::str::from_utf8(bytes(row, column)?).map_err(corrupt)
}

fn maybe_text(row: &Row, column: usize) -> Read<Option<&str>> {
    let bytes = maybe_bytes(row, column)?;
    bytes.map(std::str::from_utf8).transpose().map_err(corrupt)
}

fn int(row: &Row, column: usize) -> Read<i64> {
    row.try_get(column).map_err(corrupt)
}

pub(crate) fn unsigned(row: &Row, column: usize) -> Read<u64> {
    int(row, column).map(i64::unsigned_abs)
}

fn small(row: &Row, column: usize) -> Read<u32> {
    u32::try_from(int(row, column)?).map_err(corrupt)
}

pub(crate) fn boolean(row: &Row, column: usize) -> Read<bool> {
    row.try_get(column).map_err(corrupt)
}

pub(crate) fn job_id(row: &Row, column: usize) -> Read<JobId> {
    JobId::parse(text(row, column)?).map_err(corrupt)
}

fn maybe_job_id(row: &Row, column: usize) -> Read<Option<JobId>> {
    let text = maybe_text(row, column)?;
    text.map(JobId::parse).transpose().map_err(corrupt)
}

pub(crate) fn session_id(row: &Row, column: usize) -> Read<SessionId> {
    SessionId::parse(text(row, column)?).map_err(corrupt)
}

pub(crate) fn json(row: &Row, column: usize) -> Read<RawJson> {
    Ok(RawJson::from_checked(ByteString::from(text(row, column)?)))
}

fn maybe_json(row: &Row, column: usize) -> Read<Option<RawJson>> {
    let text = maybe_text(row, column)?;
    Ok(text.map(|text| RawJson::from_checked(ByteString::from(text))))
}

pub(crate) fn time(row: &Row, column: usize) -> Read<Timestamp> {
    Ok(Timestamp::from_unix_micros(int(row, column)?))
}

fn maybe_time(row: &Row, column: usize) -> Read<Option<Timestamp>> {
    let micros: Option<i64> = row.try_get(column).map_err(corrupt)?;
    Ok(micros.map(Timestamp::from_unix_micros))
}

fn hash(bytes: &[u8]) -> Read<[u8; 32]> {
    bytes.try_into().map_err(corrupt)
}

fn maybe_hash(row: &Row, column: usize) -> Read<Option<[u8; 32]>> {
    maybe_bytes(row, column)?.map(hash).transpose()
}

/// What lists show of `job j` and `job_state s`: the columns [`read_summary`] expects.
macro_rules! summary_columns {
    () => {
        "j.id, j.principal, j.session, j.agent, j.version, j.lease, j.constraints, j.max_runtime, j.parent, j.depth, \
         j.trace, j.created_at, s.status, l.last, s.budget, s.finished_at, s.ending, s.attempt, s.progressed, \
         s.started_at, s.chunked, s.retried, j.rerun_of, j.planned"
    };
}

/// Jobs, each with its state and the end of its log.
macro_rules! jobs {
    () => {
        "job j JOIN job_state s ON s.key = j.key LEFT JOIN LATERAL \
         (SELECT first + count - 1 AS last FROM block WHERE job = j.key ORDER BY first DESC LIMIT 1) l ON true"
    };
}

pub(crate) const SUMMARY_COLUMNS: &str = summary_columns!();

/// Whole jobs: what [`read_job`] reads, up to the condition.
pub(crate) const JOBS: &str = concat!(
    "SELECT ",
    summary_columns!(),
    ", j.request_id, j.input FROM ",
    jobs!()
);

/// The end of the log of job `j`, as `l`.
pub(crate) const LAST: &str = "LEFT JOIN LATERAL (SELECT first + count - 1 AS last FROM block WHERE job = j.key ORDER BY first DESC LIMIT 1) l ON true";

pub(crate) fn read_job(row: &Row) -> Read<JobRow> {
    let summary = read_summary(row)?;
    Ok(JobRow {
        id: summary.id,
        principal: summary.principal,
        session: summary.session,
        request_id: maybe_text(row, 24)?
            .map(MessageId::parse)
            .transpose()
            .map_err(corrupt)?,
        agent: summary.agent,
        input: json(row, 25)?,
        lease: summary.lease,
        constraints: summary.constraints,
        max_runtime: summary.max_runtime,
        parent: summary.parent,
        depth: summary.depth,
        rerun_of: summary.rerun_of,
        planned: summary.planned,
        trace: summary.trace,
        created_at: summary.created_at,
        state: summary.state,
    })
}

pub(crate) fn read_summary(row: &Row) -> Read<JobSummary> {
    let name = AgentRef::parse(text(row, 3)?).map_err(corrupt)?;
    let agent = match maybe_text(row, 4)? {
        Some(version) => name.with_version(version).map_err(corrupt)?,
        None => name,
    };
    let trace = bytes(row, 10)?.try_into().map_err(corrupt)?;
    let trace =
        TraceId::from_bytes(trace).ok_or_else(|| corrupt("a job's trace id is all zero"))?;
    let nanos: Option<i64> = row.try_get(7).map_err(corrupt)?;
    Ok(JobSummary {
        id: job_id(row, 0)?,
        principal: Principal::new(text(row, 1)?),
        session: session_id(row, 2)?,
        agent,
        lease: serde_json::from_slice(bytes(row, 5)?).map_err(corrupt)?,
        constraints: serde_json::from_slice(bytes(row, 6)?).map_err(corrupt)?,
        max_runtime: nanos.map(|nanos| Duration::from_nanos(nanos.unsigned_abs())),
        parent: maybe_job_id(row, 8)?,
        depth: small(row, 9)?,
        rerun_of: maybe_job_id(row, 22)?,
        planned: maybe_bytes(row, 23)?
            .map(serde_json::from_slice)
            .transpose()
            .map_err(corrupt)?,
        trace,
        created_at: time(row, 11)?,
        state: read_state(row)?,
    })
}

fn read_state(row: &Row) -> Read<JobState> {
    let status = int(row, 12)?;
    let last: Option<i64> = row.try_get(13).map_err(corrupt)?;
    Ok(JobState {
        status: status_of(status)
            .ok_or_else(|| corrupt(format_args!("{status} is no job status")))?,
        last_seq: JobSeq::new(last.unwrap_or(0).unsigned_abs()),
        budget: maybe_json(row, 14)?,
        finished_at: maybe_time(row, 15)?,
        ending: maybe_json(row, 16)?,
        attempt: small(row, 17)?,
        progressed: small(row, 18)?,
        started_at: maybe_time(row, 19)?,
        chunked: boolean(row, 20)?,
        retried: small(row, 21)?,
    })
}

/// The columns [`read_session`] expects.
pub(crate) const SESSION_COLUMNS: &str = "key, id, principal, token_hash, features, dialect, created_at, detached_at, acked, evicted, \
     previous_token_hash, skipped_token_hash, proof";

pub(crate) fn read_session(row: &Row) -> Read<SessionRow> {
    let features = int(row, 4)?.try_into().map_err(corrupt)?;
    Ok(SessionRow {
        id: session_id(row, 1)?,
        principal: Principal::new(text(row, 2)?),
        token_hash: hash(bytes(row, 3)?)?,
        previous_token_hash: maybe_hash(row, 10)?,
        skipped_token_hash: maybe_hash(row, 11)?,
        features: FeatureSet::from_bits(features),
        dialect: text(row, 5)?.to_owned(),
        created_at: time(row, 6)?,
        detached_at: maybe_time(row, 7)?,
        acked: EventSeq::new(unsigned(row, 8)?),
        evicted: EventSeq::new(unsigned(row, 9)?),
        proof: maybe_text(row, 12)?.map(str::to_owned),
    })
}

/// Columns `first, job, from_seq, count, view`.
pub(crate) fn read_span(row: &Row) -> Read<Span> {
    let view = u8::try_from(int(row, 4)?).map_err(corrupt)?;
    Ok(Span {
        first: EventSeq::new(unsigned(row, 0)?),
        job: job_id(row, 1)?,
        from: JobSeq::new(unsigned(row, 2)?),
        count: small(row, 3)?,
        view: view_of(view),
    })
}

/// Columns `first, head, text, packed`.
pub(crate) fn read_block(job: &JobId, row: &Row) -> Read<Block> {
    let first = JobSeq::new(unsigned(row, 0)?);
    let head = bytes(row, 1)?;
    let text = unpack(head, bytes(row, 2)?, boolean(row, 3)?);
    text.and_then(|text| block(job, first, head, text))
        .ok_or_else(|| corrupt(format_args!("the block of {job} at {first} cannot be read")))
}

/// A block's text as it was; the head says how much there has to be, so that a damaged one cannot claim any amount of memory.
pub(crate) fn unpack(head: &[u8], text: &[u8], packed: bool) -> Option<Vec<u8>> {
    if !packed {
        return Some(text.to_vec());
    }
    let length = *Head::read(head)?.ends.last()? as usize;
    // lz4 makes nothing more than 255 times smaller.
    if length / 255 > text.len() {
        return None;
    }
    lz4_flex::block::decompress(text, length).ok()
}

/// Columns `principal, key, job, fingerprint, created_at`.
pub(crate) fn read_idempotency(row: &Row) -> Read<IdempotencyRow> {
    Ok(IdempotencyRow {
        principal: Principal::new(text(row, 0)?),
        key: text(row, 1)?.to_owned(),
        job: job_id(row, 2)?,
        fingerprint: hash(bytes(row, 3)?)?,
        created_at: time(row, 4)?,
    })
}

/// Columns `id, job, outstanding, data`.
pub(crate) fn read_credential(row: &Row) -> Read<CredentialRow> {
    Ok(CredentialRow {
        id: CredentialId::parse(text(row, 0)?).map_err(corrupt)?,
        job: job_id(row, 1)?,
        outstanding: boolean(row, 2)?,
        data: Secret::new(text(row, 3)?),
    })
}

/// Columns `name, done, paused, job`.
pub(crate) fn read_schedule(row: &Row) -> Read<ScheduleRow> {
    Ok(ScheduleRow {
        name: text(row, 0)?.to_owned(),
        done: time(row, 1)?,
        paused: boolean(row, 2)?,
        job: maybe_job_id(row, 3)?,
    })
}

/// Columns `at, action, data`.
pub(crate) fn read_audit(row: &Row) -> Read<AuditRow> {
    Ok(AuditRow {
        at: time(row, 0)?,
        action: text(row, 1)?.to_owned(),
        data: json(row, 2)?,
    })
}
