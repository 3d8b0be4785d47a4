//! What the file looks like, and how an older one becomes a newer one.

use rusqlite::Connection;

use super::error::DbError;
use crate::StoreError;

/// `towl`, in the header of every file of ours.
pub(super) const APPLICATION_ID: i32 = 0x746f_776c;

/// What takes schema `i` to schema `i + 1`. A released step is never changed; a new one is put after it.
pub(super) const STEPS: &[&str] = &[V1, PREVIOUS_TOKEN];

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

/// The token that was good before the latest one stays good until the client is heard [ARCP 6.3-1].
const PREVIOUS_TOKEN: &str = "
ALTER TABLE session ADD COLUMN previous_token_hash BLOB;
";

/// What a file is, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing is in it yet.
    Fresh,
    /// A store of this schema.
    Store(usize),
}

/// Reads the header.
pub(super) fn kind(conn: &Connection, name: &str, steps: &[&str]) -> Result<Kind, DbError> {
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 =
        conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if application == 0 && version == 0 && objects == 0 {
        return Ok(Kind::Fresh);
    }
    if application != APPLICATION_ID {
        return Err(StoreError::Incompatible(format!(
            "`{name}` is an SQLite database, but no towline store; name another file"
        ))
        .into());
    }
    match usize::try_from(version) {
        Ok(version) if version <= steps.len() => Ok(Kind::Store(version)),
        _ => Err(StoreError::Incompatible(format!(
            "`{name}` was written by a later version of towline (schema {version}, this one knows up to {}); use that \
             version",
            steps.len()
        ))
        .into()),
    }
}

/// Brings a file to the newest schema; each step is one transaction, so that an interrupted one is done again.
pub(super) fn migrate(conn: &mut Connection, name: &str, steps: &[&str]) -> Result<(), DbError> {
    let from = match kind(conn, name, steps)? {
        Kind::Fresh => 0,
        Kind::Store(version) => version,
    };
    for (version, step) in steps.iter().enumerate().skip(from) {
        let transaction =
            conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(
            None,
            "user_version",
            i64::try_from(version + 1).unwrap_or(i64::MAX),
        )?;
        transaction.commit()?;
        if version > 0 {
            tracing::info!(
                file = name,
                schema = version + 1,
                "the store was brought to a newer schema"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[&str] = &["CREATE TABLE job (id TEXT); INSERT INTO job VALUES ('job_1')"];

    fn with_old_schema() -> Connection {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, "test", OLD).unwrap();
        conn
    }

    #[test]
    fn a_file_goes_forward_step_by_step_and_keeps_its_rows() {
        let mut conn = with_old_schema();
        let newer = [
            OLD[0],
            "ALTER TABLE job ADD COLUMN depth INTEGER NOT NULL DEFAULT 7",
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
        let broken = [OLD[0], "CREATE TABLE half (x); CREATE TABLE job (id)"];
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
}
