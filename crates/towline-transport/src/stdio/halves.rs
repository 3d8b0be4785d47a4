//! The two halves of a line-wise connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Sleep,
};
use tokio_util::io::poll_read_buf;
use towline_wire::{DecodeError, Encode, Envelope, EventFrame};

use super::{
    StdioOptions,
    lines::{Line, LineDecoder},
};
use crate::{CloseFrame, Closed, FrameSink, FrameSource, Inbound, TransportError};

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

pub(super) fn halves(
    reader: Reader,
    writer: Writer,
    options: StdioOptions,
) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
    let goodbye = Arc::new(Goodbye::default());
    let lines = LineDecoder::new(options.max_line_length);
    let source = Source {
        reader,
        lines,
        goodbye: goodbye.clone(),
        tail: Tail::Open,
    };
    let sink = Sink {
        stage: Stage::Open(writer),
        out: Vec::new(),
        written: 0,
        options,
        goodbye,
        deadline: None,
    };
    (Box::new(sink), Box::new(source))
}

/// Whether our side has said it will go; ends a receive that waits.
#[derive(Default)]
struct Goodbye {
    is_said: AtomicBool,
    reader: AtomicWaker,
}

impl Goodbye {
    fn say(&self) {
        self.is_said.store(true, Ordering::Release);
        self.reader.wake();
    }

    fn is_said(&self) -> bool {
        self.is_said.load(Ordering::Acquire)
    }
}

struct Sink {
    stage: Stage,
    /// Lines that were taken and are not all written yet.
    out: Vec<u8>,
    written: usize,
    options: StdioOptions,
    goodbye: Arc<Goodbye>,
    /// When a close that has begun is given up.
    deadline: Option<Pin<Box<Sleep>>>,
}

enum Stage {
    Open(Writer),
    /// What was taken is written, nothing more is taken.
    Closing(Writer),
    Closed,
    Failed,
}

impl Sink {
    fn check_open(&self) -> Result<(), TransportError> {
        if matches!(self.stage, Stage::Open(_)) {
            Ok(())
        } else {
            Err(TransportError::Closed)
        }
    }

    fn take(&mut self, frame: &impl Encode) -> Result<(), TransportError> {
        self.check_open()?;
        let before = self.out.len();
        frame.encode_onto(&mut self.out);
        let (size, limit) = (self.out.len() - before, self.options.max_send_length);
        if size > limit {
            self.out.truncate(before);
            return Err(TransportError::FrameTooBig { size, limit });
        }
        debug_assert!(
            !self.out[before..].contains(&b'\n'),
            "an encoded envelope is one line"
        );
        self.out.push(b'\n');
        Ok(())
    }

    /// Hands everything to the writer and flushes it.
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        let (Stage::Open(writer) | Stage::Closing(writer)) = &mut self.stage else {
            return Poll::Ready(Err(TransportError::Closed));
        };
        let written = ready!(poll_write_all(cx, writer, &self.out, &mut self.written));
        self.out.clear();
        self.written = 0;
        // One large frame should not be held room for as long as the connection lasts.
        self.out.shrink_to(self.options.write_buffer_size);
        if let Err(cause) = written {
            self.stage = Stage::Failed;
            return Poll::Ready(Err(TransportError::Io(cause)));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Closed) {
                Stage::Open(writer) => {
                    self.stage = Stage::Closing(writer);
                    self.goodbye.say();
                }
                Stage::Closing(mut writer) if self.out.is_empty() => {
                    let shut = Pin::new(&mut writer).poll_shutdown(cx);
                    if shut.is_pending() {
                        self.stage = Stage::Closing(writer);
                    }
                    // The writer is dropped here: for a pipe that, and not the shutdown, is what the peer sees.
                    return shut.map_err(TransportError::Io);
                }
                stage @ Stage::Closing(_) => {
                    self.stage = stage;
                    ready!(self.poll_write_out(cx))?;
                }
                Stage::Closed => return Poll::Ready(Ok(())),
                Stage::Failed => {
                    self.stage = Stage::Failed;
                    self.goodbye.say();
                    return Poll::Ready(Err(TransportError::Closed));
                }
            }
        }
    }
}

fn poll_write_all(
    cx: &mut Context<'_>,
    writer: &mut Writer,
    bytes: &[u8],
    written: &mut usize,
) -> Poll<io::Result<()>> {
    while *written < bytes.len() {
        match ready!(Pin::new(&mut *writer).poll_write(cx, &bytes[*written..]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            taken => *written += taken,
        }
    }
    Pin::new(writer).poll_flush(cx)
}

impl FrameSink for Sink {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.check_open()?;
        if self.out.len() < self.options.write_buffer_size {
            return Poll::Ready(Ok(()));
        }
        self.poll_write_out(cx)
    }

    fn start_send(&mut self, envelope: Envelope) -> Result<(), TransportError> {
        self.take(&envelope)
    }

    fn start_send_text(&mut self, text: &str) -> Result<(), TransportError> {
        self.take(&crate::Text(text))
    }

    fn poll_send_event(
        &mut self,
        cx: &mut Context<'_>,
        frame: &EventFrame<'_>,
    ) -> Poll<Result<(), TransportError>> {
        ready!(self.poll_ready(cx))?;
        Poll::Ready(self.take(frame))
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.check_open()?;
        self.poll_write_out(cx)
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        _: &CloseFrame,
    ) -> Poll<Result<(), TransportError>> {
        let polled = self.poll_goodbye(cx);
        if polled.is_ready() {
            return polled;
        }
        let timeout = self.options.close_timeout;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        self.stage = Stage::Failed;
        Poll::Ready(Err(TransportError::timed_out(
            "the peer did not read what was sent to it in time",
        )))
    }
}

struct Source {
    reader: Reader,
    lines: LineDecoder,
    goodbye: Arc<Goodbye>,
    tail: Tail,
}

/// What comes after the lines that were read.
enum Tail {
    /// More may be read.
    Open,
    /// This is said, then nothing.
    Ends(Closed),
    /// Nothing.
    Over,
}

impl Source {
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let read = poll_read_buf(Pin::new(&mut self.reader), cx, self.lines.space());
        match ready!(read) {
            Ok(0) => {
                self.lines.finish();
                // The end of the stream is the only goodbye there is.
                self.tail = Tail::Ends(Closed::ByPeer(None));
            }
            Ok(_) => {}
            Err(cause) => {
                self.tail = Tail::Ends(Closed::Lost {
                    reason: cause.to_string(),
                })
            }
        }
        Poll::Ready(())
    }
}

impl FrameSource for Source {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        loop {
            if self.goodbye.is_said() {
                return Poll::Ready(None);
            }
            if let Some(line) = self.lines.next_line() {
                return Poll::Ready(Some(match line {
                    Line::Whole(bytes) => decode(bytes),
                    Line::TooBig => Inbound::TooBig {
                        limit: self.lines.limit(),
                        fatal: false,
                    },
                }));
            }
            if !matches!(self.tail, Tail::Open) {
                let tail = std::mem::replace(&mut self.tail, Tail::Over);
                return Poll::Ready(if let Tail::Ends(closed) = tail {
                    Some(Inbound::Closed(closed))
                } else {
                    None
                });
            }
            // Registered before the flag is looked at again by the read that follows a wake.
            self.goodbye.reader.register(cx.waker());
            if self.goodbye.is_said() {
                return Poll::Ready(None);
            }
            ready!(self.poll_read(cx));
        }
    }
}

fn decode(line: Bytes) -> Inbound {
    if line.starts_with(BYTE_ORDER_MARK) {
        let message =
            "the line begins with a byte order mark; send plain UTF-8 without one".to_owned();
        return Inbound::Malformed(DecodeError { message, id: None });
    }
    Envelope::decode_bytes(line).map_or_else(Inbound::Malformed, Inbound::Envelope)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
