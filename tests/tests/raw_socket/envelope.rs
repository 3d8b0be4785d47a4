//! Envelopes: fields that are missing, null, foreign, too long or too deep [ARCP 5-1 to 5-11].

use serde_json::{Value, json};
use towline_tests::{
    peer::{FEATURES, Peer, assert_refusal},
    server::{Serve, Server},
};

async fn server() -> Server {
    Serve::demo().with(&["--store", "memory"]).start().await
}

/// [ARCP 5-4] Unknown types are refused with the request's id; vendors' are ignored; the session goes on.
#[tokio::test]
async fn unknown_types_are_refused_and_vendors_ignored() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for kind in [
        "job.frobnicate",
        "session.hullo",
        "x-vendor",
        "X-VENDOR.acme.x",
        "tool.invoke",
        "job.submit ",
    ] {
        peer.refused(kind, json!({}), "INVALID_REQUEST").await;
    }
    for kind in ["x-vendor.acme.hello", "x-vendor.a.b.c"] {
        peer.request(kind, json!({"anything": [1, 2]})).await;
    }
    // Had the vendors' been answered, that answer would come first.
    peer.request("session.ping", json!({"nonce": "n"})).await;
    assert_eq!(peer.next().await["type"], "session.pong");
    // What only a runtime says is no request either.
    for kind in ["session.welcome", "job.accepted", "job.event", "job.result"] {
        peer.refused(kind, json!({}), "INVALID_REQUEST").await;
    }
    assert_eq!(peer.result("echo", json!(1)).await, 1);
}

/// [ARCP 5-5] An envelope of another session is refused; one that names none is ours.
#[tokio::test]
async fn foreign_session_ids_are_refused() {
    let server = server().await;
    let other = Peer::open(&server).await;
    let mut peer = Peer::open(&server).await;
    for foreign in [other.session(), "sess_unknown"] {
        let submit = json!({"id": foreign, "type": "job.submit", "session_id": foreign, "payload": {"agent": "echo"}});
        peer.send(&submit).await;
        assert_refusal(&peer.reply(foreign).await, "INVALID_REQUEST");
    }
    peer.send(&json!({"id": "mine", "type": "job.submit", "payload": {"agent": "echo"}}))
        .await;
    assert_eq!(peer.reply("mine").await["type"], "job.accepted");
}

/// [ARCP 5-6] `null` for an optional field is absence, on the envelope and in payloads.
#[tokio::test]
async fn null_is_absence() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    peer.send(&json!({
        "arcp": null, "id": "n", "type": "job.submit", "session_id": null, "job_id": null, "event_seq": null, "trace_id": null,
        "extensions": null, "payload": {
            "agent": "echo", "input": null, "lease_request": null, "lease_constraints": null, "idempotency_key": null,
            "max_runtime_sec": null, "parent_job_id": null,
        },
    }))
    .await;
    let accepted = peer.reply("n").await;
    assert_eq!(accepted["type"], "job.accepted", "{accepted}");
    let end = peer.end_of(accepted["job_id"].as_str().unwrap()).await;
    assert_eq!(end["payload"]["result"], Value::Null, "{end}");
    let listed = peer
        .ask(
            "session.list_jobs",
            json!({"filter": {"status": null, "agent": null}, "limit": null, "cursor": null}),
        )
        .await;
    assert_eq!(listed["type"], "session.jobs", "{listed}");
    peer.send(&json!({"id": "p", "type": "session.list_jobs", "payload": null}))
        .await;
    assert_eq!(peer.reply("p").await["type"], "session.jobs");
    peer.send(&json!({"id": "q", "type": "session.list_jobs"}))
        .await;
    assert_eq!(peer.reply("q").await["type"], "session.jobs");
}

/// [ARCP 5-2] Fields nobody knows are ignored, wherever they stand.
#[tokio::test]
async fn unknown_fields_are_ignored() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    peer.send(&json!({
        "arcp": "1.1", "id": "u", "type": "job.submit", "future": {"a": [1]}, "timestamp": "x", "priority": 7,
        "payload": {"agent": "echo", "input": 5, "color": "red", "nested": {"deep": null}},
    }))
    .await;
    let accepted = peer.reply("u").await;
    assert_eq!(
        peer.end_of(accepted["job_id"].as_str().unwrap()).await["payload"]["result"],
        5
    );
}

/// [ARCP 5-7, 5-11] Without an id the reply has no `request_id`; an id of 256 bytes is echoed, a longer or empty one
/// refused.
#[tokio::test]
async fn ids_have_a_length() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    peer.send(&json!({"arcp": "1.1", "type": "session.list_jobs", "payload": {}}))
        .await;
    let jobs = peer.next_of("session.jobs").await;
    assert!(jobs["payload"].get("request_id").is_none(), "{jobs}");
    for id in [
        "x".repeat(256),
        "ü".repeat(128),
        "any thing\n\u{1f980}".to_owned(),
    ] {
        peer.send(&json!({"id": id, "type": "session.list_jobs", "payload": {}}))
            .await;
        assert_eq!(
            peer.next_of("session.jobs").await["payload"]["request_id"],
            id.as_str()
        );
    }
    for id in ["x".repeat(257), String::new(), "ü".repeat(129)] {
        peer.send(&json!({"id": id, "type": "session.list_jobs", "payload": {}}))
            .await;
        let answer = peer.next().await;
        assert_refusal(&answer, "INVALID_REQUEST");
    }
    peer.assert_alive().await;
}

/// [ARCP 14-4] Deep nesting is refused or carried, and the stack survives it.
#[tokio::test]
async fn deep_nesting_is_survived() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for depth in [100, 127, 128, 200, 100_000, 500_000] {
        let input = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        peer.send_text(&format!("{{\"id\":\"d{depth}\",\"type\":\"job.submit\",\"payload\":{{\"agent\":\"echo\",\"input\":{input}}}}}")).await;
        let object = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        peer.send_text(&format!("{{\"id\":\"o{depth}\",\"type\":\"session.ping\",\"payload\":{{\"nonce\":\"x\",\"y\":{object}}}}}")).await;
        // With a key the parameters are compared as values, which is another reader.
        peer.send_text(&format!("{{\"id\":\"k{depth}\",\"type\":\"job.submit\",\"payload\":{{\"agent\":\"kinds\",\"idempotency_key\":\"k\",\"input\":{input}}}}}")).await;
        peer.send_text(&"[".repeat(depth)).await;
        peer.send_text(&"{\"type\":".repeat(depth)).await;
    }
    peer.request("session.ping", json!({"nonce": "after"}))
        .await;
    // Whatever came back before, a deep result included, was readable as JSON or an error; the session lives.
    towline_tests::soon("the pong", async {
        while !peer_saw_after(&mut peer).await {}
    })
    .await;
}

/// [ARCP 14-4] An input has a depth, the same one with a key and without; the refusal says which.
#[tokio::test]
async fn inputs_have_a_depth() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let nested = |levels: usize| (1..levels).fold(json!([]), |inner, _| json!([inner]));
    for key in [Value::Null, json!("key")] {
        let submit =
            |levels| json!({"agent": "kinds", "input": nested(levels), "idempotency_key": key});
        let refused = peer
            .refused("job.submit", submit(128), "INVALID_REQUEST")
            .await;
        let message = refused["message"].as_str().unwrap();
        assert!(message.contains("127"), "{message}");
        let accepted = peer.ask("job.submit", submit(127)).await;
        assert_eq!(accepted["type"], "job.accepted", "{accepted}");
    }
}

async fn peer_saw_after(peer: &mut Peer) -> bool {
    use towline_tests::peer::Came;
    match peer.came_unparsed().await {
        Ok(text) => text.contains("\"ping_nonce\":\"after\""),
        Err(Came::Pong(_)) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// [ARCP 5-10] Numbers go through `echo` as they were written, however large or exact.
#[tokio::test]
async fn numbers_keep_their_text() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let numbers =
        "[1e400,-0,0.1000,123456789012345678901234567890.123456789,1E+2,18446744073709551616,2.50]";
    peer.send_text(&format!("{{\"id\":\"n\",\"type\":\"job.submit\",\"payload\":{{\"agent\":\"echo\",\"input\":{numbers}}}}}")).await;
    let text = loop {
        let text = peer.came_unparsed().await.unwrap();
        if text.contains("\"job.result\"") {
            break text;
        }
    };
    assert!(text.contains(numbers), "{text}");
}

/// [ARCP 14-4] Numbers that fit no type are refused where a number means something, never a crash.
#[tokio::test]
async fn absurd_numbers_are_refused() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    for number in [
        "1e999999",
        "-1e999999",
        "99999999999999999999999999",
        "0.0",
        "-1",
        "1e-400",
        "9007199254740993",
    ] {
        let cases = [
            format!(
                "{{\"id\":\"a\",\"type\":\"session.ack\",\"payload\":{{\"last_processed_seq\":{number}}}}}"
            ),
            format!(
                "{{\"id\":\"l\",\"type\":\"session.list_jobs\",\"payload\":{{\"limit\":{number}}}}}"
            ),
            format!(
                "{{\"id\":\"s\",\"type\":\"job.subscribe\",\"payload\":{{\"job_id\":\"job_x\",\"from_event_seq\":{number}}}}}"
            ),
            format!(
                "{{\"id\":\"m\",\"type\":\"job.submit\",\"payload\":{{\"agent\":\"echo\",\"max_runtime_sec\":{number}}}}}"
            ),
            format!(
                "{{\"id\":\"e\",\"type\":\"session.list_jobs\",\"event_seq\":{number},\"payload\":{{}}}}"
            ),
        ];
        for case in cases {
            peer.send_text(&case).await;
        }
        peer.assert_alive().await;
    }
    let max_runtime = ["0", "-1", "\"5\"", "1e999999", "null"];
    for (at, number) in max_runtime.into_iter().enumerate() {
        let id = format!("max{at}");
        peer.send_text(&format!("{{\"id\":\"{id}\",\"type\":\"job.submit\",\"payload\":{{\"agent\":\"echo\",\"max_runtime_sec\":{number}}}}}")).await;
        let reply = peer.reply(&id).await;
        match number {
            "null" => assert_eq!(reply["type"], "job.accepted", "{reply}"),
            "1e999999" => {}
            _ => assert_refusal(&reply, "INVALID_REQUEST"),
        }
    }
}

/// [ARCP 12-2] A flood of nonsense on one session is answered and disturbs no job of it.
#[tokio::test]
async fn nonsense_does_not_disturb_a_job() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let job = peer
        .submit(json!({"agent": "chatty", "input": {"n": 30, "delay_ms": 5}}))
        .await;
    for number in 0..200 {
        match number % 4 {
            0 => peer.send_text("nonsense").await,
            1 => drop(
                peer.request("job.cancel", json!({"job_id": "job_none"}))
                    .await,
            ),
            2 => drop(peer.request("job.submit", json!({"agent": "none"})).await),
            _ => drop(peer.request("no.such", json!({})).await),
        }
    }
    let end = peer.end_of(&job).await;
    assert_eq!(end["payload"]["result"], json!({"emitted": 30}));
    peer.assert_whole(&job);
}

/// [ARCP 5-11] Many requests at once are answered in their order, refusals among them.
#[tokio::test]
async fn replies_come_in_request_order() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let mut asked = Vec::new();
    for number in 0..60 {
        asked.push(match number % 5 {
            0 => {
                peer.request("job.submit", json!({"agent": "echo", "input": number}))
                    .await
            }
            1 => peer.request("session.list_jobs", json!({"limit": 1})).await,
            2 => {
                peer.request("job.subscribe", json!({"job_id": "job_none"}))
                    .await
            }
            3 => {
                peer.request("job.submit", json!({"agent": "NOT A NAME"}))
                    .await
            }
            _ => peer.request("unknown.type", json!({})).await,
        });
    }
    let mut answered = Vec::new();
    while answered.len() < asked.len() {
        let envelope = peer.next().await;
        answered.extend(
            envelope["payload"]["request_id"]
                .as_str()
                .map(str::to_owned),
        );
    }
    assert_eq!(answered, asked);
}

/// [ARCP 5-1, 5-8] What the runtime sends has `arcp`, `id`, `type` and `payload`, no nulls but the allowed ones, and times
/// in UTC with milliseconds.
#[tokio::test]
async fn every_envelope_has_the_form() {
    let server = server().await;
    let mut peer = Peer::open_as(&server, "alice", &FEATURES).await;
    let job = peer.submit(json!({"agent": "kinds"})).await;
    peer.end_of(&job).await;
    peer.request("job.submit", json!({"agent": "none"})).await;
    peer.request("session.list_jobs", json!({})).await;
    peer.request("job.subscribe", json!({"job_id": job, "history": true}))
        .await;
    peer.request("job.cancel", json!({"job_id": job})).await;
    peer.request("session.close", json!({"reason": "done"}))
        .await;
    let welcome = peer.welcome().clone();
    let (_, seen) = peer.closed().await;
    let kinds: Vec<&str> = seen
        .iter()
        .filter_map(|envelope| envelope["type"].as_str())
        .collect();
    assert_eq!(
        kinds.iter().filter(|&&kind| kind == "job.event").count(),
        18,
        "twice nine events: {kinds:?}"
    );
    let mut ids = std::collections::BTreeSet::new();
    for envelope in seen.iter().chain([&welcome]) {
        assert_eq!(envelope["arcp"], "1.1", "{envelope}");
        assert!(
            envelope["type"].is_string() && envelope["payload"].is_object(),
            "{envelope}"
        );
        assert_eq!(envelope["session_id"], welcome["session_id"], "{envelope}");
        let id = envelope["id"].as_str().unwrap();
        assert!(
            is_minted(id, "msg_") && ids.insert(id.to_owned()),
            "{envelope}"
        );
        assert_no_nulls(envelope, "");
        assert_times(envelope);
    }
    let token = welcome["payload"]["resume_token"].as_str().unwrap();
    let hex = token.strip_prefix("rt_").unwrap();
    assert!(
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
        "{token}"
    );
    assert!(is_minted(&job, "job_") && is_minted(welcome["session_id"].as_str().unwrap(), "sess_"));
}

fn is_minted(id: &str, prefix: &str) -> bool {
    let crockford = |b: u8| b.is_ascii_digit() || b.is_ascii_uppercase() && !b"ILOU".contains(&b);
    id.strip_prefix(prefix)
        .is_some_and(|ulid| ulid.len() == 26 && ulid.bytes().all(crockford))
}

fn assert_no_nulls(value: &Value, path: &str) {
    const MAY_BE_NULL: [&str; 3] = ["parent_job_id", "next_cursor", "result"];
    match value {
        Value::Null => {
            let name = path.rsplit('.').next().unwrap_or_default();
            assert!(MAY_BE_NULL.contains(&name), "null at {path}");
        }
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| assert_no_nulls(value, &format!("{path}.{name}"))),
        Value::Array(values) => values.iter().for_each(|value| assert_no_nulls(value, path)),
        _ => {}
    }
}

fn assert_times(value: &Value) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        if [
            "ts",
            "accepted_at",
            "created_at",
            "submitted_at",
            "completed_at",
            "received_at",
            "sent_at",
        ]
        .contains(&name.as_str())
        {
            let text = value.as_str().unwrap();
            let form: String = text
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            assert_eq!(form, "0000-00-00T00:00:00.000Z", "{name}");
        }
        assert_times(value);
    }
}
