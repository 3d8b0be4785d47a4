//! A job's log as a stream.

use serde_json::{Value, json};

use crate::client::{ALICE, BOB, Server};

/// [ARCP 16-2] Events are numbered by the job's own log, named by their kind, one object a line; the stream ends after the
/// terminal.
#[tokio::test]
async fn events_are_server_sent() {
    let server = Server::start().await;
    let job = server.done(r#"{"agent":"log","input":2}"#).await;
    let mut watch = server.watch(&format!("/v1/jobs/{job}/events"), &[]).await;
    assert!(
        watch.head.contains("content-type: text/event-stream\r\n"),
        "{}",
        watch.head
    );
    let mut seen = Vec::new();
    while let Some((id, name, data)) = watch.next().await {
        assert_eq!(data["job_id"], job.as_str());
        assert_eq!(data["job_seq"], id);
        seen.push((name, data));
    }
    let names: Vec<_> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["status", "log", "log", "job.result"]);
    let (_, log) = &seen[1];
    assert_eq!(log["kind"], "log");
    assert_eq!(log["body"], json!({"level":"info","message":"line 1"}));
    assert!(log["ts"].is_string());
    let (_, end) = &seen[3];
    assert_eq!(end["final_status"], "success");
    assert_eq!(end["result"], 2);
}

/// [ARCP 16-2] A connection that is cut is taken up where it ended, by `Last-Event-ID`: nothing is lost and nothing comes twice,
/// while the job goes on.
#[tokio::test]
async fn a_cut_stream_goes_on_where_it_ended() {
    let server = Server::start().await;
    let job = server.submit(r#"{"agent":"stepwise","input":40}"#).await;
    let path = format!("/v1/jobs/{job}/events");
    let (mut last, mut messages) = (0, Vec::new());
    let mut ended = false;
    while !ended {
        server.steps.add_permits(3);
        let resume = format!("Last-Event-ID: {last}");
        let headers: &[&str] = if last == 0 { &[] } else { &[&resume] };
        let mut watch = server.watch(&path, headers).await;
        // Two of them, then the socket is dropped with the third on its way.
        for _ in 0..2 {
            let Some((id, name, data)) = watch.next().await else {
                break;
            };
            assert_eq!(id, last + 1);
            last = id;
            ended |= name.starts_with("job.");
            messages.extend(data["body"]["message"].as_str().map(str::to_owned));
        }
    }
    let expected: Vec<_> = (1..=40).map(|line| format!("line {line}")).collect();
    assert_eq!(messages, expected);
    // An EventSource that comes back after the end is told to stop.
    let after = format!("Last-Event-ID: {last}");
    let answer = server
        .ask(&format!("GET {path}"), &[ALICE, &after], "")
        .await;
    assert_eq!((answer.status, answer.text()), (204, ""));
}

/// [ARCP 16-2] `?from=N` is what comes after N; `Last-Event-ID` counts before it; what is no number is 400; at the end or past it
/// there is 204, beyond a live log only what comes.
#[tokio::test]
async fn a_stream_begins_anywhere() {
    let server = Server::start().await;
    let job = server.done(r#"{"agent":"log","input":3}"#).await;
    let path = format!("/v1/jobs/{job}/events");
    let first = async |query: &str, headers: &[&str]| {
        let mut watch = server.watch(&format!("{path}{query}"), headers).await;
        watch.next().await.unwrap().0
    };
    assert_eq!(first("", &[]).await, 1);
    assert_eq!(first("?from=0", &[]).await, 1);
    assert_eq!(first("?from=2", &[]).await, 3);
    assert_eq!(first("?from=2", &["Last-Event-ID: 3"]).await, 4);
    for end in ["5", "6", "99999999999"] {
        let answer = server.get(&format!("{path}?from={end}")).await;
        assert_eq!(answer.status, 204, "{answer:?}");
    }
    for bad in [
        "?from=",
        "?from=-1",
        "?from=x",
        "?from=1&from=2",
        "?since=1",
    ] {
        let answer = server.get(&format!("{path}{bad}")).await;
        answer.is_problem(400, "INVALID_REQUEST");
    }
    let headers = [ALICE, "Last-Event-ID: x"];
    let answer = server.ask(&format!("GET {path}"), &headers, "").await;
    answer.is_problem(400, "INVALID_REQUEST");

    let live = server.submit(r#"{"agent":"stepwise","input":1}"#).await;
    let path = format!("/v1/jobs/{live}/events");
    let mut from_start = server.watch(&path, &[]).await;
    assert_eq!(from_start.next().await.unwrap().0, 1);
    let mut beyond = server.watch(&format!("{path}?from=1000"), &[]).await;
    server.steps.add_permits(1);
    assert_eq!(beyond.next().await.unwrap().0, 2);
    assert_eq!(beyond.next().await.unwrap().1, "job.result");
    assert_eq!(beyond.next().await, None);
}

/// [ARCP 16-2] Lines are the same objects with their `type`.
#[tokio::test]
async fn events_are_lines_for_those_who_ask() {
    let server = Server::start().await;
    let job = server.done(r#"{"agent":"log","input":1}"#).await;
    let headers = [ALICE, "Accept: application/x-ndjson"];
    let line = format!("GET /v1/jobs/{job}/events");
    let answer = server.ask(&line, &headers, "").await;
    assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let types: Vec<_> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["job.event", "job.event", "job.result"]);
    let numbers: Vec<_> = lines
        .iter()
        .map(|line| line["job_seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(lines.iter().all(|line| line["job_id"] == job.as_str()));
    assert_eq!(lines[1]["kind"], "log");

    let job = server.done(r#"{"agent":"fail"}"#).await;
    let line = format!("GET /v1/jobs/{job}/events?from=1");
    let answer = server.ask(&line, &headers, "").await;
    let end: Value = serde_json::from_str(answer.text()).unwrap();
    assert_eq!(end["type"], "job.error");
    assert_eq!(end["code"], "INTERNAL_ERROR");
    assert_eq!(end["job_seq"], 2);
}

/// [ARCP 16-2, 6.5-4] Whoever does not read keeps nobody waiting: the job ends, and another reader has all of it.
#[tokio::test]
async fn a_slow_reader_holds_nobody_up() {
    let server = Server::start().await;
    let job = server.submit(r#"{"agent":"log","input":20000}"#).await;
    let path = format!("/v1/jobs/{job}/events");
    let mut slow = server.watch(&path, &[]).await;
    assert_eq!(slow.next().await.unwrap().0, 1);
    let quick = server.get(&path).await;
    assert_eq!(quick.text().matches("\nevent: log\n").count(), 20_000);
    let mut next = 2;
    while let Some((id, _, _)) = slow.next().await {
        assert_eq!(id, next);
        next += 1;
    }
    assert_eq!(next, 20_003);
}

/// [ARCP 16-2, 6.7-3] A stream ends when the runtime does, without the job's end.
#[tokio::test]
async fn a_stream_ends_with_the_runtime() {
    let server = Server::start().await;
    let job = server.submit(r#"{"agent":"hang"}"#).await;
    let mut watch = server.watch(&format!("/v1/jobs/{job}/events"), &[]).await;
    assert_eq!(watch.next().await.unwrap().0, 1);
    let runtime = server.runtime.clone();
    let shutdown = tokio::spawn(async move { runtime.shutdown().await });
    assert_eq!(watch.next().await, None);
    shutdown.await.unwrap();
}

/// [ARCP 16-3] The log of somebody else's job is that of a job that is not there.
#[tokio::test]
async fn foreign_logs_do_not_exist() {
    let server = Server::start().await;
    let job = server.done(r#"{"agent":"echo"}"#).await;
    let line = format!("GET /v1/jobs/{job}/events");
    let theirs = server.ask(&line, &[BOB], "").await;
    let problem = theirs.is_problem(404, "JOB_NOT_FOUND");
    let nobodys = server
        .ask("GET /v1/jobs/job_nobodys/events", &[BOB], "")
        .await;
    let other = nobodys.is_problem(404, "JOB_NOT_FOUND");
    let told = |problem: &Value, job: &str| problem.to_string().replace(job, "JOB");
    assert_eq!(told(&problem, &job), told(&other, "job_nobodys"));
}
