//! Jobs and their logs: found by id in shards, listed in keyset order.

use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::RandomState},
    hash::BuildHasher,
    ops::Bound,
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use towline_wire::{JobId, JobSeq, JobStatus, RawJson, Timestamp};

use crate::{
    Block, JobPage, JobQuery, JobRow, JobState, JobSummary, ListCursor, Principal, StoreError,
    check::Tail,
};

/// A job: its facts never change, so they are read without a lock.
#[derive(Debug)]
pub(super) struct Job {
    facts: JobRow,
    now: Mutex<Now>,
}

/// What of a job changes.
#[derive(Debug)]
struct Now {
    state: JobState,
    tail: Tail,
    log: VecDeque<Piece>,
    bytes: u64,
    checkpoint: Option<RawJson>,
    talk: Option<RawJson>,
}

/// A block and when it was committed, counted over the whole store, so that the oldest of several logs is known.
#[derive(Debug)]
struct Piece {
    order: u64,
    block: Arc<Block>,
}

impl Job {
    pub(super) fn new(facts: JobRow) -> Self {
        let state = facts.state.clone();
        let now = Now {
            state,
            tail: Tail::EMPTY,
            log: VecDeque::new(),
            bytes: 0,
            checkpoint: None,
            talk: None,
        };
        Self {
            facts,
            now: Mutex::new(now),
        }
    }

    pub(super) fn id(&self) -> &JobId {
        &self.facts.id
    }

    pub(super) fn parent(&self) -> Option<&JobId> {
        self.facts.parent.as_ref()
    }

    pub(super) fn row(&self) -> JobRow {
        JobRow {
            state: self.state(),
            ..self.facts.clone()
        }
    }

    pub(super) fn summary(&self) -> JobSummary {
        JobSummary {
            state: self.state(),
            ..self.facts.summary()
        }
    }

    fn state(&self) -> JobState {
        let now = self.now.lock();
        JobState {
            last_seq: now.tail.last,
            ..now.state.clone()
        }
    }

    pub(super) fn tail(&self) -> Tail {
        self.now.lock().tail
    }

    pub(super) fn status(&self) -> JobStatus {
        self.now.lock().state.status
    }

    /// When the job ended; for one that ended without saying when, when it was created.
    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        ended_at(&self.facts, &self.now.lock().state)
    }

    pub(super) fn checkpoint(&self) -> Option<RawJson> {
        self.now.lock().checkpoint.clone()
    }

    pub(super) fn talk(&self) -> Option<RawJson> {
        self.now.lock().talk.clone()
    }

    pub(super) fn set_talk(&self, value: Option<RawJson>) {
        self.now.lock().talk = value;
    }

    pub(super) fn set_checkpoint(&self, value: Option<RawJson>) {
        self.now.lock().checkpoint = value;
    }

    pub(super) fn set_state(&self, state: JobState) {
        self.now.lock().state = state;
    }

    pub(super) fn append(&self, order: u64, block: Arc<Block>) {
        let mut now = self.now.lock();
        now.tail = Tail::after(&block);
        now.bytes += block.text().len() as u64;
        now.log.push_back(Piece { order, block });
    }

    pub(super) fn bytes(&self) -> u64 {
        self.now.lock().bytes
    }

    pub(super) fn events(&self) -> u64 {
        let now = self.now.lock();
        now.log
            .front()
            .map_or(0, |oldest| now.tail.last.next().since(oldest.block.first()))
    }

    pub(super) fn read(
        &self,
        from: JobSeq,
        max_bytes: usize,
    ) -> Result<Vec<Arc<Block>>, StoreError> {
        let from = from.max(JobSeq::FIRST);
        let now = self.now.lock();
        if from > now.tail.last {
            return Ok(Vec::new());
        }
        let oldest = now
            .log
            .front()
            .map_or(now.tail.last.next(), |piece| piece.block.first());
        if from < oldest {
            return Err(StoreError::Evicted {
                job: self.facts.id.clone(),
                from,
                oldest,
            });
        }
        let mut bytes = 0;
        let start = now.log.partition_point(|piece| piece.block.last() < from);
        let within = |piece: &&Piece| {
            let more = bytes < max_bytes.max(1);
            bytes += piece.block.text().len();
            more
        };
        Ok(now
            .log
            .range(start..)
            .take_while(within)
            .map(|piece| Arc::clone(&piece.block))
            .collect())
    }

    /// When the oldest block that may be evicted was committed; a log's newest one stays.
    pub(super) fn oldest_evictable(&self) -> Option<u64> {
        let now = self.now.lock();
        (now.log.len() > 1).then(|| now.log[0].order)
    }

    /// Takes the oldest block, and says which record is the oldest then.
    pub(super) fn evict_oldest(&self) -> Option<(Arc<Block>, JobSeq)> {
        let mut now = self.now.lock();
        let block = now.log.pop_front()?.block;
        now.bytes -= block.text().len() as u64;
        let oldest = block.last().next();
        Some((block, oldest))
    }
}

pub(super) fn ended_at(facts: &JobRow, state: &JobState) -> Option<Timestamp> {
    state
        .status
        .is_terminal()
        .then(|| state.finished_at.unwrap_or(facts.created_at))
}

/// Every job.
#[derive(Debug)]
pub(super) struct Jobs {
    shards: Box<[Shard]>,
    hasher: RandomState,
    listing: RwLock<Listing>,
}

type Shard = RwLock<HashMap<JobId, Arc<Job>>>;

/// Jobs in listing order [ARCP 6.6-1].
type Listed = BTreeMap<(Timestamp, JobId), Arc<Job>>;

#[derive(Debug, Default)]
struct Listing {
    all: Listed,
    live: Listed,
    of: HashMap<Principal, Listed>,
}

impl Default for Jobs {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Self {
            shards,
            hasher: RandomState::new(),
            listing: RwLock::default(),
        }
    }
}

impl Jobs {
    fn shard(&self, job: &JobId) -> &Shard {
        let hash = usize::try_from(self.hasher.hash_one(job) % SHARDS as u64).unwrap_or(0);
        &self.shards[hash]
    }

    pub(super) fn find(&self, job: &JobId) -> Option<Arc<Job>> {
        self.shard(job).read().get(job).cloned()
    }

    pub(super) fn insert(&self, job: &Arc<Job>) {
        self.shard(job.id())
            .write()
            .insert(job.id().clone(), Arc::clone(job));
        let mut listing = self.listing.write();
        listing.all.insert(place(job), Arc::clone(job));
        if !job.status().is_terminal() {
            listing.live.insert(place(job), Arc::clone(job));
        }
        listing
            .of
            .entry(job.facts.principal.clone())
            .or_default()
            .insert(place(job), Arc::clone(job));
    }

    pub(super) fn remove(&self, job: &Job) {
        self.shard(job.id()).write().remove(job.id());
        let mut listing = self.listing.write();
        listing.all.remove(&place(job));
        listing.live.remove(&place(job));
        let principal = &job.facts.principal;
        let left = listing.of.get_mut(principal).is_some_and(|listed| {
            listed.remove(&place(job));
            !listed.is_empty()
        });
        if !left {
            listing.of.remove(principal);
        }
    }

    /// Notes that a job began or ended to be live.
    pub(super) fn set_live(&self, job: &Arc<Job>, live: bool) {
        let mut listing = self.listing.write();
        if live {
            listing.live.insert(place(job), Arc::clone(job))
        } else {
            listing.live.remove(&place(job))
        };
    }

    pub(super) fn live(&self) -> Vec<JobRow> {
        self.listing
            .read()
            .live
            .values()
            .map(|job| job.row())
            .collect()
    }

    /// What live jobs and people have to say to each other.
    pub(super) fn talks(&self) -> Vec<(JobId, RawJson)> {
        let mut talks: Vec<_> = self
            .live_handles()
            .iter()
            .filter_map(|job| Some((job.id().clone(), job.talk()?)))
            .collect();
        talks.sort_by(|left, right| left.0.cmp(&right.0));
        talks
    }

    pub(super) fn live_handles(&self) -> Vec<Arc<Job>> {
        self.listing.read().live.values().cloned().collect()
    }

    /// Looks through the listing step by step: a query that admits few of many jobs must not hold up whoever adds one.
    pub(super) fn page(&self, query: &JobQuery) -> JobPage {
        let (mut page, mut bytes) = (JobPage::default(), 0);
        let mut after = query
            .after
            .clone()
            .map(|cursor| (cursor.created_at, cursor.job));
        if query.limit == 0 {
            return page;
        }
        loop {
            let step = self.listing.read().step(query, after.as_ref());
            let Some(last) = step.last() else { break };
            after = Some(place(last));
            for job in step
                .iter()
                .filter(|job| query.admits(&job.facts, job.status()))
            {
                if page.jobs.len() == query.limit || bytes >= JobPage::MAX_BYTES {
                    page.next = page.jobs.last().map(cursor);
                    return page;
                }
                let summary = job.summary();
                bytes += summary.bytes();
                page.jobs.push(summary);
            }
            let last = last.facts.created_at;
            let is_beyond = if query.newest_first {
                query.created_after.is_some_and(|bound| last <= bound)
            } else {
                query.created_before.is_some_and(|bound| last >= bound)
            };
            if is_beyond {
                break;
            }
        }
        page
    }
}

impl Listing {
    /// The next jobs after a place that may be admitted.
    fn step(&self, query: &JobQuery, after: Option<&(Timestamp, JobId)>) -> Vec<Arc<Job>> {
        let next = |listed: &Listed| -> Vec<Arc<Job>> {
            let bound = after.map_or(Bound::Unbounded, |place| Bound::Excluded(place.clone()));
            let jobs = |(_, job): (_, &Arc<Job>)| Arc::clone(job);
            if query.newest_first {
                let range = listed.range((Bound::Unbounded, bound));
                range.rev().take(STEP).map(jobs).collect()
            } else {
                let range = listed.range((bound, Bound::Unbounded));
                range.take(STEP).map(jobs).collect()
            }
        };
        if query.is_live_only() {
            return next(&self.live);
        }
        let Some(principals) = &query.principals else {
            return next(&self.all);
        };
        let mut merged: Vec<_> = principals
            .iter()
            .filter_map(|who| self.of.get(who))
            .flat_map(next)
            .collect();
        merged.sort_by_cached_key(|job| place(job));
        merged.dedup_by(|one, other| one.id() == other.id());
        if query.newest_first {
            merged.reverse();
        }
        merged.truncate(STEP);
        merged
    }
}

fn place(job: &Job) -> (Timestamp, JobId) {
    (job.facts.created_at, job.facts.id.clone())
}

fn cursor(row: &JobSummary) -> ListCursor {
    ListCursor {
        created_at: row.created_at,
        job: row.id.clone(),
    }
}

const SHARDS: usize = 64;
const STEP: usize = 256;
