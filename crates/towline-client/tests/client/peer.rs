//! A runtime that follows a script, at the far end of a memory transport.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use towline_client::{Client, ClientError, ClientOptions};
use towline_env::{Ids, TokioClock};
use towline_transport::{
    CloseFrame, Closed, FrameSink, FrameSource, Inbound, MemoryTransport, Transport,
    TransportError, TransportInfo,
};
use towline_wire::{Envelope, Timestamp};

pub(crate) const SESSION: &str = "sess_1";
pub(crate) const ALL: [&str; 14] = [
    "heartbeat",
    "ack",
    "list_jobs",
    "subscribe",
    "lease_expires_at",
    "cost.budget",
    "model.use",
    "provisioned_credentials",
    "progress",
    "result_chunk",
    "agent_versions",
    "x-vendor.towline.list",
    "x-vendor.towline.input",
    "x-vendor.towline.any_order",
];

/// The far end of one connection.
pub(crate) struct Peer {
    sink: Box<dyn FrameSink>,
    source: Box<dyn FrameSource>,
}

/// A transport in which the test can put what no envelope is.
pub(crate) struct Injected {
    pub(crate) inner: MemoryTransport,
    pub(crate) injected: mpsc::Receiver<Inbound>,
}

impl Transport for Injected {
    fn info(&self) -> TransportInfo {
        self.inner.info()
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        let (sink, source) = Box::new(self.inner).split();
        (
            sink,
            Box::new(InjectedSource {
                source,
                injected: self.injected,
            }),
        )
    }
}

struct InjectedSource {
    source: Box<dyn FrameSource>,
    injected: mpsc::Receiver<Inbound>,
}

impl FrameSource for InjectedSource {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        match self.injected.poll_recv(cx) {
            Poll::Ready(Some(inbound)) => Poll::Ready(Some(inbound)),
            _ => self.source.poll_receive(cx),
        }
    }
}

/// A frame the client sent.
#[derive(Debug, Clone)]
pub(crate) struct Frame(pub(crate) Value);

impl Frame {
    pub(crate) fn id(&self) -> &str {
        self.0["id"].as_str().expect("every frame has an id")
    }

    pub(crate) fn payload(&self) -> &Value {
        &self.0["payload"]
    }
}

impl Peer {
    /// A peer, and the transport that leads to it.
    pub(crate) fn pair() -> (Self, MemoryTransport) {
        let (near, far) = MemoryTransport::pair();
        (Self::on(far), near)
    }

    pub(crate) fn on(transport: impl Transport) -> Self {
        let (sink, source) = Box::new(transport).split();
        Self { sink, source }
    }

    /// The next frame, whatever it is; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        match self.source.receive().await? {
            Inbound::Envelope(envelope) => {
                Some(Frame(serde_json::from_str(&envelope.encode()).unwrap()))
            }
            Inbound::Closed(_) => None,
            other => panic!("the client sent {other:?}"),
        }
    }

    /// The next frame, which has to be of this type.
    pub(crate) async fn expect(&mut self, kind: &str) -> Frame {
        let frame = self
            .next()
            .await
            .unwrap_or_else(|| panic!("the client left instead of sending {kind}"));
        assert_eq!(frame.0["type"], kind, "{}", frame.0);
        frame
    }

    /// Asserts that the client leaves, and how.
    pub(crate) async fn expect_end(&mut self) -> Option<u16> {
        match self.source.receive().await {
            Some(Inbound::Closed(Closed::ByPeer(close))) => close.map(|close| close.code.0),
            Some(Inbound::Closed(Closed::Lost { .. })) | None => None,
            other => panic!("the client did not leave but sent {other:?}"),
        }
    }

    /// Sends one more frame and takes nothing any more.
    pub(crate) async fn stop_reading_and_send(self, frame: Value) -> Box<dyn FrameSink> {
        let Self { mut sink, source } = self;
        drop(source);
        sink.send(Envelope::decode_text(frame.to_string()).unwrap())
            .await
            .unwrap();
        sink
    }

    /// Asserts that nothing comes for a while (of paused time).
    pub(crate) async fn expect_silence(&mut self, during: Duration) {
        if let Ok(inbound) = tokio::time::timeout(during, self.source.receive()).await {
            panic!("expected silence, got {inbound:?}");
        }
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        let envelope =
            Envelope::decode_text(frame.to_string()).expect("the script sends envelopes");
        self.sink.send(envelope).await.expect("the client is there");
    }

    /// As `send`, but it does not matter whether the client is still there.
    pub(crate) async fn try_send(&mut self, frame: Value) -> Result<(), TransportError> {
        self.sink
            .send(Envelope::decode_text(frame.to_string()).unwrap())
            .await
    }

    pub(crate) async fn close(&mut self) {
        self.sink
            .close(&CloseFrame::normal())
            .await
            .expect("the client is there");
    }

    /// Reads the hello and says welcome, with these features.
    pub(crate) async fn welcome(&mut self, features: &[&str]) -> Frame {
        self.welcome_with(features, json!({})).await
    }

    pub(crate) async fn welcome_with(&mut self, features: &[&str], more: Value) -> Frame {
        let hello = self.expect("session.hello").await;
        let mut payload = json!({
            "runtime": {"name": "script", "version": "1"}, "session_id": SESSION, "accepted_at": "2026-01-01T00:00:00Z",
            "resume_token": "rt_1", "resume_window_sec": 600, "heartbeat_interval_sec": 30,
            "capabilities": {"encodings": ["json"], "features": features, "agents": [{"name": "echo", "versions": ["1.0.0"]}]}
        });
        for (key, value) in more.as_object().unwrap() {
            payload[key] = value.clone();
        }
        self.send(json!({"id": "w", "type": "session.welcome", "session_id": SESSION, "payload": payload})).await;
        hello
    }

    /// Reads a submit and accepts it as this job.
    pub(crate) async fn accept(&mut self, job: &str) -> Frame {
        let submit = self.expect("job.submit").await;
        self.send(accepted(job, &submit)).await;
        submit
    }
}

pub(crate) fn accepted(job: &str, submit: &Frame) -> Value {
    json!({"id": "a", "type": "job.accepted", "session_id": SESSION, "job_id": job,
        "payload": {"request_id": submit.id(), "job_id": job, "agent": "echo@1.0.0", "lease": {}}})
}

pub(crate) fn log(job: &str, seq: u64, message: &str) -> Value {
    json!({"id": "e", "type": "job.event", "session_id": SESSION, "job_id": job, "event_seq": seq,
        "payload": {"kind": "log", "ts": "2026-01-01T00:00:00Z", "body": {"level": "info", "message": message}}})
}

pub(crate) fn chunk(job: &str, seq: u64, number: u64, data: &str, more: bool) -> Value {
    json!({"id": "e", "type": "job.event", "session_id": SESSION, "job_id": job, "event_seq": seq, "payload": {
        "kind": "result_chunk", "body":
            {"result_id": "res_1", "chunk_seq": number, "data": data, "encoding": "utf8", "more": more}}})
}

pub(crate) fn result(job: &str, seq: u64, payload: Value) -> Value {
    let mut payload = payload;
    payload["final_status"] = json!("success");
    json!({"id": "r", "type": "job.result", "session_id": SESSION, "job_id": job, "event_seq": seq, "payload": payload})
}

pub(crate) fn error(job: &str, seq: u64, status: &str, code: &str) -> Value {
    json!({"id": "r", "type": "job.error", "session_id": SESSION, "job_id": job, "event_seq": seq,
        "payload": {"final_status": status, "code": code, "message": "because", "retryable": false}})
}

pub(crate) fn refusal(request: Option<&Frame>, code: &str) -> Value {
    let mut payload = json!({"code": code, "message": "no", "retryable": false});
    if let Some(request) = request {
        payload["request_id"] = json!(request.id());
    }
    json!({"id": "x", "type": "session.error", "session_id": SESSION, "payload": payload})
}

pub(crate) fn options() -> ClientOptions {
    let clock = Arc::new(TokioClock::starting_at(Timestamp::from_unix_micros(
        1_767_225_600_000_000,
    )));
    ClientOptions::bearer("secret")
        .ids(Ids::seeded(clock.clone(), 7))
        .clock(clock)
}

/// A client and its runtime, past the handshake, all features in effect.
pub(crate) async fn connected() -> (Client, Peer) {
    connected_with(options(), &ALL).await
}

pub(crate) async fn connected_with(options: ClientOptions, features: &[&str]) -> (Client, Peer) {
    let (mut peer, near) = Peer::pair();
    let (client, _) = tokio::join!(Client::connect(near, options), peer.welcome(features));
    (client.expect("the handshake succeeds"), peer)
}

/// Connects with a script for the runtime's side, which the test expects to fail.
pub(crate) async fn refused<F: Future<Output = ()>>(script: impl FnOnce(Peer) -> F) -> ClientError {
    let (peer, near) = Peer::pair();
    let (client, ()) = tokio::join!(Client::connect(near, options()), script(peer));
    client.expect_err("the handshake fails")
}

/// Options whose connector makes pairs and hands out the far ends.
pub(crate) fn reconnecting(options: ClientOptions) -> (ClientOptions, mpsc::Receiver<Peer>) {
    let (peers, arrivals) = mpsc::channel(8);
    let options = options.connector(move || {
        let peers = peers.clone();
        async move {
            let (peer, near) = Peer::pair();
            let refused = TransportError::unreachable("script", "closed");
            peers.send(peer).await.map_err(|_| refused)?;
            Ok(near)
        }
    });
    (options, arrivals)
}

/// A reconnecting client, past the handshake; its runtime, and the runtimes it will reconnect to.
pub(crate) async fn dialled() -> (Client, Peer, mpsc::Receiver<Peer>) {
    let (options, mut arrivals) = reconnecting(options());
    let (client, peer) = tokio::join!(Client::dial(options), async {
        let mut peer = arrivals.recv().await.unwrap();
        peer.welcome(&ALL).await;
        peer
    });
    (client.expect("the handshake succeeds"), peer, arrivals)
}
