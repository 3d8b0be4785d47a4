//! The latest blocks, in memory: live sessions read them without touching the disk, and blocks that the index in the
//! file does not know yet are found here and nowhere else.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use towline_wire::{JobId, JobSeq};

use crate::{Block, check::Tail};

/// A block and its number in the file.
pub(super) type Numbered = (u64, Arc<Block>);

#[derive(Debug)]
pub(super) struct Cache {
    inner: Mutex<Inner>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    logs: HashMap<JobId, Recent>,
    /// Every cached block, oldest first; also some that went with their job.
    order: VecDeque<(u64, JobId)>,
    bytes: usize,
    /// The last block the index in the file knows. Later ones stay here whatever their size: the writer sees to it
    /// that they are few.
    indexed: u64,
}

#[derive(Debug)]
struct Recent {
    tail: Tail,
    blocks: VecDeque<Numbered>,
}

/// What the cache can say of a place in a log.
#[derive(Debug)]
pub(super) enum Lookup {
    /// Everything from there on, up to the bound.
    Found(Vec<Arc<Block>>),
    /// The end of the log; what comes before it is in the file.
    Partly(Vec<Arc<Block>>),
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            inner: Mutex::default(),
            limit,
        }
    }

    /// Adds what a transaction committed.
    pub(super) fn publish(&self, blocks: Vec<Numbered>, indexed: u64) {
        let mut inner = self.inner.lock();
        inner.indexed = indexed;
        for (n, block) in blocks {
            inner.bytes += cost(&block);
            inner.order.push_back((n, block.job().clone()));
            let empty = || Recent {
                tail: Tail::EMPTY,
                blocks: VecDeque::new(),
            };
            let recent = inner.logs.entry(block.job().clone()).or_insert_with(empty);
            recent.tail = Tail::after(&block);
            recent.blocks.push_back((n, block));
        }
        while inner.bytes > self.limit && inner.drop_oldest() {}
    }

    pub(super) fn look_up(&self, job: &JobId, from: JobSeq, max_bytes: usize) -> Lookup {
        let inner = self.inner.lock();
        let Some(recent) = inner.logs.get(job) else {
            return Lookup::Partly(Vec::new());
        };
        if from > recent.tail.last {
            return Lookup::Found(Vec::new());
        }
        let start = recent
            .blocks
            .partition_point(|(_, block)| block.last() < from);
        let covered = recent
            .blocks
            .front()
            .is_some_and(|(_, block)| block.first() <= from);
        let blocks = up_to(
            recent.blocks.range(start..).map(|(_, block)| block),
            max_bytes,
        );
        if covered {
            Lookup::Found(blocks)
        } else {
            Lookup::Partly(blocks)
        }
    }

    /// The last record of a job's log, when the cache knows.
    pub(super) fn last(&self, job: &JobId) -> Option<JobSeq> {
        self.inner
            .lock()
            .logs
            .get(job)
            .map(|recent| recent.tail.last)
    }

    /// Forgets a job that is no longer kept.
    pub(super) fn forget(&self, job: &JobId) {
        let mut inner = self.inner.lock();
        if let Some(recent) = inner.logs.remove(job) {
            inner.bytes -= recent
                .blocks
                .iter()
                .map(|(_, block)| cost(block))
                .sum::<usize>();
        }
    }

    /// Forgets what of a log is no longer kept.
    pub(super) fn forget_before(&self, job: &JobId, oldest: JobSeq) {
        let inner = &mut *self.inner.lock();
        let Some(recent) = inner.logs.get_mut(job) else {
            return;
        };
        while let Some((_, block)) = recent
            .blocks
            .front()
            .filter(|(_, block)| block.first() < oldest)
        {
            inner.bytes -= cost(block);
            recent.blocks.pop_front();
        }
        if recent.blocks.is_empty() {
            inner.logs.remove(job);
        }
    }
}

impl Inner {
    /// Drops the oldest block if the file's index knows it; whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let Some((n, job)) = self.order.front().filter(|(n, _)| *n <= self.indexed) else {
            return false;
        };
        if let Some(recent) = self.logs.get_mut(job)
            && let Some((_, block)) = recent.blocks.front().filter(|(first, _)| first == n)
        {
            self.bytes -= cost(block);
            recent.blocks.pop_front();
            if recent.blocks.is_empty() {
                self.logs.remove(job);
            }
        }
        self.order.pop_front();
        true
    }
}

/// The first of some blocks, until their text passes a bound; one at least.
pub(super) fn up_to<'a>(
    blocks: impl Iterator<Item = &'a Arc<Block>>,
    max_bytes: usize,
) -> Vec<Arc<Block>> {
    let mut bytes = 0;
    blocks
        .take_while(|block| {
            let more = bytes < max_bytes.max(1);
            bytes += block.text().len();
            more
        })
        .cloned()
        .collect()
}

/// About what a cached block takes.
fn cost(block: &Block) -> usize {
    block.text().len() + 5 * block.len() + OVERHEAD
}

const OVERHEAD: usize = 240;
