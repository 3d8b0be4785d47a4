//! What the file looks like, and how an older one becomes a newer one.

use std::collections::HashSet;

use rusqlite::Connection;

use super::error::{DbError, corrupt};
use crate::{RecordKind, StoreError, codec::Head};

/// `towl`, in the header of every file of ours.
pub(super) const APPLICATION_ID: i32 = 0x746f_776c;

/// What takes one schema to the next.
pub(super) struct Step {
    sql: &'static str,
    /// What SQL cannot say, in the same transaction.
    fill: Option<Fill>,
}

/// Brings rows to a newer schema where SQL alone cannot.
type Fill = fn(&Connection) -> Result<(), DbError>;

/// What takes schema `i` to schema `i + 1`. A released step is never changed; a new one is put after it.
pub(super) const STEPS: &[Step] = &[
    Step {
        sql: V1,
        fill: None,
    },
    Step {
        sql: PREVIOUS_TOKEN,
        fill: None,
    },
    Step {
        sql: RUNS,
        fill: Some(fill_chunked),
    },
    Step {
        sql: PROOF,
        fill: None,
    },
    Step {
        sql: RERUNS,
        fill: None,
    },
    Step {
        sql: REFUSALS,
        fill: None,
    },
    Step {
        sql: TALK,
        fill: None,
    },
    Step {
        sql: SCHEDULES,
        fill: None,
    },
    Step {
        sql: DELIVERIES,
        fill: None,
    },
];

/// How much happens with a row decides its place. Blocks are appended, whichever job they are of, so that a commit of
/// two hundred jobs writes a few pages and not one for each; `block_index` finds a job's blocks and is brought up to
/// `meta.indexed` in bulk. Spans and trims of a commit go into one row of `span_log` and reach `span` in bulk likewise.
const V1: &str = "
CREATE TABLE meta (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    indexed INTEGER NOT NULL,  -- the last block that block_index knows
    jobs    INTEGER NOT NULL,
    live    INTEGER NOT NULL,
    events  INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES (1, 0, 0, 0, 0, 0);

-- What of a job never changes.
CREATE TABLE job (
    key         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    principal   TEXT NOT NULL,
    session     TEXT NOT NULL,
    request_id  TEXT,
    agent       TEXT NOT NULL,
    version     TEXT,
    input       TEXT NOT NULL,
    lease       TEXT NOT NULL,
    constraints TEXT NOT NULL,
    max_runtime INTEGER,           -- nanoseconds
    parent      TEXT,
    depth       INTEGER NOT NULL,
    trace       BLOB NOT NULL,
    created_at  INTEGER NOT NULL   -- microseconds, as all times are
) STRICT;
CREATE INDEX job_listed ON job (created_at, id);
CREATE INDEX job_of ON job (principal, created_at, id);

CREATE TABLE job_state (
    key         INTEGER PRIMARY KEY,
    status      INTEGER NOT NULL,
    budget      TEXT,
    finished_at INTEGER,
    ending      TEXT,
    ended_at    INTEGER,           -- null while the job is live
    last        INTEGER NOT NULL,  -- the last record, as of meta.indexed at the latest
    ended       INTEGER NOT NULL   -- whether that record is terminal
) STRICT;
CREATE INDEX job_live ON job_state (key) WHERE ended_at IS NULL;
CREATE INDEX job_finished ON job_state (ended_at, key) WHERE ended_at IS NOT NULL;

CREATE TABLE block (
    n     INTEGER PRIMARY KEY,
    job   INTEGER NOT NULL,
    first INTEGER NOT NULL,
    head  BLOB NOT NULL,   -- kind and length of each record, packed
    text  BLOB NOT NULL    -- the records, one after the other
) STRICT;
CREATE TABLE block_index (
    job   INTEGER NOT NULL,
    first INTEGER NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (job, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE session (
    key         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    principal   TEXT NOT NULL,
    token_hash  BLOB NOT NULL,
    features    INTEGER NOT NULL,
    dialect     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    detached_at INTEGER,
    acked       INTEGER NOT NULL,
    evicted     INTEGER NOT NULL,
    last        INTEGER NOT NULL
) STRICT;
CREATE TABLE span (
    session   INTEGER NOT NULL,
    first     INTEGER NOT NULL,
    count     INTEGER NOT NULL,
    job       TEXT NOT NULL,
    from_seq  INTEGER NOT NULL,
    view      INTEGER NOT NULL,
    PRIMARY KEY (session, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE span_log (
    n    INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE watch (
    session INTEGER NOT NULL,
    job     TEXT NOT NULL,
    PRIMARY KEY (session, job)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    principal   TEXT NOT NULL,
    key         TEXT NOT NULL,
    job         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE credential (
    n           INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    job         TEXT NOT NULL,
    outstanding INTEGER NOT NULL,
    orphan      INTEGER NOT NULL,  -- whether the job was not kept when last looked at
    data        TEXT NOT NULL
) STRICT;
CREATE INDEX credential_of ON credential (job);
CREATE INDEX credential_out ON credential (n) WHERE outstanding = 1;
CREATE INDEX credential_orphan ON credential (n) WHERE orphan = 1;

CREATE TABLE audit (
    n      INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    action TEXT NOT NULL,
    data   TEXT NOT NULL
) STRICT;

CREATE TABLE checkpoint (
    job   INTEGER PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
";

/// The tokens that were good before the latest one stay good until the client is heard [ARCP 6.3-1].
const PREVIOUS_TOKEN: &str = "
ALTER TABLE session ADD COLUMN previous_token_hash BLOB;
ALTER TABLE session ADD COLUMN skipped_token_hash BLOB;
";

/// What proved a session's principal, so that access that was taken away does not go on by resume.
const PROOF: &str = "
ALTER TABLE session ADD COLUMN proof TEXT;
";

/// Which job a job runs again, and how many of its own runs failed and were followed by another.
const RERUNS: &str = "
ALTER TABLE job ADD COLUMN rerun_of TEXT;
ALTER TABLE job_state ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;
";

/// What jobs and people have to say to each other.
const TALK: &str = "
CREATE TABLE talk (
    job   INTEGER PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
";

/// When and in which order jobs are to run, and how far schedules are.
const SCHEDULES: &str = "
ALTER TABLE job ADD COLUMN planned TEXT;
CREATE TABLE schedule (
    name   TEXT PRIMARY KEY,
    done   INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    job    TEXT
) STRICT, WITHOUT ROWID;
";

/// Messages that are or were to be delivered.
const DELIVERIES: &str = "
CREATE TABLE delivery (
    n          INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    job        TEXT NOT NULL,
    principal  TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    pending    INTEGER NOT NULL,
    orphan     INTEGER NOT NULL,  -- whether the job was not kept when last looked at
    data       TEXT NOT NULL,
    body       TEXT NOT NULL
) STRICT;
CREATE INDEX delivery_of ON delivery (job);
CREATE INDEX delivery_by ON delivery (principal, n);
CREATE INDEX delivery_out ON delivery (n) WHERE pending = 1;
CREATE INDEX delivery_orphan ON delivery (n) WHERE orphan = 1;
";

/// What a job's recovery has to know stands in its state. A job that runs was started once at least; when, nobody wrote down.
const RUNS: &str = "
ALTER TABLE job_state ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job_state ADD COLUMN progressed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job_state ADD COLUMN started_at INTEGER;
ALTER TABLE job_state ADD COLUMN chunked INTEGER NOT NULL DEFAULT 0;
UPDATE job_state SET attempt = 1 WHERE status = 1;
CREATE INDEX session_token ON session (token_hash);
CREATE INDEX session_previous ON session (previous_token_hash) WHERE previous_token_hash IS NOT NULL;
CREATE INDEX session_skipped ON session (skipped_token_hash) WHERE skipped_token_hash IS NOT NULL;
";

/// Whether a row of `audit` is one, just as the index says.
macro_rules! is_refusal {
    () => {
        concat!("instr(data, '", crate::rows::refused!(), "') > 0")
    };
}
pub(super) use is_refusal;

/// Refusals are counted by themselves, and there are few of them among many rows.
const REFUSALS: &str = concat!(
    "CREATE INDEX audit_refused ON audit (n) WHERE ",
    is_refusal!()
);

/// Looks for parts of results in the logs of live jobs. Where the beginning of a log has gone nobody knows what was there,
/// and the job counts as one with a part of its result out.
fn fill_chunked(conn: &Connection) -> Result<(), DbError> {
    let live = "SELECT b.job, b.head FROM block b JOIN job_state s ON s.key = b.job WHERE s.ended_at IS NULL";
    let mut chunked = HashSet::new();
    let mut statement = conn.prepare(live)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let job: i64 = row.get(0)?;
        let head = Head::read(row.get_ref(1)?.as_blob().map_err(corrupt)?).ok_or_else(|| {
            corrupt(format_args!(
                "a block's head of job number {job} cannot be read"
            ))
        })?;
        if head.kinds.contains(&RecordKind::ResultChunk) {
            chunked.insert(job);
        }
    }
    let mut set = conn.prepare("UPDATE job_state SET chunked = 1 WHERE key = ?1")?;
    for job in chunked {
        set.execute([job])?;
    }
    conn.execute_batch(
        "UPDATE job_state SET chunked = 1 WHERE ended_at IS NULL \
         AND (SELECT min(first) FROM block_index WHERE job = job_state.key) > 1",
    )?;
    Ok(())
}

/// What a file is, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is in it yet.
    Fresh,
    /// A store of this schema.
    Store(usize),
}

/// Reads the header.
pub(super) fn kind(conn: &Connection, name: &str, steps: &[Step]) -> Result<Kind, DbError> {
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && version == 0 && objects == 0 {
        return Ok(Kind::Fresh);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Incompatible(
            format!("`{name}` is an SQLite database, but no towline store; name another file")
                .into(),
        )
        .into());
    }
    match usize::try_from(version) {
        Ok(version) if version <= steps.len() => Ok(Kind::Store(version)),
        _ => Err(StoreError::Incompatible(format!(
            "`{name}` was written by a later version of towline (schema {version}, this one knows up to {}); use that \
             version",
            steps.len()
        ).into())
        .into()),
    }
}

/// Brings a file to the newest schema; each step is one transaction, so that an interrupted one is done again.
pub(super) fn migrate(conn: &mut Connection, name: &str, steps: &[Step]) -> Result<(), DbError> {
    let from = match kind(conn, name, steps)? {
        Kind::Fresh => 0,
        Kind::Store(version) => version,
    };
    for (version, step) in steps.iter().enumerate().skip(from) {
        let transaction =
            conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(step.sql)?;
        if let Some(fill) = step.fill {
            fill(&transaction)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(version + 1).unwrap_or(i64::MAX),
        )?;
        transaction.commit()?;
        if from > 0 {
            tracing::info!(
                file = name,
                schema = version + 1,
                "the store was brought to a newer schema"
            );
        }
    }
    Ok(())
}

#[cfg(feature = "testing")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventStore, SqliteStore, testing::fixture};

    const fn step(sql: &'static str) -> Step {
        Step { sql, fill: None }
    }

    const OLD: &str = "CREATE TABLE job (id TEXT); INSERT INTO job VALUES ('job_1')";

    fn with_old_schema() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, "test", &[step(OLD)]).unwrap();
        conn
    }

    #[test]
    fn a_file_goes_forward_step_by_step_and_keeps_its_rows() {
        let mut conn = with_old_schema();
        let newer = [
            step(OLD),
            step("ALTER TABLE job ADD COLUMN depth INTEGER NOT NULL DEFAULT 7"),
        ];
        migrate(&mut conn, "test", &newer).unwrap();
        let row: (String, i64) = conn
            .query_row("SELECT id, depth FROM job", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(row, ("job_1".to_owned(), 7));
        assert_eq!(kind(&conn, "test", &newer).unwrap(), Kind::Store(2));
        migrate(&mut conn, "test", &newer).unwrap();
    }

    #[test]
    fn a_step_that_fails_leaves_the_schema_before() {
        let mut conn = with_old_schema();
        let broken = [
            step(OLD),
            step("CREATE TABLE half (x); CREATE TABLE job (id)"),
        ];
        assert!(migrate(&mut conn, "test", &broken).is_err());
        assert_eq!(kind(&conn, "test", &broken).unwrap(), Kind::Store(1));
        let half: i64 = conn
            .query_row(
                "SELECT count(*) FROM sqlite_schema WHERE name = 'half'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(half, 0);
    }

    /// A store as the first schema had it: a job that streams a result, one that does not, one whose beginning has gone, one
    /// that has not begun and one that is over.
    fn first_schema(path: &std::path::Path) {
        let mut conn = Connection::open(path).unwrap();
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")
            .unwrap();
        migrate(&mut conn, "test", &STEPS[..1]).unwrap();
        let head = |kind: RecordKind| vec![2 << 3, 2 << 3 | kind as u8];
        let jobs = [
            (1, 1, Some((1, RecordKind::ResultChunk))),
            (2, 1, Some((1, RecordKind::Progress))),
            (3, 1, Some((7, RecordKind::Event))),
            (4, 0, None),
            (5, 2, Some((1, RecordKind::Result))),
        ];
        for (key, status, log) in jobs {
            let id = fixture::job_id(key as u64).to_string();
            let ended = (status == 2).then_some(1_900_000_000_000_000_i64);
            conn.execute(
                "INSERT INTO job VALUES (?1, ?2, 'alice', 'sess_000001', NULL, 'echo', NULL, '1', '{}', '{}', NULL, NULL, 0, \
                 ?3, 1900000000000000)",
                rusqlite::params![key, id, [7u8; 16]],
            )
            .unwrap();
            let (first, last) = log.map_or((0, 0), |(first, _)| (first, first + 1));
            conn.execute(
                "INSERT INTO job_state VALUES (?1, ?2, NULL, ?3, NULL, ?3, ?4, ?5)",
                rusqlite::params![key, status, ended, last, ended.is_some()],
            )
            .unwrap();
            if let Some((_, kind)) = log {
                conn.execute(
                    "INSERT INTO block VALUES (?1, ?1, ?2, ?3, CAST('{}{}' AS BLOB))",
                    rusqlite::params![key, first, head(kind)],
                )
                .unwrap();
                conn.execute("INSERT INTO block_index VALUES (?1, ?2, ?1)", [key, first])
                    .unwrap();
            }
        }
        conn.execute_batch(
            "UPDATE meta SET indexed = 5, jobs = 5, live = 4, events = 8, bytes = 16",
        )
        .unwrap();
    }

    #[tokio::test]
    async fn a_store_of_the_first_schema_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.db");
        first_schema(&path);
        let store = SqliteStore::open(&path).await.unwrap();
        let jobs = store.recover().await.unwrap().jobs;
        let found: Vec<_> = jobs
            .iter()
            .map(|row| (row.id.clone(), row.state.attempt, row.state.chunked))
            .collect();
        let expected = [(1, 1, true), (2, 1, false), (3, 1, true), (4, 0, false)];
        let expected =
            expected.map(|(key, attempt, chunked)| (fixture::job_id(key), attempt, chunked));
        assert_eq!(found, expected);
        assert!(jobs.iter().all(|row| row.state.started_at.is_none()));
        let ended = store.job(&fixture::job_id(5)).await.unwrap().unwrap();
        assert_eq!(ended.state.status, towline_wire::JobStatus::Success);
        store.close().await.unwrap();
        let report = SqliteStore::verify(&path).unwrap();
        assert_eq!((report.schema, report.problems), (STEPS.len(), Vec::new()));
    }
}
