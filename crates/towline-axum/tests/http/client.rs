//! A server with a few agents, and a client that sees every byte.

#![expect(clippy::unwrap_used, reason = "helpers of a test fail the test")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::{OnceCell, Semaphore},
};
use towline_axum::{EndpointOptions, RouterExt as _, Visit};
use towline_runtime::{
    AgentError, JobContext, Question, Runtime, RuntimeBuilder, RuntimeOptions, auth::StaticTokens,
};
use towline_wire::{ErrorCode, RawJson};

/// A server on a free port.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
    /// Lets `stepwise` take so many steps.
    pub(crate) steps: Arc<Semaphore>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder, EndpointOptions::new()).await
    }

    pub(crate) async fn with_options(options: EndpointOptions) -> Self {
        Self::with(|builder| builder, options).await
    }

    pub(crate) async fn with(
        change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
        options: EndpointOptions,
    ) -> Self {
        let steps = Arc::new(Semaphore::new(0));
        let tokens = StaticTokens::new([("alice", "good"), ("bob", "other")]).unwrap();
        let builder = Runtime::builder()
            .authenticator(tokens)
            .options(RuntimeOptions::default().principal_cancels(true));
        let runtime = change(agents(builder, &steps)).build().await.unwrap();
        let app = Router::new().route_http(&runtime, options.clone());
        #[cfg(feature = "mcp")]
        let app = app.route_mcp("/mcp", &runtime, options, towline_mcp::Options::default());
        Self::serving(app, runtime, steps).await
    }

    /// All its connections are this visit.
    pub(crate) async fn visited(visit: &Visit) -> Self {
        let steps = Arc::new(Semaphore::new(0));
        let tokens = StaticTokens::new([("alice", "good")]).unwrap();
        let builder = agents(Runtime::builder().authenticator(tokens), &steps);
        let runtime = builder.build().await.unwrap();
        let app = Router::new()
            .route_http(&runtime, EndpointOptions::new())
            .layer(Extension(visit.clone()));
        Self::serving(app, runtime, steps).await
    }

    async fn serving(app: Router, runtime: Runtime, steps: Arc<Semaphore>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self {
            address,
            runtime,
            steps,
        }
    }

    /// Asks as alice.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path}"), &[ALICE], "").await
    }

    /// Posts JSON as alice.
    pub(crate) async fn post(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, &[], body).await
    }

    /// Posts JSON as alice, with more headers.
    pub(crate) async fn post_with(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut all = vec![ALICE, JSON];
        all.extend(headers);
        self.ask(&format!("POST {path}"), &all, body).await
    }

    /// Submits as alice, and gives the job's name.
    pub(crate) async fn submit(&self, body: &str) -> String {
        let answer = self.post("/v1/jobs", body).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["job_id"].as_str().unwrap().to_owned()
    }

    /// Submits as alice, and gives the job's name when it has ended.
    pub(crate) async fn done(&self, body: &str) -> String {
        let answer = self.post_with("/v1/jobs", &["Prefer: wait=30"], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["job_id"].as_str().unwrap().to_owned()
    }

    /// Sends one request and reads the answer to its end.
    pub(crate) async fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let answer = self.ask_once(line, headers, body).await;
        let described = DESCRIPTION.get_or_try_init(|| async {
            let description = self.ask_once("GET /openapi.json", &[], "").await;
            (description.status == 200)
                .then(|| description.json())
                .ok_or(())
        });
        if let Ok(description) = described.await {
            is_described(description, line, answer.status);
        }
        answer
    }

    async fn ask_once(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let mut socket = self.send(line, headers, body).await;
        let mut bytes = Vec::new();
        tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        Answer::read(&bytes)
    }

    /// Sends one request and leaves the answer to be read.
    pub(crate) async fn send(&self, line: &str, headers: &[&str], body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let request = format!("{head}\r\n{body}");
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }

    /// Begins to read a job's events, as lines of the stream.
    pub(crate) async fn watch(&self, path: &str, headers: &[&str]) -> Watch {
        let mut all = vec![ALICE];
        all.extend(headers);
        let socket = self.send(&format!("GET {path}"), &all, "").await;
        let mut reader = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).await.unwrap(), 0, "{head}");
        }
        Watch {
            reader,
            head: head.to_ascii_lowercase(),
        }
    }
}

/// [ARCP 16-5] Whatever these tests are answered stands in the description.
fn is_described(description: &Value, line: &str, status: u16) {
    let (method, target) = line.split_once(' ').unwrap();
    let path = target.split('?').next().unwrap();
    let fits = |template: &str| {
        let (template, path) = (template.split('/'), path.split('/'));
        template.clone().count() == path.clone().count()
            && template
                .zip(path)
                .all(|(part, is)| part == is || part.starts_with('{'))
    };
    let paths = description["paths"].as_object().unwrap();
    let found = paths.iter().find(|(template, _)| fits(template));
    let operation =
        found.and_then(|(_, operations)| operations.get(method.to_ascii_lowercase().as_str()));
    if let Some(operation) = operation {
        let responses = operation["responses"].as_object().unwrap();
        let has = responses.contains_key(status.to_string().as_str());
        assert!(has, "{line}: {status} is not described");
    }
}

/// The description, which is the same for every server.
static DESCRIPTION: OnceCell<Value> = OnceCell::const_new();

/// A stream of events under way.
pub(crate) struct Watch {
    reader: BufReader<TcpStream>,
    pub(crate) head: String,
}

impl Watch {
    /// The next event: its id, its name, its data. `None` at the end. Chunk sizes and comments are passed over.
    pub(crate) async fn next(&mut self) -> Option<(u64, String, Value)> {
        let (mut id, mut name) = (None, None);
        loop {
            let line = self.line().await?;
            if let Some(value) = line.strip_prefix("id: ") {
                id = value.parse().ok();
            } else if let Some(value) = line.strip_prefix("event: ") {
                name = Some(value.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some((id?, name?, serde_json::from_str(data).unwrap()));
            }
        }
    }

    /// The next line of the stream.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(60), self.reader.read_line(&mut line));
        let count = read.await.unwrap().unwrap();
        (count > 0).then(|| line.trim_end().to_owned())
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut body = bytes[end + 4..].to_vec();
        if head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked")
        {
            body = unchunked(&body);
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// A problem with this status and code.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        assert!(problem["retryable"].is_boolean(), "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let Some(end) = body.windows(2).position(|two| two == b"\r\n") else {
            return whole;
        };
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        let piece = &body[end + 2..];
        if size == 0 || piece.len() < size {
            return whole;
        }
        whole.extend_from_slice(&piece[..size]);
        body = &piece[size + 2..];
    }
}

/// `echo`, `log` (n lines), `stepwise` (a line a step), `hang`, `stream`, `ask` (two questions), `fail`.
fn agents(builder: RuntimeBuilder, steps: &Arc<Semaphore>) -> RuntimeBuilder {
    let steps = Arc::clone(steps);
    builder
        .agent(
            "echo",
            |_: JobContext, input: Value| async move { Ok(input) },
        )
        .agent("log", |ctx: JobContext, n: u32| async move {
            for line in 1..=n {
                ctx.log("info", format!("line {line}")).await?;
            }
            Ok(n)
        })
        .agent("stepwise", move |ctx: JobContext, n: u32| {
            let steps = Arc::clone(&steps);
            async move {
                for line in 1..=n {
                    steps.acquire().await.unwrap().forget();
                    ctx.log("info", format!("line {line}")).await?;
                }
                Ok(n)
            }
        })
        .agent("hang", |_: JobContext, _: Value| async move {
            std::future::pending::<()>().await;
            Ok(RawJson::NULL)
        })
        .agent("stream", |ctx: JobContext, input: Value| async move {
            let mut writer = ctx.stream_result()?;
            for piece in input["pieces"].as_array().unwrap() {
                let piece = piece.as_str().unwrap();
                if input["binary"] == true {
                    writer.write_bytes(piece.as_bytes()).await?;
                } else {
                    writer.write_text(piece).await?;
                }
            }
            writer.finish(None).await?;
            Ok(RawJson::NULL)
        })
        .agent("ask", |ctx: JobContext, _: Value| async move {
            for key in ["one", "two"] {
                ctx.ask(key, Question::text(key)).await?;
            }
            Ok(RawJson::NULL)
        })
        .agent("fail", |_: JobContext, _: Value| async move {
            Err::<Value, _>(AgentError::new(ErrorCode::INTERNAL_ERROR, "it broke"))
        })
}

pub(crate) const ALICE: &str = "Authorization: Bearer good";
pub(crate) const BOB: &str = "Authorization: Bearer other";
pub(crate) const JSON: &str = "Content-Type: application/json";
