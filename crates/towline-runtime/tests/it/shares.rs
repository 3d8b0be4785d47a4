//! What a child may spend, and how long (§9.4).

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, RuntimeOptions};
use towline_store::{
    MemoryStore, StoreError,
    testing::{Fault, FaultStore},
};
use towline_wire::Lease;

use crate::{
    agents::{Deaf, patient},
    delegation::{family, may_delegate, spend},
    peer::{Peer, moment, pass, runtime},
};

/// [ARCP 9.4-2, 9.4-3] what a child does not say it inherits: what is left of the money, and the end of the time; never more.
#[tokio::test(start_paused = true)]
async fn inheritance() {
    let runtime = family(RuntimeOptions::default()).await;
    let mut peer = Peer::alice(&runtime).await;
    for (input, budget, expires_at) in [
        (
            json!({"agent": "whoami"}),
            json!(["EUR:2", "USD:5.00"]),
            "2026-03-01T13:00:00.000Z",
        ),
        (
            json!({"agent": "whoami", "lease": {"cost.budget": ["USD:1.5"]}, "expires_at": "2026-03-01T12:30:00Z"}),
            json!(["EUR:2", "USD:1.5"]),
            "2026-03-01T12:30:00.000Z",
        ),
        (
            json!({"agent": "whoami", "lease": {"cost.budget": ["CHF:9"]}, "expires_at": "2030-01-01T00:00:00Z"}),
            json!(["CHF:9", "EUR:2", "USD:5.00"]),
            "2026-03-01T13:00:00.000Z",
        ),
    ] {
        let request = json!({
            "agent": "delegates", "input": input,
            "lease_request": may_delegate(json!({"cost.budget": ["USD:5.00", "EUR:2"]})),
            "lease_constraints": {"expires_at": "2026-03-01T13:00:00Z"},
        });
        let job = peer.submit(request).await;
        let end = peer.until_end(&job).await.pop().unwrap();
        let child = &end["payload"]["result"]["result"];
        assert_eq!(
            (&child["budget"], &child["expires_at"]),
            (&budget, &json!(expires_at)),
            "{input}"
        );
    }
}

/// [ARCP 9.4-2] a child's share is set aside at once and what it left comes back when it ends, so siblings never overspend.
#[tokio::test(start_paused = true)]
async fn siblings_share() {
    let left = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&left);
    let shares = move |ctx: JobContext, _input: Value| {
        let noted = Arc::clone(&noted);
        let note =
            move |ctx: &JobContext| noted.lock().unwrap().push(ctx.budget()["USD"].to_string());
        async move {
            let lease = |amount: &str| {
                let mut lease = Lease::new();
                lease.set("cost.budget", vec![format!("USD:{amount}")]);
                lease
            };
            let one = ctx.delegate("patient").lease(lease("6")).send().await?;
            note(&ctx);
            let too_much = ctx
                .delegate("spend")
                .input(1)
                .lease(lease("5"))
                .send()
                .await
                .unwrap_err();
            assert_eq!(too_much.code().as_str(), "LEASE_SUBSET_VIOLATION");
            let two = ctx
                .delegate("spend")
                .input(3)
                .lease(lease("4"))
                .send()
                .await?;
            two.outcome().await;
            note(&ctx);
            let none = ctx
                .delegate("spend")
                .input(1)
                .lease(lease("2"))
                .send()
                .await
                .unwrap_err();
            assert_eq!(none.code().as_str(), "LEASE_SUBSET_VIOLATION");
            one.cancel(None);
            one.outcome().await;
            note(&ctx);
            Ok::<_, AgentError>(Value::Null)
        }
    };
    let built = runtime()
        .agent("shares", shares)
        .agent("patient", patient())
        .agent("spend", spend);
    let runtime = built.build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.submit(json!({"agent": "shares", "lease_request": may_delegate(json!({"cost.budget": ["USD:10"]}))})).await;
    let frames = peer.until_end(&job).await;
    assert_eq!(
        frames.last().unwrap()["payload"]["final_status"],
        "success",
        "{:?}",
        frames.last()
    );
    assert_eq!(*left.lock().unwrap(), ["4", "1", "7"]);
    let reports: Vec<_> = frames
        .iter()
        .filter(|frame| {
            frame["job_id"] == job && frame["payload"]["body"]["name"] == "cost.budget.remaining"
        })
        .map(|frame| frame["payload"]["body"]["value"].to_string())
        .collect();
    assert_eq!(
        reports,
        ["1"],
        "[ARCP 9.6-4] what a child spent is reported on its parent"
    );
}

/// [ARCP 9.4-2, 6.3-9] what a child left comes back with its end in one commit: a crash returns it once.
#[tokio::test(start_paused = true)]
async fn shares_survive_a_crash() {
    let disk = FaultStore::new(MemoryStore::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let parent = |seen: &Arc<Mutex<Vec<String>>>| {
        let seen = Arc::clone(seen);
        move |ctx: JobContext, _input: Value| {
            let seen = Arc::clone(&seen);
            async move {
                if seen.lock().unwrap().is_empty() {
                    let mut lease = Lease::new();
                    lease.set("cost.budget", vec!["USD:6".to_owned()]);
                    let child = ctx.delegate("spend").input(2).lease(lease).send().await?;
                    child.outcome().await;
                }
                seen.lock().unwrap().push(ctx.budget()["USD"].to_string());
                ctx.cancelled().await;
                Ok::<_, AgentError>(Value::Null)
            }
        }
    };
    let build = async |store: Arc<dyn towline_store::EventStore>| {
        let built = runtime()
            .shared_store(store)
            .restartable_agent("parent", parent(&seen))
            .agent("spend", spend);
        built.build().await.unwrap()
    };
    let first = build(Arc::new(disk.clone())).await;
    let mut peer = Peer::alice(&first).await;
    peer.start(json!({"agent": "parent", "lease_request": may_delegate(json!({"cost.budget": ["USD:10"]}))})).await;
    pass(1.0).await;
    disk.every_commit(Some(Fault::Hang));
    let _second = build(disk.inner().clone()).await;
    moment().await;
    assert_eq!(*seen.lock().unwrap(), ["8", "8"]);
}

/// [ARCP 9.4-2] what a child left comes back once, also when the commit of its end has to be tried again.
#[tokio::test(start_paused = true)]
async fn shares_come_back_once() {
    let disk = FaultStore::new(MemoryStore::new());
    let built = runtime().shared_store(Arc::new(disk.clone()));
    let built = built.agent("deaf", Deaf).agent("patient", patient());
    let runtime = built.build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let parent = peer
        .start(json!({"agent": "patient", "lease_request": may_delegate(json!({"cost.budget": ["USD:10"]}))}))
        .await;
    let child = json!({"agent": "deaf", "parent_job_id": parent, "lease_request": {"cost.budget": ["USD:6"]}});
    let child = peer.submit(child).await;
    peer.expect_event("delegate").await;
    peer.expect_event("status").await;
    let mut watcher = Peer::alice(&runtime).await;
    let asked = json!({"job_id": parent});
    assert_eq!(
        watcher.ask("job.subscribe", asked.clone()).await["payload"]["budget"]["USD"],
        4
    );
    peer.ask("job.cancel", json!({"job_id": child})).await;
    for _ in 0..3 {
        disk.next_commit(Fault::Fail(StoreError::Full("test".into())));
    }
    peer.expect_end("cancelled").await;
    assert_eq!(
        watcher.ask("job.subscribe", asked).await["payload"]["budget"]["USD"],
        10
    );
}
