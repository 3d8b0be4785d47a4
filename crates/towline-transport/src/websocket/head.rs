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
    given: Given,
}

/// How far the head has been given out. Lines end with `\n`, usually with `\r` before it, and blank ones in front do not
/// count (RFC 9112 §2.2), as the library has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Nothing,
    InLine,
    Line,
    Head,
}

impl<IO> HeadOnly<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self {
            io,
            held: BytesMut::new(),
            given: Given::Nothing,
        }
    }

    /// The stream, and what was read behind the head.
    pub(super) fn into_parts(self) -> (IO, BytesMut) {
        (self.io, self.held)
    }

    /// How many of the held bytes belong to the head.
    fn head(&mut self) -> usize {
        let mut count = 0;
        while self.given != Given::Head && count < self.held.len() {
            self.given = match (self.given, self.held[count]) {
                (Given::Line, b'\n') => Given::Head,
                (Given::InLine, b'\n') => Given::Line,
                (Given::Nothing, b'\n') | (_, b'\r') => self.given,
                _ => Given::InLine,
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
        if self.given == Given::Head {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::{collection::vec, prelude::*};
    use tokio::io::AsyncReadExt as _;
    use tokio_tungstenite::tungstenite::handshake::{machine::TryParse as _, server::Request};

    use super::*;

    #[test]
    fn what_follows_the_head_is_held_back() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\r\nB: \r\n\r\n",
            // Lines may end without a carriage return, and blank ones may stand in front (RFC 9112 §2.2).
            "GET / HTTP/1.1\n\n",
            "GET / HTTP/1.1\nA: 1\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\r\n\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "\n\nGET / HTTP/1.1\nA: 1\n\n",
        ] {
            for size in [1, 2, 3, 5, 1024] {
                let sent = format!("{head}frames\r\n\r\n");
                let mut stream = HeadOnly::new(sent.as_bytes());
                let mut given = Vec::new();
                let mut piece = vec![0; size];
                while given.len() < head.len() {
                    let read = stream.read(&mut piece).now_or_never();
                    let read = read.expect("the head has more").unwrap();
                    given.extend_from_slice(&piece[..read]);
                }
                assert_eq!(String::from_utf8(given).unwrap(), head);
                let (rest, held) = stream.into_parts();
                let held = [&held[..], rest].concat();
                assert_eq!(held, b"frames\r\n\r\n");
            }
        }
    }

    /// What is given out of the bytes, when they come in pieces of this size.
    fn given(bytes: &[u8], size: usize) -> usize {
        let mut stream = HeadOnly::new(bytes);
        let (mut piece, mut count) = (vec![0; size], 0);
        while let Some(Ok(read @ 1..)) = stream.read(&mut piece).now_or_never() {
            count += read;
        }
        count
    }

    proptest! {
        /// Where the library sees the head's end, so do we, and nowhere else.
        #[test]
        fn the_head_ends_where_the_library_sees_its_end(
            before in "[\r\n]{0,3}",
            lines in vec(("(A: [a-z \r\n]{0,4}|B:|[a-z\r\n]{0,3})", "\r?\n"), 0..4),
            after in "[\r\n]{0,4}[a-z\r\n]{0,6}",
            size in 1_usize..40,
        ) {
            let lines: String = lines.into_iter().map(|(line, end)| line + &end).collect();
            let bytes = format!("{before}GET / HTTP/1.1\r\n{lines}{after}");
            match Request::try_parse(bytes.as_bytes()) {
                Ok(Some((head, _))) => prop_assert_eq!(given(bytes.as_bytes(), size), head),
                Ok(None) => prop_assert_eq!(given(bytes.as_bytes(), size), bytes.len()),
                Err(_) => {}
            }
        }
    }
}
