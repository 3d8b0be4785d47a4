//! What the tables look like, and how older ones become newer ones.

use tokio_postgres::Client;
use towline_store::StoreError;

use crate::error::of_statement;

/// What takes schema `i` to schema `i + 1`. A released step is never changed; a new one is put after it.
pub(crate) const STEPS: &[&str] = &[V1, SCHEDULES, DELIVERIES, MEMBERS];

/// When and in which order jobs are to run, and how far schedules are.
const SCHEDULES: &str = "
ALTER TABLE job ADD COLUMN planned bytea;
CREATE TABLE schedule (
    name   bytea PRIMARY KEY,
    done   bigint NOT NULL,
    paused boolean NOT NULL,
    job    bytea
);
";

/// Messages that are or were to be delivered.
const DELIVERIES: &str = "
CREATE TABLE delivery (
    n          bigint PRIMARY KEY,
    id         bytea NOT NULL UNIQUE,
    job        bytea NOT NULL,
    principal  bytea NOT NULL,
    created_at bigint NOT NULL,
    pending    boolean NOT NULL,
    orphan     boolean NOT NULL,  -- whether the job was not kept when last looked at
    data       bytea NOT NULL,
    body       bytea NOT NULL
);
CREATE INDEX delivery_of ON delivery (job);
-- A principal may be longer than an index takes.
CREATE INDEX delivery_by ON delivery (sha256(principal), n);
CREATE INDEX delivery_out ON delivery (n) WHERE pending;
CREATE INDEX delivery_orphan ON delivery (n) WHERE orphan;
";

/// Several incarnations at once: whose everything is. What was counted is the sum of each one's latest token from now on.
const MEMBERS: &str = "
ALTER TABLE node ADD COLUMN alone boolean NOT NULL DEFAULT true;  -- whether it has the store for itself
ALTER TABLE node ADD COLUMN agents bytea;                         -- their names, JSON
ALTER TABLE pulse ADD COLUMN at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE job_state ADD COLUMN owner bigint;
ALTER TABLE session ADD COLUMN owner bigint;
ALTER TABLE credential ADD COLUMN owner bigint;
CREATE INDEX job_owned ON job_state (owner) WHERE ended_at IS NULL;
CREATE INDEX session_owned ON session (owner);
CREATE INDEX credential_owned ON credential (owner) WHERE outstanding;
-- Sessions that others took from an incarnation, until it has let go of them.
CREATE TABLE taken (
    inc     bigint NOT NULL,
    session bytea NOT NULL,
    PRIMARY KEY (inc, session)
);
CREATE SEQUENCE audit_n;
UPDATE token SET jobs = 0, live = 0, events = 0, bytes = 0 WHERE inc < (SELECT max(inc) FROM token);
";

/// The oldest version of this program, by the newest schema it knows, that may use tables of the newest schema here.
pub(crate) const COMPATIBLE_FROM: i64 = 4;

/// All text is `bytea`: what peers write may hold what `text` cannot, and sorts byte by byte. Times are microseconds. Numbers
/// of rows (`key`, `n`) are given out by the writer, the incarnation in their upper bits.
///
/// What happens with each event is inserted, never updated. A commit writes one `token`: the fence's witness, the counters,
/// and what it did to streams, which reaches `span` in bulk.
const V1: &str = "
CREATE SEQUENCE incarnation;
CREATE TABLE node (
    inc        bigint PRIMARY KEY,
    name       bytea NOT NULL,
    state      bigint NOT NULL,   -- 0 has the store, 2 has not any more
    writer_pid bigint NOT NULL,
    version    bytea NOT NULL,
    joined_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    fenced_at  timestamptz
);
CREATE TABLE pulse (
    inc bigint PRIMARY KEY,
    n   bigint NOT NULL
) WITH (fillfactor = 20);
CREATE TABLE token (
    inc     bigint NOT NULL,
    seq     bigint NOT NULL,
    void    boolean NOT NULL,     -- written in the place of a commit that never came
    jobs    bigint NOT NULL,
    live    bigint NOT NULL,
    events  bigint NOT NULL,
    bytes   bigint NOT NULL,
    streams bytea,                -- changes of streams that are not in their place yet
    PRIMARY KEY (inc, seq)
);

-- What of a job never changes.
CREATE TABLE job (
    key         bigint PRIMARY KEY,
    id          bytea NOT NULL UNIQUE,
    principal   bytea NOT NULL,
    session     bytea NOT NULL,
    request_id  bytea,
    agent       bytea NOT NULL,
    version     bytea,
    input       bytea NOT NULL,
    lease       bytea NOT NULL,
    constraints bytea NOT NULL,
    max_runtime bigint,           -- nanoseconds
    parent      bytea,
    depth       bigint NOT NULL,
    trace       bytea NOT NULL,
    created_at  bigint NOT NULL,
    rerun_of    bytea
);
CREATE INDEX job_listed ON job (created_at, id);
CREATE INDEX job_of ON job (sha256(principal), created_at, id);

CREATE TABLE job_state (
    key         bigint PRIMARY KEY,
    status      bigint NOT NULL,
    budget      bytea,
    finished_at bigint,
    ending      bytea,
    ended_at    bigint,           -- null while the job is live
    attempt     bigint NOT NULL,
    progressed  bigint NOT NULL,
    started_at  bigint,
    chunked     boolean NOT NULL,
    retried     bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX job_live ON job_state (key) WHERE ended_at IS NULL;
CREATE INDEX job_finished ON job_state (ended_at, key) WHERE ended_at IS NOT NULL;

CREATE TABLE block (
    job    bigint NOT NULL,
    first  bigint NOT NULL,
    count  bigint NOT NULL,
    n      bigint NOT NULL,
    inc    bigint NOT NULL,       -- who wrote it
    bytes  bigint NOT NULL,       -- of the text as it is read
    packed boolean NOT NULL,      -- whether the text is compressed (lz4)
    ended  boolean NOT NULL,      -- whether its last record is the job's terminal
    head   bytea NOT NULL,        -- kind and length of each record, packed
    text   bytea NOT NULL,        -- the records, one after the other
    PRIMARY KEY (job, first)
) WITH (toast_tuple_target = 8160);
ALTER TABLE block ALTER text SET STORAGE EXTERNAL;

CREATE TABLE session (
    key                 bigint PRIMARY KEY,
    id                  bytea NOT NULL UNIQUE,
    principal           bytea NOT NULL,
    token_hash          bytea NOT NULL,
    previous_token_hash bytea,
    skipped_token_hash  bytea,
    features            bigint NOT NULL,
    dialect             bytea NOT NULL,
    created_at          bigint NOT NULL,
    detached_at         bigint,
    acked               bigint NOT NULL,
    evicted             bigint NOT NULL,
    last                bigint NOT NULL,  -- as of the last change of streams that is in its place
    proof               bytea
);
CREATE INDEX session_token ON session (token_hash);
CREATE INDEX session_previous ON session (previous_token_hash) WHERE previous_token_hash IS NOT NULL;
CREATE INDEX session_skipped ON session (skipped_token_hash) WHERE skipped_token_hash IS NOT NULL;
CREATE TABLE span (
    session  bigint NOT NULL,
    first    bigint NOT NULL,
    count    bigint NOT NULL,
    job      bytea NOT NULL,
    from_seq bigint NOT NULL,
    view     bigint NOT NULL,
    PRIMARY KEY (session, first)
);
CREATE TABLE watch (
    session bigint NOT NULL,
    job     bytea NOT NULL,
    PRIMARY KEY (session, job)
);

CREATE TABLE idempotency (
    principal   bytea NOT NULL,
    key         bytea NOT NULL,
    job         bytea NOT NULL,
    fingerprint bytea NOT NULL,
    created_at  bigint NOT NULL
);
-- A key may be longer than an index takes.
CREATE UNIQUE INDEX idempotency_key ON idempotency (sha256(principal), sha256(key));
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE credential (
    n           bigint PRIMARY KEY,
    id          bytea NOT NULL UNIQUE,
    job         bytea NOT NULL,
    outstanding boolean NOT NULL,
    orphan      boolean NOT NULL,  -- whether the job was not kept when last looked at
    data        bytea NOT NULL
);
CREATE INDEX credential_of ON credential (job);
CREATE INDEX credential_out ON credential (n) WHERE outstanding;
CREATE INDEX credential_orphan ON credential (n) WHERE orphan;

CREATE TABLE audit (
    n       bigint PRIMARY KEY,
    at      bigint NOT NULL,
    action  bytea NOT NULL,
    data    bytea NOT NULL,
    refused boolean NOT NULL
);
CREATE INDEX audit_refused ON audit (n) WHERE refused;

CREATE TABLE checkpoint (job bigint PRIMARY KEY, value bytea NOT NULL);
CREATE TABLE talk (job bigint PRIMARY KEY, value bytea NOT NULL);
";

/// The schema's number, and the one from which on a program may use it; `None` where there are no tables of ours yet.
pub(crate) async fn version(client: &Client, name: &str) -> Result<Option<i64>, StoreError> {
    let there = "SELECT to_regclass(quote_ident(current_schema()) || '.towline_meta') IS NOT NULL, \
                 (SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace)";
    let row = client.query_one(there, &[]).await.map_err(of_statement)?;
    // Without a schema all of it is null.
    let (is_ours, objects): (Option<bool>, i64) = (row.get(0), row.get(1));
    if is_ours != Some(true) {
        if objects > 0 {
            return Err(StoreError::Incompatible(
                format!("the schema `{name}` has tables of something else; name another one with ?schema=NAME").into(),
            ));
        }
        return Ok(None);
    }
    let sql = "SELECT schema, compatible_from FROM towline_meta";
    let row = client.query_one(sql, &[]).await.map_err(of_statement)?;
    let (version, compatible): (i64, i64) = (row.get(0), row.get(1));
    if compatible > newest(STEPS) {
        return Err(StoreError::Incompatible(
            format!(
                "the tables were written by a later version of towline (schema {version}, this one knows up to {}); use that \
                 version",
                newest(STEPS)
            )
            .into(),
        ));
    }
    Ok(Some(version))
}

/// Brings the tables to the newest schema, in one transaction, so that an interrupted one is done again. Others who come at
/// the same time wait.
pub(crate) async fn migrate(client: &Client, name: &str, steps: &[&str]) -> Result<(), StoreError> {
    let run = |sql: String| async move { client.batch_execute(&sql).await.map_err(of_statement) };
    if version(client, name).await? >= Some(newest(steps)) {
        return Ok(());
    }
    run(format!(
        "BEGIN; SET LOCAL lock_timeout = '30s'; SELECT pg_advisory_xact_lock({LOCK})"
    ))
    .await?;
    let migrated = async {
        let there = "SELECT to_regnamespace($1) IS NOT NULL";
        let row = client.query_one(there, &[&name]).await;
        if !row.map_err(of_statement)?.get::<_, bool>(0) {
            run(format!("CREATE SCHEMA {name}")).await?;
        }
        let from = version(client, name).await?;
        if from.is_none() {
            run(META.to_owned()).await?;
        }
        for step in steps
            .iter()
            .skip(usize::try_from(from.unwrap_or(0)).unwrap_or(0))
        {
            run((*step).to_owned()).await?;
        }
        let (newest, from) = (newest(steps), COMPATIBLE_FROM);
        run(format!(
            "UPDATE towline_meta SET schema = {newest}, compatible_from = greatest(compatible_from, {from})"
        ))
        .await?;
        run("COMMIT".to_owned()).await
    };
    let migrated = migrated.await;
    if migrated.is_err() {
        // What went wrong is known; that there is nothing to roll back says nothing more.
        drop(client.batch_execute("ROLLBACK").await);
    }
    migrated
}

fn newest(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

const META: &str = "
CREATE TABLE towline_meta (
    one             boolean PRIMARY KEY CHECK (one),
    schema          bigint NOT NULL,
    compatible_from bigint NOT NULL
);
INSERT INTO towline_meta VALUES (true, 0, 0);
";

/// `towl`: whoever changes tables or takes the store holds the advisory lock of this number, …
pub(crate) const LOCK: i64 = 0x746f_776c;
/// … and whoever takes over what others left, or removes what is not kept, that of this one: there is one at a time.
pub(crate) const CHORES: i64 = LOCK + 1;
