//! The HTTP face of the endpoint [ARCP 4-8].

use towline_tests::{
    peer::Peer,
    server::{Serve, http},
};

const UPGRADE: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

fn with<'a>(headers: &[&'a str]) -> Vec<&'a str> {
    UPGRADE
        .iter()
        .copied()
        .chain(headers.iter().copied())
        .collect()
}

/// [ARCP 4-8] What is not an upgrade gets 426 with the protocol to use, whatever its method.
#[tokio::test]
async fn a_plain_request_is_told_to_upgrade() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    for line in ["GET /arcp", "POST /arcp", "DELETE /arcp", "GET /arcp?x=1"] {
        let answer = server.http(line, &[]).await;
        assert_eq!(status(&answer), "426", "{line}: {answer}");
        assert!(
            answer.to_ascii_lowercase().contains("upgrade: websocket"),
            "{answer}"
        );
    }
    for path in ["/arcp/", "/arcpx", "/nothing"] {
        assert_eq!(
            status(&server.http(&format!("GET {path}"), &[]).await),
            "404",
            "{path}"
        );
    }
    Peer::open(&server).await.assert_alive().await;
}

/// [ARCP 4-8] A foreign Host gets 403 before anything else; on a loopback bind the names of loopback are allowed.
#[tokio::test]
async fn foreign_hosts_are_refused_before_the_upgrade() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    for host in [
        "Host: localhost",
        "Host: LOCALHOST:99",
        "Host: 127.0.0.1:1",
        "Host: [::1]:7777",
        "Host: [::1]",
    ] {
        assert_eq!(
            status(&server.http("GET /arcp", &with(&[host])).await),
            "101",
            "{host}"
        );
        assert_eq!(
            status(&server.http("GET /arcp", &[host]).await),
            "426",
            "{host}"
        );
    }
    for host in [
        "Host: evil.example",
        "Host: localhost.evil.example",
        "Host: 127.0.0.2",
        "Host: [::2]",
        "Host: ",
    ] {
        assert_eq!(
            status(&server.http("GET /arcp", &with(&[host])).await),
            "403",
            "{host}"
        );
        assert_eq!(
            status(&server.http("GET /arcp", &[host]).await),
            "403",
            "{host}: before 426"
        );
    }
    assert_eq!(
        status(&server.http("GET /healthz", &["Host: evil.example"]).await),
        "200"
    );
}

/// [ARCP 4-8] `--allowed-host` replaces the list, the port ignored; `--allowed-origin` refuses other browsers.
#[tokio::test]
async fn hosts_and_origins_are_configured() {
    let flags = [
        "--store",
        "memory",
        "--allowed-host",
        "Runtime.Example",
        "--allowed-origin",
        "https://app.example",
    ];
    let server = Serve::demo().with(&flags).start().await;
    let try_with = async |headers: &[&str]| {
        status(&http(server.address(), "GET /arcp", &with(headers)).await).to_owned()
    };
    assert_eq!(try_with(&["Host: runtime.example:8443"]).await, "101");
    assert_eq!(try_with(&["Host: localhost"]).await, "403");
    assert_eq!(
        try_with(&["Host: runtime.example", "Origin: https://app.example"]).await,
        "101"
    );
    assert_eq!(
        try_with(&["Host: runtime.example", "Origin: https://evil.example"]).await,
        "403"
    );
    assert_eq!(
        try_with(&["Host: runtime.example", "Origin: null"]).await,
        "403"
    );
}

/// [ARCP 4-1] The path can be chosen.
#[tokio::test]
async fn the_path_can_be_chosen() {
    let server = Serve::demo()
        .with(&["--store", "memory", "--path", "/deep/agents"])
        .start()
        .await;
    assert!(server.url.ends_with("/deep/agents"), "{}", server.url);
    assert_eq!(status(&server.http("GET /arcp", &UPGRADE).await), "404");
    Peer::open(&server).await.assert_alive().await;
}

/// [ARCP 4-8] Upgrades that are none are refused, and the server goes on.
#[tokio::test]
async fn broken_upgrades_are_refused() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let broken: [&[&str]; 4] = [
        &["Connection: Upgrade", "Upgrade: h2c"],
        &["Connection: Upgrade", "Upgrade: websocket"],
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 8",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ],
        &[
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: short",
        ],
    ];
    for headers in broken {
        let answer = server.http("GET /arcp", headers).await;
        assert!(status(&answer).starts_with('4'), "{headers:?}: {answer}");
    }
    Peer::open(&server).await.assert_alive().await;
}
