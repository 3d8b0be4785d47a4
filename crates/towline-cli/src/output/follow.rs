//! A job from its acceptance to its end, in the form that was asked for.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::{Map, Value, json};
use towline::{
    ErrorCode, Event, EventKind, JobId, JobStatus, Timestamp,
    wire::{EventPayload, EventSeq, JobSeq, RawJson, event, payload::Accepted, value_of},
};

use super::{
    human::Human,
    terminal::{DIM, GREEN, RED, RESET, clean},
};
use crate::{
    args::OutputFormat,
    exit, facts,
    failure::{Failure, Outcome},
};

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) job: JobId,
    pub(crate) status: JobStatus,
    pub(crate) result: Option<ResultText>,
    pub(crate) summary: Option<String>,
    pub(crate) error: Option<EndingError>,
    pub(crate) completed_at: Option<Timestamp>,
}

/// Why a job ended otherwise than with success.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct EndingError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    pub(crate) retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<RawJson>,
}

/// What a job gave.
#[derive(Debug, Clone)]
pub(crate) enum ResultText {
    /// A JSON value.
    Inline(RawJson),
    /// What it streamed.
    Streamed(Vec<u8>),
}

impl ResultText {
    /// The bytes a file gets: a streamed result as it is, a text without its quotes, anything else as a line of JSON.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Streamed(bytes) => bytes,
            Self::Inline(raw) => raw
                .read::<String>()
                .unwrap_or_else(|_| format!("{}\n", raw.as_str()))
                .into_bytes(),
        }
    }

    /// The bytes standard output gets: the same, and a text ends its line, so that a prompt stands on its own.
    pub(crate) fn into_output(self) -> Vec<u8> {
        let inline = matches!(self, Self::Inline(_));
        let mut bytes = self.into_bytes();
        if inline && !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        bytes
    }

    /// As a JSON value, and how it stands for bytes when it is not text.
    fn into_json(self) -> (Value, Option<&'static str>) {
        match self {
            Self::Inline(raw) => (raw.to_value(), None),
            Self::Streamed(bytes) => match String::from_utf8(bytes) {
                Ok(text) => (Value::String(text), None),
                Err(error) => (
                    Value::String(BASE64_STANDARD.encode(error.into_bytes())),
                    Some("base64"),
                ),
            },
        }
    }
}

/// Tells what a job does while it does it. Call `accepted`, then `event` for each, then `ended`.
pub(crate) struct Follower {
    shape: Shape,
    accepted: Map<String, Value>,
    /// Whether pieces of the result have gone to standard output already.
    streamed: bool,
    withheld: bool,
    /// Whether a terminal gets the result as it is.
    raw: bool,
}

enum Shape {
    Human(Human),
    Quiet,
    Json,
    Ndjson,
}

impl Follower {
    /// Quiet matters to people only; programs that ask for events get them.
    pub(crate) fn new(format: OutputFormat, quiet: bool, raw: bool) -> Self {
        let shape = match format {
            OutputFormat::Human if quiet => Shape::Quiet,
            OutputFormat::Human => Shape::Human(Human::new()),
            OutputFormat::Json => Shape::Json,
            OutputFormat::Ndjson => Shape::Ndjson,
        };
        Self {
            shape,
            accepted: Map::new(),
            streamed: false,
            withheld: false,
            raw,
        }
    }

    /// Whether a person reads what is told.
    pub(crate) fn is_for_people(&self) -> bool {
        matches!(self.shape, Shape::Human(_) | Shape::Quiet)
    }

    /// Whether what children do is told as well.
    pub(crate) fn shows_children(&self) -> bool {
        matches!(self.shape, Shape::Human(_) | Shape::Ndjson)
    }

    /// Says something beside the job to a person who looks.
    pub(crate) fn note(&self, text: &str) {
        match &self.shape {
            Shape::Human(human) => human.print(&format!("{DIM}{:>8}{RESET}  {text}", "note")),
            Shape::Quiet | Shape::Json | Shape::Ndjson => super::note(text),
        }
    }

    /// A child ended. Its result is its parent's business, so only programs that read every line get it.
    pub(crate) fn child_ended(&mut self, ending: Ending) -> Outcome<()> {
        match &mut self.shape {
            Shape::Human(human) => {
                human.end(&ending.job);
                human.print(&format!(
                    "{DIM}{:>8}{RESET}  {} {}",
                    "end",
                    clean(ending.status),
                    clean(&ending.job)
                ));
                Ok(())
            }
            Shape::Ndjson => end_line(ending),
            Shape::Quiet | Shape::Json => Ok(()),
        }
    }

    /// The job was accepted.
    pub(crate) fn accepted(&mut self, job: &JobId, accepted: &Accepted) -> Outcome<()> {
        if self.accepted.is_empty() {
            self.accepted = accepted_fields(job, accepted);
        }
        match &mut self.shape {
            Shape::Human(human) => human.begin(job, &accepted.agent),
            Shape::Ndjson => {
                let mut fields = accepted_fields(job, accepted);
                fields.shift_insert(0, "type".to_owned(), json!("job.accepted"));
                super::json(&fields)?;
            }
            Shape::Quiet | Shape::Json => {}
        }
        Ok(())
    }

    /// The job said something.
    pub(crate) fn event(
        &mut self,
        job: &JobId,
        seqs: (Option<EventSeq>, Option<JobSeq>),
        payload: &EventPayload,
    ) -> Outcome<()> {
        match &mut self.shape {
            Shape::Human(_) | Shape::Quiet if payload.kind == EventKind::RESULT_CHUNK => {
                self.chunk(payload)
            }
            Shape::Human(human) => {
                human.event(job, payload);
                Ok(())
            }
            Shape::Ndjson => super::json(&EventLine {
                r#type: "job.event",
                job_id: job,
                event_seq: seqs.0,
                job_seq: seqs.1,
                kind: &payload.kind,
                ts: payload.ts,
                body: &payload.body,
            }),
            Shape::Quiet | Shape::Json => Ok(()),
        }
    }

    /// A piece of the result goes out as it comes; pieces that are not text are kept from a terminal.
    fn chunk(&mut self, payload: &EventPayload) -> Outcome<()> {
        let Ok(Event::ResultChunk(chunk)) = payload.event() else {
            return Ok(());
        };
        let binary = chunk.encoding == event::ChunkEncoding::Base64;
        if binary && super::stdout_is_terminal() {
            self.withheld = true;
            return Ok(());
        }
        let bytes = if binary {
            BASE64_STANDARD.decode(&chunk.data).map_err(|error| {
                Failure::connection(format!("a piece of the result is not base64: {error}"))
            })?
        } else {
            chunk.data.into_bytes()
        };
        self.streamed = true;
        self.to_stdout(&bytes)
    }

    fn to_stdout(&self, bytes: &[u8]) -> Outcome<()> {
        match &self.shape {
            Shape::Human(human) => human.suspend(|| super::result(bytes, self.raw)),
            _ => super::result(bytes, self.raw),
        }
    }

    /// The job ended. Returns the program's exit status.
    pub(crate) fn ended(&mut self, ending: Ending) -> Outcome {
        let status = if ending.status == JobStatus::Success {
            exit::SUCCESS
        } else {
            exit::JOB_FAILED
        };
        match &mut self.shape {
            Shape::Json => {
                let mut document = std::mem::take(&mut self.accepted);
                ending_fields(&mut document, ending);
                super::json(&document)?;
            }
            Shape::Ndjson => end_line(ending)?,
            Shape::Human(_) | Shape::Quiet => self.ended_for_people(ending)?,
        }
        Ok(status)
    }

    /// Nobody runs the job any more, and what there is of it was told. The failure says so to a person.
    pub(crate) fn interrupted(&mut self, job: &JobId, status: &JobStatus) -> Outcome {
        let mut document = match &mut self.shape {
            Shape::Json => std::mem::take(&mut self.accepted),
            Shape::Ndjson => Map::from_iter([("type".to_owned(), json!("job.interrupted"))]),
            Shape::Human(human) => {
                human.end(job);
                return Err(facts::interrupted(job, status));
            }
            Shape::Quiet => return Err(facts::interrupted(job, status)),
        };
        document.insert("job_id".to_owned(), json!(job.as_str()));
        document.insert("status".to_owned(), json!(status.as_str()));
        document.insert("interrupted".to_owned(), json!(true));
        super::json(&document)?;
        Err(facts::interrupted(job, status).told())
    }

    fn ended_for_people(&mut self, ending: Ending) -> Outcome<()> {
        if let Shape::Human(human) = &mut self.shape {
            human.end(&ending.job);
            let style = if ending.error.is_some() { RED } else { GREEN };
            let summary = clean(ending.summary.unwrap_or_default());
            let mut said = vec![clean(ending.status), human.spent(), summary];
            said.retain(|part| !part.is_empty());
            human.print(&format!("{style}{:>8}{RESET}  {}", "end", said.join(" ")));
            if self.withheld {
                let help = format!(
                    "the result is not text: towline result {} -o FILE",
                    clean(&ending.job)
                );
                human.print(&format!("{DIM}{:>8}{RESET}  {help}", "hint"));
            }
        }
        if let Some(error) = ending.error {
            super::note(&format!(
                "{RED}error:{RESET} {}: {}",
                clean(&error.code),
                clean(&error.message)
            ));
        }
        match ending.result {
            Some(result) if !self.streamed && !self.withheld => {
                self.to_stdout(&result.into_output())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Serialize)]
struct EventLine<'a> {
    r#type: &'static str,
    job_id: &'a JobId,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_seq: Option<EventSeq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_seq: Option<JobSeq>,
    kind: &'a EventKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<Timestamp>,
    body: &'a RawJson,
}

/// The payload's fields without credentials, which are nobody's business in a pipe, and without the request's name.
fn accepted_fields(job: &JobId, accepted: &Accepted) -> Map<String, Value> {
    let public = Accepted {
        credentials: None,
        request_id: None,
        job_id: Some(job.clone()),
        ..accepted.clone()
    };
    match value_of(&public) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn end_line(ending: Ending) -> Outcome<()> {
    super::json(&end_of(ending))
}

/// The line that says how a job ended.
pub(crate) fn end_of(ending: Ending) -> Map<String, Value> {
    let mut document = Map::new();
    let kind = if ending.error.is_some() {
        "job.error"
    } else {
        "job.result"
    };
    document.insert("type".to_owned(), json!(kind));
    ending_fields(&mut document, ending);
    document
}

fn ending_fields(document: &mut Map<String, Value>, ending: Ending) {
    document.insert("job_id".to_owned(), json!(ending.job.as_str()));
    document.insert("status".to_owned(), json!(ending.status.as_str()));
    if let Some(result) = ending.result {
        let (value, encoding) = result.into_json();
        document.insert("result".to_owned(), value);
        encoding.map(|encoding| document.insert("result_encoding".to_owned(), json!(encoding)));
    }
    ending
        .summary
        .map(|summary| document.insert("summary".to_owned(), json!(summary)));
    if let Some(error) = ending.error {
        document.insert("error".to_owned(), value_of(&error));
    }
    ending
        .completed_at
        .map(|at| document.insert("completed_at".to_owned(), json!(at.to_string())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_reach_pipes_as_they_are() {
        let inline =
            |text: &str| ResultText::Inline(RawJson::parse(text.to_owned()).unwrap()).into_bytes();
        assert_eq!(inline("{\"a\":1.50}"), b"{\"a\":1.50}\n");
        assert_eq!(inline("\"two\\nlines\\n\""), b"two\nlines\n");
        assert_eq!(ResultText::Streamed(b"raw".to_vec()).into_bytes(), b"raw");
    }

    #[test]
    fn bytes_that_are_no_text_become_base64() {
        let (value, encoding) = ResultText::Streamed(vec![0xff, 0xfe]).into_json();
        assert_eq!((value, encoding), (json!("//4="), Some("base64")));
        let (value, encoding) = ResultText::Streamed(b"text".to_vec()).into_json();
        assert_eq!((value, encoding), (json!("text"), None));
    }
}
