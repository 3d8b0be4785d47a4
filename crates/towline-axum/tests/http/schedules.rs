//! Schedules.

use serde_json::json;
use towline_axum::EndpointOptions;
use towline_runtime::{Schedule, Timetable, Zone};

use crate::client::{BOB, JSON, Server};

async fn server() -> Server {
    // A time that comes once in four years: nothing fires by itself.
    let times = Timetable::new(
        "0 0 29 2 *".parse().expect("the expression is good"),
        Zone::default(),
    );
    let yearly = Schedule::new("leap.day", times, "alice", "echo").input(json!({"n": 1}));
    Server::with(|builder| builder.schedule(yearly), EndpointOptions::new()).await
}

/// [ARCP 22-3] a schedule is listed with its next times, run by hand, paused and resumed, and each answer says how it stands.
#[tokio::test]
async fn a_schedule_is_listed_run_paused_and_resumed() {
    let server = server().await;
    let path = "/v1/schedules?next=2&from=2026-03-01T00:00:00Z";
    let page = server.get(path).await.json();
    let listed = &page["schedules"][0];
    assert_eq!(
        listed["next"],
        json!(["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"])
    );
    assert_eq!(
        (&listed["name"], &listed["agent"], &listed["principal"]),
        (&json!("leap.day"), &json!("echo"), &json!("alice"))
    );
    assert_eq!(
        (&listed["paused"], &listed["last_job_id"]),
        (&json!(false), &json!(null))
    );

    let run = server.post("/v1/schedules/leap.day/run", "").await;
    assert_eq!(run.status, 202, "{run:?}");
    let job = run.json()["job_id"].as_str().unwrap().to_owned();
    assert_eq!(run.header("location"), Some(&*format!("/v1/jobs/{job}")));
    let document = server.get(&format!("/v1/jobs/{job}")).await.json();
    assert_eq!(document["schedule"]["name"], "leap.day");
    assert_eq!(document["input"], json!({"n": 1}));

    for (action, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        let turned = server
            .post(&format!("/v1/schedules/leap.day/{action}"), "{}")
            .await;
        assert_eq!(
            (turned.status, &turned.json()["paused"]),
            (200, &json!(paused))
        );
        let page = server.get("/v1/schedules").await.json();
        let listed = &page["schedules"][0];
        assert_eq!(listed["paused"], paused, "{page}");
        assert_eq!(listed["next"].as_array().unwrap().len(), 1);
    }
}

/// [ARCP 16-3, 22-3] a schedule of another principal is none, and what cannot be asked is a problem document.
#[tokio::test]
async fn a_schedule_is_its_principals() {
    let server = server().await;
    let theirs = server.ask("GET /v1/schedules", &[BOB], "").await;
    assert_eq!(theirs.json(), json!({"schedules": []}));
    for action in ["run", "pause", "resume"] {
        let path = format!("/v1/schedules/leap.day/{action}");
        let theirs = server.ask(&format!("POST {path}"), &[BOB, JSON], "").await;
        let there = theirs.is_problem(403, "PERMISSION_DENIED");
        let none = server.post(&path.replace("leap.day", "leap.dax"), "").await;
        let none = none.is_problem(403, "PERMISSION_DENIED");
        // Nothing tells one from the other.
        let detail = none["detail"].as_str().unwrap();
        assert_eq!(there["detail"], detail.replace("leap.dax", "leap.day"));
        let body = server.post(&path, r#"{"at":1}"#).await;
        body.is_problem(400, "INVALID_REQUEST");
    }
    for query in ["next=-1", "next=1001", "from=noon", "name=leap.day"] {
        let asked = server.get(&format!("/v1/schedules?{query}")).await;
        asked.is_problem(400, "INVALID_REQUEST");
    }
    let listed = server.post("/v1/schedules", "").await;
    listed.is_problem(405, "INVALID_REQUEST");
}
