//! Checking a file in depth.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;
use towline_wire::{EventSeq, JobSeq};

use super::{
    error::{DbError, corrupt},
    rows::{all, read_span, seq},
};
use crate::{
    StoreStats,
    codec::{Head, Reader, StreamOp, read_op},
    verify::{Log, VerifyReport, verify_span},
};

/// What the file says of itself.
pub(super) fn stats(conn: &Connection, disk_bytes: u64) -> Result<StoreStats, DbError> {
    let sql = "SELECT jobs, live, events, bytes, (SELECT count(*) FROM session) FROM meta";
    Ok(conn.query_row(sql, [], |row| {
        Ok(StoreStats {
            jobs: seq(row, 0)?,
            live_jobs: seq(row, 1)?,
            events: seq(row, 2)?,
            event_bytes: seq(row, 3)?,
            sessions: seq(row, 4)?,
            disk_bytes,
        })
    })?)
}

/// Checks everything as one moment had it.
pub(super) fn verify(
    conn: &Connection,
    schema: usize,
    disk_bytes: u64,
) -> Result<VerifyReport, DbError> {
    conn.execute_batch("BEGIN")?;
    let mut report = VerifyReport {
        schema,
        stats: stats(conn, disk_bytes)?,
        problems: Vec::new(),
    };
    let said = all(
        &mut conn.prepare("PRAGMA integrity_check")?.query([])?,
        |row| Ok(row.get::<_, String>(0)?),
    )?;
    said.into_iter()
        .filter(|line| line != "ok")
        .for_each(|line| report.note(format!("sqlite: {line}")));
    if report.is_ok() {
        let logs = verify_logs(conn, &mut report)?;
        verify_index(conn, &mut report)?;
        verify_streams(conn, &logs, &mut report)?;
        verify_counts(conn, &mut report)?;
    }
    conn.execute_batch("COMMIT")?;
    Ok(report)
}

/// Logs are without a gap, their blocks readable, a terminal record is the last and the job finished with it.
fn verify_logs(
    conn: &Connection,
    report: &mut VerifyReport,
) -> Result<HashMap<String, JobSeq>, DbError> {
    let mut logs = jobs(conn)?;
    let mut blocks =
        conn.prepare("SELECT n, job, first, head, text FROM block ORDER BY job, first")?;
    let mut rows = blocks.query([])?;
    let (mut events, mut bytes) = (0, 0);
    while let Some(row) = rows.next()? {
        let (n, job) = (seq(row, 0)?, row.get::<_, i64>(1)?);
        let Some(log) = logs.get_mut(&job) else {
            report.note(format!(
                "block {n} is of job number {job}, which is not kept"
            ));
            continue;
        };
        let Some(head) = Head::read(row.get_ref(3)?.as_blob().map_err(corrupt)?) else {
            report.note(format!(
                "the head of block {n} of {} cannot be read",
                log.id
            ));
            continue;
        };
        let text = row.get_ref(4)?.as_blob().map_err(corrupt)?;
        log.extend(JobSeq::new(seq(row, 2)?), &head, text, report);
        events += head.len();
        bytes += text.len() as u64;
    }
    logs.values().for_each(|log| log.verify_end(report));
    if (events, bytes) != (report.stats.events, report.stats.event_bytes) {
        let (counted, known) = (report.stats.events, report.stats.event_bytes);
        report.note(format!(
            "{events} events of {bytes} bytes are there, counted were {counted} of {known}"
        ));
    }
    Ok(logs.into_values().map(|log| (log.id, log.last)).collect())
}

fn jobs(conn: &Connection) -> Result<BTreeMap<i64, Log>, DbError> {
    let sql = "SELECT j.key, j.id, s.ended_at IS NOT NULL, coalesce(s.chunked, 0) \
               FROM job j LEFT JOIN job_state s ON s.key = j.key";
    let jobs = all(&mut conn.prepare(sql)?.query([])?, |row| {
        let log = Log::new(row.get(1)?, row.get(2)?, row.get(3)?);
        Ok((row.get(0)?, log))
    })?;
    Ok(jobs.into_iter().collect())
}

/// The index knows every block up to the mark, and no other.
fn verify_index(conn: &Connection, report: &mut VerifyReport) -> Result<(), DbError> {
    let count = |sql: &str| conn.query_row(sql, [], |row| seq(row, 0));
    let missing = count(
        "SELECT count(*) FROM block b, meta WHERE b.n <= meta.indexed AND NOT EXISTS \
         (SELECT 1 FROM block_index i WHERE i.job = b.job AND i.first = b.first AND i.n = b.n)",
    )?;
    let dangling = count(
        "SELECT count(*) FROM block_index i WHERE NOT EXISTS (SELECT 1 FROM block b WHERE b.n = i.n)",
    )?;
    if missing > 0 || dangling > 0 {
        report.note(format!(
            "the index lacks {missing} blocks and names {dangling} that are not there"
        ));
    }
    Ok(())
}

/// Streams are without a gap, end where the session says, and stay within the logs.
fn verify_streams(
    conn: &Connection,
    logs: &HashMap<String, JobSeq>,
    report: &mut VerifyReport,
) -> Result<(), DbError> {
    let changes = unflushed(conn)?;
    let mut sessions = conn.prepare("SELECT key, id, last FROM session")?;
    let mut spans = conn.prepare(
        "SELECT first, job, from_seq, count, view FROM span WHERE session = ?1 ORDER BY first",
    )?;
    let mut rows = sessions.query([])?;
    while let Some(row) = rows.next()? {
        let (key, session, mut last) = (
            row.get::<_, i64>(0)?,
            row.get::<_, String>(1)?,
            EventSeq::new(seq(row, 2)?),
        );
        let kept = all(&mut spans.query([key])?, read_span)?;
        if kept.last().is_some_and(|span| span.last() != last) {
            report.note(format!(
                "{session}: the last number is {last}, but the last span ends elsewhere"
            ));
        }
        let mut before = None;
        for span in &kept {
            verify_span(&session, span, before, logs, report);
            before = Some(span.last());
        }
        for op in changes.get(&key).into_iter().flatten() {
            if let StreamOp::Span(span) = op {
                verify_span(&session, span, Some(last), logs, report);
                last = span.last();
            }
        }
    }
    let strays = "SELECT count(*) FROM span WHERE session NOT IN (SELECT key FROM session)";
    let strays = conn.query_row(strays, [], |row| seq(row, 0))?;
    if strays > 0 {
        report.note(format!("{strays} spans are of sessions that are not there"));
    }
    Ok(())
}

fn unflushed(conn: &Connection) -> Result<HashMap<i64, Vec<StreamOp>>, DbError> {
    let mut changes: HashMap<i64, Vec<StreamOp>> = HashMap::new();
    let mut statement = conn.prepare("SELECT data FROM span_log ORDER BY n")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut reader = Reader::new(row.get_ref(0)?.as_blob().map_err(corrupt)?);
        while !reader.is_empty() {
            let (session, op) =
                read_op(&mut reader).ok_or_else(|| corrupt("a row of span_log cannot be read"))?;
            changes.entry(session).or_default().push(op);
        }
    }
    Ok(changes)
}

fn verify_counts(conn: &Connection, report: &mut VerifyReport) -> Result<(), DbError> {
    let sql = "SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM job_state), \
               (SELECT count(*) FROM job_state WHERE ended_at IS NULL)";
    let (jobs, states, live) = conn.query_row(sql, [], |row| {
        Ok((seq(row, 0)?, seq(row, 1)?, seq(row, 2)?))
    })?;
    if jobs != states {
        report.note(format!("there are {jobs} jobs and {states} job states"));
    }
    if (jobs, live) != (report.stats.jobs, report.stats.live_jobs) {
        let (known, known_live) = (report.stats.jobs, report.stats.live_jobs);
        report.note(format!(
            "{jobs} jobs, {live} of them live, are there, counted were {known} and {known_live}"
        ));
    }
    Ok(())
}
