//! Schedules (§22): a firing is a submit, once for its time.

use serde_json::{Value, json};
use towline_runtime::{
    AgentOptions, Missed, Overlap, Runtime, RuntimeBuilder, RuntimeOptions, Schedule, Timetable,
    Zone,
};
use towline_store::{Batch, Change, EventStore as _, ScheduleChange};

use crate::{
    agents::{echo, patient},
    credentials::upstream::Durable,
    peer::{BOB, Peer, QUIET, pass, runtime},
};

fn every(cron: &str, agent: &str) -> Schedule {
    let times = Timetable::new(cron.parse().unwrap(), Zone::default());
    Schedule::new("nightly", times, "alice", agent).input(json!({"n": 1}))
}

fn hosting(schedule: Schedule) -> RuntimeBuilder {
    runtime()
        .agent("echo", echo())
        .agent("patient", patient())
        .schedule(schedule)
}

async fn listed(runtime: &Runtime) -> Vec<Value> {
    let mut peer = Peer::open(runtime, "alice-token", QUIET).await;
    let payload = json!({"x-vendor.towline.details": true});
    let jobs = peer.ask("session.list_jobs", payload).await;
    jobs["payload"]["jobs"].as_array().unwrap().clone()
}

/// Which times they fired for, in order.
fn times(jobs: &[Value]) -> Vec<&str> {
    let times = jobs
        .iter()
        .map(|job| job["schedule"]["at"].as_str().unwrap());
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

/// [ARCP 22-2] a firing is a submit of the principal under the key of its time, and says which firing it is.
#[tokio::test(start_paused = true)]
async fn a_firing_is_a_keyed_submit() {
    let store = Durable::new();
    let runtime = hosting(every("*/10 * * * *", "echo"))
        .store(store.clone())
        .build()
        .await
        .unwrap();
    pass(1250.0).await;
    let jobs = listed(&runtime).await;
    assert_eq!(
        times(&jobs),
        ["2026-03-01T12:10:00Z", "2026-03-01T12:20:00Z"]
    );
    assert!(
        jobs.iter()
            .all(|job| job["principal"] == "alice" && job["schedule"]["name"] == "nightly")
    );
    let alice = towline_store::Principal::new("alice");
    let key = "schedule:nightly@2026-03-01T12:10:00Z";
    let known = store.idempotency(&alice, key).await.unwrap().unwrap();
    assert_eq!(jobs[0]["job_id"], known.job.as_str());
    let rows = store.recover().await.unwrap().schedules;
    assert_eq!(rows[0].job.as_ref().unwrap().as_str(), jobs[1]["job_id"]);
}

/// [ARCP 22-1, 22-2] over a restart every time that was missed is one firing, none, or one each; and none fires twice.
#[tokio::test(start_paused = true)]
async fn what_was_missed_is_made_up_for() {
    let noon = "2026-03-01T12:00:00Z";
    for (missed, expected) in [
        (Missed::One, vec!["2026-03-01T11:50:00Z"]),
        (Missed::None, vec![]),
        (
            Missed::All,
            vec!["2026-03-01T11:40:00Z", "2026-03-01T11:50:00Z"],
        ),
    ] {
        let store = Durable::new();
        let done = towline_store::ScheduleChange {
            name: "nightly".to_owned(),
            done: Some("2026-03-01T11:35:00Z".parse().unwrap()),
            ..Default::default()
        };
        let changes = vec![towline_store::Change::Schedule(done)];
        store
            .commit(towline_store::Batch { changes })
            .await
            .unwrap();
        for _ in 0..2 {
            let schedule = every("40,50 11 * * *", "echo").missed(missed);
            let runtime = hosting(schedule)
                .store(store.clone())
                .build()
                .await
                .unwrap();
            pass(5.0).await;
            assert_eq!(
                times(&listed(&runtime).await),
                expected,
                "{missed} after {noon}"
            );
            // It dies, and another begins where it was.
            drop(runtime);
        }
    }
}

/// [ARCP 22-1] while the job before is not over a firing is passed over, is a job that waits for it, or takes its place.
#[tokio::test(start_paused = true)]
async fn firings_overlap_as_they_may() {
    for (overlap, expected) in [
        (Overlap::Skip, vec!["running"]),
        (Overlap::Queue, vec!["running", "pending", "pending"]),
        (Overlap::Replace, vec!["cancelled", "cancelled", "running"]),
    ] {
        let schedule = every("* * * * *", "patient").overlap(overlap);
        let runtime = hosting(schedule).build().await.unwrap();
        pass(190.0).await;
        let jobs = listed(&runtime).await;
        assert_eq!(statuses(&jobs), expected, "{overlap}");
        // Each says which one it waits for, or waited for.
        for pair in jobs.windows(2) {
            assert_eq!(pair[1]["schedule"]["after"], pair[0]["job_id"], "{overlap}");
        }
        assert_eq!(jobs[0]["schedule"].get("after"), None);
    }
}

/// [ARCP 22-1, 22-2] a firing that waits is a durable job: no crash loses it, it waits again for the one before, and each time
/// fires once. One whose predecessor never began waits for that one's.
#[tokio::test(start_paused = true)]
async fn a_firing_that_waits_outlives_a_crash() {
    for overlap in [Overlap::Queue, Overlap::Replace] {
        let store = Durable::new();
        let open = || {
            let schedule = every("1,2,3 12 1 3 *", "patient").overlap(overlap);
            let again = AgentOptions::default().restartable(true);
            let builder = runtime().agent_with("patient", patient(), again);
            let options = RuntimeOptions::default().principal_cancels(true);
            builder
                .options(options)
                .schedule(schedule)
                .store(store.clone())
                .build()
        };
        let expected = ["12:01", "12:02", "12:03"].map(|at| format!("2026-03-01T{at}:00Z"));
        let first = open().await.unwrap();
        pass(190.0).await;
        drop(first);
        let second = open().await.unwrap();
        pass(190.0).await;
        let jobs = listed(&second).await;
        assert_eq!(times(&jobs), expected, "{overlap}");
        if overlap == Overlap::Replace {
            assert_eq!(statuses(&jobs), ["cancelled", "cancelled", "running"]);
            continue;
        }
        assert_eq!(statuses(&jobs), ["running", "pending", "pending"]);
        // The one between is cancelled while it waits, and the runtime dies once more.
        cancel(&second, &jobs[1]).await;
        pass(1.0).await;
        let jobs = listed(&second).await;
        assert_eq!(statuses(&jobs), ["running", "cancelled", "pending"]);
        drop(second);
        let third = open().await.unwrap();
        pass(1.0).await;
        assert_eq!(
            statuses(&listed(&third).await),
            ["running", "cancelled", "pending"]
        );
        cancel(&third, &jobs[0]).await;
        pass(10.0).await;
        let jobs = listed(&third).await;
        assert_eq!(statuses(&jobs), ["cancelled", "cancelled", "running"]);
        assert_eq!(times(&jobs), expected);
    }
}

/// [ARCP 22-1] a firing waits for the job that runs, also where the ones that waited before it were cancelled.
#[tokio::test(start_paused = true)]
async fn a_queue_that_was_emptied_is_still_behind_what_runs() {
    let schedule = every("* * * * *", "patient").overlap(Overlap::Queue);
    let options = RuntimeOptions::default().principal_cancels(true);
    let runtime = hosting(schedule).options(options).build().await.unwrap();
    pass(190.0).await;
    let jobs = listed(&runtime).await;
    assert_eq!(statuses(&jobs), ["running", "pending", "pending"]);
    cancel(&runtime, &jobs[2]).await;
    cancel(&runtime, &jobs[1]).await;
    pass(60.0).await;
    let jobs = listed(&runtime).await;
    let expected = ["running", "cancelled", "cancelled", "pending"];
    assert_eq!(statuses(&jobs), expected);
    assert_eq!(jobs[3]["schedule"]["after"], jobs[0]["job_id"]);
    cancel(&runtime, &jobs[0]).await;
    pass(10.0).await;
    assert_eq!(statuses(&listed(&runtime).await)[3], "running");
}

/// [ARCP 22-2, 22-3] with a clock that was ahead once no time fires twice, what is listed is when it fires, and to resume the
/// schedule has it fire from now on.
#[tokio::test(start_paused = true)]
async fn a_clock_that_was_ahead_silences_nothing_for_good() {
    let store = Durable::new();
    let ahead = ScheduleChange {
        name: "nightly".to_owned(),
        done: Some("2034-01-01T00:00:00Z".parse().unwrap()),
        ..ScheduleChange::default()
    };
    let changes = vec![Change::Schedule(ahead)];
    store.commit(Batch { changes }).await.unwrap();
    let runtime = hosting(every("* * * * *", "echo")).store(store);
    let runtime = runtime.build().await.unwrap();
    let mut peer = Peer::open(&runtime, "alice-token", QUIET).await;
    let mut ask = async |action: &str| {
        let payload = json!({"action": action, "name": "nightly", "next": 1});
        let answer = peer.ask("x-vendor.towline.schedule", payload).await;
        answer["payload"]["schedules"][0]["next"][0].clone()
    };
    pass(130.0).await;
    assert_eq!(listed(&runtime).await.len(), 0);
    assert_eq!(ask("list").await, "2034-01-01T00:01:00Z");
    ask("resume").await;
    assert_eq!(ask("list").await, "2026-03-01T12:03:00Z");
    pass(130.0).await;
    assert_eq!(listed(&runtime).await.len(), 2);
}

fn statuses(jobs: &[Value]) -> Vec<&str> {
    let statuses = jobs.iter().map(|job| job["status"].as_str().unwrap());
    statuses.collect()
}

async fn cancel(runtime: &Runtime, job: &Value) {
    let mut peer = Peer::open(runtime, "alice-token", QUIET).await;
    peer.ask("job.cancel", json!({"job_id": job["job_id"]}))
        .await;
}

/// [ARCP 22-3] schedules are listed, run, paused and resumed by their principal, and are nobody else's.
#[tokio::test(start_paused = true)]
async fn a_schedule_is_paused_and_run_by_hand() {
    let runtime = hosting(every("*/10 * * * *", "echo"))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, "alice-token", QUIET).await;
    let mut ask = async |payload: Value| {
        let answer = peer.ask("x-vendor.towline.schedule", payload).await;
        answer["payload"].clone()
    };
    let list = json!({"action": "list", "next": 2});
    let found = ask(list.clone()).await;
    let found = &found["schedules"][0];
    assert_eq!(
        found["next"],
        json!(["2026-03-01T12:10:00Z", "2026-03-01T12:20:00Z"])
    );
    assert_eq!(
        (&found["cron"], &found["zone"]),
        (&json!("*/10 * * * *"), &json!("UTC"))
    );
    assert_eq!(found["paused"], false);
    ask(json!({"action": "pause", "name": "nightly"})).await;
    pass(1300.0).await;
    assert_eq!(ask(list).await["schedules"][0]["paused"], true);
    assert!(listed(&runtime).await.is_empty());
    let run = ask(json!({"action": "run", "name": "nightly"})).await;
    let jobs = listed(&runtime).await;
    assert_eq!(jobs[0]["job_id"], run["job_id"]);
    ask(json!({"action": "resume", "name": "nightly"})).await;
    pass(1000.0).await;
    let jobs = listed(&runtime).await;
    assert_eq!(times(&jobs)[1..], ["2026-03-01T12:30:00Z"]);

    let mut bob = Peer::open(&runtime, BOB, QUIET).await;
    let list = bob
        .ask("x-vendor.towline.schedule", json!({"action": "list"}))
        .await;
    assert_eq!(list["payload"]["schedules"], json!([]));
    let run = json!({"action": "run", "name": "nightly"});
    bob.refused("x-vendor.towline.schedule", run, "PERMISSION_DENIED")
        .await;
    bob.refused(
        "x-vendor.towline.schedule",
        json!({"action": "stop"}),
        "INVALID_REQUEST",
    )
    .await;
}
