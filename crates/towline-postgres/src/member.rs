//! A store that several processes have at once, as one of them sees it.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_postgres::{Row, error::SqlState};
use towline_store::{
    Heard, Incarnation, Pulse, Recovered, RecoveredSession, Shared, StoreError, StoreFuture, Wanted,
};
use towline_wire::{SessionId, Timestamp};

use crate::{
    PostgresStore,
    errand::{Errand, Found, is_left, is_orphan},
    error::{of_statement, unavailable},
    line::Line,
    read::{all, one},
    rows::{session_id, text},
    shared::LEAVING,
    statements::int,
};

impl Shared for PostgresStore {
    fn incarnation(&self) -> Incarnation {
        Incarnation::new(self.incarnation().unsigned_abs())
    }

    fn pulse<'a>(&'a self, known: &'a [SessionId]) -> StoreFuture<'a, Heard> {
        Box::pin(async move {
            self.check_member()?;
            let mut line = self.pulse_line.lock().await;
            let heard = timeout(LATEST, async {
                let line = match &*line {
                    Some(line) => line,
                    None => line.insert(self.connector.line().await?),
                };
                pulse(line, self.incarnation(), known).await
            });
            let heard = heard
                .await
                .unwrap_or_else(|_| Err(StoreError::Unavailable("a pulse had no answer".into())));
            match heard {
                Ok(Some((heard, is_asked_to_leave))) => {
                    if is_asked_to_leave {
                        self.parts().leaving.cancel();
                    }
                    Ok(heard)
                }
                Ok(None) => Err(self.is_dead()),
                Err(error) => {
                    *line = None;
                    Err(error)
                }
            }
        })
    }

    fn fence(&self, other: Incarnation, seen: u64, now: Timestamp) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            self.check_member()?;
            // On a connection of its own: it may have to wait for what the other one has under way.
            let line = self.connector.line().await?;
            let fenced = Fence {
                me: self.incarnation(),
                other: int(other.number()),
                seen: int(seen),
                now: now.unix_micros(),
            };
            match fenced.declare(&line).await? {
                Declared::Dead => Ok(true),
                Declared::Alive => Ok(false),
                Declared::Fenced => Err(self.is_dead()),
            }
        })
    }

    fn adopt<'a>(&'a self, wanted: &'a Wanted) -> StoreFuture<'a, Recovered> {
        Box::pin(async move {
            match self.errand(Errand::Adopt(wanted.clone())).await? {
                Found::Recovered(recovered) => Ok(*recovered),
                _ => Err(mixed_up()),
            }
        })
    }

    fn take_session<'a>(
        &'a self,
        token: &'a [u8; 32],
    ) -> StoreFuture<'a, Option<RecoveredSession>> {
        Box::pin(async move {
            match self.errand(Errand::TakeSession(*token)).await? {
                Found::Session(session) => Ok(session.map(|session| *session)),
                _ => Err(mixed_up()),
            }
        })
    }

    fn end_left_sessions(&self, now: Timestamp, window: Duration) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            let window = i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
            let before = now.unix_micros().saturating_sub(window);
            // It is asked each second, and there is hardly ever one.
            let client = self.readers().client().await?;
            let sql = format!(
                "SELECT EXISTS (SELECT FROM session s WHERE {})",
                is_left("$1")
            );
            let some = one(&client, &sql, &[&before], |row| Ok(row.get(0))).await?;
            if some != Some(true) {
                return Ok(0);
            }
            match self.errand(Errand::EndLeft { before }).await? {
                Found::Count(count) => Ok(count),
                _ => Err(mixed_up()),
            }
        })
    }
}

impl PostgresStore {
    /// What a node that starts finds, as one of several.
    pub(crate) async fn recover_own(&self) -> Result<Recovered, StoreError> {
        let node = self.node.clone();
        match self.errand(Errand::Recover { node }).await? {
            Found::Recovered(recovered) => Ok(*recovered),
            _ => Err(mixed_up()),
        }
    }

    /// Fails when the store is closed, or this member of it is dead.
    fn check_member(&self) -> Result<(), StoreError> {
        self.check_open()?;
        match &*self.parts().fallen.lock() {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    fn is_dead(&self) -> StoreError {
        let error = StoreError::Fenced(self.incarnation_number());
        tracing::error!(target: "towline::store", %error, "this process has the store no more");
        self.parts().fall(&error);
        error
    }
}

fn mixed_up() -> StoreError {
    StoreError::Failed("the answer is to something else".into())
}

/// Counts once, and looks at the others. `None` where this one is dead; with whether it was asked to leave.
async fn pulse(
    line: &Line,
    me: i64,
    known: &[SessionId],
) -> Result<Option<(Heard, bool)>, StoreError> {
    let client = &line.client;
    let sql = "UPDATE pulse SET n = n + 1, at = clock_timestamp() WHERE inc = $1";
    let counted = client.execute(sql, &[&me]).await.map_err(of_statement)?;
    if !known.is_empty() {
        let known: Vec<&[u8]> = known.iter().map(|id| id.as_str().as_bytes()).collect();
        let sql = "DELETE FROM taken WHERE inc = $1 AND session = ANY($2)";
        let forgotten = client.execute(sql, &[&me, &known]).await;
        forgotten.map_err(of_statement)?;
    }
    // Only what is asked after the number moved says that it counts: whoever declares this one dead holds the number still.
    let sql = format!(
        "SELECT (SELECT state FROM node WHERE inc = $1), \
         EXISTS (SELECT FROM job_state s WHERE s.ended_at IS NULL AND {}) \
         OR EXISTS (SELECT FROM credential c WHERE c.outstanding AND {})",
        is_orphan("s"),
        is_orphan("c")
    );
    let row = client.query_one(&sql, &[&me]).await.map_err(of_statement)?;
    let Some(state) = row.get::<_, Option<i64>>(0) else {
        // The database went back behind the join, which the next commit finds out and says.
        return Err(StoreError::Unavailable(
            "the database does not know this node".into(),
        ));
    };
    if state > LEAVING || counted == 0 {
        return Ok(None);
    }
    let sql = "SELECT n.name, n.inc, p.n FROM node n JOIN pulse p ON p.inc = n.inc \
               WHERE n.state < 2 AND n.inc <> $1 ORDER BY n.inc";
    let other = |row: &Row| {
        Ok(Pulse {
            node: Arc::from(text(row, 0)?),
            incarnation: Incarnation::new(row.get::<_, i64>(1).unsigned_abs()),
            n: row.get::<_, i64>(2).unsigned_abs(),
        })
    };
    let others = all(client, sql, &[&me], other).await?;
    let sql = "SELECT session FROM taken WHERE inc = $1 ORDER BY session";
    let heard = Heard {
        others,
        orphans: row.get(1),
        taken: all(client, sql, &[&me], |row| session_id(row, 0)).await?,
    };
    Ok(Some((heard, state == LEAVING)))
}

/// One incarnation's word on another.
struct Fence {
    me: i64,
    other: i64,
    seen: i64,
    now: i64,
}

enum Declared {
    Dead,
    Alive,
    /// The one that declares is dead itself.
    Fenced,
}

impl Fence {
    async fn declare(&self, line: &Line) -> Result<Declared, StoreError> {
        let client = &line.client;
        let begin = "BEGIN; SET LOCAL lock_timeout = '2s'";
        client.batch_execute(begin).await.map_err(unavailable)?;
        match self.within(line).await {
            Ok(Declared::Dead) => line.commit().await.map(|()| Declared::Dead),
            other => {
                let rolled_back = client.batch_execute("ROLLBACK").await;
                rolled_back.map_err(unavailable)?;
                other
            }
        }
    }

    async fn within(&self, line: &Line) -> Result<Declared, StoreError> {
        let client = &line.client;
        let sql = "SELECT inc FROM node WHERE inc = $1 AND state < 2 FOR NO KEY UPDATE";
        let mine = client.query_opt(sql, &[&self.me]).await;
        if mine.map_err(of_statement)?.is_none() {
            return Ok(Declared::Fenced);
        }
        // A number that is locked is moving.
        let sql = "SELECT n FROM pulse WHERE inc = $1 FOR UPDATE NOWAIT";
        let is_locked =
            |error: &tokio_postgres::Error| error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE);
        let n = match client.query_opt(sql, &[&self.other]).await {
            Ok(row) => row.map(|row| row.get::<_, i64>(0)),
            Err(error) if is_locked(&error) => None,
            Err(error) => return Err(of_statement(error)),
        };
        if n != Some(self.seen) {
            return Ok(Declared::Alive);
        }
        let sql =
            "UPDATE node SET state = 2, fenced_at = clock_timestamp() WHERE inc = $1 AND state < 2";
        match client.execute(sql, &[&self.other]).await {
            Ok(0) => return Ok(Declared::Alive),
            Ok(_) => {}
            Err(error) if is_locked(&error) => {
                self.wake(line).await?;
                return Ok(Declared::Alive);
            }
            Err(error) => return Err(of_statement(error)),
        }
        let sql = "UPDATE session SET detached_at = $2 WHERE owner = $1 AND detached_at IS NULL";
        let detached = client.execute(sql, &[&self.other, &self.now]).await;
        detached.map_err(of_statement)?;
        for sql in [
            "DELETE FROM pulse WHERE inc = $1",
            "DELETE FROM taken WHERE inc = $1",
        ] {
            client
                .execute(sql, &[&self.other])
                .await
                .map_err(of_statement)?;
        }
        Ok(Declared::Dead)
    }

    /// A process that was stopped within a transaction holds its row: its connection goes, unless it waits for a standby, for
    /// then it is the server that does not go on.
    async fn wake(&self, line: &Line) -> Result<(), StoreError> {
        let client = &line.client;
        // What failed has to be left before anything else is asked.
        client
            .batch_execute("ROLLBACK; BEGIN")
            .await
            .map_err(unavailable)?;
        let sql = "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN node n ON n.writer_pid = a.pid \
                   WHERE n.inc = $1 AND a.state = 'idle in transaction' AND a.wait_event IS DISTINCT FROM 'SyncRep'";
        let ended = client
            .query(sql, &[&self.other])
            .await
            .map_err(of_statement)?;
        if !ended.is_empty() {
            tracing::warn!(target: "towline::store", incarnation = self.other, "a silent node held a transaction open; its connection is ended");
        }
        Ok(())
    }
}

/// A pulse that takes longer comes to nothing.
const LATEST: Duration = Duration::from_secs(10);
