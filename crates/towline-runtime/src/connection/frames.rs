//! From records to envelopes.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use towline_proto::{
    job::{Failure, Terminal},
    span::{RecordKind, SpanView},
};
use towline_store::{JobRow, StoreError};
use towline_wire::{
    Envelope, ErrorCode, EventFrame, EventHeader, EventPayload, EventSeq, JobId, JobSeq, MessageId,
    MessageType, RawJson, ResultId,
    event::{ChunkEncoding, ResultChunk},
    payload,
};

use crate::{command::accepted, credentials::Ledger, hub::Hub, session::SessionEntry};

/// What the envelopes of one job's records share, for one session.
pub(super) struct JobFrames {
    row: JobRow,
    own: bool,
    /// What they share as events, written once.
    header: EventHeader,
}

/// What one record's envelope has for itself.
pub(super) struct Stamp {
    pub(super) id: MessageId,
    pub(super) event_seq: EventSeq,
    pub(super) job_seq: JobSeq,
}

impl JobFrames {
    pub(super) async fn load(
        hub: &Hub,
        session: &SessionEntry,
        job: &JobId,
    ) -> Result<Self, StoreError> {
        let view = hub.job(job).await?;
        let oldest = JobSeq::FIRST;
        let view = view.ok_or_else(|| StoreError::Evicted {
            job: job.clone(),
            from: oldest,
            oldest,
        })?;
        let row = view.row().clone();
        let header = EventHeader::new(session.id.clone(), job.clone(), Some(row.trace));
        Ok(Self {
            own: row.session == session.id,
            row,
            header,
        })
    }

    pub(super) fn job(&self) -> &JobId {
        &self.row.id
    }

    /// Whether the session submitted the job.
    pub(super) fn is_own(&self) -> bool {
        self.own
    }

    /// The job's `job.accepted`.
    pub(super) async fn accepted(&self, hub: &Arc<Hub>, session: &SessionEntry) -> Envelope {
        let credentials = Ledger::shown(hub, &self.row, session, self.own).await;
        accepted(&self.row, self.row.request_id.clone(), credentials)
    }

    /// Whether the envelope of such a record holds more than the record.
    pub(super) fn needs_more(&self, kind: RecordKind, view: SpanView) -> bool {
        kind == RecordKind::Result && view.assembled || kind == RecordKind::Rotation && self.own
    }

    /// The frame of an event.
    pub(super) fn event(&self, payload: RawJson, stamp: Stamp) -> EventFrame<'_> {
        EventFrame {
            header: &self.header,
            id: stamp.id,
            event_seq: stamp.event_seq,
            job_seq: stamp.job_seq,
            payload,
        }
    }

    /// The envelope of a record.
    pub(super) fn plain(&self, kind: RecordKind, payload: RawJson) -> Envelope {
        let kind = match kind {
            RecordKind::Result => MessageType::JOB_RESULT,
            RecordKind::Error => MessageType::JOB_ERROR,
            RecordKind::Event
            | RecordKind::Progress
            | RecordKind::ResultChunk
            | RecordKind::Rotation => MessageType::JOB_EVENT,
        };
        Envelope {
            payload,
            ..self.header.envelope(kind)
        }
    }

    /// The envelope of a record that is not enough by itself.
    pub(super) async fn special(
        &self,
        hub: &Arc<Hub>,
        session: &SessionEntry,
        kind: RecordKind,
        payload: RawJson,
    ) -> Envelope {
        if kind == RecordKind::Rotation {
            return self.plain(
                kind,
                Ledger::fill_rotation(hub, &self.row, session, payload),
            );
        }
        let streamed = payload
            .read::<payload::JobResult>()
            .ok()
            .filter(|result| result.result_id.is_some());
        match streamed {
            None => self.plain(kind, payload),
            Some(result) => match self.assemble(hub, result).await {
                Ok(payload) => self.plain(RecordKind::Result, payload),
                Err(payload) => self.plain(RecordKind::Error, payload),
            },
        }
    }

    /// A streamed result as an inline one, for a session without `result_chunk` [ARCP 6.2-4].
    async fn assemble(&self, hub: &Hub, result: payload::JobResult) -> Result<RawJson, RawJson> {
        let completed_at = result.completed_at.unwrap_or_else(|| hub.now());
        let too_big = |message: &str| {
            let failure = Failure::new(ErrorCode::INTERNAL_ERROR, message);
            Terminal::failed(failure)
                .payload(completed_at)
                .unwrap_or(RawJson::EMPTY_OBJECT)
        };
        let limit = hub.services.options.inline_result;
        if result.result_size.is_some_and(|size| size > limit as u64) {
            return Err(too_big(
                "the streamed result is too big for a session that did not negotiate `result_chunk`",
            ));
        }
        let (bytes, is_text) = match self.collect(hub, limit, result.result_id.as_ref()).await {
            Ok(collected) => collected,
            Err(error) => {
                tracing::error!(target: "towline::store", %error, job = %self.row.id, "a result cannot be put together");
                return Err(too_big("the streamed result could not be put together"));
            }
        };
        let text = if is_text {
            String::from_utf8(bytes)
        } else {
            Ok(STANDARD.encode(bytes))
        };
        let text = text.map_err(|_| too_big("the streamed result could not be put together"))?;
        let inline = payload::JobResult {
            result: RawJson::of(&text).ok(),
            result_encoding: (!is_text).then(|| "base64".to_owned()),
            result_id: None,
            result_size: None,
            ..result
        };
        RawJson::of(&inline).map_err(|_| too_big("the streamed result could not be put together"))
    }

    /// The pieces of one stream; an earlier run of the same job may have begun another.
    async fn collect(
        &self,
        hub: &Hub,
        limit: usize,
        stream: Option<&ResultId>,
    ) -> Result<(Vec<u8>, bool), StoreError> {
        let (mut bytes, mut is_text, mut next) = (Vec::new(), true, JobSeq::FIRST);
        let corrupt = |what: &str| StoreError::Corrupt(what.to_owned());
        loop {
            let blocks = hub
                .services
                .store
                .read_job(&self.row.id, next, limit)
                .await?;
            let Some(last) = blocks.last().map(|block| block.last()) else {
                return Ok((bytes, is_text));
            };
            let records = blocks.iter().flat_map(|block| {
                (block.first().value()..=block.last().value())
                    .map(move |seq| block.payload(JobSeq::new(seq)))
            });
            for (kind, payload) in records.flatten() {
                if kind != RecordKind::ResultChunk {
                    continue;
                }
                let event: EventPayload = payload
                    .read()
                    .map_err(|_| corrupt("a chunk that is no event"))?;
                let chunk: ResultChunk = event
                    .body
                    .read()
                    .map_err(|_| corrupt("a chunk without its fields"))?;
                if Some(&chunk.result_id) != stream {
                    continue;
                }
                match chunk.encoding {
                    ChunkEncoding::Utf8 => bytes.extend_from_slice(chunk.data.as_bytes()),
                    ChunkEncoding::Base64 => {
                        is_text = false;
                        let decoded = STANDARD
                            .decode(&chunk.data)
                            .map_err(|_| corrupt("a chunk that is no base64"))?;
                        bytes.extend_from_slice(&decoded);
                    }
                }
            }
            next = last.next();
        }
    }
}
