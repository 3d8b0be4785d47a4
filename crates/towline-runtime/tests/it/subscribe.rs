//! Watching (§7.6).

use std::sync::Arc;

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext, Runtime, RuntimeOptions, policy::ObservePolicy};
use towline_store::{
    MemoryStore, Principal, StoreError,
    testing::{Fault, FaultStore},
};

use crate::{
    agents::{Valve, lines, patient},
    peer::{ALICE, ALL, Peer, job_seqs, kinds, moment, runtime},
};

async fn agents(valve: &Valve, options: RuntimeOptions) -> Runtime {
    let built = runtime()
        .options(options)
        .agent("valve", valve.agent())
        .agent("lines", lines());
    built
        .agent("patient", patient())
        .agent("mixed", mixed)
        .agent("spend", spend)
        .build()
        .await
        .unwrap()
}

async fn plain(valve: &Valve) -> Runtime {
    agents(valve, RuntimeOptions::default()).await
}

/// Progress between lines, slowly enough that others come and go meanwhile.
async fn mixed(ctx: JobContext, input: Value) -> Result<Value, AgentError> {
    for line in 1..=u32::try_from(input["n"].as_u64().unwrap_or(0))? {
        ctx.log("info", format!("line {line}")).await?;
        ctx.progress(line).await?;
        tokio::task::yield_now().await;
    }
    Ok(Value::Null)
}

/// Spends a third of a dollar, then waits.
async fn spend(ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    ctx.metric(
        "cost.search",
        "0.33".parse::<towline_wire::Amount>()?,
        Some("USD"),
    )
    .await?;
    ctx.cancelled().await;
    Ok(Value::Null)
}

async fn subscribe(peer: &mut Peer, payload: Value) -> Value {
    let reply = peer.ask("job.subscribe", payload).await;
    assert_eq!(reply["type"], "job.subscribed", "{reply}");
    reply["payload"].clone()
}

/// [ARCP 7.6-1, 7.6-3, 8-3] the answer, then history, then what comes: each event once, in the job's order, with its time, under
/// the watching session's own numbers.
#[tokio::test(start_paused = true)]
async fn history_then_live() {
    let valve = Valve::new();
    let runtime = plain(&valve).await;
    let (mut owner, mut watcher) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let own = watcher
        .submit(json!({"agent": "lines", "input": {"n": 5}}))
        .await;
    watcher.until_end(&own).await;
    let request = json!({
        "agent": "valve",
        "lease_request": {"tool.call": ["x"]},
        "lease_constraints": {"expires_at": "2026-03-02T12:00:00Z"},
    });
    let accepted = owner.ask("job.submit", request).await;
    let job = accepted["job_id"].as_str().unwrap().to_owned();
    owner.expect_event("status").await;
    valve.open(3);
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(owner.next().await);
    }
    crate::peer::pass(5.0).await;
    let request = watcher
        .send(
            "job.subscribe",
            json!({"job_id": job, "history": true, "from_event_seq": 1}),
        )
        .await;
    let subscribed = watcher.expect("job.subscribed").await;
    assert_eq!(
        (&subscribed["job_id"], &subscribed["trace_id"]),
        (&json!(job), &accepted["trace_id"])
    );
    assert_eq!(
        subscribed["payload"],
        json!({
            "request_id": request, "job_id": job, "current_status": "running", "agent": "valve",
            "lease": {"tool.call": ["x"]}, "lease_constraints": {"expires_at": "2026-03-02T12:00:00Z"},
            "parent_job_id": null, "trace_id": accepted["trace_id"], "subscribed_from": 4, "replayed": true,
            "reply_to": request,
        })
    );
    for (seq, before) in (8..).zip(&seen) {
        let replayed = watcher.next().await;
        assert_eq!(replayed["event_seq"], seq);
        assert_eq!(
            (&replayed["job_seq"], &replayed["payload"]),
            (&before["job_seq"], &before["payload"])
        );
        assert_eq!(replayed["trace_id"], before["trace_id"]);
    }
    valve.open(1);
    moment().await;
    valve.shut();
    let rest = watcher.until_end(&job).await;
    assert_eq!(job_seqs(&rest), [5, 6]);
}

/// [ARCP 7.6-1] without `history` only what comes; with it, from the start by default; from beyond the end, what comes.
#[tokio::test(start_paused = true)]
async fn where_history_begins() {
    let valve = Valve::new();
    let runtime = plain(&valve).await;
    let mut owner = Peer::alice(&runtime).await;
    let job = owner.start(json!({"agent": "valve"})).await;
    valve.open(3);
    moment().await;
    let mut watchers = Vec::new();
    for (more, replayed, first) in [
        (json!({}), false, 5),
        (json!({"from_event_seq": 1}), false, 5),
        (json!({"history": false, "from_event_seq": 1}), false, 5),
        (json!({"history": true}), true, 1),
        (json!({"history": true, "from_event_seq": 0}), true, 1),
        (json!({"history": true, "from_event_seq": 2}), true, 3),
        (json!({"history": true, "from_event_seq": 4}), false, 5),
        (json!({"history": true, "from_event_seq": 900}), false, 5),
    ] {
        let mut watcher = Peer::alice(&runtime).await;
        let mut payload = json!({"job_id": job});
        payload
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let subscribed = subscribe(&mut watcher, payload).await;
        assert_eq!(
            (&subscribed["replayed"], &subscribed["subscribed_from"]),
            (&json!(replayed), &json!(4)),
            "{more}"
        );
        watchers.push((watcher, first));
    }
    valve.shut();
    for (mut watcher, first) in watchers {
        assert_eq!(
            job_seqs(&watcher.until_end(&job).await),
            (first..=5).collect::<Vec<_>>()
        );
    }
}

/// [ARCP 7.6-1, 6.2-4] watchers that come at any moment of a busy job get every event their features show exactly once.
#[tokio::test(start_paused = true)]
async fn exactly_once() {
    let without_progress: Vec<&str> = ALL
        .iter()
        .copied()
        .filter(|feature| *feature != "progress")
        .collect();
    let runtime = agents(&Valve::new(), RuntimeOptions::default().tail_bytes(2048)).await;
    let mut owner = Peer::alice(&runtime).await;
    let job = owner
        .start(json!({"agent": "mixed", "input": {"n": 400}}))
        .await;
    let mut watching = Vec::new();
    for number in 0..40 {
        for _ in 0..number % 7 {
            tokio::task::yield_now().await;
        }
        let all = number % 2 == 0;
        let (runtime, job, features) = (
            runtime.clone(),
            job.clone(),
            if all {
                ALL.to_vec()
            } else {
                without_progress.clone()
            },
        );
        watching.push(tokio::spawn(async move {
            let mut peer = Peer::open(&runtime, ALICE, &features).await;
            peer.send("job.subscribe", json!({"job_id": job, "history": true}))
                .await;
            assert_eq!(
                peer.expect("job.subscribed").await["payload"]["current_status"],
                "running"
            );
            (all, peer.until_end(&job).await)
        }));
    }
    for watcher in watching {
        let (all, frames) = watcher.await.unwrap();
        let expected: Vec<u64> = (1..=802)
            .filter(|seq| all || *seq == 1 || seq % 2 == 0)
            .collect();
        assert_eq!(job_seqs(&frames), expected);
        assert_eq!(frames.len(), expected.len());
    }
}

/// [ARCP 7.6-2] the budget in the answer is what is left now.
#[tokio::test(start_paused = true)]
async fn the_budget_now() {
    let runtime = plain(&Valve::new()).await;
    let (mut owner, mut watcher) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let request =
        json!({"agent": "spend", "lease_request": {"cost.budget": ["USD:1.00", "EUR:2"]}});
    let job = owner.start(request).await;
    moment().await;
    let subscribed = subscribe(&mut watcher, json!({"job_id": job})).await;
    assert_eq!(subscribed["budget"].to_string(), r#"{"EUR":2,"USD":0.67}"#);
    let listed = watcher.ask("session.list_jobs", json!({})).await;
    assert_eq!(
        listed["payload"]["jobs"][0]["budget"].to_string(),
        r#"{"EUR":2,"USD":0.67}"#
    );
}

/// [ARCP 7.6-4] a finished job, also one of an earlier run of the runtime.
#[tokio::test(start_paused = true)]
async fn finished_jobs() {
    let store = Arc::new(MemoryStore::new());
    let first = runtime()
        .shared_store(store.clone())
        .agent("lines", lines())
        .build()
        .await
        .unwrap();
    let mut owner = Peer::alice(&first).await;
    let job = owner
        .submit(json!({"agent": "lines", "input": {"n": 2}}))
        .await;
    let frames = owner.until_end(&job).await;
    let second = runtime().shared_store(store).build().await.unwrap();
    for runtime in [&first, &second] {
        let mut watcher = Peer::alice(runtime).await;
        let subscribed = subscribe(&mut watcher, json!({"job_id": job})).await;
        assert_eq!(subscribed["current_status"], "success");
        assert_eq!(
            (&subscribed["subscribed_from"], &subscribed["replayed"]),
            (&json!(4), &json!(false))
        );
        watcher.expect_silence().await;
        assert_eq!(
            subscribe(&mut watcher, json!({"job_id": job, "history": true})).await["replayed"],
            true
        );
        let replayed = watcher.until_end(&job).await;
        let payloads = |frames: &[Value]| {
            frames
                .iter()
                .map(|frame| frame["payload"].clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(payloads(&replayed), payloads(&frames));
        watcher.expect_silence().await;
    }
}

/// Bob may watch Alice.
struct BobWatches;

impl ObservePolicy for BobWatches {
    fn may_observe(&self, observer: &Principal, owner: &Principal) -> bool {
        (observer.as_str(), owner.as_str()) == ("bob", "alice")
    }

    fn observable(&self, observer: &Principal) -> Option<Vec<Principal>> {
        Some(if observer.as_str() == "bob" {
            vec![Principal::new("alice")]
        } else {
            Vec::new()
        })
    }
}

/// [ARCP 7.6-5] by default one's own; others by policy; where foreign jobs are concealed they are not told from unknown ones.
#[tokio::test(start_paused = true)]
async fn who_may_watch() {
    for conceal in [false, true] {
        let runtime = agents(
            &Valve::new(),
            RuntimeOptions::default().conceal_foreign_jobs(conceal),
        )
        .await;
        let mut owner = Peer::alice(&runtime).await;
        let running = owner.start(json!({"agent": "patient"})).await;
        let done = owner.submit(json!({"agent": "lines"})).await;
        owner.until_end(&done).await;
        let mut bob = Peer::bob(&runtime).await;
        let plain = |mut error: Value, job: &str| {
            for member in ["request_id", "reply_to"] {
                error.as_object_mut().unwrap().remove(member);
            }
            error.to_string().replace(job, "JOB")
        };
        let unknown = bob
            .refused(
                "job.subscribe",
                json!({"job_id": "job_none"}),
                "JOB_NOT_FOUND",
            )
            .await;
        for job in [&running, &done] {
            for history in [false, true] {
                let code = if conceal {
                    "JOB_NOT_FOUND"
                } else {
                    "PERMISSION_DENIED"
                };
                let foreign = bob
                    .refused(
                        "job.subscribe",
                        json!({"job_id": job, "history": history}),
                        code,
                    )
                    .await;
                if conceal {
                    assert_eq!(plain(foreign, job), plain(unknown.clone(), "job_none"));
                }
            }
        }
        subscribe(&mut Peer::alice(&runtime).await, json!({"job_id": running})).await;
        bob.expect_silence().await;
    }
    let runtime = runtime()
        .agent("patient", patient())
        .observe_policy(BobWatches)
        .build()
        .await
        .unwrap();
    let (mut alice, mut bob) = (Peer::alice(&runtime).await, Peer::bob(&runtime).await);
    let job = alice.start(json!({"agent": "patient"})).await;
    subscribe(&mut bob, json!({"job_id": job, "history": true})).await;
    bob.expect_event("status").await;
    let own = bob.start(json!({"agent": "patient"})).await;
    alice
        .refused("job.subscribe", json!({"job_id": own}), "PERMISSION_DENIED")
        .await;
}

/// [ARCP 7.6-5, 14-3] every decision about watching is in the audit log: who, which job, whose, and how it went.
#[tokio::test(start_paused = true)]
async fn decisions_are_audited() {
    let runtime = agents(
        &Valve::new(),
        RuntimeOptions::default().conceal_foreign_jobs(true),
    )
    .await;
    let (mut alice, mut bob) = (Peer::alice(&runtime).await, Peer::bob(&runtime).await);
    let job = alice.start(json!({"agent": "patient"})).await;
    alice.ask("job.subscribe", json!({"job_id": job})).await;
    bob.ask("job.subscribe", json!({"job_id": job})).await;
    bob.ask("job.subscribe", json!({"job_id": "job_none"}))
        .await;
    moment().await;
    let audit = runtime.store().audit(100).await.unwrap();
    let entries: Vec<Value> = audit
        .iter()
        .filter(|row| row.action == "subscribe")
        .map(|row| row.data.read().unwrap())
        .collect();
    let told = |entry: &Value| {
        ["principal", "session", "job", "owner"]
            .map(|name| entry[name].as_str().unwrap_or("-").to_owned())
    };
    let expected = [
        ["alice", &alice.session, &job, "alice"],
        ["bob", &bob.session, &job, "alice"],
        ["bob", &bob.session, "job_none", "-"],
    ];
    assert_eq!(
        entries.iter().map(told).collect::<Vec<_>>(),
        expected.map(|entry| entry.map(str::to_owned))
    );
    assert_eq!(entries[0]["verdict"], "allowed");
    assert!(
        entries[1..]
            .iter()
            .all(|entry| entry.to_string().contains("JOB_NOT_FOUND")),
        "{entries:?}"
    );
}

/// [ARCP 7.6-6] unsubscribing is silent and may be repeated; subscribing twice is one subscription, with history again where
/// that is asked for; one's own jobs are not told twice.
#[tokio::test(start_paused = true)]
async fn again_and_again() {
    let valve = Valve::new();
    let runtime = plain(&valve).await;
    let (mut owner, mut watcher) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let job = owner.start(json!({"agent": "valve"})).await;
    subscribe(&mut watcher, json!({"job_id": job})).await;
    subscribe(&mut watcher, json!({"job_id": job})).await;
    valve.open(1);
    watcher.expect_event("log").await;
    watcher.expect_silence().await;
    subscribe(&mut watcher, json!({"job_id": job, "history": true})).await;
    watcher.expect_event("status").await;
    watcher.expect_event("log").await;
    valve.open(1);
    watcher.expect_event("log").await;
    watcher.expect_silence().await;
    for _ in 0..2 {
        watcher
            .send("job.unsubscribe", json!({"job_id": job}))
            .await;
    }
    watcher
        .send("job.unsubscribe", json!({"job_id": "job_none"}))
        .await;
    moment().await;
    valve.open(1);
    watcher.expect_silence().await;
    subscribe(
        &mut watcher,
        json!({"job_id": job, "history": true, "from_event_seq": 3}),
    )
    .await;
    assert_eq!(watcher.expect_event("log").await["message"], "line 3");

    for _ in 0..3 {
        owner.expect_event("log").await;
    }
    subscribe(
        &mut owner,
        json!({"job_id": job, "history": true, "from_event_seq": 3}),
    )
    .await;
    assert_eq!(owner.expect_event("log").await["message"], "line 3");
    owner.send("job.unsubscribe", json!({"job_id": job})).await;
    moment().await;
    valve.open(1);
    assert_eq!(owner.expect_event("log").await["message"], "line 4");
    owner.expect_silence().await;
    valve.shut();
    assert_eq!(kinds(&owner.until_end(&job).await), ["job.result"]);
    assert_eq!(kinds(&watcher.until_end(&job).await), ["log", "job.result"]);
}

/// [ARCP 7.6-6, 6.3-4] what a session watched no more when it was lost it does not watch when it is back.
#[tokio::test(start_paused = true)]
async fn unsubscribed_stays_unsubscribed() {
    let valve = Valve::new();
    let store = Arc::new(MemoryStore::new());
    let build = || {
        runtime()
            .shared_store(store.clone())
            .restartable_agent("valve", valve.agent())
    };
    let first = build().build().await.unwrap();
    let (mut owner, mut watcher) = (Peer::alice(&first).await, Peer::alice(&first).await);
    let (one, two) = (
        owner.start(json!({"agent": "valve"})).await,
        owner.start(json!({"agent": "valve"})).await,
    );
    for job in [&one, &two] {
        subscribe(&mut watcher, json!({"job_id": job})).await;
    }
    watcher
        .send("job.unsubscribe", json!({"job_id": one}))
        .await;
    moment().await;
    let recovered = runtime_recovered(&store, &watcher.session).await;
    assert_eq!(recovered, [two]);
}

async fn runtime_recovered(store: &MemoryStore, session: &str) -> Vec<String> {
    let recovered = towline_store::EventStore::recover(store).await.unwrap();
    let session = recovered
        .sessions
        .into_iter()
        .find(|kept| kept.row.id.as_str() == session)
        .unwrap();
    session
        .subscriptions
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// [ARCP 14-1] so many jobs may be watched at once; those that ended do not count, nor do one's own.
#[tokio::test(start_paused = true)]
async fn the_cap() {
    let runtime = agents(
        &Valve::new(),
        RuntimeOptions::default().subscriptions_per_session(2),
    )
    .await;
    let (mut owner, mut watcher) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let mut jobs = Vec::new();
    for _ in 0..3 {
        jobs.push(owner.start(json!({"agent": "patient"})).await);
    }
    for job in &jobs[..2] {
        subscribe(&mut watcher, json!({"job_id": job})).await;
    }
    let own = watcher.start(json!({"agent": "patient"})).await;
    subscribe(&mut watcher, json!({"job_id": own})).await;
    subscribe(&mut watcher, json!({"job_id": jobs[0]})).await;
    let error = watcher
        .refused(
            "job.subscribe",
            json!({"job_id": jobs[2], "history": true}),
            "INTERNAL_ERROR",
        )
        .await;
    assert!(error["message"].as_str().unwrap().contains("unsubscribe"));
    watcher.expect_silence().await;
    owner.ask("job.cancel", json!({"job_id": jobs[0]})).await;
    owner.expect_end("cancelled").await;
    watcher.until_end(&jobs[0]).await;
    subscribe(&mut watcher, json!({"job_id": jobs[2]})).await;
    let fourth = owner.start(json!({"agent": "patient"})).await;
    watcher
        .refused("job.subscribe", json!({"job_id": fourth}), "INTERNAL_ERROR")
        .await;
    watcher
        .send("job.unsubscribe", json!({"job_id": jobs[1]}))
        .await;
    subscribe(&mut watcher, json!({"job_id": fourth})).await;
}

/// [ARCP 7.6-6] unsubscribing holds across a restart even when the commit that said so failed first.
#[tokio::test(start_paused = true)]
async fn unsubscribing_with_a_store_that_fails() {
    let valve = Valve::new();
    let disk = FaultStore::new(MemoryStore::new());
    let runtime = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let (mut owner, mut watcher) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let job = owner.start(json!({"agent": "valve"})).await;
    subscribe(&mut watcher, json!({"job_id": job})).await;
    disk.next_commit(Fault::Fail(StoreError::Full("test".into())));
    watcher
        .send("job.unsubscribe", json!({"job_id": job}))
        .await;
    moment().await;
    assert_eq!(
        runtime_recovered(disk.inner(), &watcher.session).await,
        std::slice::from_ref(&job)
    );
    crate::peer::pass(1.0).await;
    assert_eq!(
        runtime_recovered(disk.inner(), &watcher.session).await,
        [""; 0]
    );
}

/// [ARCP 12-2, 6.5-4] a refused subscribe leaves no trace: with the store's reads failing, or its commit.
#[tokio::test(start_paused = true)]
async fn a_refused_subscribe() {
    let valve = Valve::new();
    let disk = FaultStore::new(MemoryStore::new());
    let runtime = runtime()
        .shared_store(Arc::new(disk.clone()))
        .agent("valve", valve.agent())
        .build()
        .await
        .unwrap();
    let (mut owner, mut watcher) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let job = owner.start(json!({"agent": "valve"})).await;
    let request = json!({"job_id": job, "history": true});
    disk.fail_reads(Some(StoreError::Failed("test".into())));
    watcher
        .refused("job.subscribe", request.clone(), "INTERNAL_ERROR")
        .await;
    disk.fail_reads(None);
    disk.next_commit(Fault::Fail(StoreError::Full("test".into())));
    disk.next_commit(Fault::Fail(StoreError::Full("test".into())));
    watcher
        .refused("job.subscribe", request.clone(), "INTERNAL_ERROR")
        .await;
    crate::peer::pass(1.0).await;
    valve.open(2);
    watcher.expect_silence().await;
    subscribe(&mut watcher, request).await;
    valve.shut();
    assert_eq!(job_seqs(&watcher.until_end(&job).await), [1, 2, 3, 4]);
}
