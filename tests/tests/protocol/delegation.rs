//! Children [ARCP 9.4-1 to 9.4-5, 10-1, 10-2].

use serde_json::{Value, json};
use towline_tests::{
    peer::{FEATURES, Peer},
    server::{Serve, Server},
};

async fn server() -> Server {
    Serve::demo().with(&["--store", "memory"]).start().await
}

/// Runs `delegate` under a lease; its end and the parent's id.
async fn delegate(peer: &mut Peer, input: Value, lease: Value) -> (Value, String) {
    let job = peer
        .submit(json!({"agent": "delegate", "input": input, "lease_request": lease}))
        .await;
    (peer.end_of(&job).await["payload"].clone(), job)
}

/// [ARCP 10-1, 11-2] The child has the parent's session, trace and name; its acceptance comes before its events.
#[tokio::test]
async fn a_child_is_delivered_to_the_submitter() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let (end, parent) = delegate(
        &mut peer,
        json!({"agent": "echo", "input": {"x": 1}}),
        json!({"agent.delegate": ["echo"]}),
    )
    .await;
    let child = end["result"]["child"].as_str().unwrap().to_owned();
    assert_eq!(
        end["result"],
        json!({"child": child, "status": "success", "result": {"x": 1}})
    );
    let events = peer.bodies(&parent, "delegate");
    assert_eq!(
        (&events[0]["child_job_id"], &events[0]["agent"]),
        (&json!(child), &json!("echo"))
    );
    let accepted = peer
        .acceptance(&child)
        .expect("the child is announced")
        .clone();
    assert_eq!(accepted["payload"]["parent_job_id"], parent.as_str());
    assert_eq!(
        accepted["trace_id"],
        peer.acceptance(&parent).unwrap()["trace_id"]
    );
    assert!(
        accepted["payload"].get("request_id").is_none(),
        "nobody asked for it: {accepted}"
    );
    assert!(peer.terminal(&child).is_some());
    let listed = peer
        .ask("session.list_jobs", json!({"filter": {"agent": "echo"}}))
        .await;
    assert_eq!(
        listed["payload"]["jobs"][0]["parent_job_id"],
        parent.as_str()
    );
}

/// [ARCP 9.4-1, 9.4-4, 10-2] A child's lease is inside its parent's, decided on the languages; refusals end `delegate` with
/// their code and stand on the stream.
#[tokio::test]
async fn a_child_gets_no_more_than_its_parent() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let parent = json!({"agent.delegate": ["access", "echo"], "fs.read": ["/work/**", "/x/{a,b}"], "model.use": ["acme/*"]});
    for inside in [
        json!({"fs.read": ["/work/**"]}),
        json!({"fs.read": ["/work/a/*.rs", "/work"]}),
        json!({"fs.read": ["/x/[ab]"]}),
        json!({"model.use": ["acme/small"]}),
        json!({}),
    ] {
        let (end, _) = delegate(
            &mut peer,
            json!({"agent": "access", "input": {"ops": []}, "lease": inside}),
            parent.clone(),
        )
        .await;
        assert_eq!(end["result"]["status"], "success", "{inside}: {end}");
    }
    for outside in [
        json!({"fs.read": ["/**"]}),
        json!({"fs.read": ["/work*"]}),
        json!({"fs.read": ["/x/?"]}),
        json!({"fs.write": ["/work/**"]}),
        json!({"model.use": ["*"]}),
        json!({"tool.call": ["x"]}),
        json!({"agent.delegate": ["*"]}),
    ] {
        let (end, job) = delegate(
            &mut peer,
            json!({"agent": "access", "input": {"ops": []}, "lease": outside}),
            parent.clone(),
        )
        .await;
        assert_eq!(
            (&end["final_status"], &end["code"]),
            (&json!("error"), &json!("LEASE_SUBSET_VIOLATION")),
            "{outside}: {end}"
        );
        let refusals = peer.bodies(&job, "tool_result");
        assert_eq!(
            refusals[0]["error"]["code"], "LEASE_SUBSET_VIOLATION",
            "{refusals:?}"
        );
    }
    let (end, _) = delegate(&mut peer, json!({"agent": "kinds"}), parent.clone()).await;
    assert_eq!(end["code"], "PERMISSION_DENIED", "{end}");
    let (end, _) = delegate(
        &mut peer,
        json!({"agent": "nobody"}),
        json!({"agent.delegate": ["*"]}),
    )
    .await;
    assert_eq!(end["code"], "AGENT_NOT_AVAILABLE", "{end}");
    // What the child was given is what it has.
    let ops = json!([
        ["fs.read", "/work/a"],
        ["fs.read", "/work/b"],
        ["model.use", "acme/small"]
    ]);
    let (end, _) = delegate(
        &mut peer,
        json!({"agent": "access", "input": {"ops": ops}, "lease": {"fs.read": ["/work/a"]}}),
        parent,
    )
    .await;
    let allowed: Vec<&Value> = end["result"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| &answer["allowed"])
        .collect();
    assert_eq!(allowed, [true, false, false]);
}

/// [ARCP 9.4-2] A child's budget comes out of the parent's, and what it did not spend goes back.
#[tokio::test]
async fn a_childs_budget_comes_out_of_the_parents() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let parent = json!({"agent.delegate": ["*"], "tool.call": ["*"], "cost.budget": ["USD:1.00"]});
    let spend = json!({"costs": [["USD", 0.25]]});
    let (end, job) = delegate(
        &mut peer,
        json!({"agent": "spend", "input": spend, "lease": {"tool.call": ["search.*"], "cost.budget": ["USD:0.50"]}}),
        parent.clone(),
    )
    .await;
    assert_eq!(
        end["result"]["result"],
        json!({"calls": 1, "refused": null}),
        "{end}"
    );
    let left = peer.ask("job.subscribe", json!({"job_id": job})).await;
    assert_eq!(
        left["payload"]["budget"]["USD"].to_string(),
        "0.75",
        "{left}"
    );
    let too_much = json!({"agent": "spend", "input": spend, "lease": {"tool.call": ["search.*"], "cost.budget": ["USD:1.01"]}});
    let (end, _) = delegate(&mut peer, too_much, parent.clone()).await;
    assert_eq!(end["code"], "LEASE_SUBSET_VIOLATION", "{end}");
    // A child that names no budget has all that is left, and no more.
    let inherits = json!({"agent": "spend", "input": {"costs": [["USD", 0.6], ["USD", 0.6], ["USD", 0.1]]}, "lease": {"tool.call": ["search.*"]}});
    let (end, _) = delegate(&mut peer, inherits, parent).await;
    assert_eq!(
        end["result"]["result"],
        json!({"calls": 2, "refused": "BUDGET_EXHAUSTED"}),
        "{end}"
    );
}

/// [ARCP 9.4-3] A child expires with its parent at the latest.
#[tokio::test]
async fn a_child_expires_with_its_parent() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let at = "2999-01-01T00:00:00Z";
    let submit = |constraints: Value| {
        json!({"agent": "delegate", "input": {"agent": "echo", "constraints": constraints}, "lease_request": {"agent.delegate": ["*"]},
               "lease_constraints": {"expires_at": at}})
    };
    for (own, effective) in [
        (json!({}), "2999"),
        (json!({"expires_at": "2998-01-01T00:00:00Z"}), "2998"),
        (json!({"expires_at": "3001-01-01T00:00:00Z"}), "2999"),
    ] {
        let end = peer.run(submit(own.clone())).await;
        let child = end["result"]["child"]
            .as_str()
            .unwrap_or_else(|| panic!("{own}: {end}"))
            .to_owned();
        let expires =
            peer.acceptance(&child).unwrap()["payload"]["lease_constraints"]["expires_at"]
                .as_str()
                .unwrap();
        assert!(expires.starts_with(effective), "{own}: {expires}");
    }
}

/// [ARCP 10-2] A failed child is told as such.
#[tokio::test]
async fn a_failed_child_is_told() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let (end, _) = delegate(
        &mut peer,
        json!({"agent": "fail", "input": {"code": "JOB_NOT_FOUND", "message": "no luck"}}),
        json!({"agent.delegate": ["*"]}),
    )
    .await;
    let result = &end["result"];
    assert_eq!(
        (
            &result["status"],
            &result["error"]["code"],
            &result["error"]["message"]
        ),
        (&json!("error"), &json!("JOB_NOT_FOUND"), &json!("no luck")),
        "{end}"
    );
}

/// [ARCP 7.4-4, 10-2] Cancelling the parent cancels the child; cancelling the child alone leaves the parent to say so.
#[tokio::test]
async fn cancels_go_down_not_up() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let submit = json!({"agent": "delegate", "input": {"agent": "sleep", "input": {"ms": 60000}}, "lease_request": {"agent.delegate": ["*"]}});
    let parent = peer.submit(submit.clone()).await;
    let child = peer.event_of(&parent, "delegate").await["child_job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    peer.ask("job.cancel", json!({"job_id": parent})).await;
    assert_eq!(peer.end_of(&child).await["payload"]["code"], "CANCELLED");
    assert_eq!(peer.end_of(&parent).await["payload"]["code"], "CANCELLED");

    let parent = peer.submit(submit).await;
    let child = peer.event_of(&parent, "delegate").await["child_job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let reply = peer.ask("job.cancel", json!({"job_id": child})).await;
    assert_eq!(reply["type"], "job.cancelled", "{reply}");
    let end = peer.end_of(&parent).await["payload"].clone();
    assert_eq!(end["result"]["status"], "cancelled", "{end}");
}

/// [ARCP 9.4-5] A submit may name a parent: running, one's own, granting the agent.
#[tokio::test]
async fn a_submit_may_name_a_parent() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let lease = json!({"agent.delegate": ["echo", "sleep"], "fs.read": ["/a/**"]});
    let parent = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}, "lease_request": lease}))
        .await;
    peer.event_of(&parent, "status").await;
    let with = |agent: &str, lease: Value| json!({"agent": agent, "parent_job_id": parent, "lease_request": lease});
    let child = peer
        .submit(with("echo", json!({"fs.read": ["/a/b"]})))
        .await;
    assert_eq!(
        peer.acceptance(&child).unwrap()["payload"]["parent_job_id"],
        parent.as_str()
    );
    assert_eq!(
        peer.event_of(&parent, "delegate").await["child_job_id"],
        child.as_str()
    );
    peer.refused(
        "job.submit",
        with("echo", json!({"fs.read": ["/b"]})),
        "LEASE_SUBSET_VIOLATION",
    )
    .await;
    peer.refused("job.submit", with("kinds", json!({})), "PERMISSION_DENIED")
        .await;
    peer.refused(
        "job.submit",
        json!({"agent": "echo", "parent_job_id": "job_none"}),
        "JOB_NOT_FOUND",
    )
    .await;
    peer.refused(
        "job.submit",
        json!({"agent": "echo", "parent_job_id": child}),
        "INVALID_REQUEST",
    )
    .await;
    let mut again = Peer::open(&server).await;
    again
        .refused("job.submit", with("echo", json!({})), "PERMISSION_DENIED")
        .await;
    let mut bob = Peer::open_as(&server, "bob", &FEATURES).await;
    bob.refused("job.submit", with("echo", json!({})), "JOB_NOT_FOUND")
        .await;
    let sleeper = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}, "parent_job_id": parent}))
        .await;
    peer.ask("job.cancel", json!({"job_id": parent})).await;
    assert_eq!(peer.end_of(&sleeper).await["payload"]["code"], "CANCELLED");
}

/// [ARCP 10-2] Depth is bounded.
#[tokio::test]
async fn depth_is_bounded() {
    let server = server().await;
    let mut peer = Peer::open(&server).await;
    let mut input = json!({"agent": "echo", "input": "deep"});
    for _ in 0..12 {
        input = json!({"agent": "delegate", "input": input, "lease": {"agent.delegate": ["*"]}});
    }
    let (end, _) = delegate(&mut peer, input, json!({"agent.delegate": ["*"]})).await;
    let text = end.to_string();
    assert!(
        !text.contains("\"deep\"") && text.contains("error"),
        "{text}"
    );
}
