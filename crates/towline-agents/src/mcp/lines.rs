//! Lines of a server that have a length.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

/// What a server says, up to a line that is too long: nothing is read from there on. A line that is only passed over is an answer
/// that never comes, and somebody waits for it.
pub(super) struct Bounded<R> {
    from: R,
    longest: usize,
    /// How long the line is that is being read.
    length: usize,
    too_long: CancellationToken,
}

impl<R> Bounded<R> {
    /// `too_long` is cancelled at the first line that has more bytes than `longest`.
    pub(super) fn new(from: R, longest: usize, too_long: &CancellationToken) -> Self {
        Self {
            from,
            longest,
            length: 0,
            too_long: too_long.clone(),
        }
    }

    /// Whether a line is too long by now.
    fn add(&mut self, read: &[u8]) -> bool {
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            self.length += piece.len();
            if self.length > self.longest {
                return true;
            }
            if piece.ends_with(b"\n") {
                self.length = 0;
            }
        }
        false
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.too_long.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.from).poll_read(cx, buf))?;
        if self.add(&buf.filled()[before..]) {
            self.too_long.cancel();
            buf.set_filled(before);
        }
        Poll::Ready(Ok(()))
    }
}
