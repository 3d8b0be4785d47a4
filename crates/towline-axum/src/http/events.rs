//! `/v1/jobs/{job}/events`: a job's log, as server-sent events or as lines, from any place of it on [ARCP 16-2].

use std::{borrow::Cow, io, time::Duration};

use axum::{
    Extension,
    extract::Request,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::time::timeout;
use towline_runtime::{Caller, EventReader, LogRecord, RecordKind};
use towline_wire::{JobId, JobSeq};

use super::{
    accept,
    face::{job_of, long_body, takes_long},
    problem::{Problem, ProblemDocument},
    query,
    segment::Segment,
};
use crate::refusal::shown;

/// Reads a job's log, and goes on as it grows.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/events", operation_id = "readEvents", tag = "jobs",
    params(
        ("job" = String, Path, description = "the job"),
        ("from" = Option<u64>, Query, description = "only what comes after this `job_seq`"),
        ("Last-Event-ID" = Option<u64>, Header, description = "the same, and it counts before `from`"),
    ),
    responses(
        (
            status = 200,
            description = "the log, up to the job's end: `application/x-ndjson` for those who ask for it, `text/event-stream` for all others",
            content((String = "text/event-stream"), (String = "application/x-ndjson")),
        ),
        (status = 204, description = "the job is over, and nothing of it comes after that"),
        (status = 400, description = "the position is no number", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "there is no such job, or none the caller may know of", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "the principal has as many requests that stay as it may", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "the beginning asked for is no longer kept", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn read(
    Extension(caller): Extension<Caller>,
    Segment(job): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let after = position(&parts.headers, &parts.uri)?;
    let Some(reader) = caller.events(&job_of(&job)?, after).await? else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let place = takes_long(&parts, &caller)?;
    let form = if accept::wants_lines(&parts.headers) {
        Form::Lines
    } else {
        Form::Events
    };
    let headers = [
        (header::CONTENT_TYPE, form.content_type()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache, no-store"),
    ];
    // A proxy that gathers what passes would keep it from whoever watches.
    let as_it_comes = [("x-accel-buffering", "no")];
    let body = long_body(stream::unfold(Some((reader, form)), next), place);
    Ok((headers, as_it_comes, body).into_response())
}

/// Where to go on from: `Last-Event-ID` before `?from=`, else from the beginning.
fn position(headers: &HeaderMap, uri: &Uri) -> Result<JobSeq, Problem> {
    let members = query::members(uri, &["from"])?;
    let from = query::single(&members, "from")?;
    let number = |name: &str, text: &str| {
        let number = text.parse().map(JobSeq::new);
        number.map_err(|_| {
            Problem::bad_request(format!(
                "{name} is {}, it has to be the number of an event",
                shown(text)
            ))
        })
    };
    let asked = from.map(|text| number("`from`", &text)).transpose()?;
    let last = headers.get("last-event-id");
    let last = last.map(|last| last.to_str().unwrap_or("?"));
    let last = last.map(|text| number("Last-Event-ID", text)).transpose()?;
    Ok(last.or(asked).unwrap_or(JobSeq::ZERO))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Events,
    Lines,
}

/// What comes next in the stream. The body asks for it when the socket has room, so a slow reader holds a position.
async fn next(
    reading: Option<(EventReader, Form)>,
) -> Option<(io::Result<Bytes>, Option<(EventReader, Form)>)> {
    let (mut reader, form) = reading?;
    loop {
        match timeout(AWAKE, reader.next()).await {
            Err(_) if form == Form::Events => {
                let awake = Bytes::from_static(b":\n\n");
                return Some((Ok(awake), Some((reader, form))));
            }
            Err(_) => {}
            Ok(Ok(records)) if records.is_empty() => return None,
            Ok(Ok(records)) => {
                let mut out = String::new();
                for record in &records {
                    form.write(&mut out, reader.job(), record);
                }
                return Some((Ok(out.into()), Some((reader, form))));
            }
            // Whoever reads sees the connection break, and may come back.
            Ok(Err(refusal)) => return Some((Err(io::Error::other(refusal)), None)),
        }
    }
}

impl Form {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }

    fn write(self, out: &mut String, job: &JobId, record: &LogRecord) {
        use std::fmt::Write as _;
        let seq = record.seq;
        let message = match record.kind {
            RecordKind::Result => "job.result",
            RecordKind::Error => "job.error",
            _ => "job.event",
        };
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Events => {
                let kind = kind(record).unwrap_or(Cow::Borrowed(message));
                write!(out, "id: {seq}\nevent: {kind}\ndata: {{")
            }
            Self::Lines => write!(out, "{{\"type\":\"{message}\","),
        };
        let job = serde_json::Value::from(job.as_str());
        let _ = write!(out, "\"job_id\":{job},\"job_seq\":{seq}");
        // The record is an object on one line, whose members follow ours.
        let members = record.payload.as_str().strip_prefix('{').unwrap_or("}");
        if members.trim_start() != "}" {
            out.push(',');
        }
        out.push_str(members);
        out.push_str(match self {
            Self::Events => "\n\n",
            Self::Lines => "\n",
        });
    }
}

/// The kind of an event, on one line; `None` for a terminal.
fn kind(record: &LogRecord) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Kind<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
    }
    if record.kind.is_terminal() {
        return None;
    }
    let Kind { kind } = serde_json::from_str(record.payload.as_str()).ok()?;
    if kind.contains(['\n', '\r', '\0']) {
        return Some(Cow::Owned(kind.replace(['\n', '\r', '\0'], " ")));
    }
    Some(kind)
}

/// Proxies cut what is silent for longer.
const AWAKE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tokio::time::Instant;
    use towline_runtime::{CallTrace, JobContext, Runtime, auth::Anonymous};
    use towline_wire::RawJson;

    use super::*;

    /// [ARCP 16-2] What is silent says so every 15 seconds, as a comment; lines have no comments, and wait.
    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_stays_awake() {
        let runtime = Runtime::builder()
            .authenticator(Anonymous::dangerously_allow_anonymous("anybody"))
            .agent("rest", |_: JobContext, _: Value| async move {
                tokio::time::sleep(Duration::from_secs(40)).await;
                Ok(())
            })
            .build()
            .await
            .unwrap();
        let proven = runtime.prove(None, None, None).await.unwrap();
        let caller = runtime.caller(proven, true);
        let submit = RawJson::parse(r#"{"agent":"rest"}"#).unwrap();
        let job = caller.submit(submit, CallTrace::default()).await.unwrap();
        for (form, comments) in [(Form::Events, 2), (Form::Lines, 0)] {
            let began = Instant::now();
            let reader = caller.events(&job.job_id, JobSeq::ZERO).await.unwrap();
            let mut reading = Some((reader.unwrap(), form));
            let mut out = String::new();
            while let Some((piece, rest)) = next(reading).await {
                out.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
                reading = rest;
            }
            assert_eq!(out.matches(":\n\n").count(), comments, "{out}");
            assert!(out.contains("job.result"), "{out}");
            // The second one reads what is there already.
            assert!(began.elapsed() <= Duration::from_secs(40));
        }
    }
}
