//! JSON-RPC lines with an agent's process.

use std::io;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::mpsc,
};

use crate::pipe::Output;

/// What came on a line.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    /// It wants an answer.
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    /// It wants none.
    Notification { method: String, params: Value },
    /// An answer to one of ours.
    Response {
        id: Value,
        result: Result<Value, Value>,
    },
    /// No message: what is wrong with it.
    Stray(String),
}

impl Message {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Self {
        let mut value: Value = match serde_json::from_slice(line) {
            Ok(value) => value,
            Err(error) => return Self::Stray(error.to_string()),
        };
        let id = value.get("id").cloned();
        let method = value
            .get("method")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let mut take = |name: &str| value.get_mut(name).map(Value::take);
        match (id, method) {
            (Some(id), Some(method)) => Self::Request {
                id,
                method,
                params: take("params").unwrap_or_default(),
            },
            (None, Some(method)) => Self::Notification {
                method,
                params: take("params").unwrap_or_default(),
            },
            (Some(id), None) => match take("error") {
                Some(error) if !error.is_null() => Self::Response {
                    id,
                    result: Err(error),
                },
                _ => Self::Response {
                    id,
                    result: Ok(take("result").unwrap_or_default()),
                },
            },
            (None, None) => Self::Stray("it has neither `method` nor `id`".to_owned()),
        }
    }
}

/// The lines that come.
pub(super) struct Incoming {
    lines: BufReader<Output<ChildStdout>>,
    line: Vec<u8>,
}

impl Incoming {
    pub(super) fn new(stdout: Output<ChildStdout>) -> Self {
        Self {
            lines: BufReader::new(stdout),
            line: Vec::new(),
        }
    }

    /// The next message; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// The pipe cannot be read, or a line is too long.
    pub(super) async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            let come = self.lines.fill_buf().await?;
            if come.is_empty() {
                return Ok(None);
            }
            let end = memchr::memchr(b'\n', come);
            let taken = end.map_or(come.len(), |end| end + 1);
            self.line.extend_from_slice(&come[..taken]);
            self.lines.consume(taken);
            if self.line.len() > LONGEST {
                return Err(io::Error::other(format!(
                    "it wrote a line of more than {LONGEST} bytes"
                )));
            }
            if end.is_some() {
                let line = std::mem::take(&mut self.line);
                if !line.trim_ascii().is_empty() {
                    return Ok(Some(Message::read(&line)));
                }
            }
        }
    }
}

/// The lines that go. They are written by a task of their own, so that an agent that writes before it reads does not stand
/// still with us.
pub(super) struct Outgoing {
    lines: mpsc::Sender<Vec<u8>>,
    asked: u64,
}

impl Outgoing {
    pub(super) fn new(mut stdin: ChildStdin) -> Self {
        let (lines, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
        tokio::spawn(async move {
            while let Some(line) = waiting.recv().await {
                // An agent that is gone is noticed where it is read.
                if stdin.write_all(&line).await.is_err() {
                    return;
                }
            }
        });
        Self { lines, asked: 0 }
    }

    /// Asks something; gives what the answer will be known by.
    pub(super) async fn request(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = Value::from(self.asked);
        self.send(json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        id
    }

    /// Tells something.
    pub(super) async fn notify(&self, method: &str, params: Value) {
        self.send(json!({"jsonrpc": "2.0", "method": method, "params": params}))
            .await;
    }

    /// Answers something.
    pub(super) async fn respond(&self, id: Value, answer: Result<Value, Fault>) {
        let message = match answer {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(Fault { code, message }) => {
                json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
            }
        };
        self.send(message).await;
    }

    async fn send(&self, message: Value) {
        let mut line = message.to_string().into_bytes();
        line.push(b'\n');
        // As above.
        drop(self.lines.send(line).await);
    }
}

/// An error that is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: i32,
    pub(super) message: String,
}

impl Fault {
    /// There is no such method here.
    pub(super) fn no_method(method: &str) -> Self {
        Self {
            code: -32601,
            message: format!("`{method}` is not offered to this agent"),
        }
    }

    /// The parameters do not fit.
    pub(super) fn params(why: impl ToString) -> Self {
        Self {
            code: -32602,
            message: why.to_string(),
        }
    }

    /// It was tried, and failed.
    pub(super) fn failed(why: impl ToString) -> Self {
        Self {
            code: -32603,
            message: why.to_string(),
        }
    }
}

/// The longest line of an agent.
const LONGEST: usize = 16 * 1024 * 1024;
/// How many lines may wait to be written.
const WAITING: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        let request = Message::read(br#"{"id":"a","method":"m","params":{"x":1}}"#);
        let Message::Request { id, method, params } = request else {
            panic!("{request:?}")
        };
        assert_eq!(
            (id, method.as_str(), params),
            ("a".into(), "m", json!({"x": 1}))
        );
        assert!(matches!(
            Message::read(br#"{"method":"m"}"#),
            Message::Notification { .. }
        ));
        assert!(matches!(
            Message::read(br#"{"id":1,"result":null}"#),
            Message::Response {
                result: Ok(Value::Null),
                ..
            }
        ));
        assert!(matches!(
            Message::read(br#"{"id":1,"error":{"code":1}}"#),
            Message::Response { result: Err(_), .. }
        ));
        assert!(matches!(Message::read(b"hello"), Message::Stray(_)));
    }
}
