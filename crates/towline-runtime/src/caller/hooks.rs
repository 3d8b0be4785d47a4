//! What is told of a job over HTTP, as its records become durable (16-6).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use towline_proto::{
    span::RecordKind,
    webhook::{HookEvent, wants},
};
use towline_store::{Block, DeliveryRow, JobState};
use towline_wire::{EventKind, JobSeq, JobStatus, RawJson, Timestamp};

use super::document::{self, End, JobDocument};
use crate::{command::questions_of, hub::Hub, job::JobEntry, webhook::Kept};

/// The body of a message.
#[derive(Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: JobDocument,
}

/// The messages about some of a job's records, for the commit that makes those durable. The same records make the same
/// messages, under the same names, however often a commit is tried.
pub(crate) fn messages(hub: &Hub, job: &JobEntry, blocks: &[Arc<Block>]) -> Vec<DeliveryRow> {
    let planned = job.row.planned.as_ref();
    let Some(notify) = planned.and_then(|planned| planned.notify.as_ref()) else {
        return Vec::new();
    };
    let mut messages = Vec::new();
    for block in blocks {
        let mut seq = block.first();
        for kind in block.kinds() {
            if let Some(event) = event_of(*kind, seq, block)
                && wants(notify, event)
            {
                messages.extend(message(hub, job, &notify.url, event, seq, block));
            }
            seq = seq.next();
        }
    }
    messages
}

/// What a record tells. The first one of a job that begins says that it runs.
fn event_of(kind: RecordKind, seq: JobSeq, block: &Block) -> Option<HookEvent> {
    #[derive(Deserialize)]
    struct Head {
        kind: EventKind,
    }
    match kind {
        RecordKind::Event if seq == JobSeq::FIRST => Some(HookEvent::Started),
        RecordKind::Input => {
            let (_, payload) = block.payload(seq)?;
            let head: Head = payload.read().ok()?;
            (head.kind == EventKind::INPUT_REQUEST).then_some(HookEvent::InputRequest)
        }
        RecordKind::Result | RecordKind::Error => Some(HookEvent::Ended),
        _ => None,
    }
}

fn message(
    hub: &Hub,
    job: &JobEntry,
    url: &str,
    event: HookEvent,
    seq: JobSeq,
    block: &Block,
) -> Option<DeliveryRow> {
    let now = hub.now();
    let state = job.state();
    let timestamp = match event {
        HookEvent::Started => state.started_at,
        HookEvent::InputRequest => None,
        HookEvent::Ended => state.finished_at,
    };
    let body = Body {
        kind: event.kind(),
        timestamp: timestamp.unwrap_or(now),
        data: as_told(job, event, seq, block, state)?,
    };
    let id = job.id().as_str();
    let planned = job.row.planned.as_ref();
    let by_agent = planned.is_some_and(|planned| planned.notified_by_agent);
    let kept = Kept::new(url, event, seq, now).by_agent(by_agent);
    Some(DeliveryRow {
        id: format!("msg_{}_{seq}", id.strip_prefix("job_").unwrap_or(id)),
        job: job.id().clone(),
        principal: job.row.principal.clone(),
        created_at: now,
        pending: true,
        data: kept.data(),
        body: RawJson::of(&body).ok()?,
    })
}

/// The job as it was when that happened, whatever has become of it in memory since.
fn as_told(
    job: &JobEntry,
    event: HookEvent,
    seq: JobSeq,
    block: &Block,
    state: JobState,
) -> Option<JobDocument> {
    let mut summary = job.row.summary();
    let end = match event {
        HookEvent::Started | HookEvent::InputRequest => {
            summary.state = JobState {
                status: JobStatus::Running,
                finished_at: None,
                last_seq: seq,
                ..state
            };
            None
        }
        HookEvent::Ended => {
            summary.state = JobState {
                last_seq: seq,
                ..state
            };
            let (kind, payload) = block.payload(seq)?;
            match kind {
                RecordKind::Result => payload.read().ok().map(End::Result),
                _ => payload.read().ok().map(End::Error),
            }
        }
    };
    let questions = match event {
        HookEvent::InputRequest => questions_of(job).into_iter(),
        HookEvent::Started | HookEvent::Ended => Vec::new().into_iter(),
    };
    Some(JobDocument {
        input: Some(job.row.input.clone()).filter(|input| !input.is_null()),
        questions: questions.map(|question| question.request).collect(),
        ..document::document(&summary, end)
    })
}
