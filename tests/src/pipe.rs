//! `towline serve --stdio`: a peer that is the program's parent.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout},
};

use crate::{
    peer::{FEATURES, hello},
    program::Place,
    soon,
};

/// A child that speaks ARCP on its standard input and output.
#[derive(Debug)]
pub struct Pipe {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    _place: Place,
}

impl Pipe {
    /// Starts `towline serve --stdio --demo` with alice's token.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(args: &[&str]) -> Self {
        let place = Place::new();
        let all = [
            "serve",
            "--stdio",
            "--demo",
            "--dangerously-grant-any-lease",
            "--token",
            "alice:alice-token",
        ]
        .iter()
        .chain(args);
        let mut command = place.command(all);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().expect("the program can be started");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self {
            child,
            stdin,
            stdout,
            _place: place,
        }
    }

    /// The same, past the welcome.
    ///
    /// # Panics
    /// When it is not welcome.
    pub async fn open(args: &[&str]) -> Self {
        let mut pipe = Self::start(args);
        pipe.send(&hello("alice-token", &FEATURES)).await;
        let welcome = pipe.next().await;
        assert_eq!(welcome["type"], "session.welcome", "{welcome}");
        pipe
    }

    /// Sends an envelope on a line of its own.
    pub async fn send(&mut self, envelope: &Value) {
        self.send_bytes(format!("{envelope}\n").as_bytes()).await;
    }

    /// Sends any bytes.
    ///
    /// # Panics
    /// When the child does not read.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the input was not closed");
        let write = async {
            stdin.write_all(bytes).await?;
            stdin.flush().await
        };
        soon("writing", write).await.expect("the child reads");
    }

    /// Sends a request.
    pub async fn request(&mut self, id: &str, kind: &str, payload: Value) {
        self.send(&json!({"arcp": "1.1", "id": id, "type": kind, "payload": payload}))
            .await;
    }

    /// The next line, or `None` at the end.
    ///
    /// # Panics
    /// When a line is not an envelope, alone and unpadded [ARCP 4-2].
    pub async fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        let read = soon("a line", self.stdout.read_line(&mut line))
            .await
            .expect("its output is text");
        (read > 0).then(|| {
            let text = line.strip_suffix('\n').expect("every line ends");
            assert!(text.starts_with('{') && text.ends_with('}'), "{text:?}");
            serde_json::from_str(text).expect("a line is an envelope")
        })
    }

    /// The next envelope.
    ///
    /// # Panics
    /// At the end.
    pub async fn next(&mut self) -> Value {
        self.line().await.expect("the child goes on")
    }

    /// Reads up to an envelope of one type.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let envelope = self.next().await;
            if envelope["type"] == kind {
                return envelope;
            }
        }
    }

    /// Closes the input; what the child still says, and its status.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn end(mut self) -> (String, Option<i32>) {
        self.stdin = None;
        let mut rest = String::new();
        soon("the end", self.stdout.read_to_string(&mut rest))
            .await
            .expect("its output is text");
        let status = soon("the child's end", self.child.wait())
            .await
            .expect("it can be waited for");
        (rest, status.code())
    }
}
