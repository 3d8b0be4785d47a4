//! A scripted peer: says what it is told to, and expects what it is told to.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use towline_env::TokioClock;
use towline_runtime::{Connection, Runtime, RuntimeBuilder, auth::StaticTokens};
use towline_transport::{
    CloseFrame, Closed, FrameSink, FrameSource, Inbound, MemoryTransport, Transport, TransportInfo,
};
use towline_wire::Envelope;

/// Alice's token.
pub const ALICE: &str = "alice-token";
/// Bob's token.
pub const BOB: &str = "bob-token";

/// A runtime that knows Alice and Bob, and whose time of day runs with the test's clock.
pub fn runtime() -> RuntimeBuilder {
    let tokens = StaticTokens::new([("alice", ALICE), ("bob", BOB)]).unwrap();
    let clock = TokioClock::starting_at(NOON.parse().unwrap());
    Runtime::builder()
        .name("test", "0")
        .authenticator(tokens)
        .clock(Arc::new(clock))
}

/// When tests begin.
pub const NOON: &str = "2026-03-01T12:00:00Z";

/// One connection to a runtime. Every frame it reads is checked for what holds of every frame.
pub struct Peer {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
    next_id: u32,
    ids: HashSet<String>,
    /// The session, once welcomed.
    pub session: String,
    /// The latest resume token.
    pub token: String,
    /// The last event's number: the next one has to be one more.
    pub last: u64,
    /// How the connection was closed, once it was.
    pub close: Option<CloseFrame>,
}

/// Every feature there is.
pub const ALL: &[&str] = &[
    "heartbeat",
    "ack",
    "list_jobs",
    "subscribe",
    "lease_expires_at",
    "cost.budget",
    "model.use",
    "progress",
    "result_chunk",
    "agent_versions",
    "provisioned_credentials",
    "x-vendor.towline.input",
];

/// Every feature but `heartbeat`, the first, for tests in which much time passes.
pub const QUIET: &[&str] = match ALL.split_first() {
    Some((_, quiet)) => quiet,
    None => ALL,
};

impl Peer {
    /// A connection on which nothing was said.
    pub fn raw(runtime: &Runtime) -> Self {
        Self::with_room(runtime, 256)
    }

    /// A connection on which nothing was said, and what the runtime has of it.
    pub fn connected(runtime: &Runtime) -> (Self, Connection) {
        let (ours, theirs) = MemoryTransport::pair();
        (Self::at(ours), runtime.accept(theirs))
    }

    /// A connection on which so many frames are under way at most.
    pub fn with_room(runtime: &Runtime, frames: usize) -> Self {
        let (ours, theirs) = MemoryTransport::pair_with(frames);
        let _connection = runtime.accept(theirs);
        Self::at(ours)
    }

    /// A connection that others can read, as one without TLS over a network.
    pub fn overheard(runtime: &Runtime) -> Self {
        Self::over(runtime, Overheard)
    }

    /// A connection over a transport of one's own.
    pub fn over<T: Transport>(
        runtime: &Runtime,
        transport: impl FnOnce(MemoryTransport) -> T,
    ) -> Self {
        let (ours, theirs) = MemoryTransport::pair();
        let _connection = runtime.accept(transport(theirs));
        Self::at(ours)
    }

    fn at(ours: MemoryTransport) -> Self {
        let (sink, source) = Box::new(ours).split();
        let (session, token) = (String::new(), String::new());
        Self {
            sink,
            source,
            next_id: 0,
            ids: HashSet::new(),
            session,
            token,
            last: 0,
            close: None,
        }
    }

    /// A session of Alice's with every feature.
    pub async fn alice(runtime: &Runtime) -> Self {
        Self::open(runtime, ALICE, ALL).await
    }

    /// A session of Bob's with every feature.
    pub async fn bob(runtime: &Runtime) -> Self {
        Self::open(runtime, BOB, ALL).await
    }

    /// A session of somebody's with some features.
    pub async fn open(runtime: &Runtime, token: &str, features: &[&str]) -> Self {
        let mut peer = Self::raw(runtime);
        peer.hello(token, features).await;
        peer.welcomed().await;
        peer
    }

    /// Says hello.
    pub async fn hello(&mut self, token: &str, features: &[&str]) -> String {
        self.send("session.hello", hello(token, features)).await
    }

    /// Takes a session up on a new connection.
    pub async fn resume(runtime: &Runtime, token: &str, last: u64) -> Self {
        let mut peer = Self::asks_to_resume(runtime, token, last).await;
        peer.welcomed().await;
        peer
    }

    /// Asks for a session on a new connection, and leaves the answer to be read.
    pub async fn asks_to_resume(runtime: &Runtime, token: &str, last: u64) -> Self {
        let mut peer = Self::raw(runtime);
        peer.last = last;
        peer.send(
            "session.resume",
            json!({"resume_token": token, "last_event_seq": last}),
        )
        .await;
        peer
    }

    /// Expects the welcome.
    pub async fn welcomed(&mut self) -> Value {
        let welcome = self.expect("session.welcome").await;
        self.session = welcome["session_id"].as_str().unwrap().to_owned();
        self.token = welcome["payload"]["resume_token"]
            .as_str()
            .unwrap()
            .to_owned();
        welcome
    }

    /// Says something; gives the envelope's id.
    pub async fn send(&mut self, kind: &str, payload: Value) -> String {
        self.send_with(kind, payload, json!({})).await
    }

    /// Says something with further fields on the envelope; gives its id.
    pub async fn send_with(&mut self, kind: &str, payload: Value, fields: Value) -> String {
        self.next_id += 1;
        let id = format!("m{}", self.next_id);
        let mut frame = json!({"arcp": "1.1", "id": id, "type": kind, "payload": payload});
        let fields = fields.as_object().unwrap().clone();
        frame.as_object_mut().unwrap().extend(fields);
        self.send_text(&frame.to_string()).await;
        id
    }

    /// Says a frame as it is.
    pub async fn send_text(&mut self, frame: &str) {
        let envelope = Envelope::decode_text(frame.to_owned()).unwrap();
        self.sink.send(envelope).await.unwrap();
    }

    /// The next frame; panics at the end, or when nothing comes.
    pub async fn next(&mut self) -> Value {
        let frame = tokio::time::timeout(PATIENCE, self.try_next())
            .await
            .expect("a frame, not silence");
        frame.expect("a frame, not the end")
    }

    /// What comes until nothing comes for so long, or the connection ends.
    pub async fn drain(&mut self, quiet: Duration) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = tokio::time::timeout(quiet, self.try_next()).await {
            frames.push(frame);
        }
        frames
    }

    /// The next frame; `None` at the end.
    pub async fn try_next(&mut self) -> Option<Value> {
        loop {
            match self.source.receive().await? {
                Inbound::Envelope(envelope) => {
                    let frame = serde_json::from_str(&envelope.encode()).unwrap();
                    self.check(&frame);
                    return Some(frame);
                }
                Inbound::Closed(closed) => {
                    if let Closed::ByPeer(close) = closed {
                        self.close = close;
                    }
                    return None;
                }
                Inbound::Alive => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What holds of every frame [ARCP 5-1, 5-7, 8-3].
    fn check(&mut self, frame: &Value) {
        assert_eq!(frame["arcp"], "1.1", "{frame}");
        let id = frame["id"].as_str().unwrap();
        // One SDK is refused under the id of its request.
        if frame["type"] != "job.error" || id != frame["payload"]["request_id"] {
            assert!(id.len() == 30 && id.starts_with("msg_"), "{frame}");
            assert!(self.ids.insert(id.to_owned()), "the same id twice: {frame}");
        }
        assert!(
            frame["type"].is_string() && frame["payload"].is_object(),
            "{frame}"
        );
        assert!(
            frame["session_id"].as_str().unwrap().starts_with("sess_"),
            "{frame}"
        );
        assert!(
            frame
                .as_object()
                .unwrap()
                .values()
                .all(|value| !value.is_null()),
            "{frame}"
        );
        if let Some(seq) = frame.get("event_seq") {
            let is_end = frame["type"] == "job.result" || frame["type"] == "job.error";
            if is_end && seq.as_u64().is_some_and(|seq| seq <= self.last) {
                // Behind the acceptance of a repeated submit [ARCP 7.2-1].
                return;
            }
            assert_eq!(*seq, self.last + 1, "strictly one more: {frame}");
            assert!(
                frame["job_seq"].is_number() && frame["job_id"].is_string(),
                "{frame}"
            );
            self.last += 1;
        }
    }

    /// The next frame, which has to be of this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// The next frame, which has to be an error with this code.
    pub async fn expect_error(&mut self, code: &str) -> Value {
        let frame = self.expect("session.error").await;
        assert_eq!(frame["payload"]["code"], code, "{frame}");
        assert!(!frame["payload"]["message"].as_str().unwrap().is_empty());
        frame
    }

    /// The end of the connection; gives its close code.
    pub async fn expect_close(&mut self) -> u16 {
        let frame = self.try_next().await;
        assert_eq!(frame, None);
        self.close.as_ref().expect("a close, not a loss").code.0
    }

    /// The next frame, which has to be an event of this kind; gives its body.
    pub async fn expect_event(&mut self, kind: &str) -> Value {
        let frame = self.expect("job.event").await;
        assert_eq!(frame["payload"]["kind"], kind, "{frame}");
        frame["payload"]["body"].clone()
    }

    /// The next frame, which has to be the terminal of a job; gives its payload.
    pub async fn expect_end(&mut self, status: &str) -> Value {
        let frame = self.next().await;
        assert!(
            frame["type"] == "job.result" || frame["type"] == "job.error",
            "{frame}"
        );
        assert_eq!(frame["payload"]["final_status"], status, "{frame}");
        frame["payload"].clone()
    }

    /// Nothing comes, for a second of the test's time.
    pub async fn expect_silence(&mut self) {
        let heard = tokio::time::timeout(Duration::from_secs(1), self.try_next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// Asks, and gives the next frame, which has to answer that.
    pub async fn ask(&mut self, kind: &str, payload: Value) -> Value {
        let id = self.send(kind, payload).await;
        let reply = self.next().await;
        assert_eq!(reply["payload"]["request_id"], id, "{reply}");
        reply
    }

    /// Asks for what has to be refused; gives the error's payload.
    pub async fn refused(&mut self, kind: &str, payload: Value, code: &str) -> Value {
        let reply = self.ask(kind, payload).await;
        assert_eq!(
            (&reply["type"], &reply["payload"]["code"]),
            (&json!("session.error"), &json!(code)),
            "{reply}"
        );
        reply["payload"].clone()
    }

    /// Submits; gives the job.
    pub async fn submit(&mut self, payload: Value) -> String {
        let id = self.send("job.submit", payload).await;
        let accepted = self.expect("job.accepted").await;
        assert_eq!(accepted["payload"]["request_id"], id);
        accepted["job_id"].as_str().unwrap().to_owned()
    }

    /// Submits and waits for `status{phase:"running"}`; gives the job.
    pub async fn start(&mut self, payload: Value) -> String {
        let job = self.submit(payload).await;
        assert_eq!(self.expect_event("status").await["phase"], "running");
        job
    }

    /// Frames up to and including the terminal of a job.
    pub async fn until_end(&mut self, job: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            let ended = frame["job_id"] == job
                && (frame["type"] == "job.result" || frame["type"] == "job.error");
            frames.push(frame);
            if ended {
                return frames;
            }
        }
    }

    /// Cuts the connection without a word.
    pub fn cut(self) -> String {
        self.token
    }

    /// Cuts the connection without a word, and waits until the runtime has noticed.
    pub async fn lost(self) -> String {
        let token = self.cut();
        moment().await;
        token
    }
}

/// How long a frame is waited for: it only bounds failure.
const PATIENCE: Duration = Duration::from_secs(100);

/// The payload of a hello.
pub fn hello(token: &str, features: &[&str]) -> Value {
    json!({
        "client": {"name": "test", "version": "0"},
        "auth": {"scheme": "bearer", "token": token},
        "capabilities": {"encodings": ["json"], "features": features},
    })
}

/// Lets everything happen that needs no time.
pub async fn moment() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// Lets time pass.
pub async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// The kinds of frames: an event's kind, else the type.
pub fn kinds(frames: &[Value]) -> Vec<&str> {
    frames
        .iter()
        .map(|frame| {
            frame["payload"]["kind"]
                .as_str()
                .or(frame["type"].as_str())
                .unwrap()
        })
        .collect()
}

/// The numbers of a job's own log that frames carry.
pub fn job_seqs(frames: &[Value]) -> Vec<u64> {
    frames
        .iter()
        .filter_map(|frame| frame["job_seq"].as_u64())
        .collect()
}

/// A transport that says of itself that others can read it.
struct Overheard(MemoryTransport);

impl Transport for Overheard {
    fn info(&self) -> TransportInfo {
        self.0.info().confidential(false)
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        Box::new(self.0).split()
    }
}
