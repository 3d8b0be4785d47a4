//! Who has the store: one incarnation at a time.
//!
//! An incarnation is one life of a process, a number of a sequence and a row of `node`. Each of its transactions locks that row
//! first and finds that it was not declared dead; whoever declares it dead changes the row, and so waits for what is under way
//! and stops all that would follow.
//!
//! An incarnation that lives counts in `pulse`, once a second, with a commit as durable as any. Whoever wants the store watches
//! that number, and how its own number fares: as long as its own commits take, nobody's silence says anything.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use towline_store::{Incarnation, StoreError};

use crate::{
    error::{of_statement, unavailable},
    line::{Connector, Line},
    options::PostgresOptions,
    schema,
    shared::Shared,
};

/// Another incarnation that has the store, or had.
struct Other {
    inc: i64,
    name: String,
    /// Whether the connection that it writes on is there.
    is_connected: bool,
    n: i64,
}

/// What was seen of another one.
struct Seen {
    n: i64,
    since: Instant,
    moved: bool,
}

/// Waits for the store as the options say, and takes it. The connection is this incarnation's until it has another one: an
/// incarnation without one counts as dead to the next of its name.
pub(crate) async fn join(
    connector: &Connector,
    options: &PostgresOptions,
) -> Result<(i64, Line), StoreError> {
    let mut line = None;
    let mut watch = Watch::new(options);
    loop {
        let attempt = match line.take() {
            Some(line) => Ok(line),
            None => prepared(connector).await,
        };
        let looked = match attempt {
            Ok(line) => watch.look(&line).await.map(|inc| (inc, line)),
            Err(error) => Err(error),
        };
        match looked {
            Ok((Some(inc), line)) => return Ok((inc, line)),
            Ok((None, same)) => line = Some(same),
            Err(error) if options.standby && error.is_transient() => {
                tracing::warn!(target: "towline::store", %error, "the database is out of reach; waiting");
                watch.forget();
            }
            Err(error) => return Err(error),
        }
        sleep(GLANCE).await;
    }
}

async fn prepared(connector: &Connector) -> Result<Line, StoreError> {
    let line = connector.line().await?;
    schema::migrate(&line.client, &connector.address.schema, schema::STEPS).await?;
    Ok(line)
}

struct Watch<'a> {
    options: &'a PostgresOptions,
    /// The number this process will have; its own pulse shows whether commits are taken.
    me: Option<i64>,
    seen: HashMap<i64, Seen>,
    told: bool,
}

impl<'a> Watch<'a> {
    fn new(options: &'a PostgresOptions) -> Self {
        Self {
            options,
            me: None,
            seen: HashMap::new(),
            told: false,
        }
    }

    /// Begins to watch anew.
    fn forget(&mut self) {
        self.seen.clear();
    }

    /// Looks once; takes the store if it is free.
    async fn look(&mut self, line: &Line) -> Result<Option<i64>, StoreError> {
        let began = Instant::now();
        let me = self.pulse(line).await?;
        let others = others(line).await?;
        if began.elapsed() > SLOWEST_PULSE {
            self.forget();
        }
        let now = Instant::now();
        let mut dead = Vec::new();
        for other in &others {
            let seen = self.seen.entry(other.inc).or_insert(Seen {
                n: other.n,
                since: now,
                moved: false,
            });
            if seen.n != other.n {
                *seen = Seen {
                    n: other.n,
                    since: now,
                    moved: true,
                };
            }
            let is_silent = now.duration_since(seen.since) >= self.options.lease;
            let is_mine = other.name == self.options.node && !other.is_connected;
            if is_silent || is_mine {
                dead.push((other.inc, other.n));
            } else if seen.moved && !self.options.standby {
                return Err(in_use(other));
            } else if seen.moved && !std::mem::replace(&mut self.told, true) {
                tracing::info!(target: "towline::store", node = other.name, incarnation = other.inc, "standing by");
            }
        }
        if dead.len() < others.len() {
            return Ok(None);
        }
        self.take(line, me, &dead).await
    }

    /// Shows that commits of this process are taken.
    async fn pulse(&mut self, line: &Line) -> Result<i64, StoreError> {
        let me = match self.me {
            Some(me) => me,
            None => {
                let sql = "SELECT nextval('incarnation')";
                let row = line.client.query_one(sql, &[]).await;
                row.map_err(of_statement)?.get(0)
            }
        };
        self.me = Some(me);
        let sql = "INSERT INTO pulse (inc, n) VALUES ($1, 1) ON CONFLICT (inc) DO UPDATE SET n = pulse.n + 1";
        line.client
            .execute(sql, &[&me])
            .await
            .map_err(of_statement)?;
        Ok(me)
    }

    /// Declares the others dead and takes the store, if nobody of them has moved.
    async fn take(
        &self,
        line: &Line,
        me: i64,
        dead: &[(i64, i64)],
    ) -> Result<Option<i64>, StoreError> {
        let client = &line.client;
        let begin = format!(
            "BEGIN; SET LOCAL lock_timeout = '10s'; SELECT pg_advisory_xact_lock({})",
            schema::LOCK
        );
        client.batch_execute(&begin).await.map_err(unavailable)?;
        let taken = self.take_within(line, me, dead).await;
        match taken {
            Ok(true) => line.commit().await.map(|()| Some(me)),
            // A pulse whose row is locked is a life; whoever came first has the store.
            Ok(false) => {
                client
                    .batch_execute("ROLLBACK")
                    .await
                    .map_err(unavailable)?;
                Ok(None)
            }
            Err(error) => {
                client
                    .batch_execute("ROLLBACK")
                    .await
                    .map_err(unavailable)?;
                if error.is_transient() && self.options.standby {
                    return Ok(None);
                }
                Err(error)
            }
        }
    }

    async fn take_within(
        &self,
        line: &Line,
        me: i64,
        dead: &[(i64, i64)],
    ) -> Result<bool, StoreError> {
        let client = &line.client;
        let incs: Vec<i64> = dead.iter().map(|(inc, _)| *inc).collect();
        let sql = "SELECT inc, n FROM pulse WHERE inc = ANY($1) FOR UPDATE SKIP LOCKED";
        let rows = client.query(sql, &[&incs]).await.map_err(of_statement)?;
        let now: HashMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        // Without a pulse there is nothing to move: it left, or never lived.
        let there = "SELECT count(*) FROM pulse WHERE inc = ANY($1)";
        let row = client.query_one(there, &[&incs]).await;
        let there: i64 = row.map_err(of_statement)?.get(0);
        let moved = dead
            .iter()
            .any(|(inc, n)| now.get(inc).is_some_and(|now| now != n));
        if moved || there != now.len() as i64 {
            return Ok(false);
        }
        let sql = "SELECT count(*) FROM node WHERE state < 2 AND inc <> ALL($1)";
        let row = client.query_one(sql, &[&incs]).await;
        if row.map_err(of_statement)?.get::<_, i64>(0) > 0 {
            return Ok(false);
        }
        let sql = "UPDATE node SET state = 2, fenced_at = clock_timestamp() WHERE inc = ANY($1) AND state < 2 RETURNING inc";
        let fenced = client.query(sql, &[&incs]).await.map_err(of_statement)?;
        for row in fenced {
            tracing::warn!(target: "towline::store", incarnation = row.get::<_, i64>(0), "declared dead; its place is taken");
        }
        let sql = "INSERT INTO node (inc, name, state, writer_pid, version) VALUES ($1, $2, 0, pg_backend_pid(), $3)";
        let (name, version) = (
            self.options.node.as_bytes(),
            env!("CARGO_PKG_VERSION").as_bytes(),
        );
        client
            .execute(sql, &[&me, &name, &version])
            .await
            .map_err(of_statement)?;
        // What was counted goes on.
        let sql = "INSERT INTO token (inc, seq, void, jobs, live, events, bytes) SELECT $1::bigint, 0, false, t.jobs, t.live, t.events, t.bytes \
                   FROM (SELECT jobs, live, events, bytes FROM token ORDER BY inc DESC, seq DESC LIMIT 1) t \
                   UNION ALL SELECT $1::bigint, 0, false, 0, 0, 0, 0 WHERE NOT EXISTS (SELECT FROM token)";
        client.execute(sql, &[&me]).await.map_err(of_statement)?;
        client
            // Whoever stands by begins again.
            .execute("DELETE FROM pulse WHERE inc <> $1", &[&me])
            .await
            .map_err(of_statement)?;
        let sql = "DELETE FROM node WHERE state = 2 AND fenced_at < clock_timestamp() - interval '30 days'";
        client.execute(sql, &[]).await.map_err(of_statement)?;
        Ok(true)
    }
}

async fn others(line: &Line) -> Result<Vec<Other>, StoreError> {
    let sql = "SELECT n.inc, n.name, coalesce(p.n, 0), EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = n.writer_pid) \
               FROM node n LEFT JOIN pulse p ON p.inc = n.inc WHERE n.state < 2 ORDER BY n.inc";
    let rows = line.client.query(sql, &[]).await.map_err(of_statement)?;
    let others = rows.iter().map(|row| Other {
        inc: row.get(0),
        name: String::from_utf8_lossy(row.get(1)).into_owned(),
        n: row.get(2),
        is_connected: row.get(3),
    });
    Ok(others.collect())
}

fn in_use(other: &Other) -> StoreError {
    let incarnation = Incarnation::new(other.inc.unsigned_abs());
    StoreError::InUse(
        format!(
            "the database is the store of node `{}` (incarnation {incarnation}), which lives; stop it, or stand by",
            other.name
        )
        .into(),
    )
}

/// Shows that this incarnation lives, until it is told to stop; and finds out when it was declared dead while it had nothing
/// to commit.
pub(crate) async fn live(
    connector: Arc<Connector>,
    shared: Arc<Shared>,
    me: i64,
    stop: CancellationToken,
) {
    let mut line = None;
    let mut ticks = interval(PULSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let beat = async {
            let line = match &line {
                Some(line) => line,
                None => line.insert(connector.line().await?),
            };
            beat(line, me).await
        };
        let beaten = tokio::select! {
            beaten = beat => beaten,
            () = stop.cancelled() => return,
        };
        match beaten {
            Ok(true) => {}
            Ok(false) => {
                let error = StoreError::Fenced(Incarnation::new(me.unsigned_abs()));
                tracing::error!(target: "towline::store", %error, "this process has the store no more");
                shared.fall(&error);
                return;
            }
            Err(error) => {
                tracing::warn!(target: "towline::store", %error, "no sign of life could be given");
                line = None;
            }
        }
    }
}

/// Counts once; whether this incarnation still has the store.
async fn beat(line: &Line, me: i64) -> Result<bool, StoreError> {
    let sql = "INSERT INTO pulse (inc, n) SELECT inc, 1 FROM node WHERE inc = $1 AND state < 2 \
               ON CONFLICT (inc) DO UPDATE SET n = pulse.n + 1";
    let counted = line
        .client
        .execute(sql, &[&me])
        .await
        .map_err(of_statement)?;
    if counted > 0 {
        return Ok(true);
    }
    let sql = "SELECT EXISTS (SELECT FROM node WHERE inc = $1 AND state = 2)";
    let row = line.client.query_one(sql, &[&me]).await;
    Ok(!row.map_err(of_statement)?.get::<_, bool>(0))
}

/// How often an incarnation counts, …
const PULSE: Duration = Duration::from_secs(1);
/// … how often whoever wants the store looks, …
const GLANCE: Duration = Duration::from_millis(300);
/// … and from which time of its own commits on it takes silence for slowness.
const SLOWEST_PULSE: Duration = Duration::from_secs(1);
