//! What is read, on a read connection.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, ToSql, params, types::Value};
use towline_wire::{EventSeq, JobId, JobSeq, RawJson};

use super::{
    cache::{Cache, up_to},
    deliveries,
    error::{DbError, corrupt},
    rows::{
        JOB_COLUMNS, SESSION_COLUMNS, SUMMARY_COLUMNS, all, int, read_credential, read_job,
        read_schedule, read_session, read_span, read_summary, seq,
    },
};
use crate::{
    Block, CredentialRow, JobPage, JobQuery, JobRow, JobSummary, ListCursor, Principal, Recovered,
    RecoveredSession, SessionRow, StoreError,
    codec::{self, status_number},
};

/// The blocks of a log from `from` on; `recent` is how the log ended a moment ago, as the cache had it.
pub(super) fn blocks(
    conn: &Connection,
    job: &JobId,
    from: JobSeq,
    max_bytes: usize,
    recent: &[Arc<Block>],
) -> Result<Vec<Arc<Block>>, DbError> {
    let key: Option<i64> = conn
        .prepare_cached("SELECT key FROM job WHERE id = ?1")?
        .query_row([job.as_str()], |row| row.get(0))
        .optional()?;
    let Some(key) = key else {
        return Ok(Vec::new());
    };
    let Some(start) = start(conn, key, job, from, recent)? else {
        return Ok(Vec::new());
    };
    let end = recent
        .first()
        .map_or(i64::MAX, |block| int(block.first().value()));
    let mut statement = conn.prepare_cached(
        "SELECT i.first, b.head, b.text FROM block_index i JOIN block b ON b.n = i.n \
         WHERE i.job = ?1 AND i.first >= ?2 AND i.first < ?3 ORDER BY i.first",
    )?;
    let mut rows = statement.query(params![key, start, end])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let first = JobSeq::new(seq(row, 0)?);
        let head = row.get_ref(1)?.as_blob().map_err(corrupt)?;
        let block = codec::block(job, first, head, row.get(2)?)
            .ok_or_else(|| corrupt(format_args!("the block of {job} at {first} cannot be read")))?;
        bytes += block.text().len();
        found.push(Arc::new(block));
        if bytes >= max_bytes.max(1) {
            return Ok(found);
        }
    }
    // A block of the file may end after `from` and the next one be in the cache already.
    if found.last().is_some_and(|block| block.last() < from) {
        found.clear();
    }
    found.extend(up_to(recent.iter(), max_bytes.saturating_sub(bytes)));
    Ok(found)
}

/// Where the block that holds `from` begins; `None` when the log ends before it.
fn start(
    conn: &Connection,
    key: i64,
    job: &JobId,
    from: JobSeq,
    recent: &[Arc<Block>],
) -> Result<Option<i64>, DbError> {
    let at_or_before: Option<i64> = conn
        .prepare_cached("SELECT max(first) FROM block_index WHERE job = ?1 AND first <= ?2")?
        .query_row(params![key, int(from.value())], |row| row.get(0))?;
    let after: Option<i64> = conn
        .prepare_cached("SELECT min(first) FROM block_index WHERE job = ?1 AND first > ?2")?
        .query_row(params![key, int(from.value())], |row| row.get(0))?;
    if let Some(start) = at_or_before {
        let last: i64 = conn
            .prepare_cached("SELECT last FROM job_state WHERE key = ?1")?
            .query_row([key], |row| row.get(0))?;
        let beyond = after.is_none() && recent.is_empty() && int(from.value()) > last;
        return Ok((!beyond).then_some(start));
    }
    let oldest = after
        .map(|first| JobSeq::new(first.unsigned_abs()))
        .or(recent.first().map(|block| block.first()));
    match oldest {
        Some(oldest) => Err(StoreError::Evicted {
            job: job.clone(),
            from,
            oldest,
        }
        .into()),
        None => Ok(None),
    }
}

/// One job.
pub(super) fn job(
    conn: &Connection,
    cache: &Cache,
    job: &JobId,
) -> Result<Option<JobRow>, DbError> {
    let sql = format!(
        "SELECT {JOB_COLUMNS} FROM job j JOIN job_state s ON s.key = j.key WHERE j.id = ?1"
    );
    let row = conn
        .prepare_cached(&sql)?
        .query_row([job.as_str()], |row| Ok(read_job(row)))
        .optional()?
        .transpose()?;
    Ok(row.map(|mut row| {
        row.state.last_seq = with_tail(cache, &row.id, row.state.last_seq);
        row
    }))
}

/// The file is behind with the tails of busy logs, and the cache knows those.
fn with_tail(cache: &Cache, job: &JobId, filed: JobSeq) -> JobSeq {
    cache.last(job).map_or(filed, |last| last.max(filed))
}

/// The session for which a condition about a value holds.
pub(super) fn session(
    conn: &Connection,
    condition: &str,
    value: impl ToSql,
) -> Result<Option<SessionRow>, DbError> {
    let sql = format!("SELECT {SESSION_COLUMNS} FROM session WHERE {condition}");
    conn.prepare_cached(&sql)?
        .query_row([value], |row| Ok(read_session(row)))
        .optional()?
        .transpose()
}

/// A page of jobs. Each principal has its place in an index, so the pages of several are merged.
pub(super) fn list(conn: &Connection, cache: &Cache, query: &JobQuery) -> Result<JobPage, DbError> {
    if query.limit == 0 {
        return Ok(JobPage::default());
    }
    let found = match &query.principals {
        None => one_list(conn, query, None, JobPage::MAX_BYTES)?,
        Some(principals) => {
            // All of them are in memory at once.
            let share = JobPage::MAX_BYTES / principals.len().max(1);
            let mut merged = Found::default();
            for principal in principals {
                let one = one_list(conn, query, Some(principal), share.max(LEAST_SHARE))?;
                merged.add(one, query.newest_first);
            }
            merged.settle(query.newest_first);
            merged
        }
    };
    Ok(page(found, cache, query.limit))
}

/// The jobs of a page, of which there may be more than fit.
fn page(found: Found, cache: &Cache, limit: usize) -> JobPage {
    let all = found.jobs.len();
    let mut page = JobPage::default();
    let mut bytes = 0;
    for mut job in found.jobs {
        if page.jobs.len() == limit || bytes >= JobPage::MAX_BYTES {
            break;
        }
        bytes += job.bytes();
        job.state.last_seq = with_tail(cache, &job.id, job.state.last_seq);
        page.jobs.push(job);
    }
    if page.jobs.len() < all || found.cut.is_some() {
        page.next = page.jobs.last().map(place);
    }
    page
}

fn place(job: &JobSummary) -> ListCursor {
    ListCursor {
        created_at: job.created_at,
        job: job.id.clone(),
    }
}

/// What was found of one list, or of several merged.
#[derive(Debug, Default)]
struct Found {
    jobs: Vec<JobSummary>,
    /// Up to where it is complete, when there is more of it.
    cut: Option<ListCursor>,
}

impl Found {
    fn add(&mut self, other: Self, newest_first: bool) {
        self.jobs.extend(other.jobs);
        self.cut = match (self.cut.take(), other.cut) {
            (Some(one), Some(two)) if newest_first => Some(one.max(two)),
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
    }

    /// Brings several lists into one order, as far as all of them were looked at.
    fn settle(&mut self, newest_first: bool) {
        self.jobs
            .sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        self.jobs.dedup_by(|one, other| one.id == other.id);
        if newest_first {
            self.jobs.reverse();
        }
        if let Some(cut) = &self.cut {
            let cut = (cut.created_at, &cut.job);
            self.jobs.retain(|job| {
                let place = (job.created_at, &job.id);
                place == cut || (place < cut) != newest_first
            });
        }
    }
}

/// The jobs of one principal, or of all: as many as a page has, or fewer when they take more bytes than they may.
fn one_list(
    conn: &Connection,
    query: &JobQuery,
    principal: Option<&Principal>,
    max_bytes: usize,
) -> Result<Found, DbError> {
    let (sql, values) = listing(query, principal);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let (mut found, mut bytes) = (Found::default(), 0);
    while let Some(row) = rows.next()? {
        if found.jobs.len() == query.limit || bytes >= max_bytes {
            found.cut = found.jobs.last().map(place);
            break;
        }
        let job = read_summary(row)?;
        bytes += job.bytes();
        found.jobs.push(job);
    }
    Ok(found)
}

/// The statement of one list, and its values.
fn listing(query: &JobQuery, principal: Option<&Principal>) -> (String, Vec<Value>) {
    let mut filter = Filter::default();
    if let Some(principal) = principal {
        filter.add(
            "j.principal = ?",
            [Value::Text(principal.as_str().to_owned())],
        );
    }
    if let Some(after) = &query.after {
        let place = [
            Value::Integer(after.created_at.unix_micros()),
            Value::Text(after.job.as_str().to_owned()),
        ];
        let beyond = if query.newest_first {
            "(j.created_at, j.id) < (?, ?)"
        } else {
            "(j.created_at, j.id) > (?, ?)"
        };
        filter.add(beyond, place);
    }
    if let Some(bound) = query.created_after {
        filter.add("j.created_at > ?", [Value::Integer(bound.unix_micros())]);
    }
    if let Some(bound) = query.created_before {
        filter.add("j.created_at < ?", [Value::Integer(bound.unix_micros())]);
    }
    if let Some(agent) = &query.agent {
        filter.add("j.agent = ?", [Value::Text(agent.name().to_owned())]);
        if let Some(version) = agent.version() {
            filter.add("j.version = ?", [Value::Text(version.to_owned())]);
        }
    }
    if let Some(wanted) = &query.status {
        let marks = vec!["?"; wanted.len()].join(", ");
        let numbers = wanted
            .iter()
            .map(|status| Value::Integer(status_number(*status)));
        filter.add(&format!("s.status IN ({marks})"), numbers);
    }
    // Live jobs are few and have an index of their own. CROSS JOIN tells SQLite to begin with the table on the left.
    let tables = if query.is_live_only() {
        filter.add("s.ended_at IS NULL", []);
        "job_state s CROSS JOIN job j ON j.key = s.key"
    } else {
        "job j CROSS JOIN job_state s ON s.key = j.key"
    };
    filter
        .values
        .push(Value::Integer(int(query.limit as u64).saturating_add(1)));
    let clause = filter.clause();
    let order = if query.newest_first {
        "j.created_at DESC, j.id DESC"
    } else {
        "j.created_at, j.id"
    };
    let sql = format!("SELECT {SUMMARY_COLUMNS} FROM {tables} {clause} ORDER BY {order} LIMIT ?");
    (sql, filter.values)
}

#[derive(Debug, Default)]
struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

impl Filter {
    fn add(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.conditions.push(condition.to_owned());
        self.values.extend(values);
    }

    fn clause(&self) -> String {
        if self.conditions.is_empty() {
            String::new()
        } else {
            format!("WHERE {}", self.conditions.join(" AND "))
        }
    }
}

/// What a runtime has to know when it starts, read through indexes of what is live. Everything has to be flushed.
pub(super) fn recover(conn: &Connection) -> Result<Recovered, DbError> {
    let jobs = all(&mut conn.prepare(&live_jobs())?.query([])?, read_job)?;
    let mut spans = conn.prepare(
        "SELECT first, job, from_seq, count, view FROM span WHERE session = ?1 ORDER BY first",
    )?;
    let mut watches = conn.prepare("SELECT job FROM watch WHERE session = ?1 ORDER BY job")?;
    let mut statement = conn.prepare(&format!(
        "SELECT {SESSION_COLUMNS} FROM session ORDER BY id"
    ))?;
    let sessions = all(&mut statement.query([])?, |row| {
        Ok((row.get::<_, i64>(0)?, seq(row, 1)?, read_session(row)?))
    })?;
    let mut recovered = Recovered {
        jobs,
        sessions: Vec::with_capacity(sessions.len()),
        credentials: outstanding(conn)?,
        talks: talks(conn)?,
        schedules: all(&mut conn.prepare(SCHEDULES)?.query([])?, read_schedule)?,
        deliveries: deliveries::pending(conn)?,
    };
    for (key, last, row) in sessions {
        recovered.sessions.push(RecoveredSession {
            row,
            last: EventSeq::new(last),
            spans: all(&mut spans.query([key])?, read_span)?,
            subscriptions: all(&mut watches.query([key])?, |row| {
                JobId::parse(row.get_ref(0)?.as_str().map_err(corrupt)?).map_err(corrupt)
            })?,
        });
    }
    Ok(recovered)
}

/// What live jobs and people have to say to each other.
fn talks(conn: &Connection) -> Result<Vec<(JobId, RawJson)>, DbError> {
    let sql = "SELECT j.id, t.value FROM talk t CROSS JOIN job_state s ON s.key = t.job \
               CROSS JOIN job j ON j.key = t.job WHERE s.ended_at IS NULL ORDER BY t.job";
    all(&mut conn.prepare(sql)?.query([])?, |row| {
        let id = JobId::parse(row.get_ref(0)?.as_str().map_err(corrupt)?).map_err(corrupt)?;
        let value = row.get_ref(1)?.as_str().map_err(corrupt)?;
        Ok((id, RawJson::parse(value.to_owned()).map_err(corrupt)?))
    })
}

fn live_jobs() -> String {
    format!(
        "SELECT {JOB_COLUMNS} FROM job_state s CROSS JOIN job j ON j.key = s.key \
         WHERE s.ended_at IS NULL ORDER BY j.created_at, j.id"
    )
}

fn outstanding(conn: &Connection) -> Result<Vec<CredentialRow>, DbError> {
    all(&mut conn.prepare(OUTSTANDING)?.query([])?, read_credential)
}

const SCHEDULES: &str = "SELECT name, done, paused, job FROM schedule ORDER BY name";

/// What each of several principals may take of a page at least.
const LEAST_SHARE: usize = 64 << 10;

const OUTSTANDING: &str =
    "SELECT id, job, outstanding, data FROM credential WHERE outstanding = 1 ORDER BY n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::schema;

    fn plan(sql: &str) -> String {
        let mut conn = Connection::open_in_memory().unwrap();
        schema::migrate(&mut conn, "test", schema::STEPS).unwrap();
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let lines = statement
            .query_map([], |row| row.get::<_, String>(3))
            .unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn recovery_looks_at_what_is_live_alone() {
        let jobs = plan(&live_jobs());
        assert!(
            jobs.contains("INDEX job_live") && !jobs.contains("SCAN j"),
            "{jobs}"
        );
        let credentials = plan(OUTSTANDING);
        assert!(
            credentials.contains("INDEX credential_out"),
            "{credentials}"
        );
    }
}
