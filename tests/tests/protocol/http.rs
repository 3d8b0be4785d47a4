//! Jobs over plain HTTP, through the program: across lost connections, lives of the program, and sessions.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use towline_tests::{
    peer::Peer,
    server::{Serve, Server, token_of},
};

/// Sends a request as a principal; the answer is read up to its body.
async fn request(
    server: &Server,
    principal: &str,
    line: &str,
    headers: &str,
    body: &str,
) -> Answer {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}",
        server.address(),
        token_of(principal),
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut reader = BufReader::new(socket);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let read = timeout(PATIENCE, reader.read_line(&mut head)).await;
        assert_ne!(read.unwrap().unwrap(), 0, "{head}");
    }
    Answer { reader, head }
}

struct Answer {
    reader: BufReader<TcpStream>,
    head: String,
}

impl Answer {
    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// The next line of the body; `None` at its end, or where the connection breaks.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(PATIENCE, self.reader.read_line(&mut line)).await;
        let read = read.unwrap().unwrap_or(0);
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The next event: its number and its data.
    async fn event(&mut self) -> Option<(u64, Value)> {
        let mut id = None;
        loop {
            let line = self.line().await?;
            if let Some(number) = line.strip_prefix("id: ") {
                id = number.parse().ok();
            } else if let Some(data) = line.strip_prefix("data: ") {
                // A line that broke off is no event.
                return Some((id?, serde_json::from_str(data).ok()?));
            }
        }
    }

    async fn json(mut self) -> Value {
        let mut body = String::new();
        while let Some(line) = self.line().await {
            body.push_str(&line);
        }
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{} {body}", self.head))
    }
}

async fn get(server: &Server, principal: &str, path: &str) -> Answer {
    request(server, principal, &format!("GET {path}"), "", "").await
}

async fn post(server: &Server, principal: &str, path: &str, body: Value) -> Answer {
    let line = format!("POST {path}");
    request(server, principal, &line, "", &body.to_string()).await
}

async fn submit(server: &Server, body: Value) -> String {
    let answer = post(server, "alice", "/v1/jobs", body).await;
    assert_eq!(answer.status(), 202, "{}", answer.head);
    answer.json().await["job_id"].as_str().unwrap().to_owned()
}

/// [ARCP 16-2] A reader whose connection is cut, and whose server is killed, goes on by `Last-Event-ID`: each event once, in order,
/// to the job's end.
#[tokio::test]
async fn nothing_is_lost_or_doubled_across_kill_9() {
    let mut server = Serve::demo().start().await;
    let input = json!({"agent": "chatty", "input": {"n": 400, "delay_ms": 5}});
    let job = submit(&server, input).await;
    let path = format!("/v1/jobs/{job}/events");
    let (mut last, mut end) = (0, None);
    for round in 0.. {
        let headers = if last == 0 {
            String::new()
        } else {
            format!("Last-Event-ID: {last}\r\n")
        };
        let mut events = request(&server, "alice", &format!("GET {path}"), &headers, "").await;
        assert_eq!(events.status(), 200, "{}", events.head);
        // The first two rounds are cut short, the third ends with the server.
        let most = if round < 3 { 20 } else { usize::MAX };
        for _ in 0..most {
            let Some((id, data)) = events.event().await else {
                break;
            };
            assert_eq!((id, data["job_seq"].as_u64()), (last + 1, Some(id)));
            last = id;
            end = data.get("final_status").map(|_| data.clone());
        }
        if end.is_some() {
            break;
        }
        drop(events);
        if round == 2 {
            server = server.crash_and_restart().await;
        }
    }
    // `chatty` is not restartable.
    let end = end.unwrap();
    assert_eq!(end["details"]["reason"], "runtime_restarted", "{end}");
    let document = get(&server, "alice", &format!("/v1/jobs/{job}"))
        .await
        .json()
        .await;
    assert_eq!(document["last_event_seq"], last);
    assert_eq!(document["error"]["code"], "INTERNAL_ERROR");
    let headers = format!("Last-Event-ID: {last}\r\n");
    let after = request(&server, "alice", &format!("GET {path}"), &headers, "").await;
    assert_eq!(after.status(), 204, "{}", after.head);
}

/// [ARCP 16-1, 7.4-2, 14-10] HTTP and WebSocket are the same principal: what one submits the other sees, watches and cancels, also
/// after a restart; somebody else does not know of it.
#[tokio::test]
async fn both_doors_lead_to_the_same_jobs() {
    let server = Serve::demo().start().await;
    let sleep = json!({"agent": "sleep", "input": {"ms": 600_000}});
    let over_http = submit(&server, sleep.clone()).await;
    let mut peer = Peer::open(&server).await;
    let over_socket = peer.submit(sleep).await;
    for job in [&over_http, &over_socket] {
        let shown = get(&server, "alice", &format!("/v1/jobs/{job}")).await;
        assert_eq!(shown.json().await["principal"], "alice");
        let hidden = get(&server, "bob", &format!("/v1/jobs/{job}")).await;
        assert_eq!(hidden.status(), 404);
    }
    let cancel = format!("/v1/jobs/{over_socket}/cancel");
    assert_eq!(post(&server, "bob", &cancel, json!({})).await.status(), 404);
    let cancelled = post(&server, "alice", &cancel, json!({"reason": "enough"})).await;
    assert_eq!(cancelled.status(), 202, "{}", cancelled.head);
    assert_eq!(
        peer.end_of(&over_socket).await["payload"]["code"],
        "CANCELLED"
    );
    let payload = json!({ "job_id": over_http });
    let reply = peer.ask("job.cancel", payload).await;
    assert_eq!(reply["type"], "job.cancelled", "{reply}");
    let mut events = get(&server, "alice", &format!("/v1/jobs/{over_http}/events")).await;
    let mut end = Value::Null;
    while let Some((_, data)) = events.event().await {
        end = data;
    }
    assert_eq!(end["final_status"], "cancelled", "{end}");
}

/// [ARCP 16-1, 7.2-1] A key stands for its job through both doors and across `kill -9`.
#[tokio::test]
async fn a_key_stands_through_both_doors() {
    let server = Serve::demo().start().await;
    let body = json!({"agent": "echo", "input": 1, "idempotency_key": "once"});
    let job = submit(&server, body.clone()).await;
    let server = server.crash_and_restart().await;
    assert_eq!(submit(&server, body.clone()).await, job);
    let mut peer = Peer::open(&server).await;
    assert_eq!(peer.submit(body).await, job);
}

/// [ARCP 16-5, 14-5] The description is public and one request is all a connection has; the endpoint and the page are where they
/// were.
#[tokio::test]
async fn http_is_beside_the_endpoint() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let description = server.http("GET /openapi.json", &[]).await;
    assert!(
        description.contains("\"/v1/jobs/{job}/events\""),
        "{description}"
    );
    assert!(description.contains("connection: close"), "{description}");
    let nobody = server.http("GET /v1/jobs", &[]).await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    let stranger = server.http("GET /v1/jobs", &["Host: evil.example"]).await;
    assert!(stranger.starts_with("HTTP/1.1 403"), "{stranger}");
    assert!(stranger.contains("application/problem+json"), "{stranger}");
    Peer::open(&server).await.assert_alive().await;
}

/// [ARCP 16-2, 6.7-3] A watcher does not keep a server from shutting down.
#[tokio::test]
async fn a_watcher_holds_up_no_shutdown() {
    let mut server = Serve::demo().with(&["--drain", "0.1"]).start().await;
    let sleep = json!({"agent": "sleep", "input": {"ms": 600_000, "ignore_cancel": true}});
    let job = submit(&server, sleep).await;
    let mut events = get(&server, "alice", &format!("/v1/jobs/{job}/events")).await;
    assert_eq!(events.event().await.unwrap().0, 1);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    while events.event().await.is_some() {}
    assert_eq!(server.ended().await.0, Some(0));
}

/// [ARCP 16-1, 15-2, 15-5] Questions wait in the inbox and in the job's document; whoever may answer does.
#[tokio::test]
async fn people_answer_over_http() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let input = json!({"kind": "approval", "title": "release?"});
    let job = submit(&server, json!({"agent": "ask", "input": input})).await;
    let mut events = get(&server, "alice", &format!("/v1/jobs/{job}/events")).await;
    let question = loop {
        let (_, data) = events.event().await.unwrap();
        if data["kind"] == "x-vendor.towline.input_request" {
            break data["body"].clone();
        }
    };
    let inbox = get(&server, "alice", "/v1/inbox").await.json().await;
    let waiting = &inbox["questions"][0];
    assert_eq!(
        (&waiting["job_id"], &waiting["title"]),
        (&json!(job), &json!("release?"))
    );
    assert!(
        waiting["agent"].as_str().unwrap().starts_with("ask"),
        "{inbox}"
    );
    let document = get(&server, "alice", &format!("/v1/jobs/{job}"))
        .await
        .json()
        .await;
    assert_eq!(document["questions"], json!([question]));
    let theirs = get(&server, "bob", "/v1/inbox").await.json().await;
    assert_eq!(theirs["questions"], json!([]));

    let path = format!("/v1/jobs/{job}/answer");
    let id = &question["question_id"];
    let yes = json!({"question_id": id, "answer": true});
    assert_eq!(post(&server, "bob", &path, yes.clone()).await.status(), 404);
    let unfit = json!({"question_id": id, "answer": "perhaps"});
    assert_eq!(post(&server, "alice", &path, unfit).await.status(), 400);
    let first = post(&server, "alice", &path, yes.clone()).await;
    assert_eq!(first.status(), 200, "{}", first.head);
    assert_eq!(first.json().await["questions"], json!([]));
    let mut end = Value::Null;
    while let Some((_, data)) = events.event().await {
        end = data;
    }
    assert_eq!(
        end["result"],
        json!({"outcome": "answered", "answer": true}),
        "{end}"
    );
}

/// [ARCP 16-1, 15-7] Whoever may answer may speak: any JSON value, in order; to those that do not listen nobody speaks.
#[tokio::test]
async fn people_speak_over_http() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let job = submit(&server, json!({"agent": "listen", "input": {"n": 2}})).await;
    let path = format!("/v1/jobs/{job}/messages");
    for body in [json!("hello"), json!({"deep": [1, null]})] {
        let said = post(&server, "alice", &path, json!({ "body": body })).await;
        assert_eq!(said.status(), 202, "{}", said.head);
    }
    let mut events = get(&server, "alice", &format!("/v1/jobs/{job}/events")).await;
    let mut end = Value::Null;
    while let Some((_, data)) = events.event().await {
        end = data;
    }
    assert_eq!(
        end["result"],
        json!(["hello", {"deep": [1, null]}]),
        "{end}"
    );
    let deaf = submit(&server, json!({"agent": "sleep", "input": {"ms": 600_000}})).await;
    let path = format!("/v1/jobs/{deaf}/messages");
    let said = post(&server, "alice", &path, json!({"body": 1})).await;
    assert_eq!(said.status(), 400, "{}", said.head);
    assert_eq!(post(&server, "alice", &path, json!({})).await.status(), 400);
    assert_eq!(
        post(&server, "bob", &path, json!({"body": 1}))
            .await
            .status(),
        404
    );
}

/// How long anything may take that comes at once.
const PATIENCE: Duration = Duration::from_secs(60);
