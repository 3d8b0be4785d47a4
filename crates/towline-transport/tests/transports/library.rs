//! WebSockets that tungstenite has connected, from either side.

use tokio::{
    io::{AsyncWriteExt as _, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, accept_async, accept_async_with_config, client_async,
    tungstenite::protocol::{Role, WebSocketConfig},
};
use towline_transport::{
    CloseCode, CloseFrame, Closed, Inbound, TransportKind, WebSocketOptions, WebSocketTransport,
    testing::suite::Pair, transport_suite, websocket::LibrarySocket,
};
use towline_wire::{Envelope, MessageType};

use crate::raw::End;

fn over<S>(stream: WebSocketStream<S>) -> WebSocketTransport<LibrarySocket<WebSocketStream<S>>>
where
    WebSocketStream<S>: towline_transport::websocket::LibraryStream,
{
    let options = WebSocketOptions::client();
    WebSocketTransport::over(LibrarySocket::new(stream), None, &options)
}

/// tungstenite on both sides.
async fn both() -> Pair {
    let (near, far) = duplex(8 << 10);
    let (client, server) =
        tokio::join!(client_async("ws://localhost/arcp", near), accept_async(far));
    Pair::new(over(client.unwrap().0), over(server.unwrap()))
}

/// tungstenite as the client of a socket of ours.
async fn client() -> Pair {
    let (near, far) = duplex(8 << 10);
    let options = WebSocketOptions::server();
    let (client, server) = tokio::join!(
        client_async("ws://localhost/arcp", near),
        WebSocketTransport::accept_on(far, None, &options)
    );
    Pair::new(over(client.unwrap().0), server.unwrap())
}

/// tungstenite as the server of a socket of ours, over TCP.
async fn server() -> Pair {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let accept = async { accept_async(listener.accept().await.unwrap().0).await };
    let (client, server) = tokio::join!(WebSocketTransport::connect(&url), accept);
    Pair::new(over(server.unwrap()), client.unwrap())
}

transport_suite!(on_both_sides, both().await);
transport_suite!(on_the_client, client().await);
transport_suite!(on_the_server, server().await);

#[tokio::test]
async fn it_is_a_websocket() {
    let (near, _far) = duplex(64);
    let stream = WebSocketStream::<DuplexStream>::from_raw_socket(near, Role::Client, None).await;
    let info = towline_transport::Transport::info(&over(stream));
    assert_eq!(info.kind, TransportKind::WebSocket);
    assert!(!info.confidential, "nobody has said so");
}

/// [ARCP 4-6] Who sends more than the library takes still hears why before the close.
#[tokio::test]
async fn a_message_above_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let limit = 64 << 10;
    let config = WebSocketConfig::default().max_message_size(Some(limit));
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        accept_async_with_config(stream, Some(config)).await
    };
    let (client, server) = tokio::join!(WebSocketTransport::connect(&url), accept);
    let server: WebSocketStream<TcpStream> = server.unwrap();
    let (mut client, mut server) = (End::of(client.unwrap()), End::of(over(server)));
    let big = format!(
        r#"{{"type":"x","payload":{{"x":"{}"}}}}"#,
        "x".repeat(8 << 20)
    );
    let error = Envelope::new(MessageType::SESSION_ERROR);
    let goodbye = CloseFrame::new(CloseCode::TOO_BIG, "too big");
    let peer = async {
        client
            .sink
            .send(Envelope::decode_text(big).unwrap())
            .await
            .unwrap();
        assert_eq!(
            client.source.receive().await,
            Some(Inbound::Envelope(error.clone()))
        );
        let closed = client.source.receive().await;
        assert_eq!(
            closed,
            Some(Inbound::Closed(Closed::ByPeer(Some(goodbye.clone()))))
        );
        drop(client);
    };
    let owner = async {
        let too_big = Inbound::TooBig { limit, fatal: true };
        assert_eq!(server.source.receive().await, Some(too_big));
        server.sink.send(error.clone()).await.unwrap();
        server.sink.close(&goodbye).await.unwrap();
    };
    tokio::join!(peer, owner);
}

/// A peer that breaks the framing is told so, and what it sent does not count.
#[tokio::test]
async fn broken_framing_is_a_violation() {
    let (near, mut far) = duplex(8 << 10);
    let stream = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
    let mut end = End::of(over(stream));
    // A client's frame has to be masked.
    far.write_all(&[0x81, 0x02, b'{', b'}']).await.unwrap();
    let received = end.source.receive().await;
    assert!(
        matches!(received, Some(Inbound::Closed(Closed::Lost { .. }))),
        "{received:?}"
    );
    let mut told = [0; 4];
    tokio::io::AsyncReadExt::read_exact(&mut far, &mut told)
        .await
        .unwrap();
    assert_eq!(
        (told[0], u16::from_be_bytes([told[2], told[3]])),
        (0x88, 1002)
    );
}
