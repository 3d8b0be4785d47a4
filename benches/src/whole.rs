//! The whole way through a runtime, from a peer's frames to the frames it is sent: a memory store, a WebSocket without its
//! opening handshake, one thread. What a run allocates and how many instructions it takes is the same every time, but for
//! what the moments of the clock decide.

use std::{os::unix::net::UnixStream as Socket, sync::Arc};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::Semaphore,
};
use towline_runtime::{
    AgentError, AgentOptions, JobContext, Runtime, RuntimeOptions, auth::StaticTokens,
};
use towline_transport::{WebSocketOptions, WebSocketTransport};
use towline_wire::RawJson;

use crate::Piece;

/// A session, opened and closed.
pub(crate) fn session() -> Piece {
    let host = Host::new();
    Box::new(move || {
        host.run(async |runtime| {
            let mut peer = Peer::open(runtime).await;
            let session = peer.session.clone();
            let close = format!(
                r#"{{"arcp":"1.1","id":"msg_2","type":"session.close","session_id":"{session}","payload":{{}}}}"#
            );
            peer.say(&close).await;
            peer.hear_of(b"\"type\":\"session.closed\"").await;
        });
    })
}

/// A session, opened and kept: what it takes is what a silent one takes.
pub(crate) fn silent() -> Piece {
    let host = Host::new();
    let mut open: Vec<Socket> = Vec::with_capacity(MOST_SILENT);
    Box::new(move || {
        let peer = host.run(async |runtime| Peer::open(runtime).await.socket.into_std());
        open.extend(peer.ok());
        // It says nothing more, and the runtime has nothing more to do for it.
        host.run(async |_| {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        });
    })
}

/// A job, from its submit to its result.
pub(crate) fn job() -> Piece {
    let host = Host::new();
    let mut peer = host.run(async |runtime| Peer::open(runtime).await);
    Box::new(move || {
        host.run(async |_| {
            peer.submit("echo").await;
            peer.hear_of(b"\"type\":\"job.result\"").await;
        });
    })
}

/// 64 events, from the agent to the peer.
pub(crate) fn events() -> Piece {
    let host = Host::new();
    let mut peer = host.run(async |runtime| {
        let mut peer = Peer::open(runtime).await;
        peer.submit("stream").await;
        // The status that says it runs.
        peer.hear_of(EVENT).await;
        peer
    });
    let permits = Arc::clone(&host.permits);
    Box::new(move || {
        host.run(async |_| {
            permits.add_permits(64);
            for _ in 0..64 {
                peer.hear_of(EVENT).await;
            }
        });
    })
}

/// A runtime and the thread it runs on.
struct Host {
    tokio: tokio::runtime::Runtime,
    runtime: Runtime,
    /// How many events `stream` may emit.
    permits: Arc<Semaphore>,
}

impl Host {
    fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let tokio = tokio.unwrap_or_else(|error| unreachable!("{error}"));
        let permits = Arc::new(Semaphore::new(0));
        let runtime = tokio.block_on(runtime(&permits));
        Self {
            tokio,
            runtime,
            permits,
        }
    }

    fn run<T>(&self, work: impl AsyncFnOnce(&Runtime) -> T) -> T {
        self.tokio.block_on(work(&self.runtime))
    }
}

async fn runtime(permits: &Arc<Semaphore>) -> Runtime {
    let tokens = StaticTokens::new([("bench", TOKEN)]);
    let mut builder = Runtime::builder()
        .authenticator(tokens.unwrap_or_else(|error| unreachable!("{error}")))
        .options(RuntimeOptions::default().sessions_per_principal(MOST_SILENT))
        .agent("echo", async |_: JobContext, input: RawJson| {
            Ok::<_, AgentError>(input)
        });
    // A welcome lists all agents: as many as a server has, each with a schema.
    for number in 0..12 {
        let schema = RawJson::parse(SCHEMA).unwrap_or(RawJson::NULL);
        let options = AgentOptions::default()
            .description("Does one of the things that are asked of agents, and says how far it is")
            .input_schema(schema);
        let idle = async |_: JobContext, input: RawJson| Ok::<_, AgentError>(input);
        builder = builder.agent_with(&format!("agent-{number}"), idle, options);
    }
    let permits = Arc::clone(permits);
    let stream = move |ctx: JobContext, _: RawJson| {
        let permits = Arc::clone(&permits);
        async move {
            let message = "x".repeat(100);
            while let Ok(permit) = permits.acquire().await {
                permit.forget();
                ctx.log("info", message.as_str()).await?;
            }
            Ok::<_, AgentError>(RawJson::NULL)
        }
    };
    let built = builder.agent("stream", stream).build().await;
    built.unwrap_or_else(|error| unreachable!("{error}"))
}

/// The other end: as little as it takes to speak and to be spoken to.
struct Peer {
    socket: UnixStream,
    session: String,
    /// What was read; frames that were heard are before `next`.
    input: Vec<u8>,
    next: usize,
}

impl Peer {
    async fn open(runtime: &Runtime) -> Self {
        let pair = UnixStream::pair();
        let (socket, there) = pair.unwrap_or_else(|error| unreachable!("{error}"));
        let options = WebSocketOptions::server();
        runtime.accept(WebSocketTransport::upgraded(there, None, &options));
        let mut peer = Self {
            socket,
            session: String::new(),
            input: Vec::with_capacity(ROOM),
            next: 0,
        };
        peer.say(HELLO).await;
        peer.session = peer.welcomed().await.unwrap_or_default();
        assert!(peer.session.starts_with("sess_"), "no session was opened");
        peer
    }

    async fn submit(&mut self, agent: &str) {
        let session = &self.session;
        let submit = format!(
            r#"{{"arcp":"1.1","id":"msg_2","type":"job.submit","session_id":"{session}","payload":{{"agent":"{agent}","input":{{"hi":1}}}}}}"#
        );
        self.say(&submit).await;
    }

    /// Sends a frame, masked with nothing.
    async fn say(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes();
        let mut frame = vec![0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        let sent = self.socket.write_all(&frame).await;
        sent.unwrap_or_else(|error| unreachable!("{error}"));
    }

    /// The session that the first frame names.
    async fn welcomed(&mut self) -> Option<String> {
        let frame = self.frame().await?;
        let welcome = std::str::from_utf8(&self.input[frame]).ok()?;
        let (_, session) = welcome.split_once(r#""session_id":""#)?;
        Some(session.split_once('"')?.0.to_owned())
    }

    /// Waits for a frame of a kind. Nothing is allocated for it, so that what is counted is the runtime's.
    async fn hear_of(&mut self, kind: &[u8]) {
        while let Some(frame) = self.frame().await {
            // It stands at the beginning, behind an id.
            let beginning = &self.input[frame.start..frame.end.min(frame.start + 96)];
            if beginning.windows(kind.len()).any(|at| at == kind) {
                return;
            }
        }
        unreachable!("the runtime closed");
    }

    /// Where the next frame's payload is; `None` at the end.
    async fn frame(&mut self) -> Option<std::ops::Range<usize>> {
        loop {
            if let Some((start, end)) = payload_of(&self.input[self.next..]) {
                let payload = self.next + start..self.next + end;
                self.next = payload.end;
                return Some(payload);
            }
            self.input.drain(..self.next);
            self.next = 0;
            self.input.reserve(ROOM);
            let read = self.socket.read_buf(&mut self.input).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

/// Where the payload of the first frame begins and ends, once it is there whole.
fn payload_of(input: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *input.get(1)? {
        127 => {
            let (length, _) = input.get(2..)?.split_first_chunk()?;
            (10, usize::try_from(u64::from_be_bytes(*length)).ok()?)
        }
        126 => {
            let (length, _) = input.get(2..)?.split_first_chunk()?;
            (4, usize::from(u16::from_be_bytes(*length)))
        }
        short => (2, usize::from(short)),
    };
    (input.len() >= start + length).then_some((start, start + length))
}

const EVENT: &[u8] = b"\"type\":\"job.event\"";
const TOKEN: &str = "a-token-for-the-pieces";
const MOST_SILENT: usize = 100_000;
/// As much is read at a time.
const ROOM: usize = 64 * 1024;
const HELLO: &str = r#"{"arcp":"1.1","id":"msg_1","type":"session.hello","payload":{"client":{"name":"bench","version":"1"},"auth":{"scheme":"bearer","token":"a-token-for-the-pieces"},"capabilities":{"encodings":["json"],"features":["ack","list_jobs","subscribe","progress","result_chunk"]}}}"#;
const SCHEMA: &str = r#"{"type":"object","properties":{"kind":{"enum":["one","another"]},"title":{"type":"string"},"options":{"type":"array","items":{"type":"object","properties":{"id":{"type":"string"},"label":{"type":"string"}},"required":["id","label"]}}},"required":["kind"]}"#;
