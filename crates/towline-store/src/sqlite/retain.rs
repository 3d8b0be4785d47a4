//! Removing what the policy does not keep. Each step is one short transaction; commits go on between two of them.

use std::{collections::HashSet, sync::Arc};

use rusqlite::{OptionalExtension, params};
use towline_wire::{JobId, JobSeq, Timestamp};

use super::{
    SqliteStore,
    apply::Tx,
    error::{DbError, corrupt},
    rows::{int, seq},
    schema::is_refusal,
};
use crate::{IDEMPOTENCY_AGE, RetentionPolicy, RetentionReport, StoreError};

/// Why finished jobs go: what there may be at most.
#[derive(Debug, Clone, Copy)]
enum Surplus {
    /// The latest moment a job that goes ended at.
    Age(i64),
    Jobs(u64),
    Bytes(u64),
}

/// A place among finished jobs: when the job ended, and its key.
type Place = (i64, i64);

/// What one step did.
#[derive(Debug, Default)]
struct Step {
    /// Where the next step begins; `None` when there is nothing left to do.
    next: Option<Place>,
    gone: Vec<JobId>,
    bytes: u64,
}

impl SqliteStore {
    pub(super) async fn remove_surplus(
        &self,
        now: Timestamp,
        policy: RetentionPolicy,
        keep: HashSet<JobId>,
    ) -> Result<RetentionReport, StoreError> {
        while self.step(move |tx| expire_keys(tx, now)).await? {}
        let (age, rows) = (policy.audit_age, policy.audit_rows);
        let refused = policy.audit_refused;
        while self.step(move |tx| trim_refusals(tx, refused)).await? {}
        while self
            .step(move |tx| trim_audit(tx, before(now, age), rows))
            .await?
        {}
        while self.step(forget_checkpoints).await? {}
        while self.step(forget_talks).await? {}
        self.step(settle_orphans).await?;

        let mut report = RetentionReport::default();
        let (keep, none) = (Arc::new(keep), Arc::default());
        let oldest = before(now, policy.max_age);
        self.remove_jobs(&mut report, &keep, Surplus::Age(oldest))
            .await?;
        self.remove_jobs(&mut report, &keep, Surplus::Jobs(policy.max_jobs))
            .await?;
        self.remove_jobs(&mut report, &keep, Surplus::Bytes(policy.max_bytes))
            .await?;
        self.remove_jobs(&mut report, &none, Surplus::Bytes(policy.max_bytes))
            .await?;
        self.evict_running(&mut report, policy.max_bytes).await?;
        while self.run(|writer| Ok(shrink(&writer.conn)?)).await? {}
        Ok(report)
    }

    async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.run(|writer| Ok(writer.transaction(work)?)).await
    }

    async fn remove_jobs(
        &self,
        report: &mut RetentionReport,
        keep: &Arc<HashSet<JobId>>,
        surplus: Surplus,
    ) -> Result<(), StoreError> {
        let mut place = Some((i64::MIN, 0));
        while let Some(after) = place {
            let keep = Arc::clone(keep);
            let step = self
                .run(move |writer| {
                    // A job goes with all its blocks, so the index has to know them all.
                    writer.flush()?;
                    let step = writer.transaction(|tx| remove_some(tx, &keep, surplus, after))?;
                    step.gone
                        .iter()
                        .for_each(|job| writer.shared.cache.forget(job));
                    Ok(step)
                })
                .await?;
            place = step.next;
            report.jobs.extend(step.gone);
            report.bytes += step.bytes;
        }
        Ok(())
    }

    async fn evict_running(
        &self,
        report: &mut RetentionReport,
        max_bytes: u64,
    ) -> Result<(), StoreError> {
        let mut after = Some(0);
        while let Some(place) = after {
            let step = self
                .run(move |writer| {
                    writer.flush()?;
                    let step = writer.transaction(|tx| evict_some(tx, max_bytes, place))?;
                    step.truncated
                        .iter()
                        .for_each(|(job, oldest)| writer.shared.cache.forget_before(job, *oldest));
                    Ok(step)
                })
                .await?;
            after = step.next;
            report.bytes += step.bytes;
            for (job, oldest) in step.truncated {
                report.truncated.retain(|(known, _)| *known != job);
                report.truncated.push((job, oldest));
            }
        }
        Ok(())
    }
}

fn before(now: Timestamp, age: std::time::Duration) -> i64 {
    now.unix_micros()
        .saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}

fn expire_keys(tx: &mut Tx<'_>, now: Timestamp) -> Result<bool, DbError> {
    let removed = tx
        .conn
        .prepare_cached(
            "DELETE FROM idempotency WHERE (principal, key) IN \
             (SELECT principal, key FROM idempotency WHERE created_at <= ?1 ORDER BY created_at LIMIT ?2)",
        )?
        .execute(params![before(now, IDEMPOTENCY_AGE), LIMIT])?;
    Ok(removed == ROWS)
}

fn trim_audit(tx: &mut Tx<'_>, oldest: i64, rows: u64) -> Result<bool, DbError> {
    let span = "SELECT coalesce(min(n), 1), coalesce(max(n), 0) FROM audit";
    let (first, last) = tx
        .conn
        .query_row(span, [], |row| Ok((seq(row, 0)?, seq(row, 1)?)))?;
    let surplus_to = last.saturating_sub(rows);
    let mut go_to = 0;
    let mut statement = tx
        .conn
        .prepare_cached("SELECT n, at FROM audit WHERE n >= ?1 ORDER BY n LIMIT ?2")?;
    let mut found = statement.query(params![int(first), LIMIT])?;
    while let Some(row) = found.next()? {
        let n = seq(row, 0)?;
        if n > surplus_to && row.get::<_, i64>(1)? > oldest {
            break;
        }
        go_to = n;
    }
    drop(found);
    let removed = tx
        .conn
        .prepare_cached("DELETE FROM audit WHERE n <= ?1")?
        .execute([int(go_to)])?;
    Ok(removed == ROWS)
}

/// Drops the oldest rows of refusals that are too many; whether there may be more. An index has these rows alone.
fn trim_refusals(tx: &mut Tx<'_>, rows: u64) -> Result<bool, DbError> {
    const COUNT: &str = concat!("SELECT count(*) FROM audit WHERE ", is_refusal!());
    const DELETE: &str = concat!(
        "DELETE FROM audit WHERE n IN (SELECT n FROM audit WHERE ",
        is_refusal!(),
        " ORDER BY n LIMIT ?1)"
    );
    let there = tx
        .conn
        .prepare_cached(COUNT)?
        .query_row([], |row| seq(row, 0))?;
    let surplus = there.saturating_sub(rows).min(ROWS as u64);
    if surplus == 0 {
        return Ok(false);
    }
    let removed = tx.conn.prepare_cached(DELETE)?.execute([int(surplus)])?;
    Ok(removed == ROWS)
}

fn forget_checkpoints(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    let removed = tx
        .conn
        .prepare_cached(
            "DELETE FROM checkpoint WHERE job IN (SELECT c.job FROM checkpoint c JOIN job_state s ON s.key = c.job \
             WHERE s.ended_at IS NOT NULL LIMIT ?1)",
        )?
        .execute([LIMIT])?;
    Ok(removed == ROWS)
}

fn forget_talks(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    let removed = tx
        .conn
        .prepare_cached(
            "DELETE FROM talk WHERE job IN (SELECT t.job FROM talk t JOIN job_state s ON s.key = t.job \
             WHERE s.ended_at IS NOT NULL LIMIT ?1)",
        )?
        .execute([LIMIT])?;
    Ok(removed == ROWS)
}

/// Forgets settled credentials and messages whose job went while they were still out.
fn settle_orphans(tx: &mut Tx<'_>) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM credential WHERE orphan = 1 AND outstanding = 0 \
         AND NOT EXISTS (SELECT 1 FROM job WHERE id = credential.job)",
        "DELETE FROM delivery WHERE orphan = 1 AND pending = 0 \
         AND NOT EXISTS (SELECT 1 FROM job WHERE id = delivery.job)",
    ] {
        tx.conn.execute(sql, [])?;
    }
    Ok(())
}

/// Removes some finished jobs after a place, or some blocks of a large one.
fn remove_some(
    tx: &mut Tx<'_>,
    keep: &HashSet<JobId>,
    surplus: Surplus,
    after: Place,
) -> Result<Step, DbError> {
    let mut step = Step::default();
    let (mut budget, mut place) = (ROWS, after);
    while budget > 0 {
        let Some((at, key, job)) = finished_after(tx, place)? else {
            return Ok(step);
        };
        let is_surplus = match surplus {
            Surplus::Age(oldest) => at <= oldest,
            Surplus::Jobs(most) => tx.state.tally.jobs - tx.state.tally.live > most,
            Surplus::Bytes(most) => tx.state.tally.bytes > most,
        };
        if !is_surplus {
            return Ok(step);
        }
        budget -= 1;
        if keep.contains(&job) {
            place = (at, key);
            continue;
        }
        let (blocks, bytes) = remove_blocks(tx, key, budget)?;
        step.bytes += bytes;
        if blocks == budget {
            // There may be more of it: the next step goes on with the same job.
            break;
        }
        budget -= blocks;
        remove_job(tx, key, &job)?;
        step.gone.push(job);
    }
    step.next = Some(place);
    Ok(step)
}

fn finished_after(tx: &Tx<'_>, after: Place) -> Result<Option<(i64, i64, JobId)>, DbError> {
    let sql = "SELECT s.ended_at, s.key, j.id FROM job_state s JOIN job j ON j.key = s.key \
               WHERE s.ended_at IS NOT NULL AND (s.ended_at, s.key) > (?1, ?2) ORDER BY s.ended_at, s.key LIMIT 1";
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
    let found = tx
        .conn
        .prepare_cached(sql)?
        .query_row([after.0, after.1], row)
        .optional()?;
    found
        .map(|(at, key, id): (i64, i64, String)| Ok((at, key, JobId::parse(&id).map_err(corrupt)?)))
        .transpose()
}

/// Removes the oldest blocks of a job, at most so many; how many, and their bytes.
fn remove_blocks(tx: &mut Tx<'_>, key: i64, most: usize) -> Result<(usize, u64), DbError> {
    let mut statement = tx.conn.prepare_cached(
        "SELECT i.first, i.n FROM block_index i WHERE i.job = ?1 ORDER BY i.first LIMIT ?2",
    )?;
    let mut rows = statement.query(params![key, int(most as u64)])?;
    let mut blocks: Vec<(i64, i64)> = Vec::new();
    while let Some(row) = rows.next()? {
        blocks.push((row.get(0)?, row.get(1)?));
    }
    let mut bytes = 0;
    for (first, n) in &blocks {
        bytes += remove_block(tx, key, *first, *n)?;
    }
    Ok((blocks.len(), bytes))
}

fn remove_block(tx: &mut Tx<'_>, job: i64, first: i64, n: i64) -> Result<u64, DbError> {
    let (events, bytes) = tx
        .conn
        .prepare_cached("SELECT head, length(text) FROM block WHERE n = ?1")?
        .query_row([n], |row| {
            Ok((records(row.get_ref(0)?.as_blob()?), seq(row, 1)?))
        })?;
    tx.conn
        .prepare_cached("DELETE FROM block WHERE n = ?1")?
        .execute([n])?;
    tx.conn
        .prepare_cached("DELETE FROM block_index WHERE job = ?1 AND first = ?2")?
        .execute([job, first])?;
    tx.state.tally.events = tx.state.tally.events.saturating_sub(events);
    tx.state.tally.bytes = tx.state.tally.bytes.saturating_sub(bytes);
    Ok(bytes)
}

/// How many records a head tells of: the last byte of each number has its highest bit clear.
fn records(head: &[u8]) -> u64 {
    head.iter().filter(|byte| **byte & 0x80 == 0).count() as u64
}

fn remove_job(tx: &mut Tx<'_>, key: i64, job: &JobId) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM job WHERE key = ?1",
        "DELETE FROM job_state WHERE key = ?1",
        "DELETE FROM checkpoint WHERE job = ?1",
        "DELETE FROM talk WHERE job = ?1",
    ] {
        tx.conn.prepare_cached(sql)?.execute([key])?;
    }
    for sql in [
        "DELETE FROM credential WHERE job = ?1 AND outstanding = 0",
        "UPDATE credential SET orphan = 1 WHERE job = ?1",
        "DELETE FROM delivery WHERE job = ?1 AND pending = 0",
        "UPDATE delivery SET orphan = 1 WHERE job = ?1",
    ] {
        tx.conn.prepare_cached(sql)?.execute([job.as_str()])?;
    }
    tx.state.jobs.remove(job);
    tx.state.dirty_jobs.remove(job);
    tx.state.tally.jobs -= 1;
    Ok(())
}

/// What one step of evicting did.
#[derive(Debug, Default)]
struct Evicted {
    next: Option<i64>,
    truncated: Vec<(JobId, JobSeq)>,
    bytes: u64,
}

/// Evicts some of the oldest blocks of running jobs after a place; the newest block of each stays.
fn evict_some(tx: &mut Tx<'_>, max_bytes: u64, after: i64) -> Result<Evicted, DbError> {
    let mut step = Evicted::default();
    if tx.state.tally.bytes <= max_bytes {
        return Ok(step);
    }
    let sql = "SELECT b.n, b.job, b.first, j.id, \
               (SELECT min(i.first) FROM block_index i WHERE i.job = b.job AND i.first > b.first) \
               FROM block b JOIN job j ON j.key = b.job JOIN job_state s ON s.key = b.job \
               WHERE b.n > ?1 AND s.ended_at IS NULL ORDER BY b.n LIMIT ?2";
    let mut statement = tx.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, LIMIT])?;
    let mut blocks = Vec::new();
    while let Some(row) = rows.next()? {
        let job = JobId::parse(row.get_ref(3)?.as_str().map_err(corrupt)?).map_err(corrupt)?;
        blocks.push((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            job,
            row.get::<_, Option<i64>>(4)?,
        ));
    }
    let full = blocks.len() == ROWS;
    for (n, key, first, job, following) in blocks {
        if tx.state.tally.bytes <= max_bytes {
            return Ok(step);
        }
        step.next = full.then_some(n);
        let Some(following) = following else { continue };
        step.bytes += remove_block(tx, key, first, n)?;
        step.truncated.retain(|(known, _)| *known != job);
        step.truncated
            .push((job, JobSeq::new(following.unsigned_abs())));
    }
    Ok(step)
}

/// Gives some free pages back to the file system when they are many; whether there are more.
fn shrink(conn: &rusqlite::Connection) -> Result<bool, DbError> {
    let count = |name: &str| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (free, all) = (count("freelist_count")?, count("page_count")?);
    // Some are left for what comes next: growing a file costs more than using a free page.
    if free < FREE_PAGES || free < all / 4 {
        return Ok(false);
    }
    let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({FREE_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(count("freelist_count")? < free)
}

/// How many rows a step touches at most.
const ROWS: usize = 256;
const LIMIT: i64 = ROWS as i64;
const FREE_PAGES: i64 = 1024;
