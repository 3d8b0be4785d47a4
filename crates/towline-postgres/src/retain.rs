//! Steps of removing what is not kept. Each is one short transaction of the writer; commits go on between two.

use std::{collections::HashSet, sync::Arc};

use tokio_postgres::Row;
use towline_store::StoreError;
use towline_wire::{JobId, JobSeq};

use crate::{
    line::WriterLine,
    rows::{job_id, unsigned},
    state::State,
    statements::{Sql, Step, Value, int},
};

/// Why finished jobs go: what there may be at most.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Surplus {
    /// The latest moment a job that goes ended at.
    Age(i64),
    Jobs(u64),
    Bytes(u64),
}

/// A place among finished jobs: when the job ended, and its key.
pub(crate) type Place = (i64, i64);

/// One step of retention.
#[derive(Debug, Clone)]
pub(crate) enum Chore {
    /// Removes some rows, with one statement.
    Rows(Sql, Vec<i64>),
    /// Removes some finished jobs after a place, or some blocks of a large one.
    Jobs {
        keep: Arc<HashSet<JobId>>,
        surplus: Surplus,
        after: Place,
    },
    /// Removes some of the oldest blocks of running jobs; the newest block of each stays.
    Evict { max_bytes: u64 },
}

/// What a step did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// How many rows its first statement removed.
    pub(crate) rows: u64,
    /// Where the next step begins; `None` when there is nothing left to do.
    pub(crate) next: Option<Place>,
    pub(crate) gone: Vec<JobId>,
    pub(crate) truncated: Vec<(JobId, JobSeq)>,
    pub(crate) bytes: u64,
}

impl Done {
    /// How many rows its first statement touched.
    pub(crate) fn touched(mut self, rows: Option<&u64>) -> Self {
        self.rows = rows.copied().unwrap_or(0);
        self
    }
}

impl Chore {
    /// The statements of the step, and what it does; what is counted is counted.
    pub(crate) async fn plan(
        self,
        line: &WriterLine,
        state: &mut State,
    ) -> Result<(Vec<Step<'static>>, Done), StoreError> {
        match self {
            Self::Rows(sql, values) => {
                let values = values.into_iter().map(Value::Int).collect();
                Ok((vec![Step::new(sql, values)], Done::default()))
            }
            Self::Jobs {
                keep,
                surplus,
                after,
            } => jobs(line, state, &keep, surplus, after).await,
            Self::Evict { max_bytes } => evict(line, state, max_bytes).await,
        }
    }
}

/// Blocks that are removed, as the tally has them.
fn count_out(state: &mut State, events: u64, bytes: u64) {
    state.tally.events -= int(events);
    state.tally.bytes -= int(bytes);
}

async fn jobs(
    line: &WriterLine,
    state: &mut State,
    keep: &HashSet<JobId>,
    surplus: Surplus,
    after: Place,
) -> Result<(Vec<Step<'static>>, Done), StoreError> {
    let values = vec![Value::Int(after.0), Value::Int(after.1), Value::Int(JOBS)];
    let rows = line.query(&Step::new(Sql::Finished, values)).await?;
    let mut done = Done::default();
    let (mut keys, mut names, mut blocks) = (Vec::new(), Vec::new(), 0);
    let is_full = rows.len() as i64 == JOBS;
    for row in &rows {
        let (at, key): Place = (row.get(0), row.get(1));
        let is_surplus = match surplus {
            Surplus::Age(oldest) => at <= oldest,
            Surplus::Jobs(most) => state.total().jobs - state.total().live > int(most),
            Surplus::Bytes(most) => state.total().bytes > int(most),
        };
        if !is_surplus {
            return Ok((gone(keys, names), Done { next: None, ..done }));
        }
        let job = job_id(row, 2)?;
        if keep.contains(&job) {
            done.next = is_full.then_some((at, key));
            continue;
        }
        blocks += unsigned(row, 3)?;
        if blocks > MOST_BLOCKS && !keys.is_empty() {
            // The next step begins with it.
            done.next = done.next.or(Some(after));
            return Ok((gone(keys, names), done));
        }
        if blocks > MOST_BLOCKS {
            let place = done.next.unwrap_or(after);
            return part_of(line, state, key, place).await;
        }
        let bytes = unsigned(row, 5)?;
        count_out(state, unsigned(row, 4)?, bytes);
        state.tally.jobs -= 1;
        state.jobs.remove(&job);
        done.bytes += bytes;
        done.next = is_full.then_some((at, key));
        keys.push(key);
        names.push(job.as_str().as_bytes().to_vec());
        done.gone.push(job);
    }
    Ok((gone(keys, names), done))
}

/// The statements that remove jobs with all they have.
fn gone(keys: Vec<i64>, names: Vec<Vec<u8>>) -> Vec<Step<'static>> {
    if keys.is_empty() {
        return Vec::new();
    }
    let of_keys = [
        Sql::BlocksGone,
        Sql::JobsGone,
        Sql::StatesGone,
        Sql::CheckpointsGone,
        Sql::TalksGone,
    ];
    let steps = of_keys.map(|sql| Step::new(sql, vec![Value::Ints(keys.clone())]));
    let of_names = [
        Sql::CredentialsGone,
        Sql::Orphaned,
        Sql::DeliveriesGone,
        Sql::DeliveriesOrphaned,
    ];
    let more = of_names.map(|sql| Step::new(sql, vec![Value::Owned(names.clone())]));
    steps.into_iter().chain(more).collect()
}

/// Removes the oldest blocks of a large job; the next step goes on with the same one.
async fn part_of(
    line: &WriterLine,
    state: &mut State,
    key: i64,
    place: Place,
) -> Result<(Vec<Step<'static>>, Done), StoreError> {
    let values = vec![Value::Int(key), Value::Int(int(MOST_BLOCKS))];
    let rows = line.query(&Step::new(Sql::Oldest, values)).await?;
    let mut done = Done {
        next: Some(place),
        ..Done::default()
    };
    let mut steps = Vec::new();
    if let Some(row) = rows.first()
        && let Some(last) = row.get::<_, Option<i64>>(0)
    {
        done.bytes = unsigned(row, 2)?;
        count_out(state, unsigned(row, 1)?, done.bytes);
        let values = vec![Value::Ints(vec![key]), Value::Ints(vec![last])];
        steps.push(Step::new(Sql::BlocksUpTo, values));
    }
    Ok((steps, done))
}

async fn evict(
    line: &WriterLine,
    state: &mut State,
    max_bytes: u64,
) -> Result<(Vec<Step<'static>>, Done), StoreError> {
    let mut done = Done::default();
    if state.total().bytes <= int(max_bytes) {
        return Ok((Vec::new(), done));
    }
    let values = vec![Value::Int(int(MOST_BLOCKS))];
    let rows = line.query(&Step::new(Sql::Evictable, values)).await?;
    let (mut keys, mut up_to) = (Vec::new(), Vec::new());
    for row in &rows {
        if state.total().bytes <= int(max_bytes) {
            break;
        }
        let Some(following) = following(row) else {
            continue;
        };
        let (key, first): (i64, i64) = (row.get(0), row.get(1));
        let (job, bytes) = (job_id(row, 4)?, unsigned(row, 3)?);
        count_out(state, unsigned(row, 2)?, bytes);
        done.bytes += bytes;
        done.truncated.retain(|(known, _)| *known != job);
        done.truncated.push((job, following));
        keys.push(key);
        up_to.push(first);
    }
    if keys.is_empty() {
        return Ok((Vec::new(), done));
    }
    // Whether there is more to do only the next step knows.
    done.next = Some((0, 0));
    let values = vec![Value::Ints(keys), Value::Ints(up_to)];
    Ok((vec![Step::new(Sql::BlocksUpTo, values)], done))
}

/// Where the log of a block's job goes on; the newest block has nothing after it.
fn following(row: &Row) -> Option<JobSeq> {
    let following: Option<i64> = row.get(5);
    following.map(|first| JobSeq::new(first.unsigned_abs()))
}

/// How many jobs a step removes at most, and how many blocks of theirs.
const JOBS: i64 = 64;
const MOST_BLOCKS: u64 = 4096;
