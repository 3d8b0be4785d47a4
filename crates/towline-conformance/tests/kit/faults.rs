//! Faults that are planted into a runtime's frames on their way to the kit.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use towline_transport::{
    FrameSink, FrameSource, Inbound, MemoryTransport, Transport, TransportInfo,
};
use towline_wire::Envelope;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Gap,
    Duplicate,
    NoRequestId,
    WrongCode,
    WrongRetryable,
    EmptyMessage,
    NullOptional,
    NullInListing,
    EventsFirst,
    TwoTerminals,
    EventAfterEnd,
    NoTerminalStatus,
    NumberedReply,
    OtherSession,
    NoAgents,
    NoVersions,
    AllFeatures,
    WrongPong,
    LostChunk,
    WrongSize,
    UnexpectedProgress,
    OtherTrace,
    SameToken,
    NoTimestamp,
    LostCursor,
    AnswersAck,
    ControlCharacters,
    SilentOnMalformed,
    SilentOnMalformedHello,
    NullIsWrong,
    ListsForeign,
    ShowsForeign,
    CancelsForeign,
    OneKeyForAll,
    GivesAway,
}

/// Each fault, and the check that has to find it.
pub(crate) const ALL: &[(Fault, &str)] = &[
    (Fault::Gap, "watch-sequence"),
    (Fault::Duplicate, "watch-sequence"),
    (Fault::NoRequestId, "watch-request-id"),
    (Fault::WrongCode, "submit-refused"),
    (Fault::WrongRetryable, "watch-error"),
    (Fault::EmptyMessage, "watch-error"),
    (Fault::NullOptional, "watch-nulls"),
    (Fault::NullInListing, "watch-nulls"),
    (Fault::EventsFirst, "watch-acceptance"),
    (Fault::TwoTerminals, "watch-terminal"),
    (Fault::EventAfterEnd, "watch-terminal"),
    (Fault::NoTerminalStatus, "watch-end-shape"),
    (Fault::NumberedReply, "watch-heartbeats"),
    (Fault::OtherSession, "watch-session"),
    (Fault::NoAgents, "hello-welcome"),
    (Fault::NoVersions, "hello-welcome"),
    (Fault::AllFeatures, "hello-intersection"),
    (Fault::WrongPong, "ping"),
    (Fault::LostChunk, "watch-chunks"),
    (Fault::WrongSize, "watch-chunks"),
    (Fault::UnexpectedProgress, "events-without-progress"),
    (Fault::OtherTrace, "trace"),
    (Fault::SameToken, "resume-rotates"),
    (Fault::NoTimestamp, "watch-event"),
    (Fault::LostCursor, "list-pages"),
    (Fault::AnswersAck, "ack"),
    (Fault::SilentOnMalformed, "envelope-malformed"),
    (Fault::SilentOnMalformedHello, "hello-malformed"),
    (Fault::NullIsWrong, "envelope-null"),
    (Fault::ListsForeign, "principals-list"),
    (Fault::ShowsForeign, "principals-watch"),
    (Fault::CancelsForeign, "principals-cancel"),
    (Fault::OneKeyForAll, "principals-key"),
    (Fault::GivesAway, "principals-resume"),
];

/// A transport whose frames from the runtime have a fault.
pub(crate) struct Faulty {
    inner: MemoryTransport,
    fault: Option<Fault>,
    first_job: FirstJob,
}

/// The job that any connection to a runtime was told of last, or with `OneKeyForAll` first for a key of two.
pub(crate) type FirstJob = Arc<Mutex<Option<Value>>>;

impl Faulty {
    pub(crate) fn new(inner: MemoryTransport, fault: Option<Fault>, first_job: FirstJob) -> Self {
        Self {
            inner,
            fault,
            first_job,
        }
    }
}

impl Transport for Faulty {
    fn info(&self) -> TransportInfo {
        self.inner.info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let (sink, source) = Box::new(self.inner).split();
        let source = Source {
            source,
            fault: self.fault,
            held: None,
            opened: false,
            first_job: self.first_job,
            out: VecDeque::new(),
        };
        (sink, Box::new(source))
    }
}

struct Source {
    source: Box<dyn FrameSource>,
    fault: Option<Fault>,
    /// A frame that is to come later.
    held: Option<Value>,
    opened: bool,
    first_job: FirstJob,
    out: VecDeque<Inbound>,
}

impl FrameSource for Source {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        loop {
            if let Some(inbound) = self.out.pop_front() {
                return Poll::Ready(Some(inbound));
            }
            let Some(inbound) = ready!(self.source.poll_receive(cx)) else {
                return Poll::Ready(None);
            };
            let Some((fault, envelope)) = self.fault.zip(envelope_of(&inbound)) else {
                return Poll::Ready(Some(inbound));
            };
            let frame: Value = serde_json::from_str(&envelope.encode()).unwrap();
            for frame in self.plant(fault, frame) {
                let envelope = Envelope::decode_text(frame.to_string()).unwrap();
                self.out.push_back(Inbound::Envelope(envelope));
            }
        }
    }
}

fn envelope_of(inbound: &Inbound) -> Option<&Envelope> {
    match inbound {
        Inbound::Envelope(envelope) => Some(envelope),
        _ => None,
    }
}

fn names_request(frame: &Value) -> bool {
    frame["payload"]["request_id"].is_string()
}

fn is_of_job(frame: &Value) -> bool {
    let code = &frame["payload"]["code"];
    code == "PERMISSION_DENIED" || code == "JOB_NOT_FOUND"
}

fn remove(frame: &mut Value, member: &str) {
    frame["payload"].as_object_mut().unwrap().remove(member);
}

impl Source {
    fn plant(&mut self, fault: Fault, mut frame: Value) -> Vec<Value> {
        let kind = frame["type"].as_str().unwrap().to_owned();
        self.opened |= kind == "session.welcome";
        let event = frame["payload"]["kind"].as_str().map(str::to_owned);
        let is_log = event.as_deref() == Some("log");
        let ends = kind == "job.result" || kind == "job.error";
        match (fault, kind.as_str()) {
            (Fault::Gap, "job.event") if is_log => return Vec::new(),
            (Fault::Duplicate, "job.event") if is_log => return vec![frame.clone(), frame],
            (Fault::NoRequestId, _) => {
                remove(&mut frame, "request_id");
                remove(&mut frame, "reply_to");
            }
            (Fault::WrongCode, "session.error") => {
                frame["payload"]["code"] = json!("PERMISSION_DENIED");
                frame["payload"]["retryable"] = json!(false);
            }
            (Fault::WrongRetryable, "session.error") => {
                let retryable = frame["payload"]["retryable"].as_bool().unwrap();
                frame["payload"]["retryable"] = json!(!retryable);
            }
            (Fault::EmptyMessage, "session.error") => frame["payload"]["message"] = json!(""),
            (Fault::NullOptional, "job.accepted") => frame["payload"]["budget"] = Value::Null,
            (Fault::NullInListing, "session.jobs") => {
                for job in frame["payload"]["jobs"].as_array_mut().unwrap() {
                    job["lease_constraints"] = Value::Null;
                }
            }
            (Fault::EventsFirst, "job.accepted") => {
                self.held = Some(frame);
                return Vec::new();
            }
            (Fault::EventsFirst, _) => {
                let late = self.held.take();
                return [frame].into_iter().chain(late).collect();
            }
            (Fault::TwoTerminals, "job.result") => {
                let mut second = frame.clone();
                second["event_seq"] = json!(frame["event_seq"].as_u64().unwrap() + 1);
                return vec![frame, second];
            }
            (Fault::EventAfterEnd, "job.result") => {
                let mut after = frame.clone();
                after["type"] = json!("job.event");
                after["event_seq"] = json!(frame["event_seq"].as_u64().unwrap() + 1);
                after["payload"] = json!({"kind": "log", "ts": "2026-01-01T00:00:00Z",
                    "body": {"level": "info", "message": "late"}});
                return vec![frame, after];
            }
            (Fault::NoTerminalStatus, _) if ends => {
                frame["payload"]["final_status"] = json!("done")
            }
            (Fault::NumberedReply, "session.jobs") => frame["event_seq"] = json!(1),
            (Fault::OtherSession, "job.event") => frame["session_id"] = json!("sess_other"),
            (Fault::NoAgents, "session.welcome") => {
                frame["payload"]["capabilities"]["agents"] = json!({});
            }
            (Fault::NoVersions, "session.welcome") => {
                let agents = &mut frame["payload"]["capabilities"]["agents"];
                for agent in agents.as_array_mut().into_iter().flatten() {
                    agent.as_object_mut().unwrap().remove("versions");
                }
            }
            (Fault::AllFeatures, "session.welcome") => {
                frame["payload"]["capabilities"]["features"] =
                    json!(["heartbeat", "ack", "list_jobs", "subscribe"]);
            }
            (Fault::WrongPong, "session.pong") => frame["payload"]["ping_nonce"] = json!("other"),
            (Fault::LostChunk, "job.event") if event.as_deref() == Some("result_chunk") => {
                let seq = frame["payload"]["body"]["chunk_seq"].as_u64().unwrap();
                if seq > 0 {
                    frame["payload"]["body"]["chunk_seq"] = json!(seq + 1);
                }
            }
            (Fault::WrongSize, "job.result") if frame["payload"]["result_id"].is_string() => {
                frame["payload"]["result_size"] = json!(1);
            }
            (Fault::UnexpectedProgress, "job.event") if is_log => {
                frame["payload"]["kind"] = json!("progress");
                frame["payload"]["body"] = json!({"current": 1});
            }
            (Fault::OtherTrace, "job.result") => {
                frame["trace_id"] = json!("00000000000000000000000000000001");
            }
            (Fault::SameToken, "session.welcome") => {
                frame["payload"]["resume_token"] = self.token(&frame);
            }
            (Fault::NoTimestamp, "job.event") => remove(&mut frame, "ts"),
            (Fault::LostCursor, "session.jobs") => frame["payload"]["next_cursor"] = Value::Null,
            (Fault::AnswersAck, "session.pong") => {
                let answer = json!({"arcp": "1.1", "id": "msg_a", "type": "session.ack",
                    "session_id": frame["session_id"], "payload": {}});
                return vec![answer, frame];
            }
            // What answers no request answers what was none.
            (Fault::SilentOnMalformed, "session.error")
                if self.opened && !names_request(&frame) =>
            {
                return Vec::new();
            }
            (Fault::SilentOnMalformedHello, "session.error") if !self.opened => {
                return Vec::new();
            }
            (Fault::NullIsWrong, "session.pong")
                if frame["payload"]["ping_nonce"] == "kit-null" =>
            {
                frame["type"] = json!("session.error");
                frame["payload"] =
                    json!({"code": "INVALID_REQUEST", "message": "null", "retryable": false});
            }
            (Fault::ListsForeign | Fault::OneKeyForAll, "job.accepted") => {
                self.accepted(fault, &mut frame)
            }
            (Fault::ListsForeign, "session.jobs") => {
                let job = self.first_job.lock().clone();
                let jobs = frame["payload"]["jobs"].as_array_mut().unwrap();
                jobs.push(json!({"job_id": job, "agent": "sleep", "status": "running"}));
            }
            (Fault::ShowsForeign, "session.error") if is_of_job(&frame) => {
                frame["type"] = json!("job.subscribed");
            }
            (Fault::CancelsForeign, "session.error") if is_of_job(&frame) => {
                frame["type"] = json!("job.cancelled");
            }
            (Fault::GivesAway, "session.error")
                if frame["payload"]["code"] == "PERMISSION_DENIED" =>
            {
                frame["type"] = json!("session.welcome");
            }
            (Fault::ControlCharacters, "session.error") => {
                frame["payload"]["code"] = json!("\u{1b}[31mRED\u{202e}");
            }
            _ => {}
        }
        vec![frame]
    }

    fn accepted(&self, fault: Fault, frame: &mut Value) {
        let mut first = self.first_job.lock();
        match &*first {
            Some(job) if fault == Fault::OneKeyForAll => {
                frame["job_id"] = job.clone();
                frame["payload"]["job_id"] = job.clone();
            }
            _ => *first = Some(frame["payload"]["job_id"].clone()),
        }
    }

    /// One token for every welcome.
    fn token(&self, _frame: &Value) -> Value {
        json!(format!("rt_{}", "a".repeat(64)))
    }
}
