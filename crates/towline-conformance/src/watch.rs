//! Rules that hold for every frame, whatever a case is about.

use std::collections::{BTreeMap, HashMap};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

mod shape;

use shape::{end_fault, error_fault, event_fault, null_in};

use crate::report::{Origin, Recorded};

/// A rule that is watched.
#[derive(Debug)]
pub struct Rule {
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [&'static str],
    pub(crate) origin: Origin,
    pub(crate) title: &'static str,
}

macro_rules! rules {
    ($($name:literal [$($rule:literal),+] $origin:ident $title:literal;)+) => {
        /// The rules that are watched.
        pub const RULES: &[Rule] = &[$(Rule {
            name: $name,
            rules: &[$($rule),+],
            origin: Origin::$origin,
            title: $title,
        }),+];
    };
}

rules! {
    "watch-envelope" ["5-1"] Draft "every frame has an id, a type and a payload";
    "watch-nulls" ["5-1"] Draft "absent optionals are left out, not null";
    "watch-session" ["5-5"] Draft "frames after the welcome are of the session";
    "watch-sequence" ["8-3"] Draft "event_seq is +1 from 1 in each session, across connections";
    "watch-acceptance" ["7.1-2"] Draft "nothing comes of a job before its job.accepted or job.subscribed";
    "watch-terminal" ["7.3-2"] Draft "a job ends with one terminal message, and nothing of it follows";
    "watch-end-shape" ["7.3-2"] Draft "terminals have the status and the members of their type";
    "watch-error" ["12-1"] Draft "errors have a message, and the code of the table with its retryable";
    "watch-event" ["8-1"] Draft "events have the members of their kind";
    "watch-chunks" ["8.4-1", "8.4-2"] Draft "chunks of a result are numbered from 0 and end once, the size is that of the bytes";
    "watch-heartbeats" ["6.4-4"] Draft "replies and heartbeats take no event_seq";
    "watch-request-id" ["5-11"] Ours "every reply names its request";
}

/// What a rule has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Frames it was about.
    pub(crate) looked: u64,
    /// The first that broke it.
    pub(crate) violation: Option<Violation>,
}

/// How a rule was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) check: &'static str,
    pub(crate) what: String,
    pub(crate) frames: Vec<Recorded>,
}

/// Watches the frames of a run.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    check: &'static str,
    seen: BTreeMap<&'static str, Seen>,
    nothing: Seen,
    /// The session of each connection of the case.
    conns: HashMap<u32, String>,
    sessions: HashMap<String, Stream>,
    /// From where the next welcome of a connection goes on.
    resumes: HashMap<u32, u64>,
}

/// What is known of a session's stream.
#[derive(Debug, Default)]
struct Stream {
    last: u64,
    jobs: HashMap<String, Job>,
}

#[derive(Debug, Default)]
struct Job {
    ended_at: Option<u64>,
    ended: bool,
    chunks: Option<Chunks>,
}

#[derive(Debug, Default)]
struct Chunks {
    result_id: String,
    next: u64,
    bytes: u64,
    finished: bool,
}

impl Watch {
    pub(crate) fn begin(&mut self, check: &'static str) {
        self.check = check;
        self.conns.clear();
        self.resumes.clear();
        self.sessions.clear();
    }

    pub(crate) fn connected(&mut self, conn: u32) {
        self.conns.remove(&conn);
    }

    pub(crate) fn of(&self, rule: &str) -> &Seen {
        self.seen.get(rule).unwrap_or(&self.nothing)
    }

    /// Gives the frames of the case to what was found broken in it.
    pub(crate) fn keep(&mut self, frames: &[Recorded]) {
        let check = self.check;
        let broken = self
            .seen
            .values_mut()
            .filter_map(|seen| seen.violation.as_mut());
        for violation in broken.filter(|violation| violation.check == check) {
            if violation.frames.is_empty() {
                violation.frames = frames.to_vec();
            }
        }
    }

    fn look(&mut self, rule: &'static str, fault: Option<String>) {
        let check = self.check;
        let seen = self.seen.entry(rule).or_default();
        seen.looked += 1;
        if let Some(what) = fault
            && seen.violation.is_none()
        {
            seen.violation = Some(Violation {
                check,
                what,
                frames: Vec::new(),
            });
        }
    }

    pub(crate) fn sent(&mut self, conn: u32, frame: &Value) {
        let payload = &frame["payload"];
        let asked = [
            &payload["resume"]["last_event_seq"],
            &payload["last_event_seq"],
        ];
        let opening = frame["type"] == "session.hello" || frame["type"] == "session.resume";
        if let Some(last) = asked
            .into_iter()
            .find_map(Value::as_u64)
            .filter(|_| opening)
        {
            self.resumes.insert(conn, last);
        }
    }

    /// A reply was taken for the answer to a request.
    pub(crate) fn answered(&mut self, request: &str, frame: &Value) {
        let named = frame["payload"]["request_id"] == request;
        let fault =
            (!named).then(|| format!("`{}` does not name the request `{request}`", frame["type"]));
        self.look("watch-request-id", fault);
    }

    pub(crate) fn received(&mut self, conn: u32, frame: &Value) {
        let kind = frame["type"].as_str().unwrap_or_default().to_owned();
        let whole = frame["id"].is_string() && frame["payload"].is_object();
        self.look(
            "watch-envelope",
            (!whole).then(|| format!("`{kind}` lacks its id or its payload")),
        );
        self.look("watch-nulls", null_in(&kind, &frame["payload"]));
        if kind == "session.welcome" {
            return self.welcomed(conn, frame);
        }
        if kind == "session.error" || kind == "job.error" {
            self.look("watch-error", error_fault(&frame["payload"]));
        }
        let Some(session) = self.conns.get(&conn).cloned() else {
            return;
        };
        let named = frame["session_id"].as_str();
        let foreign = named.filter(|named| *named != session);
        self.look(
            "watch-session",
            foreign.map(|named| format!("`{kind}` is of session `{named}`")),
        );
        let numbered = ["job.event", "job.result", "job.error"].contains(&kind.as_str());
        if !numbered {
            let fault = frame["event_seq"]
                .is_u64()
                .then(|| format!("`{kind}` has an event_seq"));
            self.look("watch-heartbeats", fault);
        }
        if kind == "job.accepted" || kind == "job.subscribed" {
            self.announced(&session, frame);
        } else if numbered {
            self.of_job(&session, &kind, frame);
        }
    }

    fn welcomed(&mut self, conn: u32, frame: &Value) {
        let session = frame["session_id"].as_str().unwrap_or_default().to_owned();
        let stream = self.sessions.entry(session.clone()).or_default();
        if let Some(last) = self.resumes.remove(&conn) {
            stream.last = last;
            for job in stream.jobs.values_mut() {
                // What follows may be told once more.
                job.ended &= job.ended_at.is_some_and(|at| at <= last);
                job.chunks = None;
            }
        }
        self.conns.insert(conn, session);
    }

    /// From here on the job's events may come, also once more.
    fn announced(&mut self, session: &str, frame: &Value) {
        let id = frame["payload"]["job_id"]
            .as_str()
            .or(frame["job_id"].as_str());
        let Some((id, stream)) = id.zip(self.sessions.get_mut(session)) else {
            return;
        };
        let job = stream.jobs.entry(id.to_owned()).or_default();
        job.ended = false;
        job.chunks = None;
    }

    fn of_job(&mut self, session: &str, kind: &str, frame: &Value) {
        let id = frame["job_id"].as_str().unwrap_or_default().to_owned();
        let mut stream = self.sessions.remove(session).unwrap_or_default();
        let seq = frame["event_seq"].as_u64();
        let terminal = kind != "job.event";
        let known = stream.jobs.contains_key(&id);
        self.look(
            "watch-acceptance",
            (!known).then(|| format!("`{kind}` of `{id}` came first")),
        );
        let job = stream.jobs.entry(id.clone()).or_default();
        // The end of a job that is asked for again is told once more, under its old number [ARCP 7.2-1].
        let repeated = terminal && seq.is_some() && seq == job.ended_at;
        if !repeated {
            let expected = stream.last + 1;
            let fault = match seq {
                Some(seq) if seq == expected => None,
                Some(seq) => Some(format!("event_seq {seq} came where {expected} was due")),
                None => Some(format!("`{kind}` has no event_seq")),
            };
            stream.last = seq.unwrap_or(expected);
            self.look("watch-sequence", fault);
        }
        let after = job
            .ended
            .then(|| format!("`{kind}` of `{id}` came after its end"));
        self.look("watch-terminal", after);
        if terminal {
            job.ended = true;
            job.ended_at = seq;
            self.look("watch-end-shape", end_fault(kind, &frame["payload"]));
            if let Some(fault) = size_fault(job.chunks.as_ref(), &frame["payload"]) {
                self.look("watch-chunks", fault);
            }
        } else {
            self.look("watch-event", event_fault(&frame["payload"]));
            if frame["payload"]["kind"] == "result_chunk" {
                let fault = chunk_fault(&mut job.chunks, &frame["payload"]["body"]);
                self.look("watch-chunks", fault);
            }
        }
        self.sessions.insert(session.to_owned(), stream);
    }
}

fn chunk_fault(chunks: &mut Option<Chunks>, body: &Value) -> Option<String> {
    let chunks = chunks.get_or_insert_default();
    let (id, seq) = (body["result_id"].as_str()?, body["chunk_seq"].as_u64());
    let data = body["data"].as_str()?;
    let bytes = match body["encoding"].as_str() {
        Some("base64") => STANDARD.decode(data).map(|bytes| bytes.len()).ok(),
        _ => Some(data.len()),
    };
    let other_id = !chunks.result_id.is_empty() && chunks.result_id != id;
    let fault = if chunks.finished {
        Some("a chunk came after the last one".to_owned())
    } else if other_id {
        Some(format!(
            "a chunk of `{id}` came within `{}`",
            chunks.result_id
        ))
    } else if seq != Some(chunks.next) {
        Some(format!(
            "chunk_seq {} came where {} was due",
            body["chunk_seq"], chunks.next
        ))
    } else if bytes.is_none() {
        Some("a chunk is no base64".to_owned())
    } else {
        None
    };
    id.clone_into(&mut chunks.result_id);
    chunks.next = seq.unwrap_or(chunks.next) + 1;
    chunks.bytes += bytes.unwrap_or(0) as u64;
    chunks.finished |= body["more"] == false;
    fault
}

/// What a terminal says of the chunks before it; `None` where there were none.
fn size_fault(chunks: Option<&Chunks>, end: &Value) -> Option<Option<String>> {
    let chunks = chunks?;
    if end["final_status"] != "success" {
        return None;
    }
    let size = end["result_size"].as_u64();
    Some(if !chunks.finished {
        Some("the job ended without the last chunk".to_owned())
    } else if end["result_id"].as_str() != Some(&chunks.result_id) {
        Some(format!("job.result names `{}`", end["result_id"]))
    } else if size.is_some_and(|size| size != chunks.bytes) {
        Some(format!(
            "result_size is {}, there were {} bytes",
            end["result_size"], chunks.bytes
        ))
    } else {
        None
    })
}
