//! Results in pieces [ARCP 8.4-1 to 8.4-3, 6.2-4].

use serde_json::{Value, json};
use towline_tests::{peer::Peer, server::Serve};

/// Puts a streamed result together, checking the rules of the pieces.
fn assemble(pieces: &[Value]) -> Vec<u8> {
    let mut whole = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        assert_eq!(piece["chunk_seq"], at, "in order from 0");
        assert_eq!(piece["result_id"], pieces[0]["result_id"], "one result");
        assert_eq!(
            piece["more"],
            at + 1 < pieces.len(),
            "the last and only the last says so"
        );
        let data = piece["data"].as_str().unwrap();
        let bytes = match piece["encoding"].as_str().unwrap() {
            "utf8" => data.as_bytes().to_vec(),
            "base64" => unbase64(data),
            other => panic!("{other}"),
        };
        assert!(
            bytes.len() <= 1024 * 1024,
            "a piece of {} bytes",
            bytes.len()
        );
        whole.extend(bytes);
    }
    whole
}

fn unbase64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |b: u8| ALPHABET.iter().position(|&a| a == b).map(|at| at as u32);
    let mut out = Vec::new();
    for group in text.as_bytes().chunks(4) {
        let digits: Vec<u32> = group.iter().filter_map(|&b| value(b)).collect();
        let bits =
            digits.iter().fold(0, |bits, digit| bits << 6 | digit) << (6 * (4 - digits.len()));
        out.extend_from_slice(&bits.to_be_bytes()[1..digits.len()]);
    }
    out
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 256) as u8).collect()
}

/// [ARCP 8.4-1, 8.4-2, 8.4-3] Pieces in order, then a terminal that names them and their size and holds no result itself.
#[tokio::test]
async fn a_streamed_result_comes_in_order() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    for (chunks, bytes, binary) in [
        (3, 1000, false),
        (3, 1000, true),
        (0, 10, false),
        (1, 0, false),
        (5, 300_000, true),
        (2, 700_000, false),
        (4, 257, true),
    ] {
        let job = peer.submit(json!({"agent": "stream", "input": {"chunks": chunks, "bytes": bytes, "binary": binary}})).await;
        let end = peer.end_of(&job).await["payload"].clone();
        let pieces = peer.bodies(&job, "result_chunk");
        let whole = assemble(&pieces);
        let expected = if binary {
            pattern(chunks * bytes)
        } else {
            vec![b'a'; chunks * bytes]
        };
        assert!(
            whole == expected,
            "{chunks} × {bytes}: {} bytes",
            whole.len()
        );
        assert_eq!(end["result_size"], chunks * bytes, "{end}");
        assert!(end.get("result").is_none(), "{end}");
        assert_eq!(end["result_id"], pieces[0]["result_id"]);
        assert!(end["result_id"].as_str().unwrap().starts_with("res_"));
        let encoding = if binary { "base64" } else { "utf8" };
        assert!(
            pieces
                .iter()
                .filter(|piece| piece["data"] != "")
                .all(|piece| piece["encoding"] == encoding)
        );
    }
}

/// [ARCP 6.2-4] Without `result_chunk` the same comes as one inline result, and its pieces take no numbers.
#[tokio::test]
async fn without_chunks_the_result_is_inline() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open_as(&server, "alice", &["subscribe", "progress"]).await;
    let job = peer
        .submit(json!({"agent": "stream", "input": {"chunks": 3, "bytes": 1000}}))
        .await;
    let end = peer.end_of(&job).await;
    assert_eq!(end["payload"]["result"], "a".repeat(3000));
    assert!(
        end["payload"].get("result_id").is_none(),
        "never both: {end}"
    );
    assert_eq!(end["event_seq"], 2);
    let end = peer
        .run(json!({"agent": "stream", "input": {"chunks": 2, "bytes": 300, "binary": true}}))
        .await;
    assert_eq!(end["result_encoding"], "base64", "{end}");
    assert_eq!(unbase64(end["result"].as_str().unwrap()), pattern(600));
    // What is over the inline cap cannot be had this way, and the other observers are not touched.
    let mut full = Peer::open(&server).await;
    let job = peer
        .submit(json!({"agent": "stream", "input": {"chunks": 5, "bytes": 1_000_000}}))
        .await;
    full.ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    let end = peer.end_of(&job).await["payload"].clone();
    assert_eq!(
        (&end["final_status"], &end["code"]),
        (&json!("error"), &json!("INTERNAL_ERROR")),
        "{end}"
    );
    let end = full.end_of(&job).await["payload"].clone();
    assert_eq!(end["result_size"], 5_000_000, "{end}");
    assert_eq!(
        assemble(&full.bodies(&job, "result_chunk")).len(),
        5_000_000
    );
}

/// [ARCP 8.4-1, 7.6-4] A finished streamed result is replayed to a watcher, after a crash too.
#[tokio::test]
async fn a_streamed_result_is_kept() {
    let server = Serve::demo().start().await;
    let mut peer = Peer::open(&server).await;
    let job = peer
        .submit(
            json!({"agent": "stream", "input": {"chunks": 10, "bytes": 10_000, "binary": true}}),
        )
        .await;
    peer.end_of(&job).await;
    let server = server.crash_and_restart().await;
    let mut watcher = Peer::open(&server).await;
    watcher
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    watcher.end_of(&job).await;
    assert!(assemble(&watcher.bodies(&job, "result_chunk")) == pattern(100_000));
    let mut plain = Peer::open_as(&server, "alice", &["subscribe"]).await;
    plain
        .ask("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    assert_eq!(
        unbase64(
            plain.end_of(&job).await["payload"]["result"]
                .as_str()
                .unwrap()
        ),
        pattern(100_000)
    );
}
