//! A runtime with a confined agent written in Python, a world outside that is a table, and a model service that says what it
//! is told to.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use towline_agents::{Confinement, Launcher, Outside, ProcessAgent};
use towline_client::{Client, ClientOptions, JobHandle, Outcome};
use towline_runtime::{Runtime, auth::StaticTokens};
use towline_transport::MemoryTransport;
use towline_wire::{JobId, Lease};

/// What has to happen, however busy the machine is.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), what)
        .await
        .expect("it happens")
}

/// What every script begins with.
const PRELUDE: &str = r#"
import http.client, json, os, socket, sys, threading, urllib.parse
env = os.environ
def at(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port
def proxy(head, then=b''):
    "Says something to the proxy, raw, and gives its first line and all the rest."
    s = socket.create_connection(at(env['HTTP_PROXY']), 60)
    s.sendall(head.encode())
    first = b''
    while b'\r\n\r\n' not in first:
        more = s.recv(65536)
        if not more: return first.decode()
        first += more
    then = then if b' 200' in first[:13] else b''
    if then: s.sendall(then)
    rest = b''
    while True:
        more = s.recv(65536)
        if not more: return (first + rest).decode()
        rest += more
        if then: s.shutdown(socket.SHUT_WR)
def get(url, method='GET'):
    return proxy('%s %s HTTP/1.1\r\nHost: wrong.test\r\nConnection: close\r\n\r\n' % (method, url))
def tunnel(authority, say=b'hello'):
    return proxy('CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n' % (authority, authority), say)
def call(path, body, key=None, headers={}):
    base = env.get('OPENAI_BASE_URL') or env['ANTHROPIC_BASE_URL']
    mine = env.get('OPENAI_API_KEY') or env['ANTHROPIC_API_KEY']
    c = http.client.HTTPConnection(*at(base), timeout=60)
    c.request('POST', path, json.dumps(body), {'authorization': 'Bearer ' + (key or mine), 'content-type': 'application/json', **headers})
    r = c.getresponse()
    try: return [r.status, r.read().decode()]
    except http.client.IncompleteRead as cut: return [r.status, cut.partial.decode(), 'cut']
def give(value): print(json.dumps(value))
"#;

/// A runtime with an agent `script`.
pub(crate) struct Stage {
    _runtime: Runtime,
    pub(crate) client: Client,
}

impl Stage {
    pub(crate) async fn new(script: &str, confinement: Confinement) -> Self {
        let script = format!("{PRELUDE}\n{script}");
        let agent = ProcessAgent::exec(["/usr/bin/python3", "-Ic", &script])
            .current_dir("/")
            .launcher(Launcher::program(env!("CARGO_BIN_EXE_towline-confine")))
            .confinement(confinement);
        let runtime = Runtime::builder()
            .authenticator(StaticTokens::new([("me", "t")]).unwrap())
            .agent("script", agent)
            .build()
            .await
            .unwrap();
        let (near, far) = MemoryTransport::pair();
        runtime.accept(far);
        let options = ClientOptions::bearer("t");
        let client = Client::connect(near, options).await.unwrap();
        Self {
            _runtime: runtime,
            client,
        }
    }

    pub(crate) async fn submit(&self, lease: &[(&str, &str)]) -> JobHandle {
        let lease: Lease = lease.iter().copied().collect();
        self.client
            .submit("script")
            .lease(lease)
            .send()
            .await
            .unwrap()
    }

    /// Runs the script; what it gave, and how its job ended where that was not well.
    pub(crate) async fn run(&self, lease: &[(&str, &str)]) -> Ran {
        let mut job = self.submit(lease).await;
        let id = job.id().clone();
        let outcome = soon(job.outcome()).await.unwrap();
        let (gave, failure) = match outcome {
            Outcome::Success(success) => (success.result.to_json().unwrap(), None),
            Outcome::Failure(failure) => (
                Value::Null,
                Some((failure.code.to_string(), failure.message)),
            ),
        };
        let events = self.events(&id).await;
        Ran {
            gave,
            failure,
            events,
        }
    }

    /// The kinds and bodies of a job's events.
    async fn events(&self, job: &JobId) -> Vec<(String, Value)> {
        let watched = self.client.subscribe(job.clone()).history(true).send();
        let mut watched = watched.await.unwrap();
        let mut events = Vec::new();
        while let Some(event) = soon(watched.next_event()).await.unwrap() {
            let body = event.payload().unwrap().body.read().unwrap();
            events.push((event.kind().as_str().to_owned(), body));
        }
        events
    }
}

/// What came of a script.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) gave: Value,
    pub(crate) failure: Option<(String, String)>,
    pub(crate) events: Vec<(String, Value)>,
}

impl Ran {
    /// The bodies of the events of a kind.
    pub(crate) fn bodies(&self, kind: &str) -> Vec<&Value> {
        let events = self.events.iter();
        events
            .filter(|(found, _)| found == kind)
            .map(|(_, body)| body)
            .collect()
    }

    /// The costs that were charged, as texts.
    pub(crate) fn costs(&self) -> Vec<String> {
        let metrics = self.bodies("metric").into_iter();
        let costs = metrics.filter(|metric| metric["name"] == "cost.model");
        costs.map(|metric| metric["value"].to_string()).collect()
    }
}

/// A world with these names, all of whose public addresses are at one server of ours.
#[derive(Debug, Clone)]
pub(crate) struct World {
    names: BTreeMap<&'static str, Vec<IpAddr>>,
    server: SocketAddr,
    /// Where was connected to.
    pub(crate) reached: Arc<Mutex<Vec<SocketAddr>>>,
}

impl World {
    pub(crate) fn new(server: SocketAddr, names: &[(&'static str, &str)]) -> Self {
        let addresses = |text: &str| text.split(' ').map(|one| one.parse().unwrap()).collect();
        Self {
            names: names
                .iter()
                .map(|(name, text)| (*name, addresses(text)))
                .collect(),
            server,
            reached: Arc::default(),
        }
    }
}

impl Outside for World {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        let found = self.names.get(host).cloned();
        let found = found.ok_or_else(|| io::Error::other("no such name"));
        std::future::ready(found).boxed()
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.reached.lock().unwrap().push(address);
        TcpStream::connect(self.server).boxed()
    }
}

/// A request as a server got it: everything before the body, and the body.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A server that answers its connections one after the other with what it is told to, byte for byte; then with the last.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) got: Arc<Mutex<Vec<Got>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn new(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let seen = Arc::clone(&got);
        let task = tokio::spawn(async move {
            for at in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let answer = answers[at.min(answers.len() - 1)].clone();
                tokio::spawn(serve(stream, answer, Arc::clone(&seen)));
            }
        });
        Self { address, got, task }
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, answer: String, got: Arc<Mutex<Vec<Got>>>) {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 8192];
        let count = stream.read(&mut piece).await.unwrap_or(0);
        if count == 0 {
            break;
        }
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            // What is no HTTP came through a tunnel.
            if text == "hello" {
                break;
            }
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let is_length = name.eq_ignore_ascii_case("content-length");
            is_length.then(|| value.trim().parse::<usize>().unwrap())
        });
        if body.len() >= length.unwrap_or(0) {
            break;
        }
    }
    let text = String::from_utf8_lossy(&read).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    got.lock().unwrap().push(Got {
        head: head.to_owned(),
        body: body.to_owned(),
    });
    let said = answer.strip_suffix(HANGS).unwrap_or(&answer);
    let _ = stream.write_all(said.as_bytes()).await;
    if said != answer {
        // Until whoever asked is gone.
        let _ = stream.read(&mut [0]).await;
    }
}

/// An answer that ends so does not end, and says nothing more.
pub(crate) const HANGS: &str = "\0";

/// An answer of HTTP in one piece.
pub(crate) fn http(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}
