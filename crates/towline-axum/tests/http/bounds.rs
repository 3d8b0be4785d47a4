//! What one principal may take of what is everybody's.

use towline_axum::EndpointOptions;
use towline_runtime::{
    RuntimeOptions,
    roles::{Reach, Role, Roles},
};

use crate::client::{ALICE, BOB, JSON, Server};

async fn server() -> Server {
    let options = RuntimeOptions::default().long_requests_per_principal(2);
    Server::with(|builder| builder.options(options), EndpointOptions::new()).await
}

/// [ARCP 14-6] Requests that stay are bounded a principal, all kinds together; what does not stay goes on, and so do others.
#[tokio::test]
async fn a_principal_has_so_many_long_requests() {
    let server = server().await;
    let job = server.submit(r#"{"agent":"stepwise","input":1}"#).await;
    let events = format!("/v1/jobs/{job}/events");
    let mut first = server.watch(&events, &[]).await;
    let second = server.watch(&events, &[]).await;
    assert!(first.head.contains(" 200 ") && second.head.contains(" 200 "));
    let third = server.get(&events).await;
    let problem = third.is_problem(429, "INTERNAL_ERROR");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .starts_with("2 requests")
    );
    assert!(third.header("retry-after").is_some());
    // Refused before it did anything.
    let echo = r#"{"agent":"echo"}"#;
    let waits = server
        .post_with("/v1/jobs", &["Prefer: wait=30"], echo)
        .await;
    waits.is_problem(429, "INTERNAL_ERROR");
    let jobs = server.get("/v1/jobs").await.json();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "{jobs}");
    #[cfg(feature = "mcp")]
    {
        let listens = ["Accept: text/event-stream", ALICE];
        let listens = server.ask("GET /mcp", &listens, "").await;
        listens.is_problem(429, "INTERNAL_ERROR");
    }
    let theirs = server
        .ask("POST /v1/jobs", &[BOB, JSON, "Prefer: wait=30"], echo)
        .await;
    assert_eq!(theirs.status, 200, "{theirs:?}");
    server.steps.add_permits(1);
    while first.line().await.is_some() {}
    drop(second);
    // The server learns a moment later that nobody reads any more.
    for _ in 0..1000 {
        let again = server.ask(&format!("GET {events}"), &[ALICE], "").await;
        if again.status == 200 {
            return;
        }
    }
    panic!("the places were not given back");
}

/// [ARCP 16-1, 7.6-5] Whoever may watch a job sees what it was given, as a subscriber does who asks for it; nobody else does.
#[tokio::test]
async fn whoever_may_watch_sees_the_input() {
    let watcher = Role::named("ops").may_watch(Reach::All);
    let roles = Roles::new(Role::of_nobody()).role(watcher);
    let roles = roles.assign("bob", "ops").unwrap();
    let server = Server::with(|builder| builder.roles(roles), EndpointOptions::new()).await;
    let job = server.done(r#"{"agent":"echo","input":{"a":1}}"#).await;
    let path = format!("/v1/jobs/{job}");
    assert_eq!(server.get(&path).await.json()["input"]["a"], 1);
    let theirs = server.ask(&format!("GET {path}"), &[BOB], "").await.json();
    assert_eq!(theirs["input"]["a"], 1, "{theirs}");
}
