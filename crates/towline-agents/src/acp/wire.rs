//! JSON-RPC 2.0 in lines. Nothing is read ahead of, and nothing waits for what the other side does not take.

use bytes::{Buf as _, BytesMut};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    process::{ChildStdin, ChildStdout},
};
use tokio_util::codec::{AnyDelimiterCodec, AnyDelimiterCodecError, FramedRead};
use towline_runtime::{AgentError, EventError};
use towline_wire::ErrorCode;

use crate::pipe::Output;

/// Why a turn came to nothing.
pub(super) enum Broken {
    /// The output of the program ended.
    Lost,
    /// The job has to end.
    Cancelled,
    Error(AgentError),
}

impl From<AgentError> for Broken {
    fn from(error: AgentError) -> Self {
        Self::Error(error)
    }
}

impl From<EventError> for Broken {
    fn from(error: EventError) -> Self {
        Self::Error(error.into())
    }
}

/// What the other side says.
pub(super) enum Said {
    Answer {
        id: u64,
        answer: Result<Value, RpcError>,
    },
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notice {
        method: String,
        params: Value,
    },
    /// A line that is no message.
    Stray(String),
}

/// An error answer.
#[derive(Debug)]
pub(super) struct RpcError {
    pub(super) code: i64,
    pub(super) message: String,
}

impl RpcError {
    pub(super) fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

pub(super) const METHOD_NOT_FOUND: i64 = -32601;
pub(super) const INVALID_PARAMS: i64 = -32602;
pub(super) const INTERNAL: i64 = -32603;

/// The lines to and from the program.
pub(super) struct Wire {
    lines: FramedRead<Output<ChildStdout>, AnyDelimiterCodec>,
    stdin: ChildStdin,
    out: BytesMut,
    last_id: u64,
}

impl Wire {
    pub(super) fn new(stdout: Output<ChildStdout>, stdin: ChildStdin) -> Self {
        // Bytes, not text: a line that is no UTF-8 is a line that is no message, and not the end of the pipe.
        let end = || b"\n".to_vec();
        let codec = AnyDelimiterCodec::new_with_max_length(end(), end(), LINE);
        Self {
            lines: FramedRead::new(stdout, codec),
            stdin,
            out: BytesMut::new(),
            last_id: 0,
        }
    }

    /// Puts a request on its way; gives its number.
    pub(super) fn request(&mut self, method: &str, params: &Value) -> u64 {
        self.last_id += 1;
        self.put(
            &json!({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params}),
        );
        self.last_id
    }

    pub(super) fn notify(&mut self, method: &str, params: &Value) {
        self.put(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    pub(super) fn answer(&mut self, id: &Value, answer: Result<Value, RpcError>) {
        self.put(&match answer {
            Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
            Err(error) => json!({
                "jsonrpc": "2.0", "id": id,
                "error": {"code": error.code, "message": error.message},
            }),
        });
    }

    fn put(&mut self, message: &Value) {
        self.out.extend_from_slice(message.to_string().as_bytes());
        self.out.extend_from_slice(b"\n");
    }

    /// The next thing said; what is to be said to the other side goes out meanwhile. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Said, Broken> {
        loop {
            tokio::select! {
                line = self.lines.next() => return match line {
                    Some(Ok(line)) => Ok(read(&line)),
                    Some(Err(AnyDelimiterCodecError::MaxChunkLengthExceeded)) => Err(AgentError::new(
                        ErrorCode::INTERNAL_ERROR,
                        format!("the agent's process wrote a line of more than {LINE} bytes"),
                    )
                    .into()),
                    Some(Err(AnyDelimiterCodecError::Io(error))) => Err(AgentError::from(error).into()),
                    None => Err(Broken::Lost),
                },
                written = self.stdin.write(&self.out), if !self.out.is_empty() => match written {
                    Ok(written) => self.out.advance(written),
                    // It reads no more; what it wrote before may still be its answer.
                    Err(_) => self.out.clear(),
                },
            }
        }
    }

    /// Whether so much waits to be read by the other side that it has to read first.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() > WAITING
    }
}

fn read(line: &[u8]) -> Said {
    let stray = || {
        // No character has more than four bytes.
        let beginning = &line[..line.len().min(4 * SHOWN)];
        let text = String::from_utf8_lossy(beginning);
        Said::Stray(text.trim_end().chars().take(SHOWN).collect())
    };
    let Ok(Value::Object(mut message)) = serde_json::from_slice(line) else {
        return stray();
    };
    let id = message.remove("id");
    let method = message
        .get("method")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let params = message.remove("params").unwrap_or(Value::Null);
    match (method, id) {
        (Some(method), Some(id)) => Said::Request { id, method, params },
        (Some(method), None) => Said::Notice { method, params },
        (None, Some(id)) => match id.as_u64() {
            None => stray(),
            Some(id) => Said::Answer {
                id,
                answer: match message.remove("error") {
                    Some(error) => Err(RpcError {
                        code: error["code"].as_i64().unwrap_or_default(),
                        message: error["message"].as_str().unwrap_or("no message").to_owned(),
                    }),
                    None => Ok(message.remove("result").unwrap_or(Value::Null)),
                },
            },
        },
        (None, None) => stray(),
    }
}

/// A member of what may be no object; null where it is not there.
pub(super) fn taken(params: &mut Value, name: &str) -> Value {
    params.get_mut(name).map(Value::take).unwrap_or_default()
}

/// The longest line of a program.
const LINE: usize = 16 << 20;

/// How much may wait to be read by a program before it is answered no more.
const WAITING: usize = 32 << 20;

/// So much of a line that is no message is shown.
const SHOWN: usize = 200;
