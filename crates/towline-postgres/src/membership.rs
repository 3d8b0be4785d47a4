//! Who has the store: one incarnation that has it for itself, or several that share it.
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
    shared::{LEAVING, Shared},
    state::State,
    tally::sum_of_tallies,
};

/// Another incarnation that has the store, or had.
struct Other {
    inc: i64,
    name: String,
    /// Whether the connection that it writes on is there.
    is_connected: bool,
    /// Whether it has the store for itself.
    is_alone: bool,
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
    began: Instant,
}

impl<'a> Watch<'a> {
    fn new(options: &'a PostgresOptions) -> Self {
        Self {
            options,
            me: None,
            seen: HashMap::new(),
            told: false,
            began: Instant::now(),
        }
    }

    /// Whether another one has to be gone before this process can have the store. Who shares it needs its own name for itself;
    /// but one that may be there and gives no sign of life keeps what it has beside its next life, until it is declared dead.
    fn is_in_the_way(&self, other: &Other) -> bool {
        let is_namesake = other.name == self.options.node;
        let is_stiff = !self.seen.get(&other.inc).is_some_and(|seen| seen.moved);
        let beside = is_stiff && other.is_connected && self.began.elapsed() >= STIFF;
        !self.options.shared || other.is_alone || (is_namesake && !beside)
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
        let (mut dead, mut in_the_way) = (Vec::new(), 0);
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
            if !self.is_in_the_way(other) {
                continue;
            }
            in_the_way += 1;
            let since = self.seen.get(&other.inc).map_or(now, |seen| seen.since);
            let is_silent = now.duration_since(since) >= self.options.lease;
            let is_mine = other.name == self.options.node && !other.is_connected;
            if is_silent || is_mine {
                dead.push((other.inc, other.n));
            } else if self.has_moved(other.inc) && !self.options.standby {
                return Err(in_use(other));
            } else if self.has_moved(other.inc) && !std::mem::replace(&mut self.told, true) {
                tracing::info!(target: "towline::store", node = other.name, incarnation = other.inc, "standing by");
            }
        }
        if dead.len() < in_the_way {
            return Ok(None);
        }
        self.take(line, me, &dead).await
    }

    fn has_moved(&self, inc: i64) -> bool {
        self.seen.get(&inc).is_some_and(|seen| seen.moved)
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
        let sql = "INSERT INTO pulse (inc, n) VALUES ($1, 1) \
                   ON CONFLICT (inc) DO UPDATE SET n = pulse.n + 1, at = clock_timestamp()";
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
        let is_shared = self.options.shared;
        let sql = if is_shared {
            "SELECT count(*) FROM node WHERE state < 2 AND inc <> ALL($1) AND alone"
        } else {
            "SELECT count(*) FROM node WHERE state < 2 AND inc <> ALL($1)"
        };
        let row = client.query_one(sql, &[&incs]).await;
        if row.map_err(of_statement)?.get::<_, i64>(0) > 0 {
            return Ok(false);
        }
        bury(line, &incs).await?;
        let sql = "INSERT INTO node (inc, name, state, writer_pid, version, alone) VALUES ($1, $2, 0, pg_backend_pid(), $3, $4)";
        let (name, version) = (
            self.options.node.as_bytes(),
            env!("CARGO_PKG_VERSION").as_bytes(),
        );
        client
            .execute(sql, &[&me, &name, &version, &!is_shared])
            .await
            .map_err(of_statement)?;
        inherit(line, me, is_shared).await?;
        let sql = "DELETE FROM node WHERE state = 2 AND fenced_at < clock_timestamp() - interval '30 days'";
        client.execute(sql, &[]).await.map_err(of_statement)?;
        Ok(true)
    }
}

async fn others(line: &Line) -> Result<Vec<Other>, StoreError> {
    let sql = "SELECT n.inc, n.name, coalesce(p.n, 0), EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = n.writer_pid), n.alone \
               FROM node n LEFT JOIN pulse p ON p.inc = n.inc WHERE n.state < 2 ORDER BY n.inc";
    let rows = line.client.query(sql, &[]).await.map_err(of_statement)?;
    let others = rows.iter().map(|row| Other {
        inc: row.get(0),
        name: String::from_utf8_lossy(row.get(1)).into_owned(),
        n: row.get(2),
        is_connected: row.get(3),
        is_alone: row.get(4),
    });
    Ok(others.collect())
}

/// Declares incarnations dead. Their sessions have lost their connections.
async fn bury(line: &Line, incs: &[i64]) -> Result<(), StoreError> {
    let client = &line.client;
    let sql = "UPDATE node SET state = 2, fenced_at = clock_timestamp() WHERE inc = ANY($1) AND state < 2 RETURNING inc";
    let fenced = client.query(sql, &[&incs]).await.map_err(of_statement)?;
    for row in fenced {
        tracing::warn!(target: "towline::store", incarnation = row.get::<_, i64>(0), "declared dead; its place is taken");
    }
    for sql in [
        "UPDATE session SET detached_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
         WHERE owner = ANY($1) AND detached_at IS NULL",
        "DELETE FROM pulse WHERE inc = ANY($1)",
        "DELETE FROM taken WHERE inc = ANY($1)",
    ] {
        client.execute(sql, &[&incs]).await.map_err(of_statement)?;
    }
    Ok(())
}

/// What was counted goes on, and what has an owner gets a new one where there is none to share it with.
async fn inherit(line: &Line, me: i64, is_shared: bool) -> Result<(), StoreError> {
    let client = &line.client;
    let run = |sql: String| async move { client.batch_execute(&sql).await.map_err(of_statement) };
    // Whoever stands by begins again.
    let over = "inc NOT IN (SELECT inc FROM node WHERE state < 2 AND NOT alone)";
    if !is_shared {
        run(format!("DELETE FROM pulse WHERE inc <> {me}")).await?;
        for table in ["job_state", "session", "credential"] {
            let is_owned = match table {
                "job_state" => "ended_at IS NULL",
                "credential" => "outstanding",
                _ => "true",
            };
            run(format!(
                "UPDATE {table} SET owner = {me} WHERE {is_owned} AND owner IS DISTINCT FROM {me}"
            ))
            .await?;
        }
    } else {
        bring_streams_home(line, me).await?;
        // Of those who came and did not get in.
        run(
            "DELETE FROM pulse WHERE at < clock_timestamp() - interval '1 minute' \
             AND inc NOT IN (SELECT inc FROM node WHERE state < 2)"
                .to_owned(),
        )
        .await?;
        run(
            "SELECT setval('audit_n', n) FROM (SELECT max(n) AS n FROM audit) a \
             WHERE n > (SELECT last_value FROM audit_n)"
                .to_owned(),
        )
        .await?;
    }
    let over = format!("inc <> {me} AND {over}");
    let sum = sum_of_tallies(&over);
    run(format!(
        "INSERT INTO token (inc, seq, void, jobs, live, events, bytes) \
         SELECT {me}, 0, false, t.jobs, t.live, t.events, t.bytes FROM ({sum}) t(jobs, live, events, bytes)"
    ))
    .await?;
    // Where one has the store for itself, what streams did may still stand there.
    let rest = if is_shared {
        format!("DELETE FROM token WHERE {over}")
    } else {
        format!(
            "UPDATE token SET jobs = 0, live = 0, events = 0, bytes = 0 WHERE {over} AND (jobs, live, events, bytes) <> (0, 0, 0, 0)"
        )
    };
    run(rest).await
}

/// Those who share a store keep streams in their place; one that had it for itself may not have.
async fn bring_streams_home(line: &Line, me: i64) -> Result<(), StoreError> {
    let sql = "SELECT EXISTS (SELECT FROM token WHERE streams IS NOT NULL)";
    let row = line.client.query_one(sql, &[]).await;
    if !row.map_err(of_statement)?.get::<_, bool>(0) {
        return Ok(());
    }
    let mut state = State::of_streams(&line.client, me).await?;
    for step in state.flush() {
        line.run(&step).await?;
    }
    Ok(())
}

fn in_use(other: &Other) -> StoreError {
    let incarnation = Incarnation::new(other.inc.unsigned_abs());
    let remedy = if other.is_alone {
        "which lives; stop it, or stand by"
    } else {
        "which lives; stop it, stand by, or join it under another name with --node"
    };
    let name = &other.name;
    let text =
        format!("the database is the store of node `{name}` (incarnation {incarnation}), {remedy}");
    StoreError::InUse(text.into())
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
            Ok(Some(is_asked_to_leave)) => {
                if is_asked_to_leave {
                    shared.leaving.cancel();
                }
            }
            Ok(None) => {
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

/// Counts once; whether this incarnation was asked to leave, or `None` when it has the store no more.
async fn beat(line: &Line, me: i64) -> Result<Option<bool>, StoreError> {
    let sql = "INSERT INTO pulse (inc, n) SELECT inc, 1 FROM node WHERE inc = $1 AND state < 2 \
               ON CONFLICT (inc) DO UPDATE SET n = pulse.n + 1, at = clock_timestamp()";
    let counted = line.client.execute(sql, &[&me]).await;
    counted.map_err(of_statement)?;
    let sql = "SELECT state FROM node WHERE inc = $1";
    let row = line.client.query_opt(sql, &[&me]).await;
    let state: Option<i64> = row.map_err(of_statement)?.map(|row| row.get(0));
    // One that is not there at all is a matter for whoever commits: the database went back.
    Ok(state
        .is_none_or(|state| state < 2)
        .then_some(state == Some(LEAVING)))
}

/// For how long a namesake is watched for a sign of life.
const STIFF: Duration = Duration::from_millis(2500);
/// How often an incarnation counts, …
const PULSE: Duration = Duration::from_secs(1);
/// … how often whoever wants the store looks, …
const GLANCE: Duration = Duration::from_millis(300);
/// … and from which time of its own commits on it takes silence for slowness.
const SLOWEST_PULSE: Duration = Duration::from_secs(1);
