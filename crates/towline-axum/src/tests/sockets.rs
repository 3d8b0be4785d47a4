use towline_transport::testing::suite::Pair;

use super::*;

/// A client's WebSocket and this crate's end of it.
async fn connected() -> Pair {
    let server = Server::with([("/arcp", loopback_only())]).await;
    let client = WebSocketTransport::connect(&server.url("/arcp"))
        .await
        .unwrap();
    Pair::new(client, server.accepted().await)
}

// An axum connection is a transport like any other.
towline_transport::transport_suite!(behaviour, connected().await);

fn ping(padding: usize) -> Envelope {
    let mut envelope = Envelope::new(MessageType::SESSION_PING);
    let payload = format!(r#"{{"nonce":"{}"}}"#, "x".repeat(padding));
    envelope.payload = towline_wire::RawJson::parse(payload).unwrap();
    envelope
}

/// [ARCP 4-6, 4-7] Over axum too, a message above the limit is reported, the answer still reaches the peer, and the close
/// is 1009.
#[tokio::test]
async fn a_message_above_the_limit_is_answered_and_closed() {
    let server = Server::with([("/arcp", EndpointOptions::new().max_message_size(1000))]).await;
    let client = WebSocketTransport::connect(&server.url("/arcp"))
        .await
        .unwrap();
    let (mut sink, mut source) = Box::new(client).split();
    let (mut server_sink, mut server_source) = server.accepted().await.split();

    let serve = async {
        assert!(matches!(
            server_source.receive().await,
            Some(Inbound::Envelope(_))
        ));
        let too_big = Some(Inbound::TooBig {
            limit: 1000,
            fatal: true,
        });
        assert_eq!(server_source.receive().await, too_big);
        server_sink
            .send(Envelope::new(MessageType::SESSION_ERROR))
            .await
            .unwrap();
        let close = CloseFrame::new(CloseCode::TOO_BIG, "too big");
        server_sink.close(&close).await.unwrap();
    };
    let complain = async {
        sink.send(ping(100)).await.unwrap();
        // Whether all of it can still be written is a race that does not matter.
        let _ = sink.send(ping(3_000_000)).await;
        match source.receive().await {
            Some(Inbound::Envelope(answer)) => assert_eq!(answer.kind, MessageType::SESSION_ERROR),
            other => panic!("no error but {other:?}"),
        }
        match source.receive().await {
            Some(Inbound::Closed(Closed::ByPeer(Some(close)))) => {
                assert_eq!(close.code, CloseCode::TOO_BIG);
            }
            other => panic!("no close but {other:?}"),
        }
        let _ = sink.close(&CloseFrame::normal()).await;
    };
    tokio::join!(serve, complain);
}

/// [ARCP 4-6] The default limit of an endpoint is 4 MiB.
#[tokio::test]
async fn the_default_limit_is_four_mebibytes() {
    let server = Server::with([("/arcp", EndpointOptions::default())]).await;
    let client = WebSocketTransport::connect(&server.url("/arcp"))
        .await
        .unwrap();
    let (mut sink, _source) = Box::new(client).split();
    let (server_sink, mut server_source) = server.accepted().await.split();
    let room = (4 << 20) - ping(0).encode().len();
    let send = async {
        sink.send(ping(room)).await.unwrap();
        // The server hangs up in the middle of it.
        let _ = sink.send(ping(room + 1)).await;
    };
    let receive = async {
        assert!(matches!(
            server_source.receive().await,
            Some(Inbound::Envelope(_))
        ));
        let too_big = Some(Inbound::TooBig {
            limit: 4 << 20,
            fatal: true,
        });
        assert_eq!(server_source.receive().await, too_big);
        drop((server_sink, server_source));
    };
    tokio::join!(send, receive);
}

/// What a client sends right behind its request, before it has seen the answer, is not lost.
#[tokio::test]
async fn bytes_behind_the_request_are_kept() {
    let server = Server::with([("/arcp", EndpointOptions::default())]).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let frame = br#"{"type":"session.ping"}"#;
    let mut bytes = upgrade("/arcp", "Host: x\r\n").into_bytes();
    // FIN and text, masked with zeros.
    bytes.extend([0x81, 0x80 | u8::try_from(frame.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend(frame);
    socket.write_all(&bytes).await.unwrap();
    let (_sink, mut source) = server.accepted().await.split();
    match source.receive().await {
        Some(Inbound::Envelope(envelope)) => assert_eq!(envelope.kind, MessageType::SESSION_PING),
        other => panic!("no envelope but {other:?}"),
    }
}

/// [ARCP 4-8] A client that is not let in learns the status.
#[tokio::test]
async fn a_client_is_told_why() {
    let elsewhere = EndpointOptions::new().allowed_hosts(["runtime.example"]);
    let server = Server::with([("/arcp", elsewhere)]).await;
    let refused = WebSocketTransport::connect(&server.url("/arcp"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");

    let browser = WebSocketOptions::client().header("Origin", "https://evil.example");
    let app_only = EndpointOptions::new().allowed_origins(["https://app.example"]);
    let server = Server::with([("/arcp", app_only)]).await;
    let url = server.url("/arcp");
    let refused = WebSocketTransport::connect_with(&url, &browser)
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
    assert!(WebSocketTransport::connect(&url).await.is_ok());
}
