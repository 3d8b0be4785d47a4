//! Applying a batch inside a transaction.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson, SessionId, Timestamp};

use super::{
    cache::Numbered,
    deliveries,
    error::DbError,
    rows::{int, seq},
    state::{Known, State, Unindexed},
};
use crate::{
    Batch, Block, Change, CredentialRow, IdempotencyRow, JobRow, JobState, Reason, ScheduleChange,
    SessionRow, StoreError,
    check::{Kept, Tail, check},
    codec::{StreamOp, put_head, put_op, status_number},
    stream::Stream,
};

/// A transaction under way.
pub(super) struct Tx<'a> {
    pub(super) conn: &'a Connection,
    pub(super) state: &'a mut State,
    /// What the cache gets once the transaction is committed.
    pub(super) published: &'a mut Vec<Numbered>,
    /// Changes of streams, for one row of `span_log`.
    log: Vec<u8>,
    head: Vec<u8>,
}

impl<'a> Tx<'a> {
    pub(super) fn new(
        conn: &'a Connection,
        state: &'a mut State,
        published: &'a mut Vec<Numbered>,
    ) -> Self {
        Self {
            conn,
            state,
            published,
            log: Vec::new(),
            head: Vec::new(),
        }
    }

    /// Applies a batch; the inner error is that it was refused and nothing has changed. After the outer one the
    /// transaction has to be given up.
    pub(super) fn apply(&mut self, batch: &Batch) -> Result<Result<(), StoreError>, DbError> {
        match check(batch, self) {
            Err(refused @ StoreError::Rejected(_)) => return Ok(Err(refused)),
            checked => checked?,
        }
        batch
            .changes
            .iter()
            .try_for_each(|change| self.change(change))?;
        Ok(Ok(()))
    }

    /// Writes what the batches left to the end of the transaction.
    pub(super) fn finish(&mut self) -> Result<(), DbError> {
        if !self.log.is_empty() {
            self.conn
                .prepare_cached("INSERT INTO span_log (data) VALUES (?1)")?
                .execute([&self.log])?;
            self.log.clear();
            self.state.log_rows += 1;
        }
        if self.state.must_flush() {
            self.state.flush(self.conn)?;
        }
        self.state.write_meta(self.conn)
    }

    fn change(&mut self, change: &Change) -> Result<(), DbError> {
        match change {
            Change::Job(row) => self.add_job(row),
            Change::JobState { job, state } => self.set_state(job, state),
            Change::Block(block) => self.append(block),
            Change::Session(row) => self.put_session(row),
            Change::SessionGone(session) => self.remove_session(session),
            Change::Span { session, span } => self.stream(session, StreamOp::Span(span.clone())),
            Change::Trim { session, up_to } => self.stream(session, StreamOp::Trim(*up_to)),
            Change::Subscribed { session, job } => self.watch(
                session,
                job,
                "INSERT OR IGNORE INTO watch (session, job) VALUES (?1, ?2)",
            ),
            Change::Unsubscribed { session, job } => self.watch(
                session,
                job,
                "DELETE FROM watch WHERE session = ?1 AND job = ?2",
            ),
            Change::Idempotency(row) => self.put_idempotency(row),
            Change::Credential(row) => self.put_credential(row),
            Change::Schedule(change) => self.put_schedule(change),
            Change::Delivery(row) => deliveries::put(self.conn, row),
            Change::DeliveryState(state) => deliveries::set(self.conn, state),
            Change::Audit(row) => {
                self.conn
                    .prepare_cached("INSERT INTO audit (at, action, data) VALUES (?1, ?2, ?3)")?
                    .execute(params![row.at.unix_micros(), row.action, row.data.as_str()])?;
                Ok(())
            }
            Change::Checkpoint { job, value } => self.keep(
                job,
                value,
                "INSERT OR REPLACE INTO checkpoint (job, value) VALUES (?1, ?2)",
            ),
            Change::Talk { job, value } => self.keep(
                job,
                value,
                "INSERT OR REPLACE INTO talk (job, value) VALUES (?1, ?2)",
            ),
        }
    }

    /// Keeps one value a job; nothing for a job that has gone.
    fn keep(&mut self, job: &JobId, value: &RawJson, sql: &str) -> Result<(), DbError> {
        if let Some(known) = self.known(job)? {
            self.conn
                .prepare_cached(sql)?
                .execute(params![known.key, value.as_str()])?;
        }
        Ok(())
    }

    fn add_job(&mut self, row: &JobRow) -> Result<(), DbError> {
        let key = self.state.next.job;
        self.state.next.job += 1;
        self.insert_facts(key, row)?;
        self.conn
            .prepare_cached(
                "INSERT INTO job_state (key, status, budget, finished_at, ending, ended_at, last, ended, attempt, \
                 progressed, started_at, chunked, retried) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                key,
                status_number(row.state.status),
                row.state.budget.as_ref().map(|json| json.as_str()),
                row.state.finished_at.map(|at| at.unix_micros()),
                row.state.ending.as_ref().map(|json| json.as_str()),
                row.state.status.is_terminal().then(|| row
                    .state
                    .finished_at
                    .unwrap_or(row.created_at)
                    .unix_micros()),
                row.state.attempt,
                row.state.progressed,
                row.state.started_at.map(|at| at.unix_micros()),
                row.state.chunked,
                row.state.retried,
            ])?;
        let finished = row.state.status.is_terminal();
        self.state.tally.jobs += 1;
        self.state.tally.live += u64::from(!finished);
        self.state.jobs.insert(
            row.id.clone(),
            Known {
                key,
                tail: Tail::EMPTY,
                finished,
            },
        );
        Ok(())
    }

    fn insert_facts(&self, key: i64, row: &JobRow) -> Result<(), DbError> {
        let json = |result: Result<String, serde_json::Error>| {
            result.map_err(|error| {
                let text = format!("job {} cannot be written: {error}", row.id);
                StoreError::Rejected(Reason::because(text, error))
            })
        };
        self.conn
            .prepare_cached(
                "INSERT INTO job (key, id, principal, session, request_id, agent, version, input, lease, constraints, \
                 max_runtime, parent, depth, trace, created_at, rerun_of, planned) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?
            .execute(params![
                key,
                row.id.as_str(),
                row.principal.as_str(),
                row.session.as_str(),
                row.request_id.as_ref().map(|id| id.as_str()),
                row.agent.name(),
                row.agent.version(),
                row.input.as_str(),
                json(serde_json::to_string(&row.lease))?,
                json(serde_json::to_string(&row.constraints))?,
                row.max_runtime.map(|time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
                row.parent.as_ref().map(|id| id.as_str()),
                row.depth,
                row.trace.to_bytes(),
                row.created_at.unix_micros(),
                row.rerun_of.as_ref().map(|id| id.as_str()),
                row.planned.as_ref().map(|planned| json(serde_json::to_string(planned))).transpose()?,
            ])?;
        Ok(())
    }

    fn set_state(&mut self, job: &JobId, state: &JobState) -> Result<(), DbError> {
        let Some(known) = self.known(job)? else {
            return Ok(());
        };
        let finished = state.status.is_terminal();
        let finished_at = state.finished_at.map(|at| at.unix_micros());
        self.conn
            .prepare_cached(
                "UPDATE job_state SET status = ?2, budget = ?3, finished_at = ?4, ending = ?5, last = ?6, ended = ?7, \
                 ended_at = CASE WHEN ?8 THEN coalesce(?4, (SELECT created_at FROM job WHERE key = ?1)) END, \
                 attempt = ?9, progressed = ?10, started_at = ?11, chunked = ?12, retried = ?13 \
                 WHERE key = ?1",
            )?
            .execute(params![
                known.key,
                status_number(state.status),
                state.budget.as_ref().map(|json| json.as_str()),
                finished_at,
                state.ending.as_ref().map(|json| json.as_str()),
                int(known.tail.last.value()),
                known.tail.ended,
                finished,
                state.attempt,
                state.progressed,
                state.started_at.map(|at| at.unix_micros()),
                state.chunked,
                state.retried,
            ])?;
        match (known.finished, finished) {
            (false, true) => self.state.tally.live -= 1,
            (true, false) => self.state.tally.live += 1,
            _ => {}
        }
        self.state
            .jobs
            .insert(job.clone(), Known { finished, ..known });
        Ok(())
    }

    fn append(&mut self, block: &Arc<Block>) -> Result<(), DbError> {
        // The check has seen to it that the job is there.
        let Some(known) = self.known(block.job())? else {
            return Ok(());
        };
        let n = self.state.next.block;
        self.state.next.block += 1;
        self.head.clear();
        put_head(&mut self.head, block);
        let bytes: &[u8] = block.text().as_bytes();
        self.conn
            .prepare_cached(
                "INSERT INTO block (n, job, first, head, text) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                int(n),
                known.key,
                int(block.first().value()),
                self.head,
                bytes,
            ])?;
        self.state.tally.events += block.len() as u64;
        self.state.tally.bytes += bytes.len() as u64;
        self.state.unindexed.push(Unindexed {
            job: known.key,
            first: block.first(),
            n,
        });
        self.state.unindexed_bytes += bytes.len();
        self.state.jobs.insert(
            block.job().clone(),
            Known {
                tail: Tail::after(block),
                ..known
            },
        );
        self.state.dirty_jobs.insert(block.job().clone());
        self.published.push((n, Arc::clone(block)));
        Ok(())
    }

    fn put_session(&mut self, row: &SessionRow) -> Result<(), DbError> {
        let (key, last) = match self.state.streams.get(&row.id) {
            Some(stream) => (stream.key, stream.last),
            None => {
                let key = self.state.next.session;
                self.state.next.session += 1;
                self.state
                    .streams
                    .insert(row.id.clone(), Stream::new(key, EventSeq::ZERO, None));
                (key, EventSeq::ZERO)
            }
        };
        self.conn
            .prepare_cached(
                "INSERT INTO session (key, id, principal, token_hash, features, dialect, created_at, detached_at, acked, \
                 evicted, last, previous_token_hash, skipped_token_hash, proof) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
                 ON CONFLICT (key) DO UPDATE SET principal = ?3, token_hash = ?4, features = ?5, dialect = ?6, \
                 created_at = ?7, detached_at = ?8, acked = ?9, evicted = ?10, previous_token_hash = ?12, \
                 skipped_token_hash = ?13, proof = ?14",
            )?
            .execute(params![
                key,
                row.id.as_str(),
                row.principal.as_str(),
                row.token_hash,
                row.features.bits(),
                row.dialect,
                row.created_at.unix_micros(),
                row.detached_at.map(|at| at.unix_micros()),
                int(row.acked.value()),
                int(row.evicted.value()),
                int(last.value()),
                row.previous_token_hash,
                row.skipped_token_hash,
                row.proof,
            ])?;
        Ok(())
    }

    fn remove_session(&mut self, session: &SessionId) -> Result<(), DbError> {
        let Some(stream) = self.state.streams.remove(session) else {
            return Ok(());
        };
        self.state.dirty_streams.remove(session);
        for sql in [
            "DELETE FROM session WHERE key = ?1",
            "DELETE FROM span WHERE session = ?1",
            "DELETE FROM watch WHERE session = ?1",
        ] {
            self.conn.prepare_cached(sql)?.execute([stream.key])?;
        }
        Ok(())
    }

    fn stream(&mut self, session: &SessionId, op: StreamOp) -> Result<(), DbError> {
        let Some(stream) = self.state.streams.get_mut(session) else {
            return Ok(());
        };
        put_op(&mut self.log, stream.key, &op);
        stream.apply(op);
        self.state.dirty_streams.insert(session.clone());
        Ok(())
    }

    fn watch(&self, session: &SessionId, job: &JobId, sql: &str) -> Result<(), DbError> {
        if let Some(stream) = self.state.streams.get(session) {
            self.conn
                .prepare_cached(sql)?
                .execute(params![stream.key, job.as_str()])?;
        }
        Ok(())
    }

    fn put_idempotency(&self, row: &IdempotencyRow) -> Result<(), DbError> {
        self.conn
            .prepare_cached(
                "INSERT OR REPLACE INTO idempotency (principal, key, job, fingerprint, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                row.principal.as_str(),
                row.key,
                row.job.as_str(),
                row.fingerprint,
                row.created_at.unix_micros(),
            ])?;
        Ok(())
    }

    fn put_credential(&self, row: &CredentialRow) -> Result<(), DbError> {
        self.conn
            .prepare_cached(
                "INSERT INTO credential (id, job, outstanding, orphan, data) \
                 VALUES (?1, ?2, ?3, NOT EXISTS (SELECT 1 FROM job WHERE id = ?2), ?4) \
                 ON CONFLICT (id) DO UPDATE SET outstanding = ?3, data = ?4",
            )?
            .execute(params![
                row.id.as_str(),
                row.job.as_str(),
                row.outstanding,
                row.data.expose()
            ])?;
        Ok(())
    }

    fn put_schedule(&self, change: &ScheduleChange) -> Result<(), DbError> {
        self.conn
            .prepare_cached(
                "INSERT INTO schedule (name, done, paused, job) VALUES (?1, coalesce(?2, ?5), coalesce(?3, 0), ?4) \
                 ON CONFLICT (name) DO UPDATE SET done = coalesce(?2, done), paused = coalesce(?3, paused), \
                 job = coalesce(?4, job)",
            )?
            .execute(params![
                change.name,
                change.done.map(|at| at.unix_micros()),
                change.paused,
                change.job.as_ref().map(|id| id.as_str()),
                Timestamp::MIN.unix_micros(),
            ])?;
        Ok(())
    }

    /// A job of which only the file may know.
    fn known(&mut self, job: &JobId) -> Result<Option<Known>, DbError> {
        if let Some(known) = self.state.jobs.get(job) {
            return Ok(Some(*known));
        }
        let found = self
            .conn
            .prepare_cached(KNOWN)?
            .query_row([job.as_str()], |row| {
                let tail = Tail {
                    last: JobSeq::new(seq(row, 1)?),
                    ended: row.get(2)?,
                };
                Ok(Known {
                    key: row.get(0)?,
                    tail,
                    finished: row.get(3)?,
                })
            })
            .optional()?;
        if let Some(known) = found {
            self.state.jobs.insert(job.clone(), known);
        }
        Ok(found)
    }
}

impl Kept for Tx<'_> {
    fn tail(&mut self, job: &JobId) -> Result<Option<Tail>, StoreError> {
        Ok(self.known(job)?.map(|known| known.tail))
    }

    fn last(&mut self, session: &SessionId) -> Result<Option<EventSeq>, StoreError> {
        Ok(self.state.streams.get(session).map(|stream| stream.last))
    }

    fn done(&mut self, schedule: &str) -> Result<Option<Timestamp>, StoreError> {
        let sql = "SELECT done FROM schedule WHERE name = ?1";
        let found = self.conn.prepare_cached(sql).and_then(|mut statement| {
            let row = statement.query_row([schedule], |row| row.get(0));
            row.optional()
        });
        let found = found.map_err(DbError::from)?;
        Ok(found.map(Timestamp::from_unix_micros))
    }
}

const KNOWN: &str = "SELECT j.key, s.last, s.ended, s.ended_at IS NOT NULL \
                     FROM job j JOIN job_state s ON s.key = j.key WHERE j.id = ?1";

#[cfg(test)]
mod tests {
    use rusqlite::{StatementStatus, config::DbConfig};

    use super::*;
    use crate::sqlite::{
        SqliteOptions,
        open::{Place, for_writing},
    };

    /// How often a statement was planned anew though only its value was another.
    fn planned_anew(conn: &Connection) -> i32 {
        for number in 0..50 {
            let id = format!("job_{number}");
            let mut statement = conn.prepare_cached(KNOWN).unwrap();
            let found = statement.query_row([id], |_| Ok(())).optional().unwrap();
            assert_eq!(found, None);
        }
        let statement = conn.prepare_cached(KNOWN).unwrap();
        statement.get_status(StatementStatus::RePrepare)
    }

    /// It would be with every submit.
    #[test]
    fn another_value_needs_no_other_plan() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::of(&directory.path().join("store.db")).unwrap();
        let (_lock, conn) = for_writing(&place, &SqliteOptions::new()).unwrap();
        assert_eq!(planned_anew(&conn), 0);
        conn.flush_prepared_statement_cache();
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, false)
            .unwrap();
        assert_ne!(
            planned_anew(&conn),
            0,
            "the setting has come to matter no more"
        );
    }
}
