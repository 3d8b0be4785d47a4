//! What the writer keeps in memory: where logs and streams end, and what the tables do not have in its place yet.
//!
//! All of it can be read from the tables again, which is what happens at the start, on a new connection, and after a
//! transaction failed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use tokio_postgres::{Client, Row};
use towline_store::{
    Batch, Change, Incarnation, ScheduleRow, StoreError,
    building::{Kept, Reader, Stream, Tail, read_op, session_of, view_bits},
};
use towline_wire::{EventSeq, JobId, JobSeq, SessionId, Timestamp};

use crate::{
    error::{corrupt, of_statement},
    line::WriterLine,
    read::schedules,
    rows::{bytes, job_id, read_span, session_id, unsigned},
    statements::{Sql, Step, Value, int},
    tally::Tally,
};

/// Whose memory it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) inc: i64,
    /// Whether others have the store as well: then it is no more than what is the incarnation's own.
    pub(crate) is_shared: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) claim: Claim,
    /// Jobs that are live, and those that the batch under way touches.
    pub(crate) jobs: HashMap<JobId, Known>,
    /// Those that are not live.
    visiting: Vec<JobId>,
    pub(crate) streams: HashMap<SessionId, Stream>,
    /// Streams that are not in their place.
    dirty: HashSet<SessionId>,
    /// How many tokens have changes of streams.
    waiting: usize,
    pub(crate) next: Next,
    /// What this incarnation counted, …
    pub(crate) tally: Tally,
    /// … and what others did, when that was last looked up.
    pub(crate) beside: Tally,
    /// How far schedules are: there are as many as the configuration names.
    pub(crate) schedules: BTreeMap<String, ScheduleRow>,
}

/// Numbers not given out yet.
#[derive(Debug, Default)]
pub(crate) struct Next {
    /// Of rows, the incarnation in its upper bits.
    pub(crate) row: i64,
    /// Of entries of the audit log, which are numbered without a gap.
    pub(crate) audit: i64,
}

impl Next {
    pub(crate) fn row(&mut self) -> i64 {
        let row = self.row;
        self.row += 1;
        row
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) key: i64,
    pub(crate) tail: Tail,
    pub(crate) finished: bool,
    pub(crate) owner: Option<i64>,
}

impl State {
    fn empty(claim: Claim) -> Self {
        Self {
            claim,
            jobs: HashMap::new(),
            visiting: Vec::new(),
            streams: HashMap::new(),
            dirty: HashSet::new(),
            waiting: 0,
            next: Next::default(),
            tally: Tally::default(),
            beside: Tally::default(),
            schedules: BTreeMap::new(),
        }
    }

    /// Reads it. Looks at live jobs, sessions and what waits; finished history costs nothing. Numbers of rows begin with
    /// `first_row`.
    pub(crate) async fn load(
        client: &Client,
        claim: Claim,
        first_row: i64,
    ) -> Result<Self, StoreError> {
        let mut state = Self::empty(claim);
        let sql =
            "SELECT jobs, live, events, bytes FROM token WHERE inc = $1 ORDER BY seq DESC LIMIT 1";
        let row = client.query_opt(sql, &[&claim.inc]).await;
        if let Some(row) = row.map_err(of_statement)? {
            state.tally = Tally::read(&row);
        }
        let sql = "SELECT coalesce(max(n), 0) FROM audit";
        let row = client.query_one(sql, &[]).await.map_err(of_statement)?;
        state.next = Next {
            row: first_row,
            audit: row.get::<_, i64>(0) + 1,
        };
        state.load_schedules(client).await?;
        state.load_jobs(client).await?;
        state.load_streams(client).await?;
        Ok(state)
    }

    /// Reads every stream, whoever had it, to bring what waits to its place.
    pub(crate) async fn of_streams(client: &Client, inc: i64) -> Result<Self, StoreError> {
        let mut state = Self::empty(Claim {
            inc,
            is_shared: false,
        });
        state.load_streams(client).await?;
        Ok(state)
    }

    async fn load_schedules(&mut self, client: &Client) -> Result<(), StoreError> {
        let rows = schedules(client).await?.into_iter();
        self.schedules = rows.map(|row| (row.name.clone(), row)).collect();
        Ok(())
    }

    /// What stands after a condition of a statement about rows with an owner.
    fn of_mine(&self) -> String {
        if self.claim.is_shared {
            format!("s.owner = {}", self.claim.inc)
        } else {
            "true".to_owned()
        }
    }

    async fn load_jobs(&mut self, client: &Client) -> Result<(), StoreError> {
        let sql = format!(
            "SELECT j.id, s.key, false, b.first + b.count - 1, coalesce(b.ended, false), s.owner \
             FROM job_state s JOIN job j ON j.key = s.key LEFT JOIN LATERAL \
             (SELECT first, count, ended FROM block WHERE job = s.key ORDER BY first DESC LIMIT 1) b ON true \
             WHERE s.ended_at IS NULL AND {}",
            self.of_mine()
        );
        for row in client.query(&sql, &[]).await.map_err(of_statement)? {
            self.take_job(&row)?;
        }
        Ok(())
    }

    /// From columns as [`Sql::Known`] gives them.
    pub(crate) fn take_job(&mut self, row: &Row) -> Result<JobId, StoreError> {
        let job = job_id(row, 0)?;
        let last: Option<i64> = row.get(3);
        let known = Known {
            key: row.get(1),
            tail: Tail {
                last: JobSeq::new(last.unwrap_or(0).unsigned_abs()),
                ended: row.get(4),
            },
            finished: row.get(2),
            owner: row.get(5),
        };
        self.jobs.insert(job.clone(), known);
        Ok(job)
    }

    async fn load_streams(&mut self, client: &Client) -> Result<(), StoreError> {
        let mut names = HashMap::new();
        let sql = format!(
            "SELECT e.first, e.job, e.from_seq, e.count, e.view, s.key, s.id, s.last FROM session s LEFT JOIN LATERAL \
             (SELECT * FROM span WHERE session = s.key ORDER BY first DESC LIMIT 1) e ON true WHERE {}",
            self.of_mine()
        );
        for row in client.query(&sql, &[]).await.map_err(of_statement)? {
            let (key, session): (i64, _) = (row.get(5), session_id(&row, 6)?);
            let end = match row.get::<_, Option<i64>>(0) {
                Some(_) => Some(read_span(&row)?),
                None => None,
            };
            names.insert(key, session.clone());
            let last = EventSeq::new(unsigned(&row, 7)?);
            self.streams.insert(session, Stream::new(key, last, end));
        }
        if self.claim.is_shared {
            return Ok(());
        }
        let sql = "SELECT streams FROM token WHERE streams IS NOT NULL ORDER BY inc, seq";
        for row in client.query(sql, &[]).await.map_err(of_statement)? {
            self.waiting += 1;
            let mut reader = Reader::new(bytes(&row, 0)?);
            while !reader.is_empty() {
                let (key, op) = read_op(&mut reader)
                    .ok_or_else(|| corrupt("a token's changes of streams cannot be read"))?;
                // A session that has gone since leaves its changes.
                let Some(session) = names.get(&key) else {
                    continue;
                };
                if let Some(stream) = self.streams.get_mut(session) {
                    stream.apply(op);
                    self.dirty.insert(session.clone());
                }
            }
        }
        Ok(())
    }

    /// Looks up the jobs of a batch that are not in memory.
    pub(crate) async fn visit(
        &mut self,
        line: &WriterLine,
        batch: &Batch,
    ) -> Result<(), StoreError> {
        let mut unknown: Vec<&[u8]> = Vec::new();
        let is_shared = self.claim.is_shared;
        let of_schedule = |change: &Change| matches!(change, Change::Schedule(_));
        if is_shared && batch.changes.iter().any(of_schedule) {
            self.load_schedules(&line.line.client).await?;
        }
        for change in &batch.changes {
            let Some(job) = job_of(change, is_shared) else {
                continue;
            };
            if !self.jobs.contains_key(job) && !unknown.contains(&job.as_str().as_bytes()) {
                unknown.push(job.as_str().as_bytes());
            }
        }
        // What the batch itself brings is not there yet.
        unknown.retain(|id| {
            let brings = |change: &Change| matches!(change, Change::Job(row) if row.id.as_str().as_bytes() == *id);
            !batch.changes.iter().any(brings)
        });
        if unknown.is_empty() {
            return Ok(());
        }
        let step = Step::new(Sql::Known, vec![Value::Texts(unknown)]);
        for row in line.query(&step).await? {
            let job = self.take_job(&row)?;
            self.visiting.push(job);
        }
        Ok(())
    }

    /// Whoever was looked up, or is not live any more, goes from memory.
    pub(crate) fn leave(&mut self) {
        let claim = self.claim;
        let stays = |known: &Known| !known.finished && claim.has(known.owner);
        for job in std::mem::take(&mut self.visiting) {
            if !self.jobs.get(&job).is_some_and(stays) {
                self.jobs.remove(&job);
            }
        }
    }

    /// Whether the jobs a batch changes are the incarnation's own. One that is over is nobody's.
    ///
    /// # Errors
    /// What is another's.
    pub(crate) fn check_owners(&self, batch: &Batch) -> Result<(), StoreError> {
        let jobs = batch
            .changes
            .iter()
            .filter_map(|change| job_of(change, true));
        for job in jobs {
            let Some(known) = self.jobs.get(job).filter(|known| !known.finished) else {
                continue;
            };
            if !self.claim.has(known.owner) {
                let number = |inc: i64| Incarnation::new(inc.unsigned_abs());
                let me = number(self.claim.inc);
                let text = match known.owner {
                    Some(owner) => format!(
                        "job {job} belongs to incarnation {}; {me} may not change it",
                        number(owner)
                    ),
                    None => format!("job {job} belongs to nobody yet; {me} has to adopt it first"),
                };
                return Err(StoreError::Rejected(text.into()));
            }
        }
        Ok(())
    }

    /// Makes sure that the sessions a batch names are the incarnation's own, before anything of it is planned. `None` where it
    /// names none.
    pub(crate) fn own<'a>(&self, batch: &'a Batch) -> Option<Step<'a>> {
        let named: BTreeSet<&SessionId> = batch.changes.iter().filter_map(session_of).collect();
        if named.is_empty() {
            return None;
        }
        let bytes = |id: &&'a SessionId| id.as_str().as_bytes();
        let there = named.iter().filter(|id| self.streams.contains_key(**id));
        let values = vec![
            Value::Int(self.claim.inc),
            Value::Texts(named.iter().map(bytes).collect()),
            Value::Texts(there.map(bytes).collect()),
        ];
        Some(Step::new(Sql::Own, values))
    }

    /// All there is, as far as others were looked at.
    pub(crate) fn total(&self) -> Tally {
        self.tally.plus(self.beside)
    }

    /// A job is finished now, or is not.
    pub(crate) fn set_finished(&mut self, job: &JobId, finished: bool) {
        let Some(known) = self.jobs.get_mut(job) else {
            return;
        };
        match (known.finished, finished) {
            (false, true) => self.tally.live -= 1,
            (true, false) => {
                self.tally.live += 1;
                known.owner = Some(self.claim.inc);
            }
            _ => {}
        }
        known.finished = finished;
        if finished {
            self.visiting.push(job.clone());
        }
    }

    /// A stream changed, and the change goes into a token.
    pub(crate) fn changed(&mut self, session: &SessionId) {
        if !self.dirty.contains(session) {
            self.dirty.insert(session.clone());
        }
    }

    pub(crate) fn forget_session(&mut self, session: &SessionId) -> Option<Stream> {
        self.dirty.remove(session);
        self.streams.remove(session)
    }

    /// A token with changes of streams was written.
    pub(crate) fn wrote_changes(&mut self) {
        self.waiting += 1;
    }

    /// Whether something is not in its place.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting > 0 || !self.dirty.is_empty()
    }

    /// Whether what waits should wait no longer.
    pub(crate) fn is_due(&self) -> bool {
        self.waiting >= MOST_WAITING
    }

    /// Brings streams to their place.
    pub(crate) fn flush(&mut self) -> Vec<Step<'static>> {
        let (mut trimmed, mut up_to) = (Vec::new(), Vec::new());
        let (mut ended, mut lasts) = (Vec::new(), Vec::new());
        let mut spans = (
            Vec::new(),
            Vec::new(),
            Vec::new(),
            Vec::new(),
            Vec::new(),
            Vec::new(),
        );
        for session in self.dirty.drain() {
            let Some(stream) = self.streams.get_mut(&session) else {
                continue;
            };
            let unflushed = stream.take_unflushed();
            if unflushed.trim > EventSeq::ZERO {
                trimmed.push(stream.key);
                up_to.push(int(unflushed.trim.value()));
            }
            ended.push(stream.key);
            lasts.push(int(stream.last.value()));
            for span in unflushed.spans {
                spans.0.push(stream.key);
                spans.1.push(int(span.first.value()));
                spans.2.push(i64::from(span.count));
                spans.3.push(span.job.as_str().as_bytes().to_vec());
                spans.4.push(int(span.from.value()));
                spans.5.push(i64::from(view_bits(span.view)));
            }
        }
        self.waiting = 0;
        let (ints, mut steps) = (Value::Ints, Vec::new());
        if !trimmed.is_empty() {
            steps.push(Step::new(Sql::Trim, vec![ints(trimmed), ints(up_to)]));
        }
        if !spans.0.is_empty() {
            let columns = vec![
                ints(spans.0),
                ints(spans.1),
                ints(spans.2),
                Value::Owned(spans.3),
                ints(spans.4),
                ints(spans.5),
            ];
            steps.push(Step::new(Sql::Span, columns));
        }
        if !ended.is_empty() {
            steps.push(Step::new(Sql::Last, vec![ints(ended), ints(lasts)]));
        }
        steps
    }

    /// Removes tokens that nobody looks at any more, once what they had of streams is in its place.
    pub(crate) fn old_tokens(&self, seq: u64) -> Step<'static> {
        let sql = if self.claim.is_shared {
            Sql::OwnTokens
        } else {
            Sql::OldTokens
        };
        let values = vec![Value::Int(self.claim.inc), Value::Int(int(seq))];
        Step::new(sql, values)
    }

    /// The witness of a commit, which is also its fence.
    pub(crate) fn token(&self, seq: u64, streams: Vec<u8>) -> Step<'static> {
        let streams = (!streams.is_empty()).then_some(streams);
        let Tally {
            jobs,
            live,
            events,
            bytes,
        } = self.tally;
        let numbers = [int(seq), jobs, live, events, bytes];
        let mut values = vec![Value::Int(self.claim.inc)];
        values.extend(numbers.map(Value::Int));
        values.push(Value::Blob(streams));
        Step::new(Sql::Token, values)
    }
}

impl Claim {
    /// Whether what has this owner may be changed.
    fn has(self, owner: Option<i64>) -> bool {
        !self.is_shared || owner == Some(self.inc)
    }
}

/// The job a change is about; where others share the store, also the one above a new one.
fn job_of(change: &Change, with_parents: bool) -> Option<&JobId> {
    match change {
        Change::JobState { job, .. }
        | Change::Checkpoint { job, .. }
        | Change::Talk { job, .. } => Some(job),
        Change::Block(block) => Some(block.job()),
        Change::Job(row) if with_parents => row.parent.as_ref(),
        _ => None,
    }
}

impl Kept for State {
    fn tail(&mut self, job: &JobId) -> Result<Option<Tail>, StoreError> {
        Ok(self.jobs.get(job).map(|known| known.tail))
    }

    fn last(&mut self, session: &SessionId) -> Result<Option<EventSeq>, StoreError> {
        Ok(self.streams.get(session).map(|stream| stream.last))
    }

    fn done(&mut self, schedule: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.schedules.get(schedule).map(|row| row.done))
    }
}

/// How many commits' changes of streams may wait. It bounds what bringing them to their place adds to a commit, and what is
/// read again on a new connection.
const MOST_WAITING: usize = 1024;
