//! A scripted peer: says what it is told to, and expects what it is told to.

use serde_json::{Value, json};
use towline_runtime::{Runtime, RuntimeBuilder, auth::StaticTokens};
use towline_transport::{Closed, FrameSink, FrameSource, Inbound, MemoryTransport, Transport};
use towline_wire::Envelope;

/// Alice's token.
pub const ALICE: &str = "alice-token";
/// Bob's token.
pub const BOB: &str = "bob-token";

/// A runtime that knows Alice and Bob.
pub fn runtime() -> RuntimeBuilder {
    let tokens = StaticTokens::new([("alice", ALICE), ("bob", BOB)]).unwrap();
    Runtime::builder().name("test", "0").authenticator(tokens)
}

/// One connection to a runtime.
pub struct Peer {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
    next_id: u32,
    /// The session, once welcomed.
    pub session: String,
    /// The latest resume token.
    pub token: String,
}

/// Every feature there is.
pub const ALL: &[&str] = &[
    "heartbeat", "ack", "list_jobs", "subscribe", "lease_expires_at", "cost.budget", "model.use", "progress", "result_chunk",
    "agent_versions", "provisioned_credentials",
];

impl Peer {
    /// A connection on which nothing was said.
    pub fn raw(runtime: &Runtime) -> Self {
        let (ours, theirs) = MemoryTransport::pair();
        let _connection = runtime.accept(theirs);
        let (sink, source) = Box::new(ours).split();
        Self { sink, source, next_id: 0, session: String::new(), token: String::new() }
    }

    /// A session of Alice's with every feature.
    pub async fn alice(runtime: &Runtime) -> Self {
        Self::open(runtime, ALICE, ALL).await
    }

    /// A session of somebody's with some features.
    pub async fn open(runtime: &Runtime, token: &str, features: &[&str]) -> Self {
        let mut peer = Self::raw(runtime);
        peer.send("session.hello", json!({
            "client": {"name": "test", "version": "0"},
            "auth": {"scheme": "bearer", "token": token},
            "capabilities": {"encodings": ["json"], "features": features},
        }))
        .await;
        peer.welcomed().await;
        peer
    }

    /// Takes a session up on a new connection.
    pub async fn resume(runtime: &Runtime, token: &str, last: u64) -> Self {
        let mut peer = Self::raw(runtime);
        peer.send("session.resume", json!({"resume_token": token, "last_event_seq": last})).await;
        peer.welcomed().await;
        peer
    }

    /// Expects the welcome.
    pub async fn welcomed(&mut self) -> Value {
        let welcome = self.expect("session.welcome").await;
        self.session = welcome["session_id"].as_str().unwrap().to_owned();
        self.token = welcome["payload"]["resume_token"].as_str().unwrap().to_owned();
        welcome
    }

    /// Says something; gives the envelope's id.
    pub async fn send(&mut self, kind: &str, payload: Value) -> String {
        self.next_id += 1;
        let id = format!("m{}", self.next_id);
        let frame = json!({"arcp": "1.1", "id": id, "type": kind, "payload": payload});
        self.send_text(&frame.to_string()).await;
        id
    }

    /// Says a frame as it is.
    pub async fn send_text(&mut self, frame: &str) {
        let envelope = Envelope::decode_text(frame.to_owned()).unwrap();
        self.sink.send(envelope).await.unwrap();
    }

    /// The next frame; panics at the end.
    pub async fn next(&mut self) -> Value {
        self.try_next().await.expect("a frame, not the end")
    }

    /// The next frame; `None` at the end.
    pub async fn try_next(&mut self) -> Option<Value> {
        loop {
            match self.source.receive().await? {
                Inbound::Envelope(envelope) => return Some(serde_json::from_str(&envelope.encode()).unwrap()),
                Inbound::Closed(Closed::ByPeer(_) | Closed::Lost { .. }) => return None,
                Inbound::Alive => {}
                other => panic!("{other:?}"),
            }
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
        frame
    }

    /// Submits; gives the job.
    pub async fn submit(&mut self, payload: Value) -> String {
        let id = self.send("job.submit", payload).await;
        let accepted = self.expect("job.accepted").await;
        assert_eq!(accepted["payload"]["request_id"], id);
        accepted["job_id"].as_str().unwrap().to_owned()
    }

    /// Frames up to and including the terminal of a job.
    pub async fn until_end(&mut self, job: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await;
            let ended = frame["job_id"] == job && (frame["type"] == "job.result" || frame["type"] == "job.error");
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
}
