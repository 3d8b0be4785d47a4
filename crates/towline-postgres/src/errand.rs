//! What a member does beside commits: it takes over what others left, a little at a time. Each errand is a transaction of
//! several round trips, under the incarnation's fence.

use tokio_postgres::{Client, Row};
use towline_store::{
    CredentialRow, JobRow, Recovered, RecoveredSession, StoreError, Wanted, building::Stream,
};
use towline_wire::SessionId;

use crate::{
    deliveries,
    error::of_statement,
    line::WriterLine,
    read::{self, all},
    retain::{Chore, Done},
    rows::{JOBS, job_id, json, read_credential, read_job, session_id, text},
    schema::CHORES,
    state::State,
    statements::{Sql, Step, Value},
    tally::{Tally, sum_of_tallies},
};

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Errand {
    /// What earlier lives of the name left, and what nobody ever had, becomes this one's.
    Recover { node: String },
    /// Trees of incarnations that are dead become this one's.
    Adopt(Wanted),
    /// The session that a token is good for becomes this one's.
    TakeSession([u8; 32]),
    /// Sessions of nobody that lost their connection before then end.
    EndLeft { before: i64 },
    /// A step of retention.
    Chore(Chore),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Found {
    Recovered(Box<Recovered>),
    Session(Option<Box<RecoveredSession>>),
    Count(u64),
    Done(Done),
}

/// What the incarnation has now that it did not have before.
#[derive(Debug, Default)]
pub(crate) struct Gains {
    jobs: Vec<Row>,
    streams: Vec<(SessionId, Stream)>,
}

/// What came of an errand that is not committed yet, and what is still to be written.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) found: Found,
    pub(crate) gains: Gains,
    pub(crate) steps: Vec<Step<'static>>,
}

impl From<Found> for Ran {
    fn from(found: Found) -> Self {
        Self {
            found,
            gains: Gains::default(),
            steps: Vec::new(),
        }
    }
}

impl Gains {
    /// Takes them into memory.
    pub(crate) fn enter(self, state: &mut State) -> Result<(), StoreError> {
        for row in &self.jobs {
            state.take_job(row)?;
        }
        state.streams.extend(self.streams);
        Ok(())
    }
}

impl Errand {
    /// Whether members do it one after the other.
    fn is_by_turns(&self) -> bool {
        !matches!(self, Self::TakeSession(_))
    }

    /// Begins the transaction; `false` where the incarnation is dead.
    pub(crate) async fn begin(&self, line: &WriterLine, me: i64) -> Result<bool, StoreError> {
        let begin = if self.is_by_turns() {
            format!("BEGIN; SELECT pg_advisory_xact_lock({CHORES})")
        } else {
            "BEGIN".to_owned()
        };
        let client = &line.line.client;
        client.batch_execute(&begin).await.map_err(of_statement)?;
        let fence = Step::new(Sql::Fence, vec![Value::Int(me)]);
        Ok(!line.query(&fence).await?.is_empty())
    }

    /// Does it, within the transaction.
    pub(crate) async fn run(
        &self,
        line: &WriterLine,
        state: &mut State,
    ) -> Result<Ran, StoreError> {
        let (client, me) = (&line.line.client, state.claim.inc);
        match self {
            Self::Recover { node } => recover(line, me, node).await,
            Self::Adopt(wanted) => {
                let (jobs, recovered) = take_trees(line, me, &Left::ToAnybody, wanted).await?;
                let found = Found::Recovered(Box::new(recovered));
                let gains = Gains {
                    jobs,
                    ..Gains::default()
                };
                Ok(Ran {
                    gains,
                    ..found.into()
                })
            }
            Self::TakeSession(token) => take_session(client, me, token).await,
            Self::EndLeft { before } => Ok(Found::Count(end_left(client, *before).await?).into()),
            Self::Chore(chore) => {
                let others = sum_of_tallies(&format!("inc <> {me}"));
                let row = client.query_one(&others, &[]).await.map_err(of_statement)?;
                state.beside = Tally::read(&row);
                let (steps, done) = chore.clone().plan(line, state).await?;
                Ok(Ran {
                    steps,
                    ..Found::Done(done).into()
                })
            }
        }
    }
}

/// Whose things may be taken.
enum Left {
    /// Those of incarnations that are dead, and what nobody ever had.
    ToAnybody,
    /// Those of certain ones, and what nobody ever had.
    By(Vec<i64>),
}

impl Left {
    /// A condition on the rows of a table.
    fn condition(&self, table: &str) -> String {
        match self {
            Self::ToAnybody => is_orphan(table),
            Self::By(incs) => {
                let incs: Vec<String> = incs.iter().map(i64::to_string).collect();
                let incs = incs.join(", ");
                format!("({table}.owner IS NULL OR {table}.owner IN ({incs}))")
            }
        }
    }
}

/// Whether a row belongs to nobody who lives.
pub(crate) fn is_orphan(table: &str) -> String {
    format!("NOT EXISTS (SELECT FROM node n WHERE n.inc = {table}.owner AND n.state < 2)")
}

async fn recover(line: &WriterLine, me: i64, node: &str) -> Result<Ran, StoreError> {
    let client = &line.line.client;
    let sql = "SELECT inc FROM node WHERE name = $1 AND state = 2";
    let mut incs = all(client, sql, &[&node.as_bytes()], |row| Ok(row.get(0))).await?;
    incs.push(me);
    let left = Left::By(incs);
    let (jobs, mut recovered) = take_trees(line, me, &left, &Wanted::EVERYTHING).await?;
    let sql = format!(
        "UPDATE session s SET owner = $1 WHERE {} AND s.owner IS DISTINCT FROM $1",
        left.condition("s")
    );
    client.execute(&sql, &[&me]).await.map_err(of_statement)?;
    let found = read::sessions(client, &format!("s.owner = {me}")).await?;
    let mut streams = Vec::with_capacity(found.len());
    for (key, session) in found {
        streams.push(stream(key, &session));
        recovered.sessions.push(session);
    }
    recovered.schedules = read::schedules(client).await?;
    // Nobody owns a message: each member that starts takes all that wait, and may send one that another one sends.
    recovered.deliveries = deliveries::pending(client).await?;
    Ok(Ran {
        gains: Gains { jobs, streams },
        ..Found::Recovered(Box::new(recovered)).into()
    })
}

/// The end of a session's stream, for the writer.
fn stream(key: i64, session: &RecoveredSession) -> (SessionId, Stream) {
    let end = session.spans.last().cloned();
    let stream = Stream::new(key, session.last, end);
    (session.row.id.clone(), stream)
}

/// A live job of a tree that may be taken: its key, its agent, and the key of the highest of its ancestors that is kept.
struct Member {
    key: i64,
    agent: String,
    root: i64,
}

/// Makes trees the incarnation's own, the oldest first, with what belongs to them. Also gives the jobs as the writer has them.
async fn take_trees(
    line: &WriterLine,
    me: i64,
    left: &Left,
    wanted: &Wanted,
) -> Result<(Vec<Row>, Recovered), StoreError> {
    let client = &line.line.client;
    let members = members(client, left).await?;
    let keys = chosen(&members, wanted);
    let sql = "UPDATE job_state SET owner = $1 WHERE key = ANY($2) AND owner IS DISTINCT FROM $1";
    let taken = client.execute(sql, &[&me, &keys]).await;
    taken.map_err(of_statement)?;
    let sql = format!("{JOBS} WHERE j.key = ANY($1) ORDER BY j.created_at, j.id");
    let jobs: Vec<JobRow> = all(client, &sql, &[&keys], read_job).await?;
    let names: Vec<Vec<u8>> = jobs
        .iter()
        .map(|row| row.id.as_str().as_bytes().to_vec())
        .collect();
    let credentials = take_credentials(client, me, left, &names).await?;
    let sql = "SELECT j.id, t.value FROM talk t JOIN job j ON j.key = t.job WHERE t.job = ANY($1) ORDER BY t.job";
    let talk = |row: &Row| Ok((job_id(row, 0)?, json(row, 1)?));
    let talks = all(client, sql, &[&keys], talk).await?;
    let rows = if names.is_empty() {
        Vec::new()
    } else {
        let known = Step::new(Sql::Known, vec![Value::Owned(names)]);
        line.query(&known).await?
    };
    let recovered = Recovered {
        jobs,
        credentials,
        talks,
        ..Recovered::default()
    };
    Ok((rows, recovered))
}

/// The live jobs that may be taken, the oldest first.
async fn members(client: &Client, left: &Left) -> Result<Vec<Member>, StoreError> {
    let sql = format!(
        "WITH RECURSIVE l AS (SELECT s.key, j.id, j.parent, j.agent, j.created_at FROM job_state s \
         JOIN job j ON j.key = s.key WHERE s.ended_at IS NULL AND {}), \
         up AS (SELECT key, key AS root, parent FROM l UNION ALL \
         SELECT up.key, j.key, j.parent FROM up JOIN job j ON j.id = up.parent) \
         SELECT l.key, l.agent, up.root FROM l JOIN up ON up.key = l.key \
         WHERE NOT EXISTS (SELECT FROM job j WHERE j.id = up.parent) ORDER BY l.created_at, l.id",
        left.condition("s")
    );
    let member = |row: &Row| {
        Ok(Member {
            key: row.get(0),
            agent: text(row, 1)?.to_owned(),
            root: row.get(2),
        })
    };
    all(client, &sql, &[], member).await
}

/// The jobs of as many trees as are wanted.
fn chosen(members: &[Member], wanted: &Wanted) -> Vec<i64> {
    let is_there = |agent: &String| match &wanted.agents {
        Some(agents) => agents.contains(agent),
        None => true,
    };
    let foreign = members.iter().filter(|member| !is_there(&member.agent));
    let unwanted: std::collections::HashSet<i64> = foreign.map(|member| member.root).collect();
    let (mut roots, mut keys) = (std::collections::HashSet::new(), Vec::new());
    for member in members {
        let is_one_more = !roots.contains(&member.root) && roots.len() >= wanted.most;
        if !is_one_more && !unwanted.contains(&member.root) {
            roots.insert(member.root);
            keys.push(member.key);
        }
    }
    keys
}

/// Those of the jobs that were taken, and those whose job is over.
async fn take_credentials(
    client: &Client,
    me: i64,
    left: &Left,
    jobs: &[Vec<u8>],
) -> Result<Vec<CredentialRow>, StoreError> {
    let sql = format!(
        "WITH mine AS (UPDATE credential c SET owner = $1 WHERE c.outstanding AND {} AND (c.job = ANY($2) OR NOT EXISTS \
         (SELECT FROM job j JOIN job_state s ON s.key = j.key WHERE j.id = c.job AND s.ended_at IS NULL)) \
         RETURNING c.id, c.job, c.outstanding, c.data, c.n) SELECT id, job, outstanding, data FROM mine ORDER BY n",
        left.condition("c")
    );
    all(client, &sql, &[&me, &jobs], read_credential).await
}

async fn take_session(client: &Client, me: i64, token: &[u8; 32]) -> Result<Ran, StoreError> {
    let sql = "SELECT key, owner, id FROM session WHERE token_hash = $1 OR previous_token_hash = $1 \
               OR skipped_token_hash = $1 FOR NO KEY UPDATE";
    let row = client.query_opt(sql, &[&token.as_slice()]).await;
    let Some(row) = row.map_err(of_statement)? else {
        return Ok(Found::Session(None).into());
    };
    let (key, owner): (i64, Option<i64>) = (row.get(0), row.get(1));
    let id = session_id(&row, 2)?;
    if owner != Some(me) {
        let name = id.as_str().as_bytes();
        let sql = "UPDATE session SET owner = $2 WHERE key = $1";
        let taken = client.execute(sql, &[&key, &me]).await;
        taken.map_err(of_statement)?;
        let sql = "INSERT INTO taken (inc, session) SELECT inc, $2::bytea FROM node WHERE inc = $1 AND state < 2 \
                   ON CONFLICT DO NOTHING";
        let told = client.execute(sql, &[&owner.unwrap_or(0), &name]).await;
        told.map_err(of_statement)?;
        let sql = "DELETE FROM taken WHERE inc = $1 AND session = $2";
        let forgotten = client.execute(sql, &[&me, &name]).await;
        forgotten.map_err(of_statement)?;
    }
    let found = read::sessions(client, &format!("s.key = {key}")).await?;
    let session = found.into_iter().next().map(|(_, session)| session);
    let streams = session.iter().map(|session| stream(key, session)).collect();
    Ok(Ran {
        gains: Gains {
            streams,
            ..Gains::default()
        },
        ..Found::Session(session.map(Box::new)).into()
    })
}

/// Removes the sessions of nobody that lost their connection before a time.
async fn end_left(client: &Client, before: i64) -> Result<u64, StoreError> {
    let sql = format!(
        "DELETE FROM session s WHERE {} RETURNING s.key",
        is_left("$1")
    );
    let keys: Vec<i64> = all(client, &sql, &[&before], |row| Ok(row.get(0))).await?;
    for sql in [
        "DELETE FROM span WHERE session = ANY($1)",
        "DELETE FROM watch WHERE session = ANY($1)",
    ] {
        client.execute(sql, &[&keys]).await.map_err(of_statement)?;
    }
    Ok(keys.len() as u64)
}

/// Whether nobody has session `s`, and its connection was lost before a time.
pub(crate) fn is_left(before: &str) -> String {
    format!("s.detached_at < {before} AND {}", is_orphan("s"))
}
