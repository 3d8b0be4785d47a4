//! Rows as the tables have them.

use std::time::Duration;

use bytestring::ByteString;
use rusqlite::{Row, types::ValueRef};
use towline_wire::{
    AgentRef, CredentialId, EventSeq, FeatureSet, JobId, JobSeq, JobStatus, MessageId, RawJson,
    Secret, SessionId, Timestamp, TraceId,
};

use super::error::{DbError, corrupt};
use crate::{
    AuditRow, CredentialRow, IdempotencyRow, JobRow, JobState, JobSummary, Principal, ScheduleRow,
    SessionRow, Span,
    codec::{status_of, view_of},
};

/// A number for SQLite, whose integers have a sign. None of ours comes near the end of the range.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number from SQLite.
pub(super) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

fn status(number: i64) -> Result<JobStatus, DbError> {
    status_of(number).ok_or_else(|| corrupt(format_args!("{number} is no job status")))
}

pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, DbError> {
    row.get_ref(column)?.as_str().map_err(corrupt)
}

fn optional_text<'a>(row: &'a Row<'_>, column: usize) -> Result<Option<&'a str>, DbError> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => value.as_str().map(Some).map_err(corrupt),
    }
}

pub(super) fn json(row: &Row<'_>, column: usize) -> Result<RawJson, DbError> {
    Ok(RawJson::from_checked(ByteString::from(text(row, column)?)))
}

fn optional_json(row: &Row<'_>, column: usize) -> Result<Option<RawJson>, DbError> {
    Ok(optional_text(row, column)?.map(|text| RawJson::from_checked(ByteString::from(text))))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, DbError> {
    Ok(Timestamp::from_unix_micros(row.get(column)?))
}

fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, DbError> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(Timestamp::from_unix_micros))
}

/// What lists show of `job j` and `job_state s`: the columns [`read_summary`] expects.
macro_rules! summary_columns {
    () => {
        "j.id, j.principal, j.session, j.agent, j.version, j.lease, j.constraints, j.max_runtime, j.parent, j.depth, \
         j.trace, j.created_at, s.status, s.last, s.budget, s.finished_at, s.ending, s.attempt, s.progressed, \
         s.started_at, s.chunked, s.retried, j.rerun_of, j.planned"
    };
}

pub(super) const SUMMARY_COLUMNS: &str = summary_columns!();

/// The columns [`read_job`] expects: those of a summary, and what lists do not show.
pub(super) const JOB_COLUMNS: &str = concat!(summary_columns!(), ", j.request_id, j.input");

pub(super) fn read_job(row: &Row<'_>) -> Result<JobRow, DbError> {
    let summary = read_summary(row)?;
    Ok(JobRow {
        id: summary.id,
        principal: summary.principal,
        session: summary.session,
        request_id: optional_text(row, 24)?
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

pub(super) fn read_summary(row: &Row<'_>) -> Result<JobSummary, DbError> {
    let name = AgentRef::parse(text(row, 3)?).map_err(corrupt)?;
    let agent = match optional_text(row, 4)? {
        Some(version) => name.with_version(version).map_err(corrupt)?,
        None => name,
    };
    let trace =
        TraceId::from_bytes(row.get(10)?).ok_or_else(|| corrupt("a job's trace id is all zero"))?;
    Ok(JobSummary {
        id: JobId::parse(text(row, 0)?).map_err(corrupt)?,
        principal: Principal::new(text(row, 1)?),
        session: SessionId::parse(text(row, 2)?).map_err(corrupt)?,
        agent,
        lease: serde_json::from_str(text(row, 5)?).map_err(corrupt)?,
        constraints: serde_json::from_str(text(row, 6)?).map_err(corrupt)?,
        max_runtime: row
            .get::<_, Option<i64>>(7)?
            .map(|nanos| Duration::from_nanos(nanos.unsigned_abs())),
        parent: optional_text(row, 8)?
            .map(JobId::parse)
            .transpose()
            .map_err(corrupt)?,
        depth: row.get(9)?,
        rerun_of: optional_text(row, 22)?
            .map(JobId::parse)
            .transpose()
            .map_err(corrupt)?,
        planned: optional_text(row, 23)?
            .map(serde_json::from_str)
            .transpose()
            .map_err(corrupt)?,
        trace,
        created_at: time(row, 11)?,
        state: read_state(row)?,
    })
}

fn read_state(row: &Row<'_>) -> Result<JobState, DbError> {
    Ok(JobState {
        status: status(row.get(12)?)?,
        last_seq: JobSeq::new(seq(row, 13)?),
        budget: optional_json(row, 14)?,
        finished_at: optional_time(row, 15)?,
        ending: optional_json(row, 16)?,
        attempt: row.get(17)?,
        progressed: row.get(18)?,
        started_at: optional_time(row, 19)?,
        chunked: row.get(20)?,
        retried: row.get(21)?,
    })
}

/// The columns [`read_session`] expects.
pub(super) const SESSION_COLUMNS: &str = "key, last, id, principal, token_hash, features, dialect, created_at, detached_at, acked, evicted, \
     previous_token_hash, skipped_token_hash, proof";

pub(super) fn read_session(row: &Row<'_>) -> Result<SessionRow, DbError> {
    Ok(SessionRow {
        id: SessionId::parse(text(row, 2)?).map_err(corrupt)?,
        principal: Principal::new(text(row, 3)?),
        token_hash: row.get(4)?,
        previous_token_hash: row.get(11)?,
        skipped_token_hash: row.get(12)?,
        features: FeatureSet::from_bits(row.get(5)?),
        dialect: text(row, 6)?.to_owned(),
        created_at: time(row, 7)?,
        detached_at: optional_time(row, 8)?,
        acked: EventSeq::new(seq(row, 9)?),
        evicted: EventSeq::new(seq(row, 10)?),
        proof: row.get(13)?,
    })
}

/// Columns `first, job, from_seq, count, view`.
pub(super) fn read_span(row: &Row<'_>) -> Result<Span, DbError> {
    Ok(Span {
        first: EventSeq::new(seq(row, 0)?),
        job: JobId::parse(text(row, 1)?).map_err(corrupt)?,
        from: JobSeq::new(seq(row, 2)?),
        count: row.get(3)?,
        view: view_of(row.get(4)?),
    })
}

/// Columns `principal, key, job, fingerprint, created_at`.
pub(super) fn read_idempotency(row: &Row<'_>) -> Result<IdempotencyRow, DbError> {
    Ok(IdempotencyRow {
        principal: Principal::new(text(row, 0)?),
        key: text(row, 1)?.to_owned(),
        job: JobId::parse(text(row, 2)?).map_err(corrupt)?,
        fingerprint: row.get(3)?,
        created_at: time(row, 4)?,
    })
}

/// Columns `id, job, outstanding, data`.
pub(super) fn read_credential(row: &Row<'_>) -> Result<CredentialRow, DbError> {
    Ok(CredentialRow {
        id: CredentialId::parse(text(row, 0)?).map_err(corrupt)?,
        job: JobId::parse(text(row, 1)?).map_err(corrupt)?,
        outstanding: row.get(2)?,
        data: Secret::new(text(row, 3)?),
    })
}

/// Columns `at, action, data`.
pub(super) fn read_audit(row: &Row<'_>) -> Result<AuditRow, DbError> {
    Ok(AuditRow {
        at: time(row, 0)?,
        action: text(row, 1)?.to_owned(),
        data: json(row, 2)?,
    })
}

/// Columns `name, done, paused, job`.
pub(super) fn read_schedule(row: &Row<'_>) -> Result<ScheduleRow, DbError> {
    Ok(ScheduleRow {
        name: text(row, 0)?.to_owned(),
        done: time(row, 1)?,
        paused: row.get(2)?,
        job: optional_text(row, 3)?
            .map(JobId::parse)
            .transpose()
            .map_err(corrupt)?,
    })
}

/// Every row of a result, read.
pub(super) fn all<T>(
    rows: &mut rusqlite::Rows<'_>,
    read: impl Fn(&Row<'_>) -> Result<T, DbError>,
) -> Result<Vec<T>, DbError> {
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        all.push(read(row)?);
    }
    Ok(all)
}
