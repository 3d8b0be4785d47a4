//! `towline serve` in a process of its own, on a free port, for as long as the value lives.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::{Child, ChildStdout},
};

use crate::{program::Place, soon};

/// Tokens of the principals that every server here knows, as `alice:alice-token`.
pub const PRINCIPALS: [&str; 2] = ["alice", "bob"];

/// The token of a principal.
pub fn token_of(principal: &str) -> String {
    format!("{principal}-token")
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Serve {
    place: Arc<Place>,
    args: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Serve {
    /// `towline serve --demo` on a free port of the loopback interface, with the [`PRINCIPALS`], in a new directory; it grants
    /// whatever lease is asked for.
    pub fn demo() -> Self {
        let tokens = PRINCIPALS
            .iter()
            .flat_map(|name| ["--token".to_owned(), format!("{name}:{}", token_of(name))]);
        let args = [
            "serve",
            "--demo",
            "--dangerously-grant-any-lease",
            "--listen",
            "127.0.0.1:0",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain(tokens);
        Self {
            place: Arc::default(),
            args: args.collect(),
            variables: Vec::new(),
        }
    }

    /// `towline serve` with exactly these arguments.
    pub fn bare(args: &[&str]) -> Self {
        let args = ["serve"]
            .iter()
            .chain(args)
            .map(|&arg| arg.to_owned())
            .collect();
        Self {
            place: Arc::default(),
            args,
            variables: Vec::new(),
        }
    }

    /// More arguments.
    #[must_use]
    pub fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// With these variables in its environment.
    #[must_use]
    pub fn envs<N: Into<String>, V: Into<String>>(
        mut self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        self.variables.extend(variables);
        self
    }

    /// In this directory rather than in one of its own.
    #[must_use]
    pub fn at(mut self, place: &Arc<Place>) -> Self {
        self.place = Arc::clone(place);
        self
    }

    /// Starts it and waits until it listens.
    ///
    /// # Panics
    /// When it ends instead; with what it said.
    pub async fn start(&self) -> Server {
        let log = self.place.path().join("stderr.log");
        let stderr = File::options()
            .append(true)
            .create(true)
            .open(&log)
            .expect("the log can be written");
        let mut command = self.place.command(&self.args);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command
            .env("RUST_LOG", "towline=info,towline::trace=off,warn")
            .envs(variables)
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = command.spawn().expect("the program can be started");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut before = Vec::new();
        let url = loop {
            let mut line = String::new();
            let read = soon("the listening line", stdout.read_line(&mut line)).await;
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert_ne!(
                read.expect("its output can be read"),
                0,
                "the server ended: {before:?} {}",
                said()
            );
            match line.trim_end().strip_prefix("listening on ") {
                Some(url) => break url.to_owned(),
                None => before.push(line.trim_end().to_owned()),
            }
        };
        Server {
            child,
            stdout,
            url,
            before,
            log,
            again: self.clone(),
        }
    }
}

/// A server that listens; killed when the value is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where it listens, as it said itself.
    pub url: String,
    /// What it printed before that.
    pub before: Vec<String>,
    log: PathBuf,
    again: Serve,
}

impl Server {
    /// Host and port.
    ///
    /// # Panics
    /// When what it printed is no URL.
    pub fn address(&self) -> &str {
        self.url
            .split('/')
            .nth(2)
            .expect("the URL names an address")
    }

    /// The directory it runs in.
    pub fn place(&self) -> &Arc<Place> {
        &self.again.place
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// The flags with which the program reaches this server as a principal.
    pub fn flags(&self, principal: &str) -> [String; 4] {
        [
            "--url".to_owned(),
            self.url.clone(),
            "--token".to_owned(),
            token_of(principal),
        ]
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id fits"));
        kill(pid, signal).expect("the server runs");
    }

    /// SIGKILL, then the same again on the same data.
    ///
    /// # Panics
    /// When it does not come back.
    pub async fn crash_and_restart(self) -> Self {
        let again = self.again.clone();
        self.crash().await;
        again.start().await
    }

    /// SIGKILL; how to start the same again.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn crash(mut self) -> Serve {
        soon("the server's end", self.child.kill())
            .await
            .expect("it can be killed");
        self.again.clone()
    }

    /// Waits for its end: its status, and what it still printed.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        soon(
            "the end of its output",
            self.stdout.read_to_string(&mut rest),
        )
        .await
        .expect("its output can be read");
        let status = soon("the server's end", self.child.wait())
            .await
            .expect("it can be waited for");
        (status.code(), rest)
    }

    /// Whether it runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Its resident memory in bytes.
    ///
    /// # Panics
    /// Where there is no `/proc`.
    pub fn resident_bytes(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.pid()))
            .expect("the process has a statm");
        let pages = text
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        // Pages have 4 KiB wherever these tests run; a larger one only widens the bound.
        pages.expect("the second field is the resident set") * 4096
    }

    /// What it said on standard error so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// One HTTP exchange, written by hand: the whole answer. `Host` is sent as the address unless `headers` has one.
    ///
    /// # Panics
    /// When the server does not answer and close.
    pub async fn http(&self, request_line: &str, headers: &[&str]) -> String {
        http(self.address(), request_line, headers).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the server's last words:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// One HTTP exchange, written by hand: the whole answer.
///
/// # Panics
/// When the server does not answer and close.
pub async fn http(address: &str, request_line: &str, headers: &[&str]) -> String {
    let mut socket = TcpStream::connect(address)
        .await
        .expect("the server listens");
    let host = format!("Host: {address}");
    let names_host = headers
        .iter()
        .any(|header| header.to_ascii_lowercase().starts_with("host:"));
    let first = (!names_host).then_some(host.as_str());
    let mut text = format!("{request_line} HTTP/1.1\r\n");
    for header in first.iter().chain(headers) {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !headers
        .iter()
        .any(|header| header.to_ascii_lowercase().starts_with("connection:"))
    {
        text.push_str("Connection: close\r\n");
    }
    text.push_str("\r\n");
    socket
        .write_all(text.as_bytes())
        .await
        .expect("the server reads");
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = soon("an HTTP answer", socket.read(&mut buffer))
            .await
            .expect("the server answers");
        answer.extend_from_slice(&buffer[..read]);
        if read == 0 || is_whole(&String::from_utf8_lossy(&answer)) {
            return String::from_utf8_lossy(&answer).into_owned();
        }
    }
}

/// Connections that ask for an upgrade stay open, so the answer's own length counts.
fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")?
            .trim()
            .parse()
            .ok()
    });
    body.len() >= length.unwrap_or(0)
}

/// Whether a path is there and only its owner can read it.
///
/// # Panics
/// When it is not there.
pub fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)
        .expect("the file is there")
        .permissions()
        .mode();
    mode & 0o077 == 0
}
