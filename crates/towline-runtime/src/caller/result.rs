//! What a job gave: inline, or piece by piece out of its log.

use std::{collections::VecDeque, fmt, sync::Arc};

use bytes::Bytes;
use towline_proto::{assembly::Assembly, refusal::Refusal};
use towline_store::{Block, JobRow, RecordKind};
use towline_wire::{
    EventPayload, JobId, JobSeq, JobStatus, RawJson,
    event::{ChunkEncoding, ResultChunk},
};

use super::{
    document::{self, End, JobFailure},
    log_refusal,
};
use crate::{command::store_refusal, hub::Hub};

/// What a job gave.
#[derive(Debug)]
pub enum JobOutput {
    /// Nothing yet, or nothing at all.
    Nothing {
        /// Where the job stands.
        status: JobStatus,
        /// Why it gives nothing, once it has ended.
        error: Option<Box<JobFailure>>,
    },
    /// A JSON value.
    Inline(RawJson),
    /// Bytes, or text, in pieces.
    Streamed(Box<StreamedResult>),
}

/// A streamed result, read from the job's log piece by piece: it is never in memory as a whole.
pub struct StreamedResult {
    hub: Arc<Hub>,
    job: JobId,
    size: u64,
    encoding: ChunkEncoding,
    assembly: Assembly,
    /// The next record to look at.
    next: JobSeq,
    blocks: VecDeque<Arc<Block>>,
    /// The first piece, which had to be read for its encoding.
    first: Option<Bytes>,
    /// Bytes to leave out before the first one that is given.
    skip: u64,
    /// Bytes still to give.
    left: u64,
}

pub(super) async fn of_row(hub: &Arc<Hub>, row: JobRow) -> Result<JobOutput, Refusal> {
    let status = row.state.status;
    let end = document::end(hub, &row.id, &row.state).await;
    let result = match end.map_err(|error| store_refusal(&error))? {
        Some(End::Result(result)) => result,
        Some(End::Error(error)) => {
            let error = Some(Box::new(error.into()));
            return Ok(JobOutput::Nothing { status, error });
        }
        None => {
            return Ok(JobOutput::Nothing {
                status,
                error: None,
            });
        }
    };
    if result.result_id.is_none() {
        return Ok(JobOutput::Inline(result.result.unwrap_or(RawJson::NULL)));
    }
    let size = result.result_size.unwrap_or(0);
    let mut streamed = StreamedResult {
        hub: Arc::clone(hub),
        job: row.id,
        size,
        encoding: ChunkEncoding::Utf8,
        assembly: Assembly::new(u64::MAX),
        next: JobSeq::FIRST,
        blocks: VecDeque::new(),
        first: None,
        skip: 0,
        left: size,
    };
    if let Some(chunk) = streamed.chunk().await? {
        streamed.encoding = chunk.encoding;
        streamed.first = Some(streamed.decode(chunk)?);
    }
    Ok(JobOutput::Streamed(Box::new(streamed)))
}

impl StreamedResult {
    /// Its size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What it is: text, or bytes.
    pub const fn encoding(&self) -> ChunkEncoding {
        self.encoding
    }

    /// Only so many bytes from this one on.
    #[must_use]
    pub fn range(mut self, from: u64, count: u64) -> Self {
        self.skip = from;
        self.left = count.min(self.size.saturating_sub(from));
        self
    }

    /// The next bytes; `None` when all are given. Cancel safe.
    ///
    /// # Errors
    /// The refusal when the log cannot be read, or does not hold what the job's result promised.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        while self.left > 0 {
            let piece = match self.first.take() {
                Some(first) => first,
                None => match self.chunk().await? {
                    Some(chunk) => self.decode(chunk)?,
                    None => return Err(not_whole()),
                },
            };
            let length = piece.len() as u64;
            let from = self.skip.min(length);
            self.skip -= from;
            let to = length.min(from.saturating_add(self.left));
            self.left -= to - from;
            if to > from {
                // Both are at most the length of a piece that is in memory.
                let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
                return Ok(Some(piece.slice(range)));
            }
        }
        Ok(None)
    }

    fn decode(&mut self, chunk: ResultChunk) -> Result<Bytes, Refusal> {
        self.assembly.push(chunk).map_err(|_| not_whole())
    }

    /// The next piece in the log.
    async fn chunk(&mut self) -> Result<Option<ResultChunk>, Refusal> {
        loop {
            while let Some(block) = self.blocks.front() {
                match block.payload(self.next) {
                    Some((RecordKind::ResultChunk, payload)) => {
                        self.next = self.next.next();
                        let event: EventPayload = payload.read().map_err(|_| not_whole())?;
                        return event.body.read().map(Some).map_err(|_| not_whole());
                    }
                    Some((kind, _)) if kind.is_terminal() => return Ok(None),
                    Some(_) => self.next = self.next.next(),
                    None => {
                        self.blocks.pop_front();
                    }
                }
            }
            let store = &self.hub.services.store;
            let read = store.read_job(&self.job, self.next, READ_BYTES).await;
            let blocks = read.map_err(|error| log_refusal(&self.job, &error))?;
            if blocks.is_empty() {
                return Ok(None);
            }
            self.blocks.extend(blocks);
        }
    }
}

impl fmt::Debug for StreamedResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedResult")
            .field("job", &self.job)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

fn not_whole() -> Refusal {
    Refusal::internal("the streamed result could not be put together")
}

/// How much of a log is read from the store at once.
const READ_BYTES: usize = 1024 * 1024;
