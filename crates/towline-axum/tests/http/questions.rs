//! Questions to people.

use serde_json::{Value, json};

use crate::client::{BOB, JSON, Server};

/// The question that a job asks, once it does.
async fn question(server: &Server, job: &str, title: &str) -> Value {
    let mut watch = server.watch(&format!("/v1/jobs/{job}/events"), &[]).await;
    loop {
        let Some((_, name, data)) = watch.next().await else {
            panic!("job {job} ended without the question `{title}`");
        };
        if name == "x-vendor.towline.input_request" && data["body"]["title"] == title {
            return data["body"]["question_id"].clone();
        }
    }
}

/// [ARCP 16-1, 15-2] The same answer by the same principal again is as good as the first; another one comes too late and is told who
/// was first; what cannot be an answer is refused.
#[tokio::test]
async fn an_answer_may_be_given_again() {
    let server = Server::start().await;
    let job = server.submit(r#"{"agent":"ask"}"#).await;
    let one = question(&server, &job, "one").await;
    let path = format!("/v1/jobs/{job}/answer");
    let answer = json!({"question_id": one, "answer": "blue"}).to_string();
    for _ in 0..2 {
        let answered = server.post(&path, &answer).await;
        assert_eq!(answered.status, 200, "{answered:?}");
        assert_eq!(answered.json()["job_id"], job.as_str());
    }
    let other = json!({"question_id": one, "answer": "red"}).to_string();
    let problem = server
        .post(&path, &other)
        .await
        .is_problem(400, "INVALID_REQUEST");
    assert_eq!(problem["details"]["by"], "alice", "{problem}");
    question(&server, &job, "two").await;
    let document = server.get(&format!("/v1/jobs/{job}")).await.json();
    let open = document["questions"].as_array().unwrap();
    assert_eq!((open.len(), &open[0]["title"]), (1, &json!("two")));
    for body in [
        "",
        "[]",
        r#"{"answer":"x"}"#,
        r#"{"question_id":"none","answer":"x"}"#,
    ] {
        server
            .post(&path, body)
            .await
            .is_problem(400, "INVALID_REQUEST");
    }
    let theirs = server
        .ask(&format!("POST {path}"), &[BOB, JSON], &answer)
        .await;
    theirs.is_problem(404, "JOB_NOT_FOUND");
    let inbox = server.get("/v1/inbox").await.json();
    assert_eq!(inbox["questions"][0]["job_id"], job.as_str(), "{inbox}");
}
