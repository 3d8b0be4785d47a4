//! Listing (§6.6).

use serde_json::{Value, json};
use towline_runtime::{Runtime, policy::ObservePolicy};
use towline_store::Principal;

use crate::{
    agents::{echo, lines, patient},
    peer::{ALICE, Peer, QUIET, moment, pass, runtime},
};

async fn agents() -> Runtime {
    let built = runtime()
        .agent("echo@1.0.0", echo())
        .agent("echo@2.0.0", echo())
        .agent("lines", lines());
    built.agent("patient", patient()).build().await.unwrap()
}

async fn list(peer: &mut Peer, request: Value) -> Value {
    let reply = peer.ask("session.list_jobs", request).await;
    assert_eq!(reply["type"], "session.jobs", "{reply}");
    reply["payload"].clone()
}

fn ids(page: &Value) -> Vec<&str> {
    page["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["job_id"].as_str().unwrap())
        .collect()
}

/// Five jobs, ten seconds apart, the last one running.
async fn five(peer: &mut Peer) -> Vec<String> {
    let mut jobs = Vec::new();
    for agent in ["echo@1.0.0", "echo", "lines", "echo@1.0.0", "patient"] {
        jobs.push(
            peer.submit(json!({"agent": agent, "input": {"n": 2}}))
                .await,
        );
        while tokio::time::timeout(std::time::Duration::from_secs(1), peer.next())
            .await
            .is_ok()
        {}
        pass(9.0).await;
    }
    jobs
}

/// [ARCP 6.6-1] each filter, alone and together; ascending; bounds excluded.
#[tokio::test(start_paused = true)]
async fn filters() {
    let runtime = agents().await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let jobs = five(&mut peer).await;
    let all = list(&mut peer, json!({})).await;
    assert_eq!(ids(&all), jobs);
    assert_eq!(all["next_cursor"], Value::Null);
    let third = all["jobs"][2]["created_at"].clone();
    for (filter, expected) in [
        (json!({"status": ["running"]}), &[4][..]),
        (json!({"status": ["success", "running"]}), &[0, 1, 2, 3, 4]),
        (json!({"status": ["pending"]}), &[]),
        (json!({"agent": "echo"}), &[0, 1, 3]),
        (json!({"agent": "echo@2.0.0"}), &[1]),
        (json!({"agent": "ech"}), &[]),
        (json!({"created_after": third}), &[3, 4]),
        (json!({"created_before": third}), &[0, 1]),
        (
            json!({"created_after": third, "agent": "echo", "status": ["success"]}),
            &[3],
        ),
        (
            json!({"created_after": "2026-03-01T13:00:25+01:00"}),
            &[3, 4],
        ),
    ] {
        let page = list(&mut peer, json!({"filter": filter})).await;
        let expected: Vec<&str> = expected
            .iter()
            .map(|at: &usize| jobs[*at].as_str())
            .collect();
        assert_eq!(ids(&page), expected, "{filter}");
    }
}

/// [ARCP 6.6-1] pages follow each other without gap or repetition, also when jobs come and end between them.
#[tokio::test(start_paused = true)]
async fn pages() {
    let runtime = agents().await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let mut jobs = Vec::new();
    for _ in 0..7 {
        jobs.push(run(&mut peer).await);
    }
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    for page in 0.. {
        let page_of = list(&mut peer, json!({"limit": 3, "cursor": cursor})).await;
        seen.extend(ids(&page_of).into_iter().map(str::to_owned));
        cursor = page_of["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
        assert_eq!(ids(&page_of).len(), 3);
        if page == 0 {
            jobs.push(run(&mut peer).await);
        }
    }
    assert_eq!(seen, jobs);
}

/// [ARCP 6.6-1, 12-1] what is asked wrongly is INVALID_REQUEST, naming the field.
#[tokio::test(start_paused = true)]
async fn odd_questions() {
    let runtime = agents().await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    for (request, field) in [
        (json!({"limit": 0}), "limit"),
        (json!({"limit": 1001}), "limit"),
        (json!({"limit": -1}), "limit"),
        (json!({"limit": "10"}), "limit"),
        (json!({"cursor": "made-up"}), "cursor"),
        (json!({"filter": {"status": ["sleeping"]}}), "status"),
        (json!({"filter": {"status": "running"}}), "status"),
        (json!({"filter": {"agent": "Not An Agent"}}), "agent"),
        (
            json!({"filter": {"created_after": "yesterday"}}),
            "created_after",
        ),
        (json!({"filter": []}), "filter"),
    ] {
        let error = peer
            .refused("session.list_jobs", request.clone(), "INVALID_REQUEST")
            .await;
        assert!(
            error["message"].as_str().unwrap().contains(field),
            "{request}: {error}"
        );
    }
    assert_eq!(
        list(
            &mut peer,
            json!({"limit": 1000, "filter": null, "cursor": null})
        )
        .await["jobs"],
        json!([])
    );
}

/// [ARCP 6.6-2] what an entry says; the number is the job's own.
#[tokio::test(start_paused = true)]
async fn entries() {
    let runtime = agents().await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let request = json!({
        "agent": "patient",
        "lease_request": {"tool.call": ["search.*"], "cost.budget": ["USD:5.00"]},
        "lease_constraints": {"expires_at": "2026-03-02T12:00:00Z"},
    });
    let running = peer.start(request).await;
    let done = peer
        .submit(json!({"agent": "lines", "input": {"n": 3}}))
        .await;
    let frames = peer.until_end(&done).await;
    let page = list(&mut peer, json!({})).await;
    let entry = |job: &str| {
        let place = ids(&page).iter().position(|id| *id == job).unwrap();
        &page["jobs"][place]
    };
    // By their ids: jobs of one moment are in no order that a test could expect.
    let (running_entry, done_entry) = (entry(&running), entry(&done));
    assert_eq!(
        (&running_entry["status"], &running_entry["last_event_seq"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(
        running_entry["lease"],
        json!({"tool.call": ["search.*"], "cost.budget": ["USD:5.00"]})
    );
    assert_eq!(
        running_entry["lease_constraints"],
        json!({"expires_at": "2026-03-02T12:00:00Z"})
    );
    assert_eq!(running_entry["budget"].to_string(), r#"{"USD":5.00}"#);
    assert_eq!(
        *done_entry,
        json!({
            "job_id": done, "agent": "lines", "status": "success", "lease": {}, "parent_job_id": null,
            "created_at": "2026-03-01T12:00:00.000Z", "submitted_at": "2026-03-01T12:00:00.000Z",
            "trace_id": frames[0]["trace_id"], "last_event_seq": 5,
        })
    );
}

/// Runs a job to its end, and a moment longer: jobs of one moment are in no order that a test could expect.
async fn run(peer: &mut Peer) -> String {
    let job = peer.submit(json!({"agent": "echo"})).await;
    peer.until_end(&job).await;
    pass(0.01).await;
    job
}

/// [ARCP 6.6-3] other principals' jobs leave no trace, not even in how pages are cut.
#[tokio::test(start_paused = true)]
async fn foreign_jobs() {
    let runtime = agents().await;
    let mut alice = Peer::alice(&runtime).await;
    let mut bob = Peer::bob(&runtime).await;
    let mut own = Vec::new();
    for _ in 0..4 {
        own.push(run(&mut alice).await);
        run(&mut bob).await;
        run(&mut bob).await;
    }
    let mut other = Peer::alice(&runtime).await;
    let first = list(&mut other, json!({"limit": 2})).await;
    assert_eq!(ids(&first), own[..2]);
    let second = list(
        &mut other,
        json!({"limit": 2, "cursor": first["next_cursor"]}),
    )
    .await;
    assert_eq!(ids(&second), own[2..]);
    assert_eq!(
        second["next_cursor"],
        Value::Null,
        "nothing hints at what else there is"
    );
    let foreign_cursor =
        list(&mut Peer::bob(&runtime).await, json!({"limit": 2})).await["next_cursor"].clone();
    let page = list(&mut other, json!({"cursor": foreign_cursor})).await;
    assert!(
        ids(&page)
            .iter()
            .all(|job| own.iter().any(|mine| mine == job))
    );
}

/// [ARCP 6.6-3, 7.6-5] a policy may show more.
#[tokio::test(start_paused = true)]
async fn a_policy_may_show_more() {
    struct Auditors;
    impl ObservePolicy for Auditors {
        fn may_observe(&self, observer: &Principal, _owner: &Principal) -> bool {
            observer.as_str() == "bob"
        }
        fn observable(&self, observer: &Principal) -> Option<Vec<Principal>> {
            if observer.as_str() == "bob" {
                None
            } else {
                Some(Vec::new())
            }
        }
    }
    let runtime = runtime()
        .agent("echo", echo())
        .observe_policy(Auditors)
        .build()
        .await
        .unwrap();
    let (mut alice, mut bob) = (Peer::alice(&runtime).await, Peer::bob(&runtime).await);
    let job = alice.submit(json!({"agent": "echo"})).await;
    bob.submit(json!({"agent": "echo"})).await;
    moment().await;
    assert_eq!(
        ids(&list(&mut Peer::alice(&runtime).await, json!({})).await),
        [job]
    );
    assert_eq!(
        ids(&list(&mut Peer::bob(&runtime).await, json!({})).await).len(),
        2
    );
}
