//! A WebSocket peer that knows nothing but the protocol: it sends what it is told, valid or not, and reads frames.

use std::{collections::VecDeque, ops::Deref};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{
        Message,
        protocol::{CloseFrame, WebSocketConfig, frame::Frame},
    },
};

use towline::Timestamp;

use crate::{
    ledger::Ledger,
    server::{Server, token_of},
    soon,
};

/// Every feature flag of the protocol.
pub const FEATURES: [&str; 11] = [
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
];

/// What came over the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// A text message with JSON in it.
    Envelope(Value),
    /// A WebSocket pong.
    Pong(Vec<u8>),
    /// A Close frame: its code, or 1005 when it had none.
    Close(u16),
    /// The end of the stream.
    End,
}

/// One connection. Derefs to the session's [`Ledger`], into which every envelope goes.
#[derive(Debug)]
pub struct Peer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ledger: Ledger,
    /// Read but not yet asked for.
    waiting: VecDeque<Value>,
    welcome: Value,
    requests: u64,
}

impl Deref for Peer {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.ledger
    }
}

impl Peer {
    /// Connects, and says nothing yet.
    ///
    /// # Panics
    /// When the server does not upgrade the connection.
    pub async fn dial(url: &str) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(None)
            .max_frame_size(None);
        let dialled = soon(
            "the upgrade",
            connect_async_with_config(url, Some(config), true),
        )
        .await;
        let (socket, _) = dialled.expect("the server upgrades the connection");
        Self {
            socket,
            ledger: Ledger::default(),
            waiting: VecDeque::new(),
            welcome: Value::Null,
            requests: 0,
        }
    }

    /// Connects, and says nothing yet; `None` when nobody is there to answer.
    pub async fn try_dial(url: &str) -> Option<Self> {
        let dialled = soon("an answer", connect_async_with_config(url, None, true)).await;
        let (socket, _) = dialled.ok()?;
        Some(Self {
            socket,
            ledger: Ledger::default(),
            waiting: VecDeque::new(),
            welcome: Value::Null,
            requests: 0,
        })
    }

    /// A session of alice's with every feature.
    pub async fn open(server: &Server) -> Self {
        Self::open_as(server, "alice", &FEATURES).await
    }

    /// A session of a principal with some features.
    ///
    /// # Panics
    /// When it is not welcome.
    pub async fn open_as(server: &Server, principal: &str, features: &[&str]) -> Self {
        let mut peer = Self::dial(&server.url).await;
        peer.send(&hello(&token_of(principal), features)).await;
        peer.expect_welcome().await;
        peer
    }

    /// Takes a session up again on a new connection, with all it heard before.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn resume(server: &Server, before: Left) -> Self {
        let mut peer = Self::dial(&server.url).await;
        let payload =
            json!({"resume_token": before.token(), "last_event_seq": before.ledger.last()});
        peer.ledger = before.ledger;
        peer.requests = before.requests;
        peer.send(
            &json!({"arcp": "1.1", "id": "resume", "type": "session.resume", "payload": payload}),
        )
        .await;
        peer.expect_welcome().await;
        peer
    }

    /// Drops the connection without a word and keeps what is needed to resume.
    pub fn lose(self) -> Left {
        Left {
            ledger: self.ledger,
            welcome: self.welcome,
            requests: self.requests,
        }
    }

    /// What is needed to resume, with the connection left as it is.
    pub fn remember(&self) -> Left {
        Left {
            ledger: self.ledger.clone(),
            welcome: self.welcome.clone(),
            requests: self.requests,
        }
    }

    /// Reads the welcome.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn expect_welcome(&mut self) -> Value {
        let welcome = self.next().await;
        assert_eq!(welcome["type"], "session.welcome", "{welcome}");
        self.welcome = welcome.clone();
        welcome
    }

    /// The welcome that was read last.
    pub fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// The session's id.
    pub fn session(&self) -> &str {
        self.welcome["session_id"].as_str().unwrap_or_default()
    }

    /// Sends an envelope as a text frame.
    pub async fn send(&mut self, envelope: &Value) {
        self.send_text(&envelope.to_string()).await;
    }

    /// Sends an envelope; whether the socket took it.
    pub async fn try_send(&mut self, envelope: &Value) -> bool {
        soon(
            "sending",
            self.socket.send(Message::text(envelope.to_string())),
        )
        .await
        .is_ok()
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends any message.
    ///
    /// # Panics
    /// When the socket is gone.
    pub async fn send_message(&mut self, message: Message) {
        soon("sending", self.socket.send(message))
            .await
            .expect("the socket takes the message");
    }

    /// Sends a frame as it is, whole messages or parts of them.
    pub async fn send_frame(&mut self, frame: Frame) {
        self.send_message(Message::Frame(frame)).await;
    }

    /// Sends a request of this session and says its id.
    pub async fn request(&mut self, kind: &str, payload: Value) -> String {
        self.requests += 1;
        let id = format!("req_{}", self.requests);
        self.send(&json!({"arcp": "1.1", "id": id, "type": kind, "session_id": self.session(), "payload": payload})).await;
        id
    }

    /// Sends a request and reads up to its reply.
    pub async fn ask(&mut self, kind: &str, payload: Value) -> Value {
        let id = self.request(kind, payload).await;
        self.reply(&id).await
    }

    /// Sends a request that must be refused, and checks the refusal's form.
    ///
    /// # Panics
    /// When it is not refused with this code.
    pub async fn refused(&mut self, kind: &str, payload: Value, code: &str) -> Value {
        let reply = self.ask(kind, payload).await;
        assert_refusal(&reply, code);
        reply["payload"].clone()
    }

    /// Submits a job and says its id.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn submit(&mut self, payload: Value) -> String {
        let reply = self.ask("job.submit", payload).await;
        assert_eq!(reply["type"], "job.accepted", "{reply}");
        reply["job_id"]
            .as_str()
            .expect("an acceptance names the job")
            .to_owned()
    }

    /// Submits a job, reads to its end and gives its terminal payload.
    pub async fn run(&mut self, payload: Value) -> Value {
        let job = self.submit(payload).await;
        self.end_of(&job).await["payload"].clone()
    }

    /// Submits a job to an agent, reads to its end, expects success and gives its inline result.
    ///
    /// # Panics
    /// When it ends otherwise.
    pub async fn result(&mut self, agent: &str, input: Value) -> Value {
        let end = self.run(json!({"agent": agent, "input": input})).await;
        assert_eq!(end["final_status"], "success", "{end}");
        end["result"].clone()
    }

    /// Reads up to the reply to a request. What came before stays readable, in order.
    pub async fn reply(&mut self, id: &str) -> Value {
        self.find(|envelope| envelope["payload"]["request_id"] == id)
            .await
    }

    /// Reads up to an envelope of one type.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        self.find(|envelope| envelope["type"] == kind).await
    }

    /// Reads to the job's terminal message.
    ///
    /// # Panics
    /// When the connection ends first.
    pub async fn end_of(&mut self, job: &str) -> Value {
        while self.ledger.terminal(job).is_none() {
            let envelope = self.read_envelope().await;
            self.waiting.push_back(envelope);
        }
        self.ledger.terminal(job).expect("it just came").clone()
    }

    /// Reads until the job said something of a kind.
    pub async fn event_of(&mut self, job: &str, kind: &str) -> Value {
        while self.ledger.bodies(job, kind).is_empty() {
            let envelope = self.read_envelope().await;
            self.waiting.push_back(envelope);
        }
        self.ledger.bodies(job, kind).remove(0)
    }

    /// The next envelope, whatever it is.
    pub async fn next(&mut self) -> Value {
        match self.waiting.pop_front() {
            Some(envelope) => envelope,
            None => self.read_envelope().await,
        }
    }

    /// The first envelope that fits, among those read already or yet to come; the others stay.
    pub async fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.waiting.iter().position(&fits) {
            return self.waiting.remove(at).unwrap_or_default();
        }
        loop {
            let envelope = self.read_envelope().await;
            if fits(&envelope) {
                return envelope;
            }
            self.waiting.push_back(envelope);
        }
    }

    /// What comes next on the wire.
    ///
    /// # Panics
    /// When nothing comes, or something that no ARCP runtime sends.
    pub async fn came(&mut self) -> Came {
        match soon("a frame", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => {
                let envelope: Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                self.ledger.take(&envelope);
                Came::Envelope(envelope)
            }
            Some(Ok(Message::Pong(data))) => Came::Pong(data.to_vec()),
            Some(Ok(Message::Close(frame))) => {
                Came::Close(frame.map_or(1005, |frame| frame.code.into()))
            }
            Some(Ok(other)) => panic!("a runtime sends text, not {other:?}"),
            Some(Err(_)) | None => Came::End,
        }
    }

    /// The text that comes next, unread, for what no JSON reader of ours could keep; it passes the ledger by.
    ///
    /// # Errors
    /// What came instead of text.
    ///
    /// # Panics
    /// When nothing comes.
    pub async fn came_unparsed(&mut self) -> Result<String, Came> {
        match soon("a frame", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => Ok(text.to_string()),
            Some(Ok(Message::Pong(data))) => Err(Came::Pong(data.to_vec())),
            Some(Ok(Message::Close(frame))) => {
                Err(Came::Close(frame.map_or(1005, |frame| frame.code.into())))
            }
            _ => Err(Came::End),
        }
    }

    /// What comes next on the wire, kept from the ledger: for who keeps a book of its own. Cancel safe.
    ///
    /// # Panics
    /// When something comes that no ARCP runtime sends.
    pub async fn came_untracked(&mut self) -> Came {
        match self.came_unparsed().await {
            Ok(text) => Came::Envelope(
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")),
            ),
            Err(other) => other,
        }
    }

    /// The next envelope on the wire, kept from the ledger: for streams that begin anywhere.
    ///
    /// # Panics
    /// When none comes.
    pub async fn next_raw(&mut self) -> Value {
        match self.came_unparsed().await {
            Ok(text) => {
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
            }
            Err(other) => panic!("an envelope was due, {other:?} came"),
        }
    }

    /// The first envelope on the wire that fits, kept from the ledger with all before it.
    pub async fn find_raw(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let envelope = self.next_raw().await;
            if fits(&envelope) {
                return envelope;
            }
        }
    }

    async fn read_envelope(&mut self) -> Value {
        match self.came().await {
            Came::Envelope(envelope) => envelope,
            other => panic!("an envelope was due, {other:?} came"),
        }
    }

    /// Reads to the Close frame: its code, and the envelopes before it that were not asked for.
    ///
    /// # Panics
    /// When the connection ends without one.
    pub async fn closed(&mut self) -> (u16, Vec<Value>) {
        let mut before: Vec<Value> = self.waiting.drain(..).collect();
        loop {
            match self.came().await {
                Came::Envelope(envelope) => before.push(envelope),
                Came::Pong(_) => {}
                Came::Close(code) => return (code, before),
                Came::End => panic!("the connection ended without a Close, after {before:?}"),
            }
        }
    }

    /// Closes in good order and reads to the end of the stream.
    ///
    /// # Panics
    /// When the Close is not answered.
    pub async fn close(mut self, code: u16) -> u16 {
        let frame = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.send_message(Message::Close(Some(frame))).await;
        self.closed().await.0
    }

    /// The session still answers.
    ///
    /// # Panics
    /// When it does not.
    pub async fn assert_alive(&mut self) {
        let nonce = format!("alive-{}", self.requests);
        self.ask_for_pong(&nonce).await;
    }

    /// A moment `seconds` from now by the runtime's own clock, as a timestamp.
    ///
    /// # Panics
    /// When the runtime does not say what time it has.
    pub async fn in_seconds(&mut self, seconds: u64) -> String {
        let pong = self.ask_for_pong("clock").await;
        let now = pong["payload"]["received_at"]
            .as_str()
            .and_then(|text| Timestamp::parse_utc(text).ok());
        let now = now.expect("a pong says when").unix_micros();
        let micros = i64::try_from(seconds * 1_000_000).expect("a short time");
        Timestamp::from_unix_micros(now + micros).to_string()
    }

    async fn ask_for_pong(&mut self, nonce: &str) -> Value {
        self.request(
            "session.ping",
            json!({"nonce": nonce, "sent_at": "2026-01-01T00:00:00Z"}),
        )
        .await;
        self.find(|envelope| envelope["payload"]["ping_nonce"] == nonce)
            .await
    }

    /// Forgets envelopes that were read and not asked for.
    pub fn discard_waiting(&mut self) {
        self.waiting.clear();
    }

    /// The session's stream, to change what is kept.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }
}

/// What outlives a connection.
#[derive(Debug, Clone)]
pub struct Left {
    /// What the session heard.
    pub ledger: Ledger,
    /// The last welcome.
    pub welcome: Value,
    /// How many requests were numbered: what was asked on one connection may be answered on the next.
    requests: u64,
}

impl Left {
    /// The resume token.
    pub fn token(&self) -> &str {
        self.welcome["payload"]["resume_token"]
            .as_str()
            .unwrap_or_default()
    }

    /// The session's id.
    pub fn session(&self) -> &str {
        self.welcome["session_id"].as_str().unwrap_or_default()
    }
}

/// A hello with a token and features.
pub fn hello(token: &str, features: &[&str]) -> Value {
    json!({"arcp": "1.1", "id": "hello", "type": "session.hello", "payload": {
        "client": {"name": "outsider", "version": "1.0.0"},
        "auth": {"scheme": "bearer", "token": token},
        "capabilities": {"encodings": ["json"], "features": features},
    }})
}

/// An envelope is a refusal with this code, in the form every refusal has.
///
/// # Panics
/// When it is not [ARCP 12-1].
#[track_caller]
pub fn assert_refusal(envelope: &Value, code: &str) {
    const RETRYABLE: [&str; 4] = [
        "AGENT_NOT_AVAILABLE",
        "TIMEOUT",
        "HEARTBEAT_LOST",
        "INTERNAL_ERROR",
    ];
    assert_eq!(envelope["type"], "session.error", "{envelope}");
    let payload = &envelope["payload"];
    assert_eq!(payload["code"], code, "{envelope}");
    assert!(
        payload["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{envelope}"
    );
    assert_eq!(
        payload["retryable"],
        RETRYABLE.contains(&code),
        "{envelope}"
    );
}
