//! Checking a file in depth.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;
use towline_wire::{EventSeq, JobSeq};

use super::{
    codec::{Head, Reader, StreamOp, read_op},
    error::{DbError, corrupt},
    rows::{all, read_span, seq},
};
use crate::{RecordKind, Span, StoreStats};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The file's schema.
    pub schema: usize,
    /// How much was looked at.
    pub stats: StoreStats,
    /// What is wrong, one line each; at most a hundred.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn note(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

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

/// A job as the walk over the blocks finds it.
#[derive(Debug)]
struct Log {
    id: String,
    finished: bool,
    chunked: bool,
    last: JobSeq,
    ended: bool,
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
        let log = Log {
            id: row.get(1)?,
            finished: row.get(2)?,
            chunked: row.get(3)?,
            last: JobSeq::ZERO,
            ended: false,
        };
        Ok((row.get(0)?, log))
    })?;
    Ok(jobs.into_iter().collect())
}

impl Log {
    /// Goes on with the job's next block.
    fn extend(&mut self, first: JobSeq, head: &Head, text: &[u8], report: &mut VerifyReport) {
        let (id, last) = (&self.id, self.last);
        if last > JobSeq::ZERO && first != last.next() {
            report.note(format!("{id}: record {last} is followed by {first}"));
        }
        if self.ended {
            report.note(format!("{id}: records follow the terminal one, {last}"));
        }
        if let Some(problem) = unreadable(head, text) {
            report.note(format!("{id}: the block at {first} {problem}"));
        }
        if !self.finished && !self.chunked && head.kinds.contains(&RecordKind::ResultChunk) {
            report.note(format!(
                "{id}: a part of its result is out, but its state does not say so"
            ));
        }
        self.last = JobSeq::new(first.value() + head.len() - 1);
        self.ended = head.ends_the_job();
    }

    fn verify_end(&self, report: &mut VerifyReport) {
        if self.finished == self.ended || self.last == JobSeq::ZERO {
            return;
        }
        let (state, end) = if self.finished {
            ("finished", "does not end")
        } else {
            ("live", "ends")
        };
        report.note(format!(
            "{} is {state}, but its log {end} with a terminal record",
            self.id
        ));
    }
}

/// What is wrong with a block's text.
fn unreadable(head: &Head, text: &[u8]) -> Option<String> {
    if head
        .ends
        .last()
        .is_none_or(|end| *end as usize != text.len())
    {
        return Some(format!(
            "has {} bytes and not those its head tells of",
            text.len()
        ));
    }
    if head.kinds[..head.kinds.len() - 1]
        .iter()
        .any(|kind| kind.is_terminal())
    {
        return Some("has a terminal record that is not the last".to_owned());
    }
    let mut start = 0;
    for (index, end) in head.ends.iter().enumerate() {
        let record = &text[start..*end as usize];
        if serde_json::from_slice::<serde::de::IgnoredAny>(record).is_err() {
            return Some(format!("holds a record, number {index}, that is not JSON"));
        }
        start = *end as usize;
    }
    None
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

fn verify_span(
    session: &str,
    span: &Span,
    before: Option<EventSeq>,
    logs: &HashMap<String, JobSeq>,
    report: &mut VerifyReport,
) {
    if before.is_some_and(|last| span.first != last.next()) {
        report.note(format!(
            "{session}: its stream has a gap or an overlap at {}",
            span.first
        ));
    }
    let last = span.from.value() + u64::from(span.count).saturating_sub(1);
    // A job that retention took leaves spans behind; reading them answers that they are gone.
    if logs
        .get(span.job.as_str())
        .is_some_and(|end| last > end.value())
    {
        report.note(format!(
            "{session}: the span at {} goes beyond the log of {}",
            span.first, span.job
        ));
    }
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

const MOST_PROBLEMS: usize = 100;
