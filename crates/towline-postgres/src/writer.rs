//! The task that writes: one transaction after the other, and what became of each is known before the next one.
//!
//! ```text
//!        ┌── Refused: it will never be applied; memory is read again
//! sent ──┼── Committed
//!        └── Lost: on a new connection the node's row is locked, which waits for whatever the old connection left behind,
//!            and the token is looked for ── there: committed
//!                                        └─ not there: its place is taken, so that what may still be on its way fails
//! ```

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};
use towline_store::{
    Batch, Change, Committed, Incarnation, Recovered, Remedy, StoreError,
    building::{check, session_of},
};
use towline_wire::{EventSeq, SessionId};

use crate::{
    errand::{Errand, Found, Ran},
    error::{of_statement, unavailable},
    line::{Connector, Sent, WriterLine},
    plan::Plan,
    read,
    retain::{Chore, Done},
    rows::session_id,
    shared::Shared,
    state::{Claim, State},
    statements::{Sql, Step, int},
    tally::Totals,
};

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for.
pub(crate) enum Command {
    Commit(Batch, Reply<Committed>),
    StreamEnd(SessionId, Reply<Option<EventSeq>>),
    Recover(Reply<Recovered>),
    Chore(Chore, Reply<Done>),
    Errand(Errand, Reply<Found>),
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
    claim: Claim,
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
    /// It was not applied: a session that it names is another's. Or may be, which would explain what is wrong with it.
    Taken(Option<StoreError>),
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
    pub(crate) fn new(connector: Arc<Connector>, shared: Arc<Shared>, claim: Claim) -> Self {
        Self {
            connector,
            shared,
            claim,
            live: None,
            seq: 0,
            next_row: claim.inc << ROW_BITS,
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
                Command::Commit(batch, reply) => drop(reply.send(self.commit(batch).await)),
                Command::StreamEnd(session, reply) => {
                    drop(reply.send(self.stream_end(&session).await));
                }
                Command::Recover(reply) => drop(reply.send(self.recover().await)),
                Command::Chore(chore, reply) => drop(reply.send(self.chore(chore).await)),
                Command::Errand(errand, reply) => drop(reply.send(self.errand(&errand).await)),
                Command::Close(reply) => {
                    let left = self.close().await;
                    drop(reply.send(left));
                    return;
                }
            }
        }
    }

    async fn commit(&mut self, mut batch: Batch) -> Result<Committed, StoreError> {
        let (mut tries, mut lost) = (0, Vec::new());
        loop {
            match self.try_commit(&batch).await {
                Ok(()) => {
                    lost.sort_unstable();
                    return Ok(Committed { lost });
                }
                Err(Failed::Certainly(error)) => return Err(error),
                Err(Failed::Again(error)) if tries == TRIES => return Err(error),
                Err(Failed::Again(_)) => tries += 1,
                Err(Failed::Taken(wrong)) => {
                    let taken = self.taken(&batch).await?;
                    match wrong {
                        Some(error) if taken.is_empty() => return Err(error),
                        // Given back meanwhile, or so it looks: the next try shows.
                        None if taken.is_empty() && tries < TRIES => tries += 1,
                        None if taken.is_empty() => {
                            let text = "sessions changed hands again and again".into();
                            return Err(StoreError::Unavailable(text));
                        }
                        _ => {}
                    }
                    let is_kept = |change: &Change| {
                        session_of(change).is_none_or(|session| !taken.contains(session))
                    };
                    batch.changes.retain(is_kept);
                    lost.extend(taken);
                }
            }
        }
    }

    /// The sessions of a batch that others have, or had and ended.
    async fn taken(&mut self, batch: &Batch) -> Result<HashSet<SessionId>, StoreError> {
        let inc = self.claim.inc;
        let Live { line, .. } = self.ready().await?;
        let named: BTreeSet<&SessionId> = batch.changes.iter().filter_map(session_of).collect();
        let named: Vec<&[u8]> = named.iter().map(|id| id.as_str().as_bytes()).collect();
        let sql = "SELECT id FROM session WHERE id = ANY($2) AND owner IS DISTINCT FROM $1 \
                   UNION SELECT session FROM taken WHERE inc = $1 AND session = ANY($2)";
        let client = &line.line.client;
        let taken = read::all(client, sql, &[&inc, &named], |row| session_id(row, 0)).await;
        if taken.is_err() {
            self.live = None;
        }
        Ok(taken?.into_iter().collect())
    }

    async fn try_commit(&mut self, batch: &Batch) -> Result<(), Failed> {
        let (claim, seq) = (self.claim, self.seq + 1);
        let Live { line, state } = self.ready().await.map_err(Failed::Certainly)?;
        if let Err(error) = state.visit(line, batch).await {
            self.live = None;
            return Err(error.into());
        }
        let mut checked = check(batch, state);
        if claim.is_shared {
            checked = state.check_owners(batch).and(checked);
        }
        let own = claim.is_shared.then(|| state.own(batch)).flatten();
        if let Err(error) = checked {
            state.leave();
            return Err(match own {
                Some(_) => Failed::Taken(Some(error)),
                None => error.into(),
            });
        }
        let mut plan = Plan::of(batch, state);
        let steps = plan.steps(claim);
        let mut steps = match steps {
            Ok(steps) => steps,
            Err(error) => {
                self.read_again().await;
                return Err(error.into());
            }
        };
        let streams = std::mem::take(&mut plan.streams);
        let token = if claim.is_shared || state.is_due() {
            // Where a session may go to somebody else at any time, its stream is in its place.
            steps.extend(state.flush());
            if !claim.is_shared || seq.is_multiple_of(TOKENS) {
                steps.push(state.old_tokens(seq));
            }
            state.token(seq, Vec::new())
        } else {
            if !streams.is_empty() {
                state.wrote_changes();
            }
            state.token(seq, streams)
        };
        steps.splice(0..0, [token].into_iter().chain(own));
        self.send("BEGIN", &steps).await.map(drop)
    }

    /// Does an errand, as one transaction.
    async fn errand(&mut self, errand: &Errand) -> Result<Found, StoreError> {
        let mut tries = 0;
        loop {
            match self.try_errand(errand).await {
                Ok(found) => return Ok(found),
                Err(Failed::Certainly(error)) => return Err(error),
                Err(Failed::Again(error)) if tries == TRIES => return Err(error),
                Err(Failed::Again(_) | Failed::Taken(_)) => tries += 1,
            }
        }
    }

    async fn try_errand(&mut self, errand: &Errand) -> Result<Found, Failed> {
        let (claim, seq) = (self.claim, self.seq + 1);
        let Live { line, state } = self.ready().await.map_err(Failed::Certainly)?;
        let ran = match errand.begin(line, claim.inc).await {
            Ok(true) => errand.run(line, state).await,
            Ok(false) => {
                self.live = None;
                let dead = StoreError::Fenced(Incarnation::new(claim.inc.unsigned_abs()));
                return Err(Failed::Certainly(self.fallen(dead)));
            }
            Err(error) => Err(error),
        };
        let Ran {
            found,
            gains,
            mut steps,
        } = match ran {
            Ok(ran) => ran,
            Err(error) => {
                // Nothing was committed, and nothing will be: the server ends what was begun with the connection.
                self.live = None;
                return Err(error.into());
            }
        };
        steps.push(state.token(seq, Vec::new()));
        let rows = self.send("", &steps).await?;
        if let Some(live) = &mut self.live {
            gains.enter(&mut live.state).map_err(Failed::Certainly)?;
        }
        Ok(match found {
            Found::Done(done) => Found::Done(done.touched(rows.first().filter(|_| rows.len() > 1))),
            found => found,
        })
    }

    /// Sends a transaction whose effects are in memory already, and settles what became of it; how many rows each statement
    /// touched, if that is known.
    async fn send(&mut self, begin: &'static str, steps: &[Step<'_>]) -> Result<Vec<u64>, Failed> {
        let Some(live) = &mut self.live else {
            return Err(Failed::Again(StoreError::Unavailable(
                "no connection".into(),
            )));
        };
        self.next_row = live.state.next.row;
        match live.line.transact(begin, steps).await {
            Sent::Committed(rows) => {
                self.seq += 1;
                live.state.leave();
                *self.shared.totals.lock() = totals(&live.state);
                Ok(rows)
            }
            Sent::Refused(at, error) => {
                let is_refusal = matches!(error, StoreError::Rejected(_));
                let refused = steps.get(at).map(|step| step.sql).filter(|_| is_refusal);
                if refused == Some(Sql::Token) {
                    // No row to divide by; or the token is there, which only its own writer writes.
                    self.live = None;
                    return self.settle().await.map(|()| Vec::new());
                }
                self.read_again().await;
                Err(match refused {
                    Some(Sql::Own) => Failed::Taken(None),
                    // Another one moved it; what the check says of that is plainer.
                    Some(Sql::Schedule) => Failed::Again(error),
                    Some(sql) => Failed::Certainly(said_of(sql).unwrap_or(error)),
                    None => error.into(),
                })
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
            .execute(sql, &[&self.claim.inc])
            .await
            .map_err(of_statement)?;
        let sql = "SELECT EXISTS (SELECT FROM node WHERE inc = $1), coalesce((SELECT max(seq) FROM token WHERE inc = $1), 0)";
        let row = client
            .query_one(sql, &[&self.claim.inc])
            .await
            .map_err(of_statement)?;
        let (is_there, last): (bool, i64) = (row.get(0), row.get(1));
        if mine == 0 && is_there {
            return Err(StoreError::Fenced(Incarnation::new(
                self.claim.inc.unsigned_abs(),
            )));
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
                .execute(sql, &[&self.claim.inc, &seq])
                .await
                .map_err(of_statement)?;
            let sql = "SELECT NOT void FROM token WHERE inc = $1 AND seq = $2";
            let row = client.query_one(sql, &[&self.claim.inc, &seq]).await;
            committed = row.map_err(of_statement)?.get(0);
        }
        line.line.commit().await?;
        let state = State::load(client, self.claim, self.next_row).await?;
        Ok((Live { line, state }, committed))
    }

    /// What is in memory is not what the tables have: it is read anew, now or when it is needed.
    async fn read_again(&mut self) {
        if let Some(mut live) = self.live.take() {
            let row = live.state.next.row.max(self.next_row);
            self.next_row = row;
            if let Ok(state) = State::load(&live.line.line.client, self.claim, row).await {
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
        let seq = self.seq + 1;
        let Live { state, .. } = self.ready().await?;
        if !state.has_waiting() {
            return Ok(());
        }
        let mut steps = state.flush();
        steps.push(state.old_tokens(seq));
        steps.insert(0, state.token(seq, Vec::new()));
        self.write(&steps).await.map(drop)
    }

    /// Sends a transaction that says itself whether it has to be done again.
    async fn write(&mut self, steps: &[Step<'_>]) -> Result<Vec<u64>, StoreError> {
        self.send("BEGIN", steps)
            .await
            .map_err(|failed| match failed {
                Failed::Certainly(error) | Failed::Again(error) => error,
                Failed::Taken(_) => StoreError::Failed("a session is another's".into()),
            })
    }

    /// A step of retention, as one transaction.
    async fn chore(&mut self, chore: Chore) -> Result<Done, StoreError> {
        if self.claim.is_shared {
            return match self.errand(&Errand::Chore(chore)).await? {
                Found::Done(done) => Ok(done),
                _ => Err(StoreError::Failed("the answer is to something else".into())),
            };
        }
        let seq = self.seq + 1;
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
        steps.insert(0, state.token(seq, Vec::new()));
        let rows = self.write(&steps).await?;
        Ok(done.touched(rows.get(1)))
    }

    /// Leaves the store in order, for whoever comes next.
    async fn close(&mut self) -> Result<(), StoreError> {
        if self.shared.fallen.lock().is_some() || self.live.is_none() {
            return Ok(());
        }
        self.flush().await?;
        let me = self.claim.inc;
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
        tally: state.total(),
        sessions: state.streams.len() as u64,
    }
}

/// What a statement refused, in our words.
fn said_of(sql: Sql) -> Option<StoreError> {
    let text = match sql {
        Sql::Key => "an idempotency key of the batch stands for another job already",
        Sql::Credential => "a credential of the batch belongs to another incarnation",
        _ => return None,
    };
    Some(StoreError::Rejected(text.into()))
}

/// After how many commits of a member those tokens go that others followed.
const TOKENS: u64 = 1024;
/// How often a batch that was certainly not applied is sent again.
const TRIES: u32 = 2;
/// For how long a connection is tried for before whoever commits is told.
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How many bits of a row's number are counted; those above are the incarnation.
const ROW_BITS: u32 = 40;
