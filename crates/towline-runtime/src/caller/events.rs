//! Reading a job's log as it grows.

use std::{collections::VecDeque, fmt, sync::Arc};

use towline_proto::refusal::Refusal;
use towline_store::{Block, JobRow, Principal, RecordKind};
use towline_wire::{JobId, JobSeq, RawJson};

use super::{Caller, log_refusal};
use crate::{command, connection::without_form};

/// One record of a job's log.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LogRecord {
    /// Its place in the log.
    pub seq: JobSeq,
    /// What it is.
    pub kind: RecordKind,
    /// The payload of a `job.event`, or of the terminal: one JSON object on one line.
    pub payload: RawJson,
}

/// Reads the log of one job, record after record, up to its terminal. It holds a position and no queue: what is not asked for
/// is not read, so a slow reader costs nobody anything [ARCP 16-2].
pub struct EventReader {
    caller: Caller,
    job: JobId,
    /// Whose job it is.
    owner: Principal,
    /// Whether the caller may answer the job's questions [ARCP 15-5].
    answers: bool,
    /// The next record to give.
    next: JobSeq,
    blocks: VecDeque<Arc<Block>>,
    is_over: bool,
}

impl EventReader {
    pub(super) fn new(caller: Caller, job: &JobRow, next: JobSeq) -> Self {
        Self {
            answers: command::answers(&caller.hub, &caller.session, job),
            caller,
            job: job.id.clone(),
            owner: job.principal.clone(),
            next,
            blocks: VecDeque::new(),
            is_over: false,
        }
    }

    /// The job that is read.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The next records, at least one, as many as are at hand; waits until there are some. Empty when nothing follows any
    /// more: after the terminal, when the runtime shuts down, or when the caller may watch the job no more, which is found out
    /// within a second [ARCP 14-7, 20-1]. Cancel safe.
    ///
    /// # Errors
    /// The refusal, when the store cannot be read or no longer has what comes next.
    pub async fn next(&mut self) -> Result<Vec<LogRecord>, Refusal> {
        while !self.is_over {
            if !self.caller.still_watches(&self.owner) {
                break;
            }
            let records = self.at_hand();
            if !records.is_empty() {
                return Ok(records);
            }
            if !self.is_over {
                self.wait_for_more().await?;
            }
        }
        self.is_over = true;
        Ok(Vec::new())
    }

    /// Reads what there is of the log from the position on.
    pub(super) async fn fill(&mut self) -> Result<(), Refusal> {
        if !self.blocks.is_empty() {
            return Ok(());
        }
        let hub = &self.caller.hub;
        let live = hub.books.jobs.get(&self.job);
        let recent = live.and_then(|entry| entry.tail.lock().block(self.next));
        if let Some(block) = recent {
            self.blocks.push_back(block);
            return Ok(());
        }
        let store = &hub.services.store;
        let read = store.read_job(&self.job, self.next, READ_BYTES).await;
        let blocks = read.map_err(|error| log_refusal(&self.job, &error))?;
        self.blocks.extend(blocks);
        Ok(())
    }

    async fn wait_for_more(&mut self) -> Result<(), Refusal> {
        let hub = Arc::clone(&self.caller.hub);
        let live = hub.books.jobs.get(&self.job);
        let live = live.filter(|entry| !entry.ended.is_cancelled());
        // Made before the log is looked at, so that nothing is missed in between.
        let news = live.as_ref().map(|entry| entry.drained.notified());
        self.fill().await?;
        if !self.blocks.is_empty() {
            return Ok(());
        }
        match news {
            None => self.is_over = true,
            Some(news) => tokio::select! {
                () = news => {}
                () = self.caller.barred(&self.owner) => self.is_over = true,
                () = hub.scope.draining.cancelled() => self.is_over = true,
            },
        }
        Ok(())
    }

    /// What the first block at hand has from the position on, as far as it is shown, and not too much at once.
    fn at_hand(&mut self) -> Vec<LogRecord> {
        let features = self.caller.features();
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some(block) = self.blocks.front().map(Arc::clone) {
            while let Some((kind, payload)) = block.payload(self.next) {
                let seq = self.next;
                self.next = seq.next();
                self.is_over |= kind.is_terminal();
                if !kind.shows_with(features) {
                    continue;
                }
                let payload = if kind == RecordKind::Input && !self.answers {
                    without_form(payload)
                } else {
                    payload
                };
                bytes += payload.as_str().len();
                records.push(LogRecord { seq, kind, payload });
                if bytes >= GIVEN_BYTES {
                    return records;
                }
            }
            self.blocks.pop_front();
            if !records.is_empty() {
                break;
            }
        }
        records
    }
}

impl fmt::Debug for EventReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReader")
            .field("job", &self.job)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

/// How much of a log is read from the store at once.
const READ_BYTES: usize = 256 * 1024;

/// How much is given at once, about.
const GIVEN_BYTES: usize = 64 * 1024;
