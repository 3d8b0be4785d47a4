//! Newline-delimited envelopes, one a line [ARCP 4-2]: over any pair of byte streams, over this process's own stdin and
//! stdout, and to a child process.

use std::{fmt, time::Duration};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{FrameSink, FrameSource, Transport, TransportInfo, TransportKind};

#[cfg(feature = "child")]
mod child;
mod halves;
mod lines;
#[cfg(feature = "child")]
mod stderr;

#[cfg(feature = "child")]
pub use child::{ChildOptions, ChildProcess};

/// A connection of lines.
///
/// - Every envelope is one line ended by `\n`. `\r\n` is tolerated and blank lines are skipped; a line that is no
///   envelope, not UTF-8, or begins with a byte order mark is [`Inbound::Malformed`](crate::Inbound::Malformed) and the
///   connection goes on. A last line without an end counts.
/// - A line above the limit is dropped while it arrives, without being held in memory, and reported once as
///   [`Inbound::TooBig`](crate::Inbound::TooBig), not `fatal` [ARCP 4-6].
/// - Lines gather in a bounded buffer until a flush; a peer that does not read makes the sender wait.
/// - There are no close codes: the goodbye is the end of the stream. Closing ends our output, and our source yields
///   nothing more; the peer sees [`Closed::ByPeer(None)`](crate::Closed::ByPeer). Dropping both halves looks the same.
///   When the *peer's* output has ended, sending to it still works for as long as it reads.
pub struct StdioTransport {
    reader: halves::Reader,
    writer: halves::Writer,
    options: StdioOptions,
}

impl StdioTransport {
    /// This process's stdin and stdout, for a program that is a child of its peer.
    ///
    /// From here on nothing else may write to stdout; logs belong on stderr [ARCP 4-2]. The parent sees the end of the
    /// stream when the process exits, not at the close. Reading stdin occupies a thread of tokio's blocking pool until
    /// there is input, so end such a program with `Runtime::shutdown_background` or `std::process::exit`.
    pub fn from_process() -> Self {
        Self::from_process_with(StdioOptions::default())
    }

    /// [`from_process`](Self::from_process) with options.
    pub fn from_process_with(options: StdioOptions) -> Self {
        Self::over(
            tokio::io::stdin(),
            tokio::io::stdout(),
            options.declare_confidential(true),
        )
    }

    /// Reads lines from one stream and writes lines to the other.
    pub fn over(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        options: StdioOptions,
    ) -> Self {
        Self {
            reader: Box::new(reader),
            writer: Box::new(writer),
            options,
        }
    }
}

impl fmt::Debug for StdioTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioTransport")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Transport for StdioTransport {
    fn info(&self) -> TransportInfo {
        TransportInfo::new(TransportKind::Stdio).confidential(self.options.confidential)
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        halves::halves(self.reader, self.writer, self.options)
    }
}

/// What can be chosen for a connection of lines.
#[derive(Debug, Clone)]
pub struct StdioOptions {
    max_line_length: usize,
    max_send_length: usize,
    write_buffer_size: usize,
    close_timeout: Duration,
    confidential: bool,
}

impl StdioOptions {
    /// The longest line received, in bytes. Default: 4 MiB [ARCP 4-6].
    #[must_use]
    pub fn max_line_length(mut self, bytes: usize) -> Self {
        self.max_line_length = bytes;
        self
    }

    /// The longest line sent, in bytes; a longer one is
    /// [`TransportError::FrameTooBig`](crate::TransportError::FrameTooBig) and nothing of it is sent. Default: 4 MiB.
    /// Some peers, Python's `asyncio` among them, read no more than 64 KiB.
    #[must_use]
    pub fn max_send_length(mut self, bytes: usize) -> Self {
        self.max_send_length = bytes;
        self
    }

    /// How much is gathered before it is written without a flush having been asked for, in bytes. Default: 64 KiB.
    #[must_use]
    pub fn write_buffer_size(mut self, bytes: usize) -> Self {
        self.write_buffer_size = bytes.max(1);
        self
    }

    /// How long a close may take to write out what is queued. Default: 5 s.
    #[must_use]
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.close_timeout = timeout;
        self
    }

    /// Declares that nobody else can read the streams. Danger: credentials are sent over connections that are declared
    /// so [ARCP 9.8-1]. Default: false; this process's own stdio and a child's pipes always are.
    #[must_use]
    pub fn declare_confidential(mut self, confidential: bool) -> Self {
        self.confidential = confidential;
        self
    }
}

impl Default for StdioOptions {
    fn default() -> Self {
        Self {
            max_line_length: 4 << 20,
            max_send_length: 4 << 20,
            write_buffer_size: 64 << 10,
            close_timeout: Duration::from_secs(5),
            confidential: false,
        }
    }
}
