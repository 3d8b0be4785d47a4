//! The task that writes: one transaction after the other, and what became of each is known before the next one.
//!
//! ```text
//!        ┌── Refused: it will never be applied; memory is read again
//! sent ──┼── Committed
//!        └── Lost: on a new connection the node's row is locked, which waits for whatever the old connection left behind,
//!            and the token is looked for ── there: committed
//!                                        └─ not there: its place is taken, so that what may still be on its way fails
//! ```

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use towline_store::{
    Batch, Committed, Incarnation, Recovered, Remedy, StoreError, building::check,
};
use towline_wire::{EventSeq, SessionId};

use crate::{
    error::{of_statement, unavailable},
    line::{Connector, Sent, WriterLine},
    plan::Plan,
    read,
    retain::{Chore, Done},
    shared::{Shared, Totals},
    state::State,
    statements::{Sql, Step, int},
};

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for.
pub(crate) enum Command {
    Commit(Batch, Reply<Committed>),
    StreamEnd(SessionId, Reply<Option<EventSeq>>),
    Recover(Reply<Recovered>),
    Chore(Chore, Reply<Done>),
    Close(Reply<()>),
}

/// A connection, and what is in memory of the tables.
struct Live {
    line: WriterLine,
    state: State,
}

pub(crate) struct Writer {
    connector: Arc<Connector>,
    shared: Arc<Shared>,
    me: i64,
    live: Option<Live>,
    /// The last token that was acknowledged, or that was written in the place of one.
    seq: u64,
    /// Where numbers of rows go on when memory is read again.
    next_row: i64,
}

/// What an attempt came to that did not end in a commit.
enum Failed {
    /// This is the answer.
    Certainly(StoreError),
    /// It was not applied; it may be tried again.
    Again(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        match error.remedy() {
            Remedy::Retry => Self::Again(error),
            Remedy::Isolate | Remedy::Fall => Self::Certainly(error),
        }
    }
}

impl Writer {
    /// A writer for an incarnation that has joined.
    pub(crate) fn new(connector: Arc<Connector>, shared: Arc<Shared>, me: i64) -> Self {
        Self {
            connector,
            shared,
            me,
            live: None,
            seq: 0,
            next_row: me << ROW_BITS,
        }
    }

    /// Makes the connection and reads what has to be in memory.
    pub(crate) async fn start(&mut self) -> Result<(), StoreError> {
        self.ready().await.map(drop)
    }

    /// Does what it is asked for until the store is closed, or dropped.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            // Whoever asked may not wait any more.
            match command {
                Command::Commit(batch, reply) => drop(reply.send(self.commit(&batch).await)),
                Command::StreamEnd(session, reply) => {
                    drop(reply.send(self.stream_end(&session).await));
                }
                Command::Recover(reply) => drop(reply.send(self.recover().await)),
                Command::Chore(chore, reply) => drop(reply.send(self.chore(chore).await)),
                Command::Close(reply) => {
                    let left = self.close().await;
                    drop(reply.send(left));
                    return;
                }
            }
        }
    }

    async fn commit(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        let mut tries = 0;
        loop {
            match self.try_commit(batch).await {
                Ok(()) => return Ok(Committed::default()),
                Err(Failed::Certainly(error)) => return Err(error),
                Err(Failed::Again(error)) if tries == TRIES => return Err(error),
                Err(Failed::Again(_)) => tries += 1,
            }
        }
    }

    async fn try_commit(&mut self, batch: &Batch) -> Result<(), Failed> {
        let (me, seq) = (self.me, self.seq + 1);
        let Live { line, state } = self.ready().await.map_err(Failed::Certainly)?;
        if let Err(error) = state.visit(line, batch).await {
            self.live = None;
            return Err(error.into());
        }
        let checked = check(batch, state);
        if checked.is_err() {
            state.leave();
        }
        checked?;
        let mut plan = Plan::of(batch, state);
        let steps = plan.steps(me);
        let mut steps = match steps {
            Ok(steps) => steps,
            Err(error) => {
                self.read_again().await;
                return Err(error.into());
            }
        };
        let streams = std::mem::take(&mut plan.streams);
        let token = if state.is_due() {
            steps.extend(state.flush(me, seq));
            state.token(me, seq, Vec::new())
        } else {
            if !streams.is_empty() {
                state.wrote_changes();
            }
            state.token(me, seq, streams)
        };
        steps.insert(0, token);
        self.send(&steps).await.map(drop)
    }

    /// Sends a transaction whose effects are in memory already, and settles what became of it; how many rows each statement
    /// touched, if that is known.
    async fn send(&mut self, steps: &[Step<'_>]) -> Result<Vec<u64>, Failed> {
        let Some(live) = &mut self.live else {
            return Err(Failed::Again(StoreError::Unavailable(
                "no connection".into(),
            )));
        };
        self.next_row = live.state.next.row;
        match live.line.transact(steps).await {
            Sent::Committed(rows) => {
                self.seq += 1;
                live.state.leave();
                *self.shared.totals.lock() = totals(&live.state);
                Ok(rows)
            }
            Sent::Refused(at, error) => {
                let is_token = steps.get(at).is_some_and(|step| step.sql == Sql::Token);
                if is_token && matches!(error, StoreError::Rejected(_)) {
                    // No row to divide by; or the token is there, which only its own writer writes.
                    self.live = None;
                    return self.settle().await.map(|()| Vec::new());
                }
                self.read_again().await;
                Err(error.into())
            }
            Sent::Lost(error) => {
                tracing::warn!(target: "towline::store", %error, "the connection was lost with a commit under way; what became of it is looked up");
                self.live = None;
                self.settle().await.map(|()| Vec::new())
            }
        }
    }

    /// Finds out what became of the transaction of the next token, however long that takes.
    async fn settle(&mut self) -> Result<(), Failed> {
        let (began, mut pause) = (Instant::now(), Duration::from_millis(20));
        loop {
            match self.connect(true).await {
                Ok((live, committed)) => {
                    *self.shared.totals.lock() = totals(&live.state);
                    self.live = Some(live);
                    self.seq += 1;
                    tracing::info!(target: "towline::store", committed, elapsed = ?began.elapsed(), "what became of the commit is known");
                    return if committed {
                        Ok(())
                    } else {
                        Err(Failed::Again(StoreError::Unavailable(
                            "the connection was lost before the commit".into(),
                        )))
                    };
                }
                Err(error) if error.remedy() == Remedy::Fall => {
                    return Err(Failed::Certainly(self.fallen(error)));
                }
                Err(error) => {
                    tracing::debug!(target: "towline::store", %error, "the database is out of reach");
                }
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shared.closing.cancelled() => return Err(Failed::Certainly(StoreError::Closed)),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The connection and what is in memory, made anew where there is none.
    async fn ready(&mut self) -> Result<&mut Live, StoreError> {
        if let Some(error) = self.shared.fallen.lock().clone() {
            return Err(error);
        }
        if self
            .live
            .as_ref()
            .is_some_and(|live| live.line.line.client.is_closed())
        {
            self.live = None;
        }
        if self.live.is_none() {
            let live = self.reconnect().await?;
            *self.shared.totals.lock() = totals(&live.state);
            self.live = Some(live);
        }
        self.live
            .as_mut()
            .ok_or_else(|| StoreError::Unavailable("no connection".into()))
    }

    /// Connects anew, and tries for a while.
    async fn reconnect(&mut self) -> Result<Live, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(20);
        loop {
            match self.connect(false).await {
                Ok((live, _)) => return Ok(live),
                Err(error) if error.remedy() == Remedy::Fall => return Err(self.fallen(error)),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => {}
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.shared.closing.cancelled() => return Err(StoreError::Closed),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn fallen(&self, error: StoreError) -> StoreError {
        tracing::error!(target: "towline::store", %error, "this process has the store no more");
        self.shared.fall(&error);
        error
    }

    /// Connects, makes sure that the store is still this incarnation's and has all it acknowledged, and reads memory anew.
    /// When a commit is in doubt, says whether it was applied; if it was not, it never will be.
    async fn connect(&mut self, in_doubt: bool) -> Result<(Live, bool), StoreError> {
        let line = WriterLine::new(self.connector.line().await?).await?;
        let client = &line.line.client;
        client.batch_execute("BEGIN").await.map_err(unavailable)?;
        // Waits for a transaction that an old connection left behind: it holds the row until it is over.
        let sql = "UPDATE node SET writer_pid = pg_backend_pid() WHERE inc = $1 AND state < 2";
        let mine = client
            .execute(sql, &[&self.me])
            .await
            .map_err(of_statement)?;
        let sql = "SELECT EXISTS (SELECT FROM node WHERE inc = $1), coalesce((SELECT max(seq) FROM token WHERE inc = $1), 0)";
        let row = client
            .query_one(sql, &[&self.me])
            .await
            .map_err(of_statement)?;
        let (is_there, last): (bool, i64) = (row.get(0), row.get(1));
        if mine == 0 && is_there {
            return Err(StoreError::Fenced(Incarnation::new(self.me.unsigned_abs())));
        }
        if mine == 0 || last.unsigned_abs() < self.seq {
            return Err(StoreError::Rewound {
                acknowledged: self.seq,
                found: last.unsigned_abs(),
            });
        }
        let mut committed = false;
        if in_doubt {
            let seq = int(self.seq + 1);
            let sql = "INSERT INTO token (inc, seq, void, jobs, live, events, bytes) \
                       SELECT inc, $2::bigint, true, jobs, live, events, bytes FROM token WHERE inc = $1 ORDER BY seq DESC LIMIT 1 \
                       ON CONFLICT DO NOTHING";
            client
                .execute(sql, &[&self.me, &seq])
                .await
                .map_err(of_statement)?;
            let sql = "SELECT NOT void FROM token WHERE inc = $1 AND seq = $2";
            let row = client.query_one(sql, &[&self.me, &seq]).await;
            committed = row.map_err(of_statement)?.get(0);
        }
        line.line.commit().await?;
        let state = State::load(client, self.next_row).await?;
        Ok((Live { line, state }, committed))
    }

    /// What is in memory is not what the tables have: it is read anew, now or when it is needed.
    async fn read_again(&mut self) {
        if let Some(mut live) = self.live.take() {
            let row = live.state.next.row.max(self.next_row);
            self.next_row = row;
            if let Ok(state) = State::load(&live.line.line.client, row).await {
                live.state = state;
                self.live = Some(live);
            }
        }
    }

    async fn stream_end(&mut self, session: &SessionId) -> Result<Option<EventSeq>, StoreError> {
        let live = self.ready().await?;
        Ok(live.state.streams.get(session).map(|stream| stream.last))
    }

    async fn recover(&mut self) -> Result<Recovered, StoreError> {
        self.flush().await?;
        let live = self.ready().await?;
        let recovered = read::recover(&live.line.line.client).await;
        if recovered.is_err() {
            self.live = None;
        }
        recovered
    }

    /// Brings streams to their place.
    async fn flush(&mut self) -> Result<(), StoreError> {
        let (me, seq) = (self.me, self.seq + 1);
        let Live { state, .. } = self.ready().await?;
        if !state.has_waiting() {
            return Ok(());
        }
        let mut steps = state.flush(me, seq);
        steps.insert(0, state.token(me, seq, Vec::new()));
        self.write(&steps).await.map(drop)
    }

    /// Sends a transaction that says itself whether it has to be done again.
    async fn write(&mut self, steps: &[Step<'_>]) -> Result<Vec<u64>, StoreError> {
        self.send(steps).await.map_err(|failed| match failed {
            Failed::Certainly(error) | Failed::Again(error) => error,
        })
    }

    /// A step of retention, as one transaction.
    async fn chore(&mut self, chore: Chore) -> Result<Done, StoreError> {
        let (me, seq) = (self.me, self.seq + 1);
        let Live { line, state } = self.ready().await?;
        let planned = chore.plan(line, state).await;
        let (mut steps, done) = match planned {
            Ok(planned) => planned,
            Err(error) => {
                self.live = None;
                return Err(error);
            }
        };
        if steps.is_empty() {
            return Ok(done);
        }
        steps.insert(0, state.token(me, seq, Vec::new()));
        let rows = self.write(&steps).await?;
        Ok(done.touched(&rows))
    }

    /// Leaves the store in order, for whoever comes next.
    async fn close(&mut self) -> Result<(), StoreError> {
        if self.shared.fallen.lock().is_some() || self.live.is_none() {
            return Ok(());
        }
        self.flush().await?;
        let me = self.me;
        let live = self.ready().await?;
        let client = &live.line.line.client;
        let sql =
            "UPDATE node SET state = 2, fenced_at = clock_timestamp() WHERE inc = $1 AND state < 2";
        client.execute(sql, &[&me]).await.map_err(of_statement)?;
        client
            .execute("DELETE FROM pulse WHERE inc = $1", &[&me])
            .await
            .map_err(of_statement)?;
        Ok(())
    }
}

fn totals(state: &State) -> Totals {
    Totals {
        tally: state.tally,
        sessions: state.streams.len() as u64,
    }
}

/// How often a batch that was certainly not applied is sent again.
const TRIES: u32 = 2;
/// For how long a connection is tried for before whoever commits is told.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How many bits of a row's number are counted; those above are the incarnation.
const ROW_BITS: u32 = 40;
