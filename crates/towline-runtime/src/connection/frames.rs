//! From records to envelopes.

use std::sync::Arc;

use towline_proto::{
    assembly::{AssemblyError, Inlined},
    job::{Failure, Terminal},
    span::{RecordKind, SpanView},
};
use towline_store::{Block, JobRow, StoreError};
use towline_wire::{
    Envelope, ErrorCode, EventFrame, EventHeader, EventKind, EventPayload, EventSeq, JobId, JobSeq,
    MessageId, MessageType, RawJson, payload,
};

use crate::{
    command::{accepted, answers},
    credentials::Ledger,
    hub::Hub,
    session::SessionEntry,
};

/// What the envelopes of one job's records share, for one session.
pub(super) struct JobFrames {
    row: JobRow,
    own: bool,
    /// Whether the session may answer the job's questions [ARCP 15-5].
    answers: bool,
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
            answers: answers(hub, session, &row),
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
    pub(super) fn accepted(&self, hub: &Hub, session: &SessionEntry) -> Envelope {
        let credentials = Ledger::shown(hub, &self.row, session, self.own);
        accepted(&self.row, self.row.request_id.clone(), credentials)
    }

    /// Whether the envelope of such a record holds more than the record.
    pub(super) fn needs_more(&self, kind: RecordKind, view: SpanView) -> bool {
        kind == RecordKind::Result && view.assembled
            || kind == RecordKind::Rotation && self.own
            || kind == RecordKind::Input && !self.answers
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
            | RecordKind::Rotation
            | RecordKind::Input => MessageType::JOB_EVENT,
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
        if kind == RecordKind::Input {
            return self.plain(kind, without_form(payload));
        }
        let Ok(result) = payload.read::<payload::JobResult>() else {
            return self.plain(kind, payload);
        };
        let completed_at = result.completed_at;
        match self.assemble(hub, result).await {
            Ok(None) => self.plain(kind, payload),
            Ok(Some(inline)) => self.plain(RecordKind::Result, inline),
            Err(error) => {
                tracing::warn!(target: "towline::session", %error, job = %self.row.id, "a streamed result cannot be sent whole");
                let failure = Failure::new(ErrorCode::INTERNAL_ERROR, error.told());
                let terminal = Terminal::failed(failure);
                let error = terminal.payload(completed_at.unwrap_or_else(|| hub.now()));
                self.plain(RecordKind::Error, error.unwrap_or(RawJson::EMPTY_OBJECT))
            }
        }
    }

    /// A streamed result as an inline one, for a session without `result_chunk` [ARCP 6.2-4]; `None` for one that is
    /// inline already.
    async fn assemble(
        &self,
        hub: &Hub,
        result: payload::JobResult,
    ) -> Result<Option<RawJson>, NotWhole> {
        let limit = hub.services.options.inline_result;
        let Some(mut inlined) = Inlined::begin(&result, limit as u64)? else {
            return Ok(None);
        };
        let mut next = JobSeq::FIRST;
        loop {
            let blocks = hub
                .services
                .store
                .read_job(&self.row.id, next, limit)
                .await?;
            let Some(last) = blocks.last().map(|block| block.last()) else {
                break;
            };
            for payload in blocks.iter().flat_map(|block| chunks(block)) {
                let event: EventPayload = payload.read().map_err(NotWhole::unreadable)?;
                inlined.push(event.body.read().map_err(NotWhole::unreadable)?)?;
            }
            next = last.next();
        }
        let inline = inlined.finish(result)?;
        Ok(Some(RawJson::of(&inline).map_err(NotWhole::unreadable)?))
    }
}

/// A question as those see it who may not answer.
pub(crate) fn without_form(payload: RawJson) -> RawJson {
    match payload.read::<EventPayload>() {
        Ok(event) if event.kind == EventKind::INPUT_REQUEST => EventPayload {
            body: event.body.with_member("may_answer", &false),
            ..event
        }
        .to_json(),
        _ => payload,
    }
}

/// The pieces of results in a block.
fn chunks(block: &Block) -> impl Iterator<Item = RawJson> {
    (block.first().value()..=block.last().value())
        .filter_map(|seq| block.payload(JobSeq::new(seq)))
        .filter(|(kind, _)| *kind == RecordKind::ResultChunk)
        .map(|(_, payload)| payload)
}

/// Why a streamed result cannot be sent whole.
#[derive(Debug, thiserror::Error)]
enum NotWhole {
    #[error(transparent)]
    Chunks(#[from] AssemblyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a chunk in the log cannot be read: {0}")]
    Unreadable(String),
}

impl NotWhole {
    fn unreadable(cause: impl ToString) -> Self {
        Self::Unreadable(cause.to_string())
    }

    /// What the peer is told.
    const fn told(&self) -> &'static str {
        match self {
            Self::Chunks(AssemblyError::TooBig { .. }) => {
                "the streamed result is too big for a session that did not negotiate `result_chunk`"
            }
            Self::Chunks(_) | Self::Store(_) | Self::Unreadable(_) => {
                "the streamed result could not be put together"
            }
        }
    }
}
