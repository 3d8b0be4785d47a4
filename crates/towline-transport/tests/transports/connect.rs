//! What a client is told when it cannot connect, and a server when nobody it knows knocks.

use std::time::Duration;

use crate::raw::REQUEST;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
};
use towline_transport::{
    Transport as _, TransportError, TransportKind, WebSocketOptions, WebSocketTransport,
};

async fn bound() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// What a client makes of an answer.
async fn refusal(answer: &str) -> TransportError {
    let (listener, url) = bound().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let (connected, ()) = tokio::join!(WebSocketTransport::connect(&url), server);
    connected.unwrap_err()
}

#[tokio::test]
async fn an_http_status_is_explained() {
    let cases = [
        ("401 Unauthorized", "Authorization", false),
        ("403 Forbidden", "allowed hosts", false),
        ("404 Not Found", "/arcp", false),
        ("426 Upgrade Required", "proxy", false),
        ("429 Too Many Requests", "later", true),
        ("503 Service Unavailable", "later", true),
        ("200 OK", "not a WebSocket endpoint", false),
        (
            "301 Moved Permanently\r\nLocation: wss://elsewhere/arcp?t=s3cret",
            "wss://elsewhere/arcp;",
            false,
        ),
    ];
    for (status, hint, transient) in cases {
        let error = refusal(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")).await;
        let message = error.to_string();
        assert!(matches!(error, TransportError::Refused { .. }), "{error:?}");
        assert!(
            message.contains(&status[..3]) && message.contains(hint),
            "{message}"
        );
        assert!(!message.contains("s3cret"), "{message}");
        assert_eq!(error.is_transient(), transient, "{message}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_an_error_too() {
    let error = refusal("SSH-2.0-OpenSSH_9.6\r\n").await;
    assert!(!error.to_string().is_empty());
}

#[tokio::test]
async fn nobody_listens() {
    // Bound but not listening, so that nobody else gets the port.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("ws://{}/arcp", socket.local_addr().unwrap());
    let error = WebSocketTransport::connect(&url).await.unwrap_err();
    assert!(error.is_transient());
    assert!(
        error.to_string().contains("nothing listens on port"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn nobody_answers() {
    let (_listener, url) = bound().await;
    let options = WebSocketOptions::client().handshake_timeout(Duration::from_secs(3));
    let error = WebSocketTransport::connect_with(&url, &options)
        .await
        .unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("no answer within 3s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn nobody_asks() {
    let (_silent, far) = tokio::io::duplex(64);
    let error = WebSocketTransport::accept_on(far, None, &WebSocketOptions::server())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no upgrade request within 10s"),
        "{error}"
    );
}

/// [ARCP 4-1] The path is `/arcp` unless somebody says otherwise; another one is not found.
#[tokio::test]
async fn another_path() {
    let (listener, url) = bound().await;
    let attempt = async |path: &str, options: WebSocketOptions| {
        let url = format!("{url}{path}");
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            WebSocketTransport::accept(stream, &options).await
        };
        let (client, server) = tokio::join!(WebSocketTransport::connect(&url), accept);
        assert_eq!(client.is_ok(), server.is_ok());
        client
    };
    attempt("", WebSocketOptions::server()).await.unwrap();
    attempt("/arcp?x=y", WebSocketOptions::server())
        .await
        .unwrap();
    attempt("/other", WebSocketOptions::server().path("/other"))
        .await
        .unwrap();
    attempt("/other", WebSocketOptions::server().any_path())
        .await
        .unwrap();
    let refused = attempt("/other", WebSocketOptions::server()).await;
    assert!(
        matches!(refused, Err(TransportError::Refused { status: 404, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn headers_are_sent_and_checked() {
    let (listener, url) = bound().await;
    let options = WebSocketOptions::client()
        .header("Authorization", "Bearer s3cret")
        .header("X-Twice", "1");
    assert!(!format!("{options:?}").contains("s3cret"));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(request).unwrap().to_lowercase()
    };
    let (refused, request) = tokio::join!(WebSocketTransport::connect_with(&url, &options), server);
    assert!(refused.is_err());
    assert!(
        request.contains("\r\nauthorization: bearer s3cret\r\n"),
        "{request}"
    );

    for (name, value) in [("no name", "x"), ("x", "line\nbreak s3cret")] {
        let error =
            WebSocketTransport::connect_with(&url, &WebSocketOptions::client().header(name, value))
                .await;
        let error = error.unwrap_err();
        assert!(matches!(error, TransportError::Setup { .. }));
        assert!(
            error.to_string().contains(name) && !error.to_string().contains("s3cret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn loopback_is_confidential_and_other_peers_only_when_declared() {
    let (listener, url) = bound().await;
    let options = WebSocketOptions::server();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        WebSocketTransport::accept(stream, &options).await
    };
    let (client, server) = tokio::join!(WebSocketTransport::connect(&url), accept);
    let (client, server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.info().peer, Some(listener.local_addr().unwrap()));
    for info in [client.info(), server.info()] {
        assert_eq!(info.kind, TransportKind::WebSocket);
        assert!(info.confidential);
    }

    for (peer, declared, confidential) in [
        ("192.0.2.1:9", false, false),
        ("192.0.2.1:9", true, true),
        ("[::ffff:127.0.0.1]:9", false, true),
        ("[::1]:9", false, true),
    ] {
        let (io, _far) = tokio::io::duplex(64);
        let options = WebSocketOptions::server().declare_confidential(declared);
        let transport = WebSocketTransport::upgraded(io, Some(peer.parse().unwrap()), &options);
        assert_eq!(transport.info().confidential, confidential, "{peer}");
    }
}

#[tokio::test]
async fn what_is_no_upgrade_is_refused() {
    let (listener, _) = bound().await;
    let address = listener.local_addr().unwrap();
    for request in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "hello\r\n\r\n",
        &REQUEST.replace("GET", "POST"),
    ] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let error = WebSocketTransport::accept(stream, &WebSocketOptions::server())
            .await
            .unwrap_err();
        assert!(
            matches!(error, TransportError::Handshake { .. }),
            "{error:?}"
        );
        assert!(!error.is_transient());
    }
}
