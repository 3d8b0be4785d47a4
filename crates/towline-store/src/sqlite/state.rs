//! What the writer keeps in memory: where logs and streams end, and what the file does not have in its place yet.
//!
//! All of it can be read from the file again, which is what happens at the start and after a transaction failed.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, params};
use towline_wire::{EventSeq, JobId, JobSeq, SessionId};

use super::{
    error::{DbError, corrupt},
    rows::{int, read_span, seq},
};
use crate::{
    check::Tail,
    codec::{Head, Reader, read_op, view_bits},
    stream::{Stream, Unflushed},
};

#[derive(Debug, Default)]
pub(super) struct State {
    /// Jobs that are live, and those looked up since the last flush.
    pub(super) jobs: HashMap<JobId, Known>,
    pub(super) streams: HashMap<SessionId, Stream>,
    /// Blocks without an index entry.
    pub(super) unindexed: Vec<Unindexed>,
    pub(super) unindexed_bytes: usize,
    /// Jobs whose tail the file has not.
    pub(super) dirty_jobs: HashSet<JobId>,
    /// Streams the file has not in their place.
    pub(super) dirty_streams: HashSet<SessionId>,
    pub(super) log_rows: usize,
    pub(super) next: Next,
    /// The last block the index knows.
    pub(super) indexed: u64,
    pub(super) tally: Tally,
}

/// Numbers not given out yet.
#[derive(Debug, Default)]
pub(super) struct Next {
    pub(super) job: i64,
    pub(super) session: i64,
    pub(super) block: u64,
}

/// What is counted as it changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) jobs: u64,
    pub(super) live: u64,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) key: i64,
    pub(super) tail: Tail,
    pub(super) finished: bool,
}

#[derive(Debug)]
pub(super) struct Unindexed {
    pub(super) job: i64,
    pub(super) first: JobSeq,
    pub(super) n: u64,
}

/// Brings the file's rows of a stream up to date.
fn write_stream(stream: &mut Stream, conn: &Connection) -> Result<(), DbError> {
    let Unflushed { trim, spans } = stream.take_unflushed();
    if trim > EventSeq::ZERO {
        conn.prepare_cached(
            "DELETE FROM span WHERE session = ?1 AND first <= ?2 AND first + count - 1 <= ?2",
        )?
        .execute(params![stream.key, int(trim.value())])?;
    }
    let mut insert =
        conn.prepare_cached(
            "INSERT OR REPLACE INTO span (session, first, count, job, from_seq, view) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
    for span in spans {
        let (first, from) = (int(span.first.value()), int(span.from.value()));
        insert.execute(params![
            stream.key,
            first,
            span.count,
            span.job.as_str(),
            from,
            view_bits(span.view)
        ])?;
    }
    conn.prepare_cached("UPDATE session SET last = ?2 WHERE key = ?1")?
        .execute(params![stream.key, int(stream.last.value())])?;
    Ok(())
}

impl State {
    /// Reads it from the file. Looks at live jobs, sessions and what was not flushed; finished history costs nothing.
    pub(super) fn load(conn: &Connection) -> Result<Self, DbError> {
        let mut state = Self::default();
        state.load_meta(conn)?;
        state.load_jobs(conn)?;
        state.load_streams(conn)?;
        state.load_unindexed(conn)?;
        Ok(state)
    }

    fn load_meta(&mut self, conn: &Connection) -> Result<(), DbError> {
        let sql = "SELECT indexed, jobs, live, events, bytes FROM meta";
        (self.indexed, self.tally) = conn.query_row(sql, [], |row| {
            let tally = Tally {
                jobs: seq(row, 1)?,
                live: seq(row, 2)?,
                events: seq(row, 3)?,
                bytes: seq(row, 4)?,
            };
            Ok((seq(row, 0)?, tally))
        })?;
        let highest = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
        self.next = Next {
            job: highest("SELECT max(key) FROM job")?.unwrap_or(0) + 1,
            session: highest("SELECT max(key) FROM session")?.unwrap_or(0) + 1,
            // The newest blocks may have gone with their job; their numbers stay used.
            block: self.indexed.max(
                highest("SELECT max(n) FROM block")?
                    .unwrap_or(0)
                    .unsigned_abs(),
            ) + 1,
        };
        Ok(())
    }

    fn load_jobs(&mut self, conn: &Connection) -> Result<(), DbError> {
        let sql = "SELECT j.id, s.key, s.last, s.ended FROM job_state s JOIN job j ON j.key = s.key \
                   WHERE s.ended_at IS NULL";
        let mut statement = conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let job = JobId::parse(row.get_ref(0)?.as_str().map_err(corrupt)?).map_err(corrupt)?;
            let tail = Tail {
                last: JobSeq::new(seq(row, 2)?),
                ended: row.get(3)?,
            };
            self.jobs.insert(
                job,
                Known {
                    key: row.get(1)?,
                    tail,
                    finished: false,
                },
            );
        }
        Ok(())
    }

    fn load_streams(&mut self, conn: &Connection) -> Result<(), DbError> {
        let mut names = HashMap::new();
        let mut sessions = conn.prepare("SELECT key, id, last FROM session")?;
        let mut end = conn.prepare(
            "SELECT first, job, from_seq, count, view FROM span WHERE session = ?1 ORDER BY first DESC LIMIT 1",
        )?;
        let mut rows = sessions.query([])?;
        while let Some(row) = rows.next()? {
            let key: i64 = row.get(0)?;
            let session =
                SessionId::parse(row.get_ref(1)?.as_str().map_err(corrupt)?).map_err(corrupt)?;
            let end = end
                .query_row([key], |row| Ok(read_span(row)))
                .optional()?
                .transpose()?;
            names.insert(key, session.clone());
            self.streams
                .insert(session, Stream::new(key, EventSeq::new(seq(row, 2)?), end));
        }
        let mut log = conn.prepare("SELECT n, data FROM span_log ORDER BY n")?;
        let mut rows = log.query([])?;
        while let Some(row) = rows.next()? {
            self.log_rows += 1;
            let mut reader = Reader::new(row.get_ref(1)?.as_blob().map_err(corrupt)?);
            while !reader.is_empty() {
                let (key, op) = read_op(&mut reader)
                    .ok_or_else(|| corrupt("a row of span_log cannot be read"))?;
                // A session that has gone since leaves its changes in the log.
                let Some(session) = names.get(&key) else {
                    continue;
                };
                if let Some(stream) = self.streams.get_mut(session) {
                    stream.apply(op);
                    self.dirty_streams.insert(session.clone());
                }
            }
        }
        Ok(())
    }

    fn load_unindexed(&mut self, conn: &Connection) -> Result<(), DbError> {
        let sql = "SELECT b.n, b.job, b.first, b.head, length(b.text), j.id, s.ended_at IS NOT NULL \
                   FROM block b JOIN job j ON j.key = b.job JOIN job_state s ON s.key = b.job \
                   WHERE b.n > ?1 ORDER BY b.n";
        let mut statement = conn.prepare(sql)?;
        let mut rows = statement.query([int(self.indexed)])?;
        while let Some(row) = rows.next()? {
            let (n, first) = (seq(row, 0)?, JobSeq::new(seq(row, 2)?));
            let head = Head::read(row.get_ref(3)?.as_blob().map_err(corrupt)?)
                .ok_or_else(|| corrupt(format_args!("the head of block {n} cannot be read")))?;
            let job = JobId::parse(row.get_ref(5)?.as_str().map_err(corrupt)?).map_err(corrupt)?;
            let tail = Tail {
                last: JobSeq::new(first.value() + head.len() - 1),
                ended: head.ends_the_job(),
            };
            let key = row.get(1)?;
            self.jobs.insert(
                job.clone(),
                Known {
                    key,
                    tail,
                    finished: row.get(6)?,
                },
            );
            self.dirty_jobs.insert(job);
            self.unindexed_bytes += row.get::<_, i64>(4)?.unsigned_abs() as usize;
            self.unindexed.push(Unindexed { job: key, first, n });
        }
        Ok(())
    }

    /// Whether there is anything a flush would write or forget.
    pub(super) fn has_pending(&self) -> bool {
        !self.unindexed.is_empty() || self.log_rows > 0 || self.jobs.len() as u64 > self.tally.live
    }

    /// Whether a flush should not wait any longer.
    pub(super) fn must_flush(&self) -> bool {
        self.unindexed.len() >= FLUSH_ROWS
            || self.log_rows >= FLUSH_ROWS
            || self.unindexed_bytes >= FLUSH_BYTES
    }

    /// Brings the file's index, tails and streams up to date, inside the caller's transaction.
    pub(super) fn flush(&mut self, conn: &Connection) -> Result<(), DbError> {
        self.unindexed
            .sort_unstable_by_key(|block| (block.job, block.first));
        let mut insert =
            conn.prepare_cached("INSERT INTO block_index (job, first, n) VALUES (?1, ?2, ?3)")?;
        for block in self.unindexed.drain(..) {
            insert.execute(params![block.job, int(block.first.value()), int(block.n)])?;
        }
        self.unindexed_bytes = 0;
        self.indexed = self.next.block - 1;
        let mut update =
            conn.prepare_cached("UPDATE job_state SET last = ?2, ended = ?3 WHERE key = ?1")?;
        for job in self.dirty_jobs.drain() {
            if let Some(known) = self.jobs.get(&job) {
                update.execute(params![
                    known.key,
                    int(known.tail.last.value()),
                    known.tail.ended
                ])?;
            }
        }
        self.jobs.retain(|_, known| !known.finished);
        for session in self.dirty_streams.drain() {
            if let Some(stream) = self.streams.get_mut(&session) {
                write_stream(stream, conn)?;
            }
        }
        if self.log_rows > 0 {
            conn.prepare_cached("DELETE FROM span_log")?.execute([])?;
            self.log_rows = 0;
        }
        Ok(())
    }

    /// Writes what is counted, inside the caller's transaction.
    pub(super) fn write_meta(&self, conn: &Connection) -> Result<(), DbError> {
        let Tally {
            jobs,
            live,
            events,
            bytes,
        } = self.tally;
        conn.prepare_cached(
            "UPDATE meta SET indexed = ?1, jobs = ?2, live = ?3, events = ?4, bytes = ?5",
        )?
        .execute(params![
            int(self.indexed),
            int(jobs),
            int(live),
            int(events),
            int(bytes)
        ])?;
        Ok(())
    }
}

/// How much may wait for a flush. It bounds what a flush adds to the commit it happens in, what is read again after a
/// crash, and what the cache has to hold.
const FLUSH_ROWS: usize = 1024;
const FLUSH_BYTES: usize = 16 << 20;
