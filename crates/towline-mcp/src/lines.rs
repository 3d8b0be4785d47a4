//! Messages as clients write them: what can be read is read, and what cannot is answered.
//!
//! Models write texts with half a surrogate pair, and nest deeper than a reader has stack for. rmcp passes over what is no JSON to
//! its reader, and whoever sent it waits for ever; so lines are read here.

use std::io;

use futures_util::future::BoxFuture;
use rmcp::{
    ErrorData, RoleServer,
    model::{ClientJsonRpcMessage, RequestId, ServerJsonRpcMessage},
    transport::{Transport, async_rw::AsyncRwTransport},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader, Empty};
use towline_wire::{RawJson, Shown, is_deeper};

/// Why a message is not taken, and which one.
#[derive(Debug, Clone)]
pub struct Malformed {
    error: Box<ErrorData>,
    id: Option<RequestId>,
    is_notification: bool,
}

impl Malformed {
    fn new(error: ErrorData) -> Self {
        Self {
            error: Box::new(error),
            id: None,
            is_notification: false,
        }
    }

    /// What the client is answered. Whose id could not be found has none.
    fn answer(self) -> ServerJsonRpcMessage {
        ServerJsonRpcMessage::error(*self.error, self.id)
    }

    /// The answer as a document: a JSON-RPC error, with the id `null` where none could be found.
    pub fn document(&self) -> String {
        let answer = serde_json::to_value(self.clone().answer());
        let mut answer = answer.unwrap_or_default();
        if let Some(members) = answer.as_object_mut() {
            members.entry("id").or_insert(Value::Null);
        }
        answer.to_string()
    }
}

/// A message as any reader takes it: as it was written, or mended.
///
/// # Errors
/// Why it is none.
pub fn readable(body: Vec<u8>) -> Result<Vec<u8>, Malformed> {
    if serde_json::from_slice::<ClientJsonRpcMessage>(&body).is_ok() {
        return Ok(body);
    }
    let message = mended(&body)?;
    let text = serde_json::to_vec(&message);
    text.map_err(|error| Malformed::new(ErrorData::parse_error(error.to_string(), None)))
}

fn message(line: &[u8]) -> Result<ClientJsonRpcMessage, Malformed> {
    serde_json::from_slice(line).or_else(|_| mended(line))
}

/// What stands in a message whatever else does.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    id: Option<RawJson>,
    method: Option<RawJson>,
}

fn mended(line: &[u8]) -> Result<ClientJsonRpcMessage, Malformed> {
    let unreadable = |why: String| Malformed::new(ErrorData::parse_error(why, None));
    let text = std::str::from_utf8(line)
        .map_err(|error| unreadable(format!("the message is not UTF-8: {error}")))?;
    let raw = RawJson::parse(text.to_owned())
        .map_err(|error| unreadable(format!("the message is no JSON: {error}")))?;
    // Skipped members are not looked into, so this takes no stack.
    let head: Head = raw.read().unwrap_or_default();
    let invalid = |why: String| Malformed {
        error: Box::new(ErrorData::invalid_request(why, None)),
        is_notification: head.id.is_none() && head.method.is_some(),
        id: head.id.as_ref().and_then(|id| id.read().ok()),
    };
    if is_deeper(raw.as_str(), DEEPEST) {
        return Err(invalid(format!(
            "the message is nested deeper than {DEEPEST} levels, send a flatter one"
        )));
    }
    serde_json::from_value(raw.to_value()).map_err(|error| {
        invalid(format!(
            "the message is no request of this protocol: {error}"
        ))
    })
}

/// A message a line, over two streams.
pub(crate) struct Lines<R, W: AsyncWrite> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    skips: bool,
    writer: AsyncRwTransport<RoleServer, Empty, W>,
    /// An answer under way. It is kept, for receiving is given up whenever something else happens.
    answering: Option<BoxFuture<'static, io::Result<()>>>,
}

impl<R, W> Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    pub(crate) fn new(reader: R, writer: W) -> Self {
        Self {
            reader: BufReader::new(reader),
            line: Vec::new(),
            skips: false,
            writer: AsyncRwTransport::new(tokio::io::empty(), writer),
            answering: None,
        }
    }

    /// Reads a line into `self.line`; `None` at the end. Cancel safe: nothing is taken from the stream that is not kept here.
    async fn read(&mut self) -> Option<Result<(), Malformed>> {
        loop {
            let there = match self.reader.fill_buf().await {
                Ok([]) => return None,
                Ok(there) => there,
                Err(error) => {
                    tracing::debug!(%error, "the client cannot be read any more");
                    return None;
                }
            };
            let end = there.iter().position(|byte| *byte == b'\n');
            let piece = &there[..end.unwrap_or(there.len())];
            let is_too_long = !self.skips && self.line.len() + piece.len() > LONGEST;
            if is_too_long {
                self.line = Vec::new();
            } else if !self.skips {
                self.line.extend_from_slice(piece);
            }
            let skipped = self.skips;
            self.skips = (skipped || is_too_long) && end.is_none();
            let used = end.map_or(there.len(), |end| end + 1);
            self.reader.consume(used);
            if is_too_long {
                let why =
                    format!("the message has more than {LONGEST} bytes, the most there may be");
                return Some(Err(Malformed::new(ErrorData::invalid_request(why, None))));
            }
            if end.is_some() && !skipped {
                return Some(Ok(()));
            }
        }
    }
}

impl<R, W> Transport<RoleServer> for Lines<R, W>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        item: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        self.writer.send(item)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(answering) = &mut self.answering {
                let answered = answering.await;
                self.answering = None;
                answered.ok()?;
            }
            let malformed = match self.read().await? {
                Ok(()) => {
                    let line = std::mem::take(&mut self.line);
                    let line = line.strip_prefix(MARK).unwrap_or(&line).trim_ascii();
                    if line.is_empty() {
                        continue;
                    }
                    match message(line) {
                        Ok(message) => return Some(message),
                        Err(malformed) => malformed,
                    }
                }
                Err(malformed) => malformed,
            };
            tracing::debug!(error = %Shown::new(&malformed.error.message), "a message is not taken");
            if !malformed.is_notification {
                self.answering = Some(Box::pin(self.writer.send(malformed.answer())));
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.writer.close().await
    }
}

/// What some programs put before a text.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// As much as a client of rmcp takes of one event.
const LONGEST: usize = 16 * 1024 * 1024;

/// More than this takes more stack than there is to spare.
const DEEPEST: usize = 120;

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{
        AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, split,
    };

    use super::*;

    type Far = Lines<ReadHalf<DuplexStream>, WriteHalf<DuplexStream>>;

    fn lines() -> (DuplexStream, Far) {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (reader, writer) = split(far);
        (near, Lines::new(reader, writer))
    }

    /// [ARCP 19-1] Every request is taken or answered: half a pair is mended, and what cannot be read is an error with the id
    /// that it has, or none.
    #[tokio::test]
    async fn every_request_is_taken_or_answered() {
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        let call = |arguments: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"a","arguments":{arguments}}}}}"#
            )
        };
        for (line, code, id) in [
            (call(&format!(r#"{{"a":{deep}}}"#)), -32600, json!(7)),
            ("{".to_owned(), -32700, Value::Null),
            ("nothing".to_owned(), -32700, Value::Null),
            (
                r#"{"jsonrpc":"2.0","id":"x","method":1}"#.to_owned(),
                -32600,
                json!("x"),
            ),
            ("[]".to_owned(), -32600, Value::Null),
        ] {
            let malformed = message(line.as_bytes()).unwrap_err();
            let told: Value = serde_json::from_str(&malformed.document()).unwrap();
            assert_eq!(told["error"]["code"], code, "{line} {told}");
            assert_eq!(told["id"], id, "{told}");
            assert!(!malformed.is_notification);
            assert_eq!(told["jsonrpc"], "2.0");
        }
        let (mut near, mut far) = lines();
        let half = call(r#"{"a":"\ud800"}"#);
        near.write_all(format!("{{\n\r\n{half}\n").as_bytes())
            .await
            .unwrap();
        let taken = far.receive().await.unwrap();
        let taken = serde_json::to_value(taken).unwrap();
        assert_eq!(taken["params"]["arguments"]["a"], "\u{fffd}");
        let mended: Value = serde_json::from_slice(&readable(half.into_bytes()).unwrap()).unwrap();
        assert_eq!(mended, taken);
        let mut answer = [0; 1024];
        let read = near.read(&mut answer).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer[..read]).unwrap();
        assert_eq!(answer["error"]["code"], -32700, "{answer}");
    }

    /// [ARCP 14-4] A line is as long as it may be, is answered when it is longer, and the next one is read.
    #[tokio::test]
    async fn a_line_that_is_too_long_is_answered() {
        let (near, mut far) = lines();
        let (mut reader, mut writer) = split(near);
        let sending = tokio::spawn(async move {
            let piece = [b'a'; 64 * 1024];
            for _ in 0..=LONGEST / piece.len() {
                writer.write_all(&piece).await.unwrap();
            }
            writer
                .write_all(b"\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n")
                .await
                .unwrap();
            writer
        });
        let taken = serde_json::to_value(far.receive().await.unwrap()).unwrap();
        assert_eq!(taken["method"], "ping");
        let mut answer = [0; 1024];
        let read = reader.read(&mut answer).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer[..read]).unwrap();
        assert_eq!(answer["error"]["code"], -32600, "{answer}");
        drop((reader, sending.await.unwrap()));
        assert!(far.receive().await.is_none());
    }
}
