//! Streaming a result (§8.4).

use base64::{Engine, engine::general_purpose::STANDARD};
use towline_proto::{
    chunks::{CHUNK_BYTES, ChunkCounter, STDIO_CHUNK_BYTES, split_text},
    span::RecordKind,
};
use towline_transport::TransportKind;
use towline_wire::{
    EventKind, ResultId,
    event::{ChunkEncoding, ResultChunk},
};

use super::{EventError, JobContext};

impl JobContext {
    /// Begins to stream the job's result, instead of returning it. A job has at most one streamed result, and then no
    /// inline one: the agent returns `()`, or null.
    ///
    /// # Errors
    /// [`EventError::Invalid`] when the job has a streamed result already; [`EventError::JobEnded`] when it has ended.
    pub fn stream_result(&self) -> Result<ResultWriter, EventError> {
        let mut core = self.job.lock();
        if !core.machine.is_open() {
            return Err(EventError::JobEnded);
        }
        if core.chunks.is_some() {
            return Err(EventError::Invalid(
                "the job streams its result already".to_owned(),
            ));
        }
        let result_id = self.hub.services.ids.result();
        core.chunks = Some(ChunkCounter::new(
            result_id.clone(),
            self.hub.services.options.chunks,
        ));
        drop(core);
        let over_stdio = self
            .hub
            .books
            .sessions
            .get(&self.job.row.session)
            .and_then(|session| session.attachment());
        let over_stdio =
            over_stdio.is_some_and(|attachment| attachment.kind == TransportKind::Stdio);
        let limit = if over_stdio {
            STDIO_CHUNK_BYTES
        } else {
            CHUNK_BYTES
        };
        let limit = limit.min(self.hub.services.options.chunks.chunk);
        Ok(ResultWriter {
            ctx: self.clone(),
            result_id,
            limit,
            encoding: ChunkEncoding::Utf8,
        })
    }
}

/// Writes a streamed result, in pieces every known peer can read. Text is never split inside a character.
///
/// A result that was begun has to be finished: dropping the writer leaves it open, and the job then ends with
/// INTERNAL_ERROR. Passing the configured total ends the job the same way.
#[derive(Debug)]
pub struct ResultWriter {
    ctx: JobContext,
    result_id: ResultId,
    limit: usize,
    /// What the pieces so far were written as: one SDK refuses a stream that mixes encodings, so the empty last one has it too.
    encoding: ChunkEncoding,
}

impl ResultWriter {
    /// The result's name.
    pub fn result_id(&self) -> &ResultId {
        &self.result_id
    }

    /// Adds text.
    ///
    /// # Errors
    /// [`EventError::Invalid`] when the result would be larger than allowed; [`EventError::JobEnded`].
    pub async fn write_text(&mut self, text: &str) -> Result<(), EventError> {
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, tail) = split_text(rest, self.limit);
            self.encoding = ChunkEncoding::Utf8;
            self.chunk(piece.to_owned(), piece.len(), ChunkEncoding::Utf8, true)
                .await?;
            rest = tail;
        }
        Ok(())
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`EventError::Invalid`] when the result would be larger than allowed; [`EventError::JobEnded`].
    pub async fn write_bytes(&mut self, bytes: &[u8]) -> Result<(), EventError> {
        for piece in bytes.chunks(self.limit) {
            self.encoding = ChunkEncoding::Base64;
            self.chunk(
                STANDARD.encode(piece),
                piece.len(),
                ChunkEncoding::Base64,
                true,
            )
            .await?;
        }
        Ok(())
    }

    /// Ends the result with an empty last chunk.
    ///
    /// # Errors
    /// [`EventError::JobEnded`] when the job has ended.
    pub async fn finish(self, summary: Option<&str>) -> Result<(), EventError> {
        self.chunk(String::new(), 0, self.encoding, false).await?;
        self.ctx.job.lock().result_summary = summary.map(str::to_owned);
        Ok(())
    }

    async fn chunk(
        &self,
        data: String,
        size: usize,
        encoding: ChunkEncoding,
        more: bool,
    ) -> Result<(), EventError> {
        {
            let mut core = self.ctx.job.lock();
            if !core.machine.is_open() {
                return Err(EventError::JobEnded);
            }
            let Some(chunks) = &mut core.chunks else {
                return Err(EventError::JobEnded);
            };
            let chunk_seq = chunks
                .add(size, more)
                .map_err(|error| EventError::Invalid(error.to_string()))?;
            let body = ResultChunk {
                result_id: self.result_id.clone(),
                chunk_seq,
                data,
                encoding,
                more,
            };
            let (record, kind) = (RecordKind::ResultChunk, &EventKind::RESULT_CHUNK);
            core.append_event(record, kind, self.ctx.hub.now(), |out| {
                serde_json::to_writer(out, &body)
            })
            .map_err(|_| EventError::JobEnded)?;
        }
        self.ctx.committed().await
    }
}
