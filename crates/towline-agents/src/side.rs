//! The side channel: what a plain program says while it runs, beside its output [ARCP 18-5].
//!
//! The program finds the number of a descriptor in `TOWLINE_EVENTS`, one end of a socket pair. It writes lines
//! `{"id"?,"kind","body"}`, and reads lines `{"ack":id}`, once what it wrote is committed, or `{"refused":id,"error":{…}}`;
//! `{"answer":…,"outcome","key","id"?}` to a question, and `{"message":…}` where its agent listens. Whoever does not care for
//! these leaves `id` out and reads nothing.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::{
    io::{
        AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
        BufReader,
    },
    sync::mpsc,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use towline_runtime::{AgentError, EventError, JobContext};
use towline_wire::{ErrorCode, EventKind, RawJson, event::QuestionOutcome, explain_json};

use crate::{
    ask::AskInput,
    pipe::Output,
    said::{self, Said},
};

/// The variable with the number of the program's end.
pub(crate) const EVENTS: &str = "TOWLINE_EVENTS";

/// The number it has in a program, wherever that can be chosen: shells name no descriptor with two digits.
pub(crate) const NUMBER: i32 = 3;

/// The program's end.
#[cfg(unix)]
pub(crate) type Theirs = std::os::fd::OwnedFd;
#[cfg(not(unix))]
pub(crate) type Theirs = std::convert::Infallible;

/// The runtime's end.
#[cfg(unix)]
pub(crate) type Ours = tokio::net::UnixStream;
#[cfg(not(unix))]
pub(crate) type Ours = tokio::io::DuplexStream;

/// Both ends; the program has none where descriptors cannot be handed over.
#[cfg(unix)]
pub(crate) fn pair() -> io::Result<(Ours, Option<Theirs>)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((Ours::from_std(ours)?, Some(theirs.into())))
}

#[cfg(not(unix))]
pub(crate) fn pair() -> io::Result<(Ours, Option<Theirs>)> {
    let (ours, _) = tokio::io::duplex(1);
    Ok((ours, None))
}

/// The longest line.
const LINE: usize = 1024 * 1024;

/// The longest `id`.
const ID: usize = 256;

/// How many questions may wait for their answers.
const QUESTIONS: usize = 64;

/// How many answers may wait for the program to read them. A program that gives ids and reads nothing goes on, and is told
/// in the log that further answers are left out.
const ANSWERS: usize = 4096;

/// What a program writes.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    id: Option<RawJson>,
    kind: String,
    #[serde(default)]
    body: Option<RawJson>,
}

/// What is answered to one line.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Ack {
        ack: RawJson,
    },
    Refused {
        refused: RawJson,
        error: Refused,
    },
    Answered {
        answer: Option<RawJson>,
        outcome: QuestionOutcome,
        key: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<RawJson>,
    },
    Told {
        message: RawJson,
    },
}

#[derive(Debug, Serialize)]
struct Refused {
    code: ErrorCode,
    message: String,
}

/// Takes what a program says until it is `gone`, and answers.
///
/// # Errors
/// The job takes no more events, for another reason than that it has to end.
pub(crate) async fn serve(
    ctx: &JobContext,
    channel: impl AsyncRead + AsyncWrite,
    gone: &CancellationToken,
) -> Result<(), AgentError> {
    let (reads, writes) = tokio::io::split(channel);
    let (answers, waiting) = mpsc::channel(ANSWERS);
    let ear = Ear {
        ctx,
        answers: answers.clone(),
        asking: JoinSet::new(),
        is_deaf: false,
    };
    let (heard, (), ()) = tokio::join!(
        ear.hear(Output::new(reads, gone)),
        tell(ctx, answers, gone),
        answer(ctx, waiting, writes, gone)
    );
    heard
}

/// Passes on what people say to the job.
async fn tell(ctx: &JobContext, to: mpsc::Sender<Answer>, gone: &CancellationToken) {
    let mut messages = ctx.messages();
    let telling = async {
        // What cannot be read any more is not told.
        while let Ok(Some(message)) = messages.next().await {
            let told = Answer::Told {
                message: message.body,
            };
            if to.send(told).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = gone.cancelled() => {}
    }
}

/// Hears a program.
struct Ear<'j> {
    ctx: &'j JobContext,
    answers: mpsc::Sender<Answer>,
    /// Questions that nobody has answered yet. They end with this, and stay open.
    asking: JoinSet<()>,
    /// Whether an answer had no room already.
    is_deaf: bool,
}

impl Ear<'_> {
    async fn hear(mut self, from: impl AsyncRead + Unpin) -> Result<(), AgentError> {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            let limit = (LINE + 1) as u64;
            // A channel that cannot be read is at its end.
            let read = (&mut from).take(limit).read_until(b'\n', &mut line).await;
            if read.unwrap_or(0) == 0 {
                return Ok(());
            }
            if line.len() > LINE && !line.ends_with(b"\n") {
                skip(&mut from).await;
                let text = format!("a line to {EVENTS} has more than {LINE} bytes and is left out");
                self.warn(text).await?;
                continue;
            }
            let text = line.trim_ascii();
            if !text.is_empty() {
                self.line(text).await?;
            }
        }
    }

    async fn line(&mut self, line: &[u8]) -> Result<(), AgentError> {
        let Line { id, kind, body } = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(cause) => {
                let text = format!(
                    "a line to {EVENTS} is no event ({}): {}",
                    explain_json(&cause),
                    shown(line)
                );
                return self.warn(text).await;
            }
        };
        if id.as_ref().is_some_and(|id| id.as_str().len() > ID) {
            let text = format!("a line to {EVENTS} has an `id` of more than {ID} bytes");
            return self.warn(text).await;
        }
        let body = body.unwrap_or(RawJson::EMPTY_OBJECT);
        if kind == "ask" {
            return self.ask(id, &body).await;
        }
        let done = self.take(&EventKind::new(&kind), &body).await?;
        match (id, done) {
            (None, Ok(())) => Ok(()),
            (Some(ack), Ok(())) => self.reply(Answer::Ack { ack }).await,
            (id, Err(error)) => self.refuse(&kind, id, error).await,
        }
    }

    async fn refuse(
        &mut self,
        kind: &str,
        id: Option<RawJson>,
        error: Refused,
    ) -> Result<(), AgentError> {
        self.warn(format!("a `{kind}` line to {EVENTS}: {}", error.message))
            .await?;
        match id {
            Some(refused) => self.reply(Answer::Refused { refused, error }).await,
            None => Ok(()),
        }
    }

    /// Asks people, beside what else the program says.
    async fn ask(&mut self, id: Option<RawJson>, body: &RawJson) -> Result<(), AgentError> {
        while self.asking.try_join_next().is_some() {}
        let refused = |message: String| Refused {
            code: ErrorCode::INVALID_REQUEST,
            message,
        };
        if self.asking.len() >= QUESTIONS {
            let error = refused(format!(
                "{QUESTIONS} questions wait for their answers already"
            ));
            return self.refuse("ask", id, error).await;
        }
        let input: AskInput = match body.read() {
            Ok(input) => input,
            Err(cause) => {
                return self.refuse("ask", id, refused(explain_json(&cause))).await;
            }
        };
        let (ctx, answers) = (self.ctx.clone(), self.answers.clone());
        self.asking.spawn(async move {
            let key = input.key().to_owned();
            let answer = match input.ask(&ctx).await {
                Ok(answer) => Answer::Answered {
                    answer: answer.value().cloned(),
                    outcome: answer.outcome().clone(),
                    key,
                    id,
                },
                Err(_) if ctx.is_cancelled() => return,
                Err(error) => Answer::Refused {
                    refused: id.unwrap_or(RawJson::NULL),
                    error: Refused {
                        code: error.code().clone(),
                        message: error.message().to_owned(),
                    },
                },
            };
            // A program that has ended is told nothing.
            drop(answers.send(answer).await);
        });
        Ok(())
    }

    async fn reply(&mut self, answer: Answer) -> Result<(), AgentError> {
        if self.answers.try_send(answer).is_err() && !std::mem::replace(&mut self.is_deaf, true) {
            let text = format!(
                "the program does not read {EVENTS}: answers beyond {ANSWERS} are left out until it does"
            );
            self.warn(text).await?;
        }
        Ok(())
    }

    /// Does what a line asks for; the inner error is the line's own fault.
    async fn take(
        &self,
        kind: &EventKind,
        body: &RawJson,
    ) -> Result<Result<(), Refused>, AgentError> {
        let refused = |message: String| {
            Ok(Err(Refused {
                code: ErrorCode::INVALID_REQUEST,
                message,
            }))
        };
        if *kind == EventKind::RESULT_CHUNK {
            return refused("the result of this program is its standard output".to_owned());
        }
        match said::say(self.ctx, kind, body, said::IN_ENVIRONMENT).await {
            Ok(Said::Done) => Ok(Ok(())),
            Ok(Said::Refused(code, message)) => Ok(Err(Refused { code, message })),
            // It is being ended, and what it says on the way out does not count.
            Err(EventError::JobEnded) if self.ctx.is_cancelled() => {
                refused("the job takes no more events".to_owned())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn warn(&self, text: String) -> Result<(), AgentError> {
        match self.ctx.log("warn", text).await {
            Err(EventError::JobEnded) if self.ctx.is_cancelled() => Ok(()),
            said => Ok(said?),
        }
    }
}

/// Skips the rest of a line.
async fn skip(from: &mut (impl tokio::io::AsyncBufRead + Unpin)) {
    loop {
        let Ok(buffer) = from.fill_buf().await else {
            return;
        };
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let (read, over) = match end {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        from.consume(read);
        if over {
            return;
        }
    }
}

/// The beginning of a line, for a person.
fn shown(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().take(80).collect()
}

/// Writes answers, each once what it is about is durable.
async fn answer(
    ctx: &JobContext,
    mut waiting: mpsc::Receiver<Answer>,
    mut to: impl AsyncWrite + Unpin,
    gone: &CancellationToken,
) {
    let mut answers = Vec::new();
    let answering = async {
        while waiting.recv_many(&mut answers, ANSWERS).await > 0 {
            ctx.durable().await;
            let mut lines = Vec::new();
            for answer in answers.drain(..) {
                // Both forms have a JSON form.
                if serde_json::to_writer(&mut lines, &answer).is_ok() {
                    lines.push(b'\n');
                }
            }
            if to.write_all(&lines).await.is_err() {
                // It has closed its end, and is told nothing more.
                return;
            }
        }
    };
    tokio::select! {
        () = answering => {}
        () = gone.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_one_line() {
        let ack = Answer::Ack {
            ack: RawJson::parse("\"a\"").unwrap(),
        };
        assert_eq!(serde_json::to_string(&ack).unwrap(), r#"{"ack":"a"}"#);
        let refused = Answer::Refused {
            refused: RawJson::parse("7").unwrap(),
            error: Refused {
                code: ErrorCode::INVALID_REQUEST,
                message: "no".to_owned(),
            },
        };
        assert_eq!(
            serde_json::to_string(&refused).unwrap(),
            r#"{"refused":7,"error":{"code":"INVALID_REQUEST","message":"no"}}"#
        );
    }

    #[tokio::test]
    async fn the_rest_of_a_line_is_skipped() {
        let mut from = BufReader::with_capacity(4, &b"0123456789\nnext"[..]);
        skip(&mut from).await;
        let mut rest = String::new();
        from.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "next");
    }
}
