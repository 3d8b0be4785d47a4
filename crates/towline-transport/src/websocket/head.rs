//! A byte stream that gives out an HTTP head and holds back what follows.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The library that does the opening handshake reads in pieces and keeps what it has read too much. Through this it reads
/// one head and nothing else, so the frames that come right behind it are still there.
pub(super) struct HeadOnly<IO> {
    io: IO,
    /// Read, and not given out.
    held: BytesMut,
    /// How much of the blank line that ends the head has been given out.
    ended: usize,
}

impl<IO> HeadOnly<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            io,
            held: BytesMut::new(),
            ended: 0,
        }
    }

    /// The stream, and what was read behind the head.
    pub(super) fn into_parts(self) -> (IO, BytesMut) {
        (self.io, self.held)
    }

    /// How many of the held bytes belong to the head.
    fn head(&mut self) -> usize {
        let mut count = 0;
        while self.ended < END.len() && count < self.held.len() {
            self.ended = match self.held[count] {
                byte if byte == END[self.ended] => self.ended + 1,
                b'\r' => 1,
                _ => 0,
            };
            count += 1;
        }
        count
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for HeadOnly<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended == END.len() {
            // Nobody asks for more than the head.
            return Poll::Pending;
        }
        let this = &mut *self;
        let mut room = [0; 1024];
        let size = room.len().min(out.remaining());
        let mut read = ReadBuf::new(&mut room[..size]);
        ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
        this.held.extend_from_slice(read.filled());
        let head = this.head();
        out.put_slice(&this.held[..head]);
        this.held.advance(head);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for HeadOnly<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

const END: &[u8] = b"\r\n\r\n";

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_follows_the_head_is_held_back() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "A: \r\r\nB: \r\n\r\r\n\r\n",
            "\r\n\r\n",
        ] {
            for size in [1, 2, 3, 5, 1024] {
                let sent = format!("{head}frames\r\n\r\n");
                let mut stream = HeadOnly::new(sent.as_bytes());
                let mut given = Vec::new();
                let mut piece = vec![0; size];
                while !given.ends_with(END) {
                    let read = stream.read(&mut piece).await.unwrap();
                    given.extend_from_slice(&piece[..read]);
                }
                assert_eq!(String::from_utf8(given).unwrap(), head);
                let (rest, held) = stream.into_parts();
                let held = [&held[..], rest].concat();
                assert_eq!(held, b"frames\r\n\r\n");
            }
        }
    }
}
