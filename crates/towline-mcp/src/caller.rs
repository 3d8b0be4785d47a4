//! A runtime in this process.

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};
use towline_runtime::{
    CallTrace, Caller, EventReader, JobDocument, JobOutput, LogRecord, RecordKind, policy::Refusal,
};
use towline_wire::{
    JobId, JobSeq, RawJson,
    event::ChunkEncoding,
    payload::{AgentListing, Answer, OpenQuestion},
    value_of,
};

use crate::desk::{Asked, Desk, Entry, JobLog, JobView, Output};

impl Desk for Caller {
    fn agents(&self) -> Asked<'_, Vec<AgentListing>> {
        Box::pin(async { Ok(Self::agents(self)) })
    }

    fn submit(&self, submit: RawJson, trace: CallTrace) -> Asked<'_, JobId> {
        // The keys that were issued for the job are its own, and no model's to see.
        Box::pin(async move { Ok(Self::submit(self, submit, trace).await?.job_id) })
    }

    fn job<'a>(&'a self, job: &'a JobId) -> Asked<'a, JobView> {
        Box::pin(async move { view(Self::job(self, job).await?) })
    }

    fn jobs(&self, list: RawJson) -> Asked<'_, Map<String, Value>> {
        Box::pin(async move { object(&Self::jobs(self, list).await?) })
    }

    fn log<'a>(&'a self, job: &'a JobId, after: JobSeq) -> Asked<'a, Box<dyn JobLog>> {
        Box::pin(async move {
            let reader = self.events(job, after).await?;
            Ok(Box::new(Reading(reader)) as Box<dyn JobLog>)
        })
    }

    fn output<'a>(&'a self, job: &'a JobId, most: usize) -> Asked<'a, Output> {
        Box::pin(async move {
            let JobOutput::Streamed(streamed) = self.result(job).await? else {
                let text = String::new();
                return Ok(Output::Text { text, size: 0 });
            };
            let size = streamed.size();
            if streamed.encoding() != ChunkEncoding::Utf8 {
                return Ok(Output::Bytes { size });
            }
            let mut streamed = streamed.range(0, most as u64);
            let mut bytes = Vec::new();
            while let Some(piece) = streamed.next().await? {
                bytes.extend_from_slice(&piece);
            }
            // The end may be in the middle of a character.
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches('\u{fffd}').to_owned();
            Ok(Output::Text { text, size })
        })
    }

    fn cancel<'a>(&'a self, job: &'a JobId, reason: Option<String>) -> Asked<'a, ()> {
        Box::pin(Self::cancel(self, job, reason))
    }

    fn inbox(&self) -> Asked<'_, Vec<OpenQuestion>> {
        Box::pin(async { Ok(Self::inbox(self)) })
    }

    fn answer<'a>(&'a self, job: &'a JobId, answer: Answer) -> Asked<'a, ()> {
        Box::pin(async move {
            let answer = RawJson::of(&answer).map_err(|_| no_json())?;
            Self::answer(self, job, answer).await
        })
    }
}

/// The log of a job; `None` when nothing follows.
struct Reading(Option<EventReader>);

impl JobLog for Reading {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Entry>, Refusal>> {
        Box::pin(async {
            match &mut self.0 {
                None => Ok(Vec::new()),
                Some(reader) => Ok(reader.next().await?.into_iter().map(entry).collect()),
            }
        })
    }
}

fn entry(record: LogRecord) -> Entry {
    Entry {
        seq: record.seq,
        message: match record.kind {
            RecordKind::Result => "job.result",
            RecordKind::Error => "job.error",
            _ => "job.event",
        },
        payload: record.payload,
    }
}

fn view(document: JobDocument) -> Result<JobView, Refusal> {
    Ok(JobView {
        document: object(&document)?,
        id: document.job_id,
        agent: document.agent,
        status: document.status,
        last_seq: document.last_event_seq,
        created_at: Some(document.created_at),
        completed_at: document.completed_at,
        questions: document.questions,
    })
}

fn object(document: &impl Serialize) -> Result<Map<String, Value>, Refusal> {
    match value_of(document) {
        Value::Object(object) => Ok(object),
        _ => Err(no_json()),
    }
}

fn no_json() -> Refusal {
    Refusal::internal("the answer has no JSON form")
}
