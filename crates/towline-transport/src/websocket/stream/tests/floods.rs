//! Ends that flood each other, stutter and close at once: nothing hangs, is lost, or changes its order.

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// A stream that takes and gives what it likes, and now and then says to come again.
struct Stutter<IO> {
    io: IO,
    /// Zero while it does nothing of this.
    state: u64,
}

impl<IO> Stutter<IO> {
    fn chance(&mut self, one_in: u64) -> bool {
        self.state != 0 && self.next().is_multiple_of(one_in)
    }

    fn next(&mut self) -> u64 {
        // xorshift
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn size(&mut self, most: usize) -> usize {
        match self.state {
            0 => most,
            _ => (self.next() as usize % 40).clamp(1, most),
        }
    }
}

fn come_again<T>(cx: &Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

impl<IO: AsyncRead + Unpin> AsyncRead for Stutter<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.chance(4) {
            return come_again(cx);
        }
        let mut room = [0; 1000];
        let size = self.size(out.remaining().min(room.len()));
        let mut read = ReadBuf::new(&mut room[..size]);
        ready!(Pin::new(&mut self.io).poll_read(cx, &mut read))?;
        out.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Stutter<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.chance(4) {
            return come_again(cx);
        }
        let size = self.size(bytes.len());
        Pin::new(&mut self.io).poll_write(cx, &bytes[..size])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.chance(3) {
            return come_again(cx);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.chance(3) {
            return come_again(cx);
        }
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A socket that pings before each message.
struct Pinging<IO>(StreamSocket<IO>);

impl<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static> MessageSocket for Pinging<IO> {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<SocketMessage> {
        self.0.poll_message(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_ready(cx)
    }

    fn start_send(&mut self, frame: &dyn Encode, limit: usize) -> Result<(), TransportError> {
        self.0.push(Opcode::Ping, &[b'p'; 20])?;
        self.0.start_send(frame, limit)
    }

    fn start_close(&mut self, close: &CloseFrame) -> Result<(), TransportError> {
        self.0.start_close(close)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        self.0.poll_flush(cx)
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_drain(cx)
    }
}

const MESSAGES: u64 = 60;

fn flooded(seq: u64) -> Envelope {
    envelope(seq, (seq * 7919 % 700) as usize)
}

/// Floods the other end while it is flooded itself, with pings in between, then closes at the same time as the other.
async fn flood<IO>(io: IO, role: Role, options: WebSocketOptions)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = Pinging(StreamSocket::new(io, role, BytesMut::new(), &options));
    let transport = WebSocketTransport::over(socket, None, &options);
    let (mut sink, mut source) = Box::new(transport).split();
    let sending = tokio::spawn(async move {
        for seq in 1..=MESSAGES {
            sink.feed(flooded(seq)).await.unwrap();
            if seq % 16 == 0 && seq < MESSAGES - 16 {
                sink.flush().await.unwrap();
            }
        }
        // The other end may have all of it, and close, while there are still pongs to write.
        let _ = sink.flush().await;
        sink
    });
    let (mut seq, mut signs) = (0, 0);
    while seq < MESSAGES || signs <= MESSAGES {
        match source.receive().await {
            Some(Inbound::Alive) => signs += 1,
            received => {
                seq += 1;
                assert_eq!(received, Some(Inbound::Envelope(flooded(seq))));
            }
        }
    }
    let receiving = tokio::spawn(async move { while source.receive().await.is_some() {} });
    let mut sink = sending.await.unwrap();
    sink.close(&CloseFrame::normal()).await.unwrap();
    receiving.await.unwrap();
}

fn sizes() -> [(WebSocketOptions, WebSocketOptions); 3] {
    let with = |read, write| {
        let options = WebSocketOptions::client().read_buffer_size(read);
        options.write_buffer_size(write)
    };
    [
        (WebSocketOptions::client(), WebSocketOptions::server()),
        (with(1, 1), with(1, 64 << 10)),
        (with(300, 1000), with(7, 1)),
    ]
}

/// A client and a server that flood each other, and are done at once when nothing hangs.
async fn flood_each_other<IO>(client: (IO, WebSocketOptions), server: (IO, WebSocketOptions))
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let both = async {
        tokio::join!(
            flood(client.0, Role::Client, client.1),
            flood(server.0, Role::Server, server.1)
        )
    };
    timeout(Duration::from_secs(1), both).await.unwrap();
}

/// Both ends flood each other through a pipe that takes a few bytes at a time: nothing hangs, is lost or changes places.
#[tokio::test(start_paused = true)]
async fn ends_that_flood_each_other_do_not_wait_for_each_other() {
    for capacity in [1, 2, 3, 7, 64, 1000] {
        for (client, server) in sizes() {
            let (near, far) = duplex(capacity);
            flood_each_other((near, client), (far, server)).await;
        }
    }
}

/// The same when the streams take and give in their own pieces and ask to be polled again.
#[tokio::test(start_paused = true)]
async fn ends_that_stutter_do_not_wait_for_each_other() {
    for seed in 1..=8 {
        for (client, server) in sizes() {
            let (near, far) = duplex(100);
            let [near, far] =
                [(near, seed), (far, seed << 32)].map(|(io, state)| Stutter { io, state });
            flood_each_other((near, client), (far, server)).await;
        }
    }
}

/// The same over TLS, which holds bytes back itself until it is flushed.
#[tokio::test(start_paused = true)]
async fn ends_that_flood_each_other_over_tls_do_not_wait_for_each_other() {
    let name = "localhost".to_owned();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.clone()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let accepting = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let connecting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(accepting));
    let connector = TlsConnector::from(Arc::new(connecting));
    for (capacity, seed) in [(7, 1), (64, 2), (1000, 3), (64 << 10, 4), (64 << 10, 0)] {
        for (client, server) in sizes() {
            let (near, far) = duplex(capacity);
            let [near, far] = [near, far].map(|io| Stutter { io, state: 0 });
            let client = async {
                let name = name.clone().try_into().unwrap();
                let mut near = connector.connect(name, near).await.unwrap();
                near.get_mut().0.state = seed;
                flood(near, Role::Client, client).await;
            };
            let server = async {
                let mut far = acceptor.accept(far).await.unwrap();
                far.get_mut().0.state = seed << 32;
                flood(far, Role::Server, server).await;
            };
            let both = async { tokio::join!(client, server) };
            timeout(Duration::from_secs(1), both).await.unwrap();
        }
    }
}

/// Two ends that close while both have more to write than the pipe holds: each goes on reading.
#[tokio::test(start_paused = true)]
async fn ends_that_close_at_once_do_not_wait_for_each_other() {
    let (near, far) = duplex(100);
    let end = async |io, role| {
        let (mut sink, _source) = halves(io, role, &WebSocketOptions::client());
        for seq in 1..=20 {
            sink.feed(flooded(seq)).await.unwrap();
        }
        sink.close(&CloseFrame::normal()).await.unwrap();
    };
    let both = async { tokio::join!(end(near, Role::Client), end(far, Role::Server)) };
    timeout(Duration::from_secs(1), both).await.unwrap();
}

/// A peer in the middle of a message above the limit, who does not read before it is through, gets what waits for it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_writes_before_it_reads_gets_the_goodbye() {
    let (near, mut far) = duplex(100);
    let options = WebSocketOptions::server().max_message_size(10_000);
    let (mut sink, mut source) = halves(near, Role::Server, &options);
    let peer = async {
        far.write_all(&client_frame(TEXT, &[b'x'; 20_000]))
            .await
            .unwrap();
        let mut received = Vec::new();
        far.read_to_end(&mut received).await.unwrap();
        assert!(received.ends_with(&[CLOSE, 2, 3, 0xf1]));
        drop(far);
    };
    let owner = async {
        assert!(matches!(
            source.receive().await,
            Some(Inbound::TooBig { .. })
        ));
        sink.feed(envelope(1, 1000)).await.unwrap();
        sink.close(&CloseFrame::new(CloseCode::TOO_BIG, ""))
            .await
            .unwrap();
    };
    let both = async { tokio::join!(owner, peer) };
    timeout(Duration::from_secs(1), both).await.unwrap();
}
