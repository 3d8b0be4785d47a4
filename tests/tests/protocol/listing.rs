//! Listing [ARCP 6.6-1 to 6.6-4].

use std::collections::BTreeSet;

use serde_json::{Value, json};
use towline_tests::{peer::Peer, server::Serve};

fn ids(jobs: &Value) -> Vec<String> {
    let jobs = jobs["payload"]["jobs"]
        .as_array()
        .unwrap_or_else(|| panic!("{jobs}"));
    jobs.iter()
        .map(|job| job["job_id"].as_str().unwrap().to_owned())
        .collect()
}

/// [ARCP 6.6-1, 6.6-2] Pages of any size give every job once, oldest first, while new ones appear.
#[tokio::test]
async fn pages_give_every_job_once() {
    let server = Serve::demo().start().await;
    let mut peer = Peer::open(&server).await;
    let mut submitted = Vec::new();
    for number in 0..23 {
        submitted.push(peer.submit(json!({"agent": "echo", "input": number})).await);
    }
    for job in &submitted {
        peer.end_of(job).await;
    }
    for limit in [1, 7, 23, 1000] {
        let (mut seen, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let page = peer
                .ask(
                    "session.list_jobs",
                    json!({"limit": limit, "cursor": cursor, "filter": {"agent": "echo"}}),
                )
                .await;
            let page_ids = ids(&page);
            assert!(page_ids.len() <= limit, "{page}");
            seen.extend(page_ids);
            cursor = page["payload"]["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
            peer.submit(json!({"agent": "kinds"})).await;
        }
        assert_eq!(seen, submitted, "by {limit}");
    }
    let page = peer.ask("session.list_jobs", json!({"limit": 1})).await;
    let entry = &page["payload"]["jobs"][0];
    assert_eq!(entry["agent"], "echo");
    assert_eq!(entry["status"], "success");
    assert_eq!(entry["lease"], json!({}));
    assert_eq!(entry["last_event_seq"], 2, "running and the terminal");
    assert_eq!(entry["created_at"], entry["submitted_at"]);
    assert!(
        entry["trace_id"].is_string() && entry.as_object().unwrap().contains_key("parent_job_id"),
        "{entry}"
    );
}

/// [ARCP 6.6-1] Filters by status, agent, version and time.
#[tokio::test]
async fn filters_choose() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    let one = peer.submit(json!({"agent": "versioned@1.0.0"})).await;
    peer.end_of(&one).await;
    let two = peer.submit(json!({"agent": "versioned"})).await;
    peer.end_of(&two).await;
    let failed = peer.submit(json!({"agent": "fail"})).await;
    peer.end_of(&failed).await;
    let running = peer
        .submit(json!({"agent": "sleep", "input": {"ms": 60000}}))
        .await;
    peer.event_of(&running, "status").await;
    let mut check = async |filter: Value, expected: &[&String]| {
        let jobs = peer
            .ask("session.list_jobs", json!({"filter": filter}))
            .await;
        assert_eq!(ids(&jobs).iter().collect::<Vec<_>>(), expected, "{filter}");
        jobs
    };
    check(json!({"agent": "versioned"}), &[&one, &two]).await;
    check(json!({"agent": "versioned@2.0.0"}), &[&two]).await;
    check(json!({"agent": "versioned@9.0.0"}), &[]).await;
    check(json!({"status": ["error"]}), &[&failed]).await;
    check(
        json!({"status": ["running", "error"]}),
        &[&failed, &running],
    )
    .await;
    check(
        json!({"status": ["success"], "agent": "versioned@1.0.0"}),
        &[&one],
    )
    .await;
    let all = check(json!({}), &[&one, &two, &failed, &running]).await;
    let made = |at: usize| {
        all["payload"]["jobs"][at]["created_at"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    // Both bounds are exclusive, in the milliseconds that clients see.
    for bound in (0..4).map(made) {
        let created = |fits: fn(&String, &String) -> bool| -> BTreeSet<String> {
            let numbered = ids(&all).into_iter().enumerate();
            numbered
                .filter(|(at, _)| fits(&made(*at), &bound))
                .map(|(_, job)| job)
                .collect()
        };
        let after = check_times(&mut peer, json!({"created_after": bound})).await;
        assert_eq!(after, created(|made, bound| made > bound), "after {bound}");
        let before = check_times(&mut peer, json!({"created_before": bound})).await;
        assert_eq!(
            before,
            created(|made, bound| made < bound),
            "before {bound}"
        );
    }
    let before = check_times(
        &mut peer,
        json!({"created_before": "2000-01-01T00:00:00+02:00"}),
    )
    .await;
    assert_eq!(before, BTreeSet::new());
    let between = check_times(
        &mut peer,
        json!({"created_after": "2000-01-01T00:00:00Z", "created_before": "2999-01-01T00:00:00Z"}),
    )
    .await;
    assert_eq!(between.len(), 4);
}

async fn check_times(peer: &mut Peer, filter: Value) -> BTreeSet<String> {
    ids(&peer
        .ask("session.list_jobs", json!({"filter": filter}))
        .await)
    .into_iter()
    .collect()
}

/// [ARCP 6.6-1] Filters that say nothing sensible are refused.
#[tokio::test]
async fn bad_filters_are_refused() {
    let server = Serve::demo().with(&["--store", "memory"]).start().await;
    let mut peer = Peer::open(&server).await;
    for filter in [
        json!({"limit": 0}),
        json!({"limit": 1001}),
        json!({"limit": -1}),
        json!({"limit": "10"}),
        json!({"limit": 1.5}),
        json!({"cursor": "nonsense"}),
        json!({"cursor": 7}),
        json!({"filter": []}),
        json!({"filter": "running"}),
        json!({"filter": {"status": ["done"]}}),
        json!({"filter": {"status": "running"}}),
        json!({"filter": {"agent": 7}}),
        json!({"filter": {"created_after": "yesterday"}}),
        json!({"filter": {"created_after": 1700000000}}),
    ] {
        peer.refused("session.list_jobs", filter, "INVALID_REQUEST")
            .await;
    }
    peer.ask("session.list_jobs", json!({"limit": 1000})).await;
    assert_eq!(
        peer.ask("session.list_jobs", json!({"limit": 1})).await["type"],
        "session.jobs"
    );
}

/// [ARCP 6.6-2] Finished jobs stay listed, across a crash.
#[tokio::test]
async fn finished_jobs_stay_listed_after_a_crash() {
    let server = Serve::demo().start().await;
    let mut peer = Peer::open(&server).await;
    let job = peer.submit(json!({"agent": "kinds"})).await;
    peer.end_of(&job).await;
    let before = peer.ask("session.list_jobs", json!({})).await["payload"]["jobs"].clone();
    let server = server.crash_and_restart().await;
    let mut peer = Peer::open(&server).await;
    assert_eq!(
        peer.ask("session.list_jobs", json!({})).await["payload"]["jobs"],
        before
    );
}
