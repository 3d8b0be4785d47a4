//! A WebSocket client made of bytes, to send what no library would.

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use towline_transport::{FrameSink, FrameSource, Transport, WebSocketOptions, WebSocketTransport};

pub(crate) const CONTINUE: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const FIN: u8 = 0x80;

pub(crate) const REQUEST: &str = "GET /arcp HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub(crate) struct RawClient<IO = TcpStream> {
    pub(crate) io: IO,
}

/// A frame as a server sends it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawFrame {
    pub(crate) first_byte: u8,
    pub(crate) payload: Vec<u8>,
}

impl RawFrame {
    /// The code and the reason of a Close.
    pub(crate) fn close(&self) -> (u16, &str) {
        assert_eq!(self.first_byte, FIN | CLOSE);
        let code = u16::from_be_bytes([self.payload[0], self.payload[1]]);
        (code, std::str::from_utf8(&self.payload[2..]).unwrap())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> RawClient<IO> {
    /// Asks for the upgrade and reads the answer's head.
    pub(crate) async fn upgrade(mut io: IO) -> Self {
        io.write_all(REQUEST.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { io }
    }

    /// Sends a frame whose first byte is `FIN` or nothing, and an opcode. The mask is zero, which is a mask too.
    pub(crate) async fn send(&mut self, first_byte: u8, payload: &[u8]) {
        self.send_head(first_byte, payload.len() as u64).await;
        self.io.write_all(payload).await.unwrap();
        self.io.flush().await.unwrap();
    }

    pub(crate) async fn send_head(&mut self, first_byte: u8, length: u64) {
        let mut head = vec![first_byte];
        match length {
            0..=125 => head.push(0x80 | length as u8),
            126..=0xffff => {
                head.push(0x80 | 126);
                head.extend((length as u16).to_be_bytes());
            }
            _ => {
                head.push(0x80 | 127);
                head.extend(length.to_be_bytes());
            }
        }
        head.extend([0; 4]);
        self.io.write_all(&head).await.unwrap();
    }

    pub(crate) async fn text(&mut self, payload: &str) {
        self.send(FIN | TEXT, payload.as_bytes()).await;
    }

    pub(crate) async fn receive(&mut self) -> RawFrame {
        let first_byte = self.io.read_u8().await.unwrap();
        let length = match self.io.read_u8().await.unwrap() {
            126 => usize::from(self.io.read_u16().await.unwrap()),
            127 => self.io.read_u64().await.unwrap() as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await.unwrap();
        RawFrame {
            first_byte,
            payload,
        }
    }

    pub(crate) async fn expect_end_and_leave(mut self) {
        self.expect_end().await;
    }

    /// Reads on until the server ends the connection.
    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.io.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"");
    }
}

/// The halves of an end.
pub(crate) struct End {
    pub(crate) sink: Box<dyn FrameSink>,
    pub(crate) source: Box<dyn FrameSource>,
}

impl End {
    pub(crate) fn of(transport: impl Transport) -> Self {
        let (sink, source) = Box::new(transport).split();
        Self { sink, source }
    }
}

/// A server of ours and a raw client over a loopback socket.
pub(crate) async fn served(options: &WebSocketOptions) -> (End, RawClient) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        WebSocketTransport::accept(stream, options).await.unwrap()
    };
    let connect = async { RawClient::upgrade(TcpStream::connect(address).await.unwrap()).await };
    let (server, client) = tokio::join!(accept, connect);
    (End::of(server), client)
}
