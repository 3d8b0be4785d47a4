//! What the writer says to the server.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// Writes the statements down once, and a name for each.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        /// A statement of the writer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Sql {
            $($(#[$doc])* $name,)*
        }

        /// Their texts, in the order of the names.
        pub(crate) const TEXTS: &[&str] = &[$($sql,)*];
    };
}

statements! {
    /// The fence and the witness in one: where this incarnation was declared dead no row is counted, and the division fails.
    /// The row's lock is held until the commit, so that whoever declares it dead waits for it, and it for them.
    Token = "WITH me AS (SELECT inc FROM node WHERE inc = $1::bigint AND state < 2 FOR NO KEY UPDATE) \
             INSERT INTO token (inc, seq, void, jobs, live, events, bytes, streams) \
             SELECT $1, $2::bigint / (SELECT count(*) FROM me), false, $3::bigint, $4::bigint, $5::bigint, $6::bigint, $7::bytea";
    /// The fence alone, first of what takes several round trips.
    Fence = "SELECT inc FROM node WHERE inc = $1::bigint AND state < 2 FOR NO KEY UPDATE";
    /// Sessions that a batch names are the incarnation's own, and stay so until the commit: else the division fails. `$2` are
    /// all of them, `$3` those that have to be there.
    Own = "WITH named AS (SELECT id, owner FROM session WHERE id = ANY($2::bytea[]) ORDER BY key FOR NO KEY UPDATE) \
           SELECT 1 / CASE WHEN NOT EXISTS (SELECT FROM named WHERE owner IS DISTINCT FROM $1::bigint) \
           AND (SELECT count(*) FROM named WHERE id = ANY($3::bytea[])) = cardinality($3::bytea[]) \
           AND NOT EXISTS (SELECT FROM taken WHERE inc = $1 AND session = ANY($2)) THEN 1 ELSE 0 END";
    Job = "INSERT INTO job (key, id, principal, session, request_id, agent, version, input, lease, constraints, max_runtime, \
           parent, depth, trace, created_at, rerun_of, planned) \
           SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], \
           $8::bytea[], $9::bytea[], $10::bytea[], $11::bigint[], $12::bytea[], $13::bigint[], $14::bytea[], $15::bigint[], \
           $16::bytea[], $17::bytea[])";
    NewState = "INSERT INTO job_state (key, status, budget, finished_at, ending, attempt, progressed, started_at, chunked, \
                retried, ended_at, owner) \
                SELECT u.key, u.status, u.budget, u.finished_at, u.ending, u.attempt, u.progressed, u.started_at, u.chunked, \
                u.retried, CASE WHEN u.finished THEN coalesce(u.finished_at, j.created_at) END, $12::bigint \
                FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[], \
                $8::bigint[], $9::boolean[], $10::bigint[], $11::boolean[]) \
                AS u(key, status, budget, finished_at, ending, attempt, progressed, started_at, chunked, retried, finished) \
                JOIN job j ON j.key = u.key";
    /// A job that goes on after its end belongs to whoever says so.
    State = "UPDATE job_state s SET status = u.status, budget = u.budget, finished_at = u.finished_at, ending = u.ending, \
             attempt = u.attempt, progressed = u.progressed, started_at = u.started_at, chunked = u.chunked, \
             retried = u.retried, owner = CASE WHEN s.ended_at IS NULL OR u.finished THEN s.owner ELSE $12::bigint END, \
             ended_at = CASE WHEN u.finished \
             THEN coalesce(u.finished_at, (SELECT created_at FROM job WHERE key = u.key)) END \
             FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[], \
             $8::bigint[], $9::boolean[], $10::bigint[], $11::boolean[]) \
             AS u(key, status, budget, finished_at, ending, attempt, progressed, started_at, chunked, retried, finished) \
             WHERE s.key = u.key";
    Block = "INSERT INTO block (job, first, count, n, inc, bytes, packed, ended, head, text) \
             SELECT u.job, u.first, u.count, u.n, $9::bigint, u.bytes, u.packed, u.ended, u.head, u.text \
             FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[], $7::boolean[], \
             $8::bytea[], $10::bytea[]) AS u(job, first, count, n, bytes, packed, ended, head, text)";
    SessionGone = "DELETE FROM session WHERE key = ANY($1::bigint[])";
    SpansGone = "DELETE FROM span WHERE session = ANY($1::bigint[])";
    WatchesGone = "DELETE FROM watch WHERE session = ANY($1::bigint[])";
    Session = "INSERT INTO session (key, id, principal, token_hash, previous_token_hash, skipped_token_hash, features, dialect, \
               created_at, detached_at, acked, evicted, proof, last, owner) \
               SELECT u.*, 0, $14::bigint FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::bytea[], \
               $7::bigint[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[]) AS u \
               ON CONFLICT (key) DO UPDATE SET principal = excluded.principal, token_hash = excluded.token_hash, \
               previous_token_hash = excluded.previous_token_hash, skipped_token_hash = excluded.skipped_token_hash, \
               features = excluded.features, dialect = excluded.dialect, created_at = excluded.created_at, \
               detached_at = excluded.detached_at, acked = excluded.acked, evicted = excluded.evicted, proof = excluded.proof";
    Unwatch = "DELETE FROM watch w USING unnest($1::bigint[], $2::bytea[]) AS u(session, job) \
               WHERE w.session = u.session AND w.job = u.job";
    Watch = "INSERT INTO watch (session, job) SELECT * FROM unnest($1::bigint[], $2::bytea[]) ON CONFLICT DO NOTHING";
    /// Where others share the store (`$6`), a key that stands for another job still fails the division.
    Key = "WITH put AS (INSERT INTO idempotency (principal, key, job, fingerprint, created_at) \
           SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[]) \
           ON CONFLICT (sha256(principal), sha256(key)) DO UPDATE SET job = excluded.job, \
           fingerprint = excluded.fingerprint, created_at = excluded.created_at \
           WHERE NOT $6::boolean OR idempotency.job = excluded.job \
           OR excluded.created_at - idempotency.created_at >= $7::bigint RETURNING 1) \
           SELECT 1 / CASE WHEN (SELECT count(*) FROM put) = cardinality($1) THEN 1 ELSE 0 END";
    /// One that is out and another's fails the division.
    Credential = "WITH put AS (INSERT INTO credential (n, id, job, outstanding, data, orphan, owner) \
                  SELECT u.*, NOT EXISTS (SELECT FROM job WHERE job.id = u.job), $6::bigint \
                  FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::boolean[], $5::bytea[]) \
                  AS u(n, id, job, outstanding, data) \
                  ON CONFLICT (id) DO UPDATE SET outstanding = excluded.outstanding, data = excluded.data, \
                  owner = excluded.owner WHERE NOT credential.outstanding OR credential.owner = excluded.owner RETURNING 1) \
                  SELECT 1 / CASE WHEN (SELECT count(*) FROM put) = cardinality($1) THEN 1 ELSE 0 END";
    Audit = "INSERT INTO audit (n, at, action, data, refused) \
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::bytea[], $5::boolean[])";
    /// The same, where several count.
    SharedAudit = "INSERT INTO audit (n, at, action, data, refused) SELECT nextval('audit_n'), u.at, u.action, u.data, u.refused \
                   FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::boolean[]) AS u(at, action, data, refused)";
    Delivery = "INSERT INTO delivery (n, id, job, principal, created_at, pending, orphan, data, body) \
                SELECT u.n, u.id, u.job, u.principal, u.created_at, u.pending, \
                NOT EXISTS (SELECT 1 FROM job j WHERE j.id = u.job), u.data, u.body \
                FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bigint[], $6::boolean[], $7::bytea[], \
                $8::bytea[]) AS u(n, id, job, principal, created_at, pending, data, body) ON CONFLICT (id) DO NOTHING";
    DeliveryState = "UPDATE delivery d SET pending = u.pending, data = u.data \
                     FROM unnest($1::bytea[], $2::boolean[], $3::bytea[]) AS u(id, pending, data) WHERE d.id = u.id";
    /// A time that moves (`$5`) goes forward, unless somebody resumes the schedule; else the division fails. Others may have
    /// changed it meanwhile: only what a change speaks of is set, `$6` being whether it pauses or resumes.
    Schedule = "WITH put AS (INSERT INTO schedule (name, done, paused, job) \
                SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::boolean[], $4::bytea[]) \
                ON CONFLICT (name) DO UPDATE SET job = coalesce(excluded.job, schedule.job), \
                done = CASE WHEN $5::boolean THEN excluded.done ELSE schedule.done END, \
                paused = CASE WHEN $6::boolean THEN excluded.paused ELSE schedule.paused END \
                WHERE NOT $5 OR $6 OR schedule.done < excluded.done RETURNING 1) \
                SELECT 1 / CASE WHEN (SELECT count(*) FROM put) = cardinality($1) THEN 1 ELSE 0 END";
    Checkpoint = "INSERT INTO checkpoint (job, value) SELECT * FROM unnest($1::bigint[], $2::bytea[]) \
                  ON CONFLICT (job) DO UPDATE SET value = excluded.value";
    Talk = "INSERT INTO talk (job, value) SELECT * FROM unnest($1::bigint[], $2::bytea[]) \
            ON CONFLICT (job) DO UPDATE SET value = excluded.value";
    /// Streams come to their place: what was trimmed goes …
    Trim = "DELETE FROM span s USING unnest($1::bigint[], $2::bigint[]) AS u(session, up_to) \
            WHERE s.session = u.session AND s.first <= u.up_to AND s.first + s.count - 1 <= u.up_to";
    /// … what was added comes, or grows …
    Span = "INSERT INTO span (session, first, count, job, from_seq, view) \
            SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[]) \
            ON CONFLICT (session, first) DO UPDATE SET count = excluded.count";
    Last = "UPDATE session s SET last = u.last FROM unnest($1::bigint[], $2::bigint[]) AS u(key, last) WHERE s.key = u.key";
    /// … and what was waiting goes.
    OldTokens = "DELETE FROM token WHERE (inc, seq) < ($1::bigint, $2::bigint)";
    /// Tokens of one incarnation that have been followed.
    OwnTokens = "DELETE FROM token WHERE inc = $1::bigint AND seq < $2::bigint";
    /// Jobs that the writer does not have in memory.
    Known = "SELECT j.id, j.key, s.ended_at IS NOT NULL, b.first + b.count - 1, coalesce(b.ended, false), s.owner \
             FROM job j JOIN job_state s ON s.key = j.key LEFT JOIN LATERAL \
             (SELECT first, count, ended FROM block WHERE job = j.key ORDER BY first DESC LIMIT 1) b ON true \
             WHERE j.id = ANY($1::bytea[])";
    // What retention does, a little at a time.
    OldKeys = "DELETE FROM idempotency WHERE ctid = ANY(ARRAY( \
               SELECT ctid FROM idempotency WHERE created_at <= $1::bigint ORDER BY created_at LIMIT $2::bigint))";
    OldRefusals = "DELETE FROM audit WHERE n IN (SELECT n FROM audit WHERE refused ORDER BY n LIMIT \
                   greatest(least((SELECT count(*) FROM audit WHERE refused) - $1::bigint, $2::bigint), 0))";
    OldAudit = "DELETE FROM audit WHERE n <= (SELECT coalesce(max(n), 0) FROM ( \
                SELECT n, bool_and(n <= (SELECT max(n) FROM audit) - $1::bigint OR at <= $2::bigint) OVER (ORDER BY n) AS goes \
                FROM (SELECT n, at FROM audit ORDER BY n LIMIT $3::bigint) w) x WHERE goes)";
    OldCheckpoints = "DELETE FROM checkpoint WHERE job IN (SELECT c.job FROM checkpoint c JOIN job_state s ON s.key = c.job \
                      WHERE s.ended_at IS NOT NULL LIMIT $1::bigint)";
    OldTalks = "DELETE FROM talk WHERE job IN (SELECT t.job FROM talk t JOIN job_state s ON s.key = t.job \
                WHERE s.ended_at IS NOT NULL LIMIT $1::bigint)";
    OldDeliveries = "DELETE FROM delivery d WHERE d.orphan AND NOT d.pending \
                     AND NOT EXISTS (SELECT 1 FROM job j WHERE j.id = d.job)";
    OldCredentials = "DELETE FROM credential c WHERE c.orphan AND NOT c.outstanding \
                      AND NOT EXISTS (SELECT FROM job WHERE job.id = c.job)";
    /// Finished jobs after a place, and how much of each there is.
    Finished = "SELECT s.ended_at, s.key, j.id, b.blocks, b.events::bigint, b.bytes::bigint \
                FROM job_state s JOIN job j ON j.key = s.key CROSS JOIN LATERAL \
                (SELECT count(*) AS blocks, coalesce(sum(count), 0) AS events, coalesce(sum(bytes), 0) AS bytes \
                FROM block WHERE job = s.key) b \
                WHERE s.ended_at IS NOT NULL AND (s.ended_at, s.key) > ($1::bigint, $2::bigint) \
                ORDER BY s.ended_at, s.key LIMIT $3::bigint";
    /// The oldest blocks of a job, and how much is in them.
    Oldest = "SELECT max(first), coalesce(sum(count), 0)::bigint, coalesce(sum(bytes), 0)::bigint FROM \
              (SELECT first, count, bytes FROM block WHERE job = $1::bigint ORDER BY first LIMIT $2::bigint) w";
    /// The oldest blocks of live jobs, whichever job's, and where each job's log goes on.
    Evictable = "SELECT b.job, b.first, b.count, b.bytes, j.id, \
                 lead(b.first) OVER (PARTITION BY b.job ORDER BY b.first) \
                 FROM job_state s JOIN job j ON j.key = s.key JOIN block b ON b.job = s.key \
                 WHERE s.ended_at IS NULL ORDER BY b.n LIMIT $1::bigint";
    BlocksUpTo = "DELETE FROM block b USING unnest($1::bigint[], $2::bigint[]) AS u(job, first) \
                  WHERE b.job = u.job AND b.first <= u.first";
    BlocksGone = "DELETE FROM block WHERE job = ANY($1::bigint[])";
    JobsGone = "DELETE FROM job WHERE key = ANY($1::bigint[])";
    StatesGone = "DELETE FROM job_state WHERE key = ANY($1::bigint[])";
    CheckpointsGone = "DELETE FROM checkpoint WHERE job = ANY($1::bigint[])";
    TalksGone = "DELETE FROM talk WHERE job = ANY($1::bigint[])";
    DeliveriesGone = "DELETE FROM delivery WHERE job = ANY($1::bytea[]) AND NOT pending";
    DeliveriesOrphaned = "UPDATE delivery SET orphan = true WHERE job = ANY($1::bytea[])";
    CredentialsGone = "DELETE FROM credential WHERE job = ANY($1::bytea[]) AND NOT outstanding";
    Orphaned = "UPDATE credential SET orphan = true WHERE job = ANY($1::bytea[])";
}

/// A value of a statement: mostly a whole column.
#[derive(Debug)]
pub(crate) enum Value<'a> {
    Int(i64),
    Bool(bool),
    Blob(Option<Vec<u8>>),
    Ints(Vec<i64>),
    MaybeInts(Vec<Option<i64>>),
    Bools(Vec<bool>),
    Texts(Vec<&'a [u8]>),
    MaybeTexts(Vec<Option<&'a [u8]>>),
    Owned(Vec<Vec<u8>>),
    MaybeOwned(Vec<Option<Vec<u8>>>),
    Secrets(Vec<Hidden<'a>>),
}

impl Value<'_> {
    pub(crate) fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(value) => value,
            Self::Bool(value) => value,
            Self::Blob(value) => value,
            Self::Ints(value) => value,
            Self::MaybeInts(value) => value,
            Self::Bools(value) => value,
            Self::Texts(value) => value,
            Self::MaybeTexts(value) => value,
            Self::Owned(value) => value,
            Self::MaybeOwned(value) => value,
            Self::Secrets(value) => value,
        }
    }
}

/// A statement and its values.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) sql: Sql,
    pub(crate) values: Vec<Value<'a>>,
}

impl<'a> Step<'a> {
    pub(crate) fn new(sql: Sql, values: Vec<Value<'a>>) -> Self {
        Self { sql, values }
    }
}

/// Bytes that the client library does not write into its log.
pub(crate) struct Hidden<'a>(pub(crate) &'a str);

impl std::fmt::Debug for Hidden<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("hidden")
    }
}

impl ToSql for Hidden<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.as_bytes().to_sql(kind, out)
    }

    fn accepts(kind: &Type) -> bool {
        <&[u8] as ToSql>::accepts(kind)
    }

    to_sql_checked!();
}

/// A number for PostgreSQL, whose integers have a sign. None of ours comes near the end of the range.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
