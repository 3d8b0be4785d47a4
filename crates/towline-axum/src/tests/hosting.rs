use super::*;

/// [ARCP 4-8] What is no upgrade gets 426 with `Upgrade: websocket`, whatever the method.
#[tokio::test]
async fn a_plain_request_gets_426() {
    let server = Server::with([("/arcp", loopback_only())]).await;
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let answer = server
            .ask(&plain(method, "/arcp", "Host: localhost\r\n"))
            .await;
        assert_eq!(status(&answer), 426, "{answer}");
        assert!(
            answer
                .to_ascii_lowercase()
                .contains("\r\nupgrade: websocket\r\n"),
            "{answer}"
        );
        assert!(
            body(&answer).contains("connect with a WebSocket"),
            "{answer}"
        );
    }
    let elsewhere = server
        .ask(&plain("GET", "/other", "Host: localhost\r\n"))
        .await;
    assert_eq!(status(&elsewhere), 404);
    assert!(!server.has_accepted().await);
}

/// [ARCP 4-8] A foreign `Host`, a missing one and a foreign `Origin` get 403, upgrade or not: before 426, before 101.
#[tokio::test]
async fn foreign_hosts_and_origins_get_403() {
    let options = loopback_only().allowed_origins(["https://app.example"]);
    let server = Server::with([("/arcp", options)]).await;
    for (headers, named) in [
        ("Host: evil.example\r\n", "\"evil.example\""),
        (
            "Host: 127.0.0.1.evil.example:80\r\n",
            "\"127.0.0.1.evil.example:80\"",
        ),
        (
            "Host: evil.example\r\nOrigin: https://app.example\r\n",
            "the host",
        ),
        ("", "no Host header"),
        ("Host: localhost\r\nHost: localhost\r\n", "several host"),
        (
            "Host: localhost\r\nOrigin: https://evil.example\r\n",
            "\"https://evil.example\"",
        ),
        ("Host: localhost\r\nOrigin: null\r\n", "\"null\""),
    ] {
        let upgrade = upgrade("/arcp", &format!("{headers}Connection: close\r\n"));
        for request in [plain("GET", "/arcp", headers), upgrade] {
            let answer = server.ask(&request).await;
            assert_eq!(status(&answer), 403, "{headers:?}: {answer}");
            assert!(body(&answer).contains(named), "{answer}");
            assert!(
                answer.contains("text/plain") && body(&answer).lines().count() == 1,
                "{answer}"
            );
        }
    }
    assert!(!server.has_accepted().await);
}

/// [ARCP 4-8] Every way to write an allowed host is let in, whatever the port and the case.
#[tokio::test]
async fn allowed_hosts_are_let_in() {
    let server = Server::with([("/arcp", loopback_only())]).await;
    for host in [
        "localhost",
        "LocalHost:7777",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:7777",
    ] {
        let answer = server
            .ask(&plain("GET", "/arcp", &format!("Host: {host}\r\n")))
            .await;
        assert_eq!(status(&answer), 426, "{host}: {answer}");
    }
}

/// [ARCP 4-8] Without a list any host is let in; on an address that is not loopback that is the default.
#[tokio::test]
async fn without_a_list_any_host_is_let_in() {
    let public = EndpointOptions::for_listener("0.0.0.0:7777".parse().unwrap());
    let opened = loopback_only().any_host();
    let server = Server::with([
        ("/a", EndpointOptions::default()),
        ("/b", public),
        ("/c", opened),
    ])
    .await;
    for path in ["/a", "/b", "/c"] {
        for (origin, expected) in [
            ("", 426),
            ("Origin: https://anything.example\r\n", 426),
            ("Origin: https://evil.example\r\n", 403),
        ] {
            let headers = format!("Host: anything.example\r\n{origin}");
            let answer = server.ask(&plain("GET", path, &headers)).await;
            assert_eq!(status(&answer), expected, "{path} {origin}");
        }
    }
}

/// [ARCP 4-8] Several endpoints with different options share one runtime.
#[tokio::test]
async fn endpoints_have_their_own_options() {
    let inner = EndpointOptions::new().allowed_hosts(["inner.example"]);
    let outer = EndpointOptions::new()
        .allowed_hosts(["outer.example"])
        .trust_forwarded_for(true);
    let server = Server::with([
        ("/inner", inner),
        ("/outer", outer.clone()),
        ("/tls", outer.tls_terminated(true)),
    ])
    .await;
    for (path, host, expected) in [
        ("/inner", "inner.example", 426),
        ("/inner", "outer.example", 403),
        ("/outer", "outer.example", 426),
        ("/outer", "inner.example", 403),
    ] {
        let answer = server
            .ask(&plain("GET", path, &format!("Host: {host}\r\n")))
            .await;
        assert_eq!(status(&answer), expected, "{path} {host}");
    }
    let mut seen = Vec::new();
    for (path, host) in [("/inner", "inner"), ("/outer", "outer"), ("/tls", "outer")] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let headers = format!("Host: {host}.example\r\nX-Forwarded-For: 198.51.100.7\r\n");
        socket
            .write_all(upgrade(path, &headers).as_bytes())
            .await
            .unwrap();
        let info = server.accepted().await.info();
        assert_eq!(info.kind, TransportKind::WebSocket);
        seen.push((path, info.peer.unwrap().ip().to_string(), info.confidential));
    }
    let [local, remote] = ["127.0.0.1", "198.51.100.7"].map(str::to_owned);
    let expected = [
        ("/inner", local, true),
        ("/outer", remote.clone(), false),
        ("/tls", remote, true),
    ];
    assert_eq!(seen, expected);
}

/// [ARCP 4-8] A broken upgrade is refused with its reason: another version 426, a bad key 400.
#[tokio::test]
async fn a_broken_upgrade_is_refused() {
    let server = Server::with([("/arcp", EndpointOptions::default())]).await;
    let good = upgrade("/arcp", "Host: x\r\nConnection: close\r\n");
    for (request, expected, named) in [
        (good.replace("Version: 13", "Version: 8"), 426, "not 13"),
        (
            good.replace("Sec-WebSocket-Version: 13\r\n", ""),
            426,
            "not 13",
        ),
        (
            good.replace("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"),
            400,
            "Sec-WebSocket-Key",
        ),
        (
            good.replace("Sec-WebSocket-Key", "X-Key"),
            400,
            "Sec-WebSocket-Key",
        ),
        (good.replace("GET", "POST"), 426, "WebSocket"),
        (
            good.replace("Upgrade: websocket", "Upgrade: h2c"),
            426,
            "WebSocket",
        ),
        (
            good.replace("keep-alive, Upgrade", "keep-alive"),
            426,
            "WebSocket",
        ),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 426, "WebSocket"),
    ] {
        let answer = server.ask(&request).await;
        assert_eq!(status(&answer), expected, "{request}{answer}");
        assert!(body(&answer).contains(named), "{answer}");
    }
    assert!(!server.has_accepted().await);
}

/// [ARCP 4-8] The answer to a good upgrade is RFC 6455's own example.
#[tokio::test]
async fn a_good_upgrade_is_answered() {
    let server = Server::with([("/arcp", loopback_only())]).await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket
        .write_all(upgrade("/arcp", "Host: localhost\r\n").as_bytes())
        .await
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert_eq!(status(&head), 101, "{head}");
    assert!(
        head.contains(": s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{head}"
    );
    drop(server.accepted().await);
}

/// [ARCP 4-8] `/healthz` needs no allowed host; what tells more does.
#[tokio::test]
async fn the_probe_of_life_answers_any_host() {
    let server = Server::start(true, [("/arcp", loopback_only())]).await;
    for (path, headers, expected) in [
        ("/healthz", "Host: probe.internal\r\n", 200),
        ("/healthz", "", 200),
        ("/readyz", "Host: localhost:1\r\n", 200),
        ("/readyz", "Host: probe.internal\r\n", 403),
        ("/readyz", "Host: localhost\r\nOrigin: null\r\n", 403),
        ("/readyz", "", 403),
    ] {
        let answer = server.ask(&plain("GET", path, headers)).await;
        assert_eq!(status(&answer), expected, "{path} {headers}");
    }
    let draining = Server::start(false, []).await;
    assert_eq!(
        status(&draining.ask(&plain("GET", "/healthz", "Host: x\r\n")).await),
        200
    );
    let answer = draining
        .ask(&plain("GET", "/readyz", "Host: localhost\r\n"))
        .await;
    assert_eq!(status(&answer), 503);
    assert!(body(&answer).contains("no new sessions"), "{answer}");
}

#[tokio::test]
async fn the_transport_can_be_wrapped() {
    let become_kind = |from: TransportKind, to: TransportKind| {
        move |inner: Box<dyn Transport>| -> Box<dyn Transport> {
            assert_eq!(inner.info().kind, from);
            Box::new(Disguised(inner, to))
        }
    };
    let options = EndpointOptions::new()
        .map_transport(become_kind(TransportKind::WebSocket, TransportKind::Memory))
        .map_transport(become_kind(TransportKind::Memory, TransportKind::Other));
    let server = Server::with([("/arcp", options)]).await;
    let _client = WebSocketTransport::connect(&server.url("/arcp"))
        .await
        .unwrap();
    assert_eq!(server.accepted().await.info().kind, TransportKind::Other);
}

struct Disguised(Box<dyn Transport>, TransportKind);

impl Transport for Disguised {
    fn info(&self) -> TransportInfo {
        self.0.info().of_kind(self.1)
    }

    fn split(self: Box<Self>) -> (Box<dyn FrameSink>, Box<dyn FrameSource>) {
        self.0.split()
    }
}
