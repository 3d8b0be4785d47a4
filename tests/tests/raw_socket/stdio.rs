//! The same over lines [ARCP 4-2, 4-4 to 4-6].

use serde_json::json;
use towline_tests::{
    peer::{FEATURES, assert_refusal, hello},
    pipe::Pipe,
    program::Place,
};

/// [ARCP 4-2] Envelopes are lines and nothing else is printed; `\r\n` and blank lines are tolerated.
#[tokio::test]
async fn nothing_but_envelopes_is_printed() {
    let mut pipe = Pipe::start(&[]);
    pipe.send_bytes(format!("\n\r\n{}\r\n\n", hello("alice-token", &FEATURES)).as_bytes())
        .await;
    // The very first line is the welcome: no banner, no log.
    assert_eq!(pipe.next().await["type"], "session.welcome");
    pipe.request("s", "job.submit", json!({"agent": "kinds"}))
        .await;
    assert_eq!(
        pipe.next_of("job.result").await["payload"]["result"],
        json!({"ok": true})
    );
    pipe.request(
        "f",
        "job.submit",
        json!({"agent": "fail", "input": {"panic": true}}),
    )
    .await;
    assert_eq!(
        pipe.next_of("job.error").await["payload"]["code"],
        "INTERNAL_ERROR"
    );
    pipe.request("c", "session.close", json!({"reason": "enough"}))
        .await;
    assert_eq!(
        pipe.next_of("session.closed").await["payload"]["reason"],
        "enough"
    );
    let (rest, status) = pipe.end().await;
    assert_eq!((rest.as_str(), status), ("", Some(0)));
}

/// [ARCP 4-2] The end of the input is the end of the program.
#[tokio::test]
async fn the_end_of_the_input_ends_it() {
    let pipe = Pipe::open(&[]).await;
    assert_eq!(pipe.end().await, (String::new(), Some(0)));
    let (_, status) = Pipe::start(&[]).end().await;
    assert_eq!(status, Some(0));
}

/// [ARCP 4-5, 4-6] Malformed and oversized lines are answered and the session goes on.
#[tokio::test]
async fn bad_lines_are_answered() {
    let mut pipe = Pipe::open(&[]).await;
    for line in [
        "nonsense",
        "{}",
        "[]",
        "{\"type\":\"session.ping\"",
        "\u{feff}{\"type\":\"session.ping\",\"payload\":{}}",
    ] {
        pipe.send_bytes(format!("{line}\n").as_bytes()).await;
        let answer = pipe.next().await;
        assert_refusal(&answer, "INVALID_REQUEST");
    }
    pipe.send_bytes(b"{\"type\":\"\xff\"}\n").await;
    assert_refusal(&pipe.next().await, "INVALID_REQUEST");
    let mut big = format!(
        "{{\"id\":\"big\",\"type\":\"session.ping\",\"payload\":{{\"nonce\":\"{}\"}}}}",
        "x".repeat(4 * 1024 * 1024)
    );
    big.push('\n');
    pipe.send_bytes(big.as_bytes()).await;
    assert_refusal(&pipe.next().await, "INVALID_REQUEST");
    pipe.request("p", "session.ping", json!({"nonce": "after"}))
        .await;
    assert_eq!(
        pipe.next_of("session.pong").await["payload"]["ping_nonce"],
        "after"
    );
}

/// [ARCP 6.1-1, 6.1-2] Parents have to say who they are, too.
#[tokio::test]
async fn a_parent_is_authenticated() {
    for first in [
        hello("wrong", &FEATURES),
        json!({"type": "job.submit", "payload": {"agent": "echo"}}),
    ] {
        let mut pipe = Pipe::start(&[]);
        pipe.send(&first).await;
        assert_refusal(&pipe.next().await, "UNAUTHENTICATED");
        assert_eq!(pipe.line().await, None, "it closes");
    }
    let place = Place::new();
    place
        .run(["serve", "--stdio", "--demo"])
        .await
        .status(2)
        .says(&["--token"]);
}

/// [ARCP 8.4-3] Pieces of a result stay small over lines, so that a peer with 64 KiB lines can read them.
#[tokio::test]
async fn lines_stay_short() {
    let mut pipe = Pipe::open(&[]).await;
    pipe.request(
        "s",
        "job.submit",
        json!({"agent": "stream", "input": {"chunks": 2, "bytes": 200_000, "binary": true}}),
    )
    .await;
    let mut longest = 0;
    let mut decoded = 0;
    loop {
        let envelope = pipe.next().await;
        longest = longest.max(envelope.to_string().len());
        if envelope["payload"]["kind"] == "result_chunk" {
            decoded += envelope["payload"]["body"]["data"].as_str().unwrap().len() / 4 * 3;
        }
        if envelope["type"] == "job.result" {
            assert_eq!(envelope["payload"]["result_size"], 400_000);
            break;
        }
    }
    assert!(longest <= 64 * 1024, "a line of {longest} bytes");
    assert!(decoded >= 400_000, "{decoded}");
}
