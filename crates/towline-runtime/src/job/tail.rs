//! The latest committed blocks of a job, for those who watch it live.

use std::{collections::VecDeque, sync::Arc};

use towline_store::Block;
use towline_wire::JobSeq;

/// Blocks in order, without gaps, bounded in bytes; what is older is read from the store.
#[derive(Default)]
pub(crate) struct Tail {
    blocks: VecDeque<Arc<Block>>,
    bytes: usize,
}

impl Tail {
    /// Adds a committed block; the oldest go when there are more than `limit` bytes. The newest always stays.
    pub(crate) fn push(&mut self, block: Arc<Block>, limit: usize) {
        debug_assert!(
            self.blocks
                .back()
                .is_none_or(|newest| newest.last().next() == block.first()),
            "a tail has no gaps"
        );
        self.bytes += block.text().len();
        self.blocks.push_back(block);
        self.trim(limit);
    }

    /// Lets the oldest blocks go while there are more than `limit` bytes. The newest always stays.
    pub(crate) fn trim(&mut self, limit: usize) {
        while self.bytes > limit && self.blocks.len() > 1 {
            if let Some(oldest) = self.blocks.pop_front() {
                self.bytes -= oldest.text().len();
            }
        }
    }

    /// The block that holds `seq`; `None` when it is older than the tail (or not committed).
    pub(crate) fn block(&self, seq: JobSeq) -> Option<Arc<Block>> {
        let at = self.blocks.partition_point(|block| block.last() < seq);
        self.blocks
            .get(at)
            .filter(|block| block.first() <= seq)
            .cloned()
    }
}
