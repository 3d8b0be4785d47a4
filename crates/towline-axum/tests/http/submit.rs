//! Submitting, looking, listing, cancelling.

use serde_json::{Value, json};

use crate::client::{ALICE, BOB, JSON, Server};

/// [ARCP 16-1] A submit is answered with 202, the job's place and its document; the document grows with the job.
#[tokio::test]
async fn a_job_is_a_document() {
    let server = Server::start().await;
    let answer = server
        .post(
            "/v1/jobs",
            r#"{"agent":"hang","input":{"price":5.00},"lease_request":{"cost.budget":["USD:1.50"]}}"#,
        )
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let job = answer.json();
    let id = job["job_id"].as_str().unwrap();
    let place = format!("/v1/jobs/{id}");
    assert_eq!(answer.header("location"), Some(place.as_str()));
    // Money and other numbers keep their exact text [ARCP 5-10].
    assert!(
        answer.text().contains(r#""input":{"price":5.00}"#),
        "{answer:?}"
    );
    assert_eq!(job["agent"], "hang");
    assert_eq!(job["principal"], "alice");
    assert_eq!(job["parent_job_id"], Value::Null);
    assert_eq!(job["budget"].to_string(), r#"{"USD":1.50}"#);
    assert_eq!(job["questions"], json!([]));
    assert!(
        job.get("result").is_none() && job.get("error").is_none(),
        "{job}"
    );

    let cancelled = server
        .post(&format!("{place}/cancel"), r#"{"reason":"enough"}"#)
        .await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
    let answer = server.get(&format!("{place}/events")).await;
    assert!(answer.text().contains("event: job.error"), "{answer:?}");
    let ended = server.get(&place).await.json();
    assert_eq!(ended["status"], "cancelled");
    assert_eq!(ended["error"]["code"], "CANCELLED");
    assert_eq!(ended["error"]["retryable"], false);
    assert!(
        ended["completed_at"].as_str() >= ended["created_at"].as_str(),
        "{ended}"
    );
    let again = server.post(&format!("{place}/cancel"), "").await;
    let problem = again.is_problem(400, "INVALID_REQUEST");
    assert_eq!(problem["details"]["status"], "cancelled");
}

/// [ARCP 16-1] `Prefer: wait` gives the end with 200, whatever the end was; in vain it is 202.
#[tokio::test]
async fn a_client_may_wait_for_the_end() {
    let server = Server::start().await;
    let wait = ["Prefer: wait=30"];
    let good = r#"{"agent":"echo","input":[1,null]}"#;
    let answer = server.post_with("/v1/jobs", &wait, good).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
    let job = answer.json();
    assert_eq!(job["status"], "success");
    assert_eq!(job["result"], json!([1, null]));
    assert!(job["started_at"].is_string() && job["completed_at"].is_string());
    assert_eq!(job["last_event_seq"], 2);

    let answer = server
        .post_with("/v1/jobs", &wait, r#"{"agent":"fail"}"#)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["error"]["message"], "it broke");

    let answer = server
        .post_with("/v1/jobs", &["Prefer: wait=0"], r#"{"agent":"hang"}"#)
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let unusable = ["Prefer: wait=soon, respond-async"];
    let answer = server.post_with("/v1/jobs", &unusable, good).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("preference-applied"), None);
}

/// [ARCP 16-1, 7.2-1, 7.2-2] A key makes one job of two submits, in the header or in the body; with other parameters it is
/// 409, and two keys that differ are 400.
#[tokio::test]
async fn a_key_makes_one_job() {
    let server = Server::start().await;
    let key = ["Idempotency-Key: k-1"];
    let body = r#"{"agent":"echo","input":1}"#;
    let first = server.post_with("/v1/jobs", &key, body).await.json();
    let again = server
        .post(
            "/v1/jobs",
            r#"{"idempotency_key":"k-1","input":1.0,"agent":"echo"}"#,
        )
        .await
        .json();
    assert_eq!(first["job_id"], again["job_id"]);
    // The trace is no parameter of the job [ARCP 7.2-2].
    let traced = r#"{"agent":"echo","input":1,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#;
    let traced = server.post_with("/v1/jobs", &key, traced).await.json();
    assert_eq!(first["job_id"], traced["job_id"]);

    let other = server
        .post_with("/v1/jobs", &key, r#"{"agent":"echo","input":2}"#)
        .await;
    let problem = other.is_problem(409, "DUPLICATE_KEY");
    assert_eq!(problem["details"]["existing_job_id"], first["job_id"]);
    let differ = r#"{"agent":"echo","idempotency_key":"k-2"}"#;
    let differ = server.post_with("/v1/jobs", &key, differ).await;
    differ.is_problem(400, "INVALID_REQUEST");
    let same = r#"{"agent":"echo","input":1,"idempotency_key":"k-1"}"#;
    let same = server.post_with("/v1/jobs", &key, same).await.json();
    assert_eq!(first["job_id"], same["job_id"]);
    // Somebody else's key is another key.
    let bob = server
        .ask("POST /v1/jobs", &[BOB, JSON, key[0]], r#"{"agent":"fail"}"#)
        .await;
    assert_eq!(bob.status, 202, "{bob:?}");
}

/// [ARCP 16-1, 11-1] The trace comes from the body, else from `traceparent`.
#[tokio::test]
async fn a_trace_comes_along() {
    let server = Server::start().await;
    let in_body = "0af7651916cd43dd8448eb211c80319c";
    let in_header = "4bf92f3577b34da6a3ce929d0e0e4736";
    let header = format!("traceparent: 00-{in_header}-00f067aa0ba902b7-01");
    let body = format!(r#"{{"agent":"echo","trace_id":"{in_body}"}}"#);
    let job = server.post_with("/v1/jobs", &[&header], &body).await.json();
    assert_eq!(job["trace_id"], in_body);
    let job = server
        .post_with("/v1/jobs", &[&header], r#"{"agent":"echo"}"#)
        .await
        .json();
    assert_eq!(job["trace_id"], in_header);
}

/// [ARCP 16-1, 6.6-1] Filters, pages, and what a list leaves out; unknown names in a query are refused.
#[tokio::test]
async fn jobs_are_listed() {
    let server = Server::start().await;
    let long = server.submit(r#"{"agent":"hang","input":"x"}"#).await;
    let echoed = server.done(r#"{"agent":"echo","input":"y"}"#).await;
    let failed = server.done(r#"{"agent":"fail","input":"z"}"#).await;
    let streamed = server
        .done(r#"{"agent":"stream","input":{"pieces":["ab","c"]}}"#)
        .await;
    let all = server.get("/v1/jobs").await.json();
    assert_eq!(all["next_cursor"], Value::Null);
    let jobs = all["jobs"].as_array().unwrap();
    let ids: Vec<_> = jobs.iter().map(|job| &job["job_id"]).collect();
    assert_eq!(ids, [&long, &echoed, &failed, &streamed]);
    for job in jobs {
        assert!(
            job.get("input").is_none() && job.get("result").is_none(),
            "{job}"
        );
        assert_eq!(job["principal"], "alice");
    }
    assert_eq!(jobs[2]["error"]["code"], "INTERNAL_ERROR");
    assert_eq!(jobs[3]["result_size"], 3);

    let some = server
        .get("/v1/jobs?status=error&status=running")
        .await
        .json();
    assert_eq!(some["jobs"].as_array().unwrap().len(), 2, "{some}");
    let page = server.get("/v1/jobs?limit=3").await.json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = server
        .get(&format!("/v1/jobs?cursor={cursor}"))
        .await
        .json();
    assert_eq!(rest["jobs"][0]["job_id"], streamed);
    let named = server.get("/v1/jobs?agent=echo").await.json();
    assert_eq!(named["jobs"].as_array().unwrap().len(), 1);

    for bad in [
        "states=running",
        "status=happy",
        "limit=0",
        "limit=many",
        "limit=1&limit=2",
        "cursor=?",
        "created_after=yesterday",
        "agent=NoSuchName",
    ] {
        let answer = server.get(&format!("/v1/jobs?{bad}")).await;
        answer.is_problem(400, "INVALID_REQUEST");
    }
    let theirs = server.ask("GET /v1/jobs", &[BOB], "").await.json();
    assert_eq!(theirs["jobs"], json!([]));
}

/// [ARCP 16-1] The agents there are.
#[tokio::test]
async fn agents_are_listed() {
    let server = Server::start().await;
    let agents = server.get("/v1/agents").await.json();
    let names: Vec<_> = agents["agents"].as_array().unwrap().iter().collect();
    assert!(
        names.iter().any(|agent| agent["name"] == "echo"),
        "{agents}"
    );
    assert!(names.iter().all(|agent| agent["versions"].is_array()));
}

/// [ARCP 16-1] What a caller submits belongs to its principal: each of its requests may cancel it, and children count as its
/// own; it has no place among sessions.
#[tokio::test]
async fn a_virtual_session_is_no_session() {
    let server = Server::start().await;
    let parent = server
        .submit(r#"{"agent":"hang","lease_request":{"agent.delegate":["*"]}}"#)
        .await;
    let events = format!("/v1/jobs/{parent}/events");
    let mut watch = server.watch(&events, &[]).await;
    assert_eq!(watch.next().await.unwrap().2["body"]["phase"], "running");
    let child = format!(r#"{{"agent":"echo","input":7,"parent_job_id":"{parent}"}}"#);
    let answer = server
        .post_with("/v1/jobs", &["Prefer: wait=30"], &child)
        .await;
    assert_eq!(
        answer.json()["parent_job_id"],
        parent.as_str(),
        "{answer:?}"
    );
    assert_eq!(watch.next().await.unwrap().1, "delegate");
    assert_eq!(server.runtime.attached_sessions(), 0);
    let theirs = server
        .ask(&format!("POST /v1/jobs/{parent}/cancel"), &[BOB], "")
        .await;
    theirs.is_problem(404, "JOB_NOT_FOUND");
    let cancelled = server
        .ask(&format!("POST /v1/jobs/{parent}/cancel"), &[ALICE], "")
        .await;
    assert_eq!(cancelled.status, 202, "{cancelled:?}");
}

/// [ARCP 16-1, 5-2] A member that would bound the job, at a place where it bounds nothing, is told of: nobody shall believe in it.
#[tokio::test]
async fn bounds_at_the_wrong_place_are_told_of() {
    let server = Server::start().await;
    for (member, place) in [
        (r#""budget":["USD:1"]"#, "cost.budget"),
        (r#""lease":{"cost.budget":["USD:1"]}"#, "lease_request"),
        (
            r#""expires_at":"2030-01-01T00:00:00Z""#,
            "lease_constraints",
        ),
    ] {
        let body = format!(r#"{{"agent":"echo",{member}}}"#);
        let problem = server.post("/v1/jobs", &body).await;
        let problem = problem.is_problem(400, "INVALID_REQUEST");
        assert!(
            problem["detail"].as_str().unwrap().contains(place),
            "{problem}"
        );
    }
    let other = server.post("/v1/jobs", r#"{"agent":"echo","x":1}"#).await;
    assert_eq!(other.status, 202, "{other:?}");
}

/// [ARCP 16-1] A member that is given twice is refused by name, as in a frame: whoever looks at the request before may have read
/// the other one.
#[tokio::test]
async fn a_member_is_given_once() {
    let server = Server::start().await;
    let job = server.submit(r#"{"agent":"ask"}"#).await;
    let answer = format!("/v1/jobs/{job}/answer");
    let message = format!("/v1/jobs/{job}/messages");
    let cancel = format!("/v1/jobs/{job}/cancel");
    for (path, body, name) in [
        ("/v1/jobs", r#"{"agent":"echo","agent":"log"}"#, "agent"),
        (
            "/v1/jobs",
            r#"{"agent":"echo","lease_request":{"fs.read":["/a"]},"lease_request":{"fs.read":["/**"]}}"#,
            "lease_request",
        ),
        (
            &*answer,
            r#"{"question_id":"q","answer":false,"answer":true}"#,
            "answer",
        ),
        (&*message, r#"{"body":1,"body":1}"#, "body"),
        (&*cancel, r#"{"reason":"a","reason":"b"}"#, "reason"),
    ] {
        let refused = server.post(path, body).await;
        let problem = refused.is_problem(400, "INVALID_REQUEST");
        assert_eq!(problem["detail"], format!("`{name}`: given twice"));
    }
    assert_eq!(
        server.get(&format!("/v1/jobs/{job}")).await.json()["status"],
        "running"
    );
}
