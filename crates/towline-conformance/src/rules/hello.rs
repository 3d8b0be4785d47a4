//! §5 and §6.1, §6.2: from the first frame to the welcome, and what is no request.

use serde_json::{Value, json};

use crate::{
    case::{Case, case},
    check::{Check, Stop, ensure, expect_refusal, fail, texts},
    context::{Context, FEATURES},
    link::Came,
};

/// Opens the first session; what it learns of the runtime, the others build on.
pub(crate) static FIRST: Case = case!(
    "hello-welcome",
    ["6.2-1", "6.2-2"],
    Draft,
    "a hello is answered with a welcome that says what the draft has it say",
    welcome
);

pub(super) static CASES: &[Case] = &[
    case!(
        "hello-welcome-beside",
        ["6.2-2"],
        Ours,
        "the welcome's payload also has session_id and accepted_at",
        welcome_beside
    ),
    case!(
        "hello-intersection",
        ["6.2-2", "6.2-3"],
        Draft,
        "features are the intersection, and what was left out is refused",
        intersection
    ),
    case!(
        "hello-unknown-features",
        ["6.2-1"],
        Draft,
        "unknown features are ignored",
        unknown_features
    ),
    case!(
        "hello-no-encoding",
        ["6.2-1"],
        Draft,
        "no encoding in common is INVALID_REQUEST",
        no_encoding
    ),
    case!(
        "hello-bad-token",
        ["6.1-1"],
        Draft,
        "a wrong token is UNAUTHENTICATED, then the connection is closed",
        bad_token
    ),
    case!(
        "hello-no-token",
        ["6.1-1"],
        Draft,
        "no token is UNAUTHENTICATED, then the connection is closed",
        no_token
    ),
    case!(
        "hello-first",
        ["6.1-2"],
        Ours,
        "nothing but a hello or a resume opens a session",
        hello_first
    ),
    case!(
        "hello-twice",
        ["6.2-6"],
        Ours,
        "a second hello is INVALID_REQUEST, and the session goes on",
        hello_twice
    ),
    case!(
        "envelope-unknown-type",
        ["5-4"],
        Draft,
        "an unknown type is INVALID_REQUEST, one of a vendor is ignored, and the session goes on",
        unknown_type
    ),
    case!(
        "envelope-unknown-fields",
        ["5-2", "5-6"],
        Draft,
        "unknown fields are ignored, null is absent",
        unknown_fields
    ),
    case!(
        "hello-malformed",
        ["4-5"],
        Ours,
        "what is no envelope opens nothing: INVALID_REQUEST, then the connection is closed",
        malformed_hello
    ),
    case!(
        "envelope-malformed",
        ["4-5", "5-3"],
        Ours,
        "what is no envelope is INVALID_REQUEST, and the session goes on",
        malformed
    ),
    case!(
        "envelope-null",
        ["5-6"],
        Draft,
        "null for an optional member of the envelope is absent",
        null_header
    ),
    case!(
        "envelope-other-session",
        ["5-5"],
        Ours,
        "another session's id is INVALID_REQUEST",
        other_session
    ),
];

async fn welcome(context: &mut Context) -> Check {
    let session = context.open().await?;
    let payload = session.welcome.clone();
    context.set_welcome(&payload);
    for member in ["name", "version"] {
        ensure(payload["runtime"][member].is_string(), || {
            format!("`runtime.{member}` is missing")
        })?;
    }
    ensure(payload["resume_token"].is_string(), || {
        "`resume_token` is missing".to_owned()
    })?;
    ensure(payload["resume_window_sec"].is_number(), || {
        "`resume_window_sec` is missing".to_owned()
    })?;
    let capabilities = &payload["capabilities"];
    let encodings = texts(&capabilities["encodings"]);
    ensure(encodings.iter().any(|encoding| encoding == "json"), || {
        "`capabilities.encodings` has no `json`".to_owned()
    })?;
    let features = session.features();
    let has_heartbeat = features.iter().any(|feature| feature == "heartbeat");
    let interval = payload["heartbeat_interval_sec"].is_number();
    ensure(interval || !has_heartbeat, || {
        "`heartbeat` is in effect without `heartbeat_interval_sec`".to_owned()
    })?;
    let Some(agents) = capabilities["agents"].as_array() else {
        return fail("`capabilities.agents` is no list");
    };
    for agent in agents {
        ensure(
            agent["name"].is_string() && agent["versions"].is_array(),
            || format!("the agent {agent} has no `name` or no list of `versions`"),
        )?;
    }
    session.done().await
}

async fn welcome_beside(context: &mut Context) -> Check {
    let session = context.open().await?;
    let payload = &session.welcome;
    ensure(payload["session_id"] == session.id.as_str(), || {
        "`session_id` is missing, or another than the envelope's".to_owned()
    })?;
    ensure(payload["accepted_at"].is_string(), || {
        "`accepted_at` is missing".to_owned()
    })?;
    session.done().await
}

async fn intersection(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    context.needs("list_jobs")?;
    let mut session = context.open_with(&["heartbeat"]).await?;
    let features = session.features();
    ensure(features == ["heartbeat"], || {
        format!("`heartbeat` was offered, in effect are {features:?}")
    })?;
    session
        .refused("session.list_jobs", json!({}), &["INVALID_REQUEST"])
        .await?;
    session.done().await
}

async fn unknown_features(context: &mut Context) -> Check {
    let mut features = FEATURES.to_vec();
    features.extend(["x-vendor.example.nothing", "time_travel"]);
    let session = context.open_with(&features).await?;
    let invented = session.features();
    let invented = invented
        .iter()
        .find(|feature| !FEATURES.contains(&feature.as_str()));
    ensure(invented.is_none(), || format!("{invented:?} is in effect"))?;
    session.done().await
}

async fn no_encoding(context: &mut Context) -> Check {
    let mut hello = context.hello(&FEATURES);
    hello["payload"]["capabilities"]["encodings"] = json!(["x-none"]);
    context.refused_opening(hello, &["INVALID_REQUEST"]).await
}

async fn bad_token(context: &mut Context) -> Check {
    let mut hello = context.hello(&FEATURES);
    hello["payload"]["auth"] = json!({"scheme": "bearer", "token": "kit-wrong-token"});
    unless_open_to_all(context, hello).await
}

async fn no_token(context: &mut Context) -> Check {
    let mut hello = context.hello(&FEATURES);
    if let Value::Object(payload) = &mut hello["payload"] {
        payload.remove("auth");
    }
    unless_open_to_all(context, hello).await
}

async fn unless_open_to_all(context: &mut Context, hello: Value) -> Check {
    if context.options.token.is_none() {
        let reason = "the kit was given no token, so the runtime asks for none";
        return Err(Stop::NotApplicable(reason.to_owned()));
    }
    context.refused_opening(hello, &["UNAUTHENTICATED"]).await
}

async fn hello_first(context: &mut Context) -> Check {
    let opening = json!({"arcp": "1.1", "id": "kit-first", "type": "job.submit", "payload": {"agent": "echo"}});
    context.refused_opening(opening, &["UNAUTHENTICATED"]).await
}

async fn hello_twice(context: &mut Context) -> Check {
    let mut session = context.open().await?;
    let hello = context.hello(&FEATURES)["payload"].clone();
    session
        .refused("session.hello", hello, &["INVALID_REQUEST"])
        .await?;
    session.done().await
}

async fn unknown_type(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    let mut session = context.open().await?;
    session.send("x-vendor.example.note", json!({})).await?;
    let before = session.fence().await?;
    ensure(before.is_empty(), || {
        format!("a vendor's message was answered with {before:?}")
    })?;
    session
        .refused("session.example", json!({}), &["INVALID_REQUEST"])
        .await?;
    session.fence().await?;
    session.done().await
}

async fn unknown_fields(context: &mut Context) -> Check {
    let echo = context.agent("echo")?;
    let mut session = context.open().await?;
    let submit = json!({"agent": echo, "input": 1, "lease_request": null, "lease_constraints": null,
        "idempotency_key": null, "max_runtime_sec": null, "parent_job_id": null, "invented": {"a": 1}});
    let more = json!({"invented": true, "extensions": null});
    let request = session.send_with("job.submit", submit, more).await?;
    let reply = session.reply(&request, "job.accepted").await?;
    ensure(reply["type"] == "job.accepted", || {
        format!("the submit was refused: {}", reply["payload"])
    })?;
    session.done().await
}

/// Texts that are no envelopes.
const MALFORMED: [&str; 7] = [
    r#"{"arcp":"1.1","id":"kit-cut","type":"session.list_jobs""#,
    "no JSON",
    "[1,2]",
    "null",
    r#"{"arcp":"1.1","id":"kit-typeless","payload":{}}"#,
    r#"{"arcp":"1.1","id":"kit-list","type":"session.list_jobs","payload":[]}"#,
    r#"{"arcp":"9.9","id":"kit-later","type":"session.list_jobs","payload":{}}"#,
];

async fn malformed_hello(context: &mut Context) -> Check {
    for text in &MALFORMED[..3] {
        context.refused_text(text, &["INVALID_REQUEST"]).await?;
    }
    Ok(())
}

async fn malformed(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    let mut session = context.open().await?;
    for text in MALFORMED {
        session.send_text(text).await?;
        expect_refusal(&session.next().await?, &["INVALID_REQUEST"])?;
    }
    let after = session.fence().await?;
    ensure(after.is_empty(), || format!("afterwards came {after:?}"))?;
    session.done().await
}

async fn null_header(context: &mut Context) -> Check {
    context.needs("heartbeat")?;
    let mut session = context.open().await?;
    for session_id in ["null", &format!("{:?}", session.id)] {
        let text = format!(
            r#"{{"arcp":"1.1","id":"kit-null","type":"session.ping","session_id":{session_id},"job_id":null,"trace_id":null,"event_seq":null,"payload":{{"nonce":"kit-null"}}}}"#
        );
        session.send_text(&text).await?;
        let reply = session.next().await?;
        let pong = reply["type"] == "session.pong" && reply["payload"]["ping_nonce"] == "kit-null";
        ensure(pong, || {
            format!("a ping with null in it was answered with {reply}")
        })?;
    }
    session.done().await
}

async fn other_session(context: &mut Context) -> Check {
    context.needs("list_jobs")?;
    let mut session = context.open().await?;
    let other = json!({"session_id": "sess_00000000000000000000000000"});
    let request = session
        .send_with("session.list_jobs", json!({}), other)
        .await?;
    let reply = session.reply(&request, "session.error").await?;
    expect_refusal(&reply, &["INVALID_REQUEST"])?;
    match session.came_within(std::time::Duration::ZERO).await? {
        Came::End => fail("the session did not go on"),
        _ => session.done().await,
    }
}
