//! `/metrics`, as Prometheus reads it.

use std::collections::BTreeMap;

use towline_tests::{
    PATIENCE,
    program::Place,
    server::{Serve, Server},
};

/// Samples by name with labels.
async fn samples(server: &Server) -> BTreeMap<String, f64> {
    let answer = server.http("GET /metrics", &[]).await;
    let (_, body) = answer.split_once("\r\n\r\n").expect("it has a body");
    let lines = body.lines().filter(|line| line.starts_with("towline_"));
    lines
        .filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        })
        .collect()
}

/// Waits until the samples are as wanted; gauges are set now and then.
async fn until(
    server: &Server,
    wanted: impl Fn(&BTreeMap<String, f64>) -> bool,
) -> BTreeMap<String, f64> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let found = samples(server).await;
        if wanted(&found) {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "{found:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Sessions, jobs by state, events, commits, lag, denials and budgets are counted, and nothing a peer says is a label.
#[tokio::test]
async fn what_is_counted() {
    let server = Serve::demo().start().await;
    let flags = server.flags("alice");
    let run = |args: &'static [&'static str]| {
        let all: Vec<String> = ["run"]
            .iter()
            .chain(args)
            .map(|&arg| arg.to_owned())
            .chain(flags.clone())
            .collect();
        async move { Place::new().run(all).await }
    };
    run(&["echo", "-q"]).await.status(0);
    run(&["fail"]).await.status(1);
    run(&[
        "access",
        "-q",
        "--input",
        r#"{"ops":[["fs.read","/secret"]]}"#,
    ])
    .await
    .status(0);
    let costs =
        r#"{"costs":[["peer-said-this",0.4],["peer-said-this",0.7],["peer-said-this",0.1]]}"#;
    let spend = [
        "--budget",
        "peer-said-this:1",
        "--lease",
        "tool.call=search.*",
    ];
    let args: &[&str] = Box::leak(
        [&["spend", "-q", "--input", costs][..], &spend]
            .concat()
            .into_boxed_slice(),
    );
    run(args).await.status(0);
    run(&["sleep", "-d", "--input", r#"{"ms":600000}"#])
        .await
        .status(0);

    let found = until(&server, |found| {
        found.get(r#"towline_jobs{status="running"}"#) == Some(&1.0)
    })
    .await;
    let value = |name: &str| {
        found
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("no {name} in {found:#?}"))
    };
    assert_eq!(value(r#"towline_jobs{status="pending"}"#), 0.0);
    assert_eq!(value("towline_jobs_started_total"), 5.0);
    assert_eq!(value(r#"towline_jobs_ended_total{status="success"}"#), 3.0);
    assert_eq!(value(r#"towline_jobs_ended_total{status="error"}"#), 1.0);
    assert!(value("towline_events_total") >= 15.0, "{found:#?}");
    assert_eq!(
        value(r#"towline_denials_total{code="PERMISSION_DENIED"}"#),
        1.0
    );
    assert_eq!(
        value(r#"towline_denials_total{code="BUDGET_EXHAUSTED"}"#),
        1.0
    );
    assert_eq!(value("towline_costs_total"), 2.0);
    assert_eq!(value("towline_budgets_exhausted_total"), 1.0);
    assert!(value("towline_commit_seconds_count") >= 5.0, "{found:#?}");
    assert_eq!(value("towline_connections_total"), 5.0);
    assert_eq!(value("towline_revocations_pending"), 0.0);
    for gauge in [
        r#"towline_sessions{state="attached"}"#,
        r#"towline_sessions{state="detached"}"#,
        "towline_ack_lag_max",
    ] {
        value(gauge);
    }
    let text = format!("{found:?}");
    for said in ["peer-said-this", "/secret", "alice", "job_", "sess_"] {
        assert!(!text.contains(said), "{said} in {text}");
    }
}
