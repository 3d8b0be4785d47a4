//! The runtime dies at every moment there is; what it issued ends revoked all the same.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use towline_env::TokioClock;
use towline_runtime::{
    AgentError, JobContext, Runtime, RuntimeOptions, credentials::CredentialState,
};
use towline_store::{
    EventStore as _, SqliteStore,
    testing::{Fault as StoreFault, FaultStore},
};
use towline_wire::CredentialId;

use super::upstream::{Durable, Fault, Upstream};
use crate::peer::{ALICE, Peer, QUIET, runtime};

/// Runs a piece of a life in a tokio runtime of its own. What is not done at its end never will be, as after `kill -9`.
fn one_life<T>(life: impl Future<Output = T>) -> T {
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    tokio.block_on(life)
}

async fn start(store: FaultStore<Durable>, upstream: &Upstream, hour: u32) -> Runtime {
    let clock = TokioClock::starting_at(format!("2026-03-01T{hour:02}:00:00Z").parse().unwrap());
    runtime()
        .clock(Arc::new(clock))
        .store(store)
        .credentials(upstream.clone())
        .agent("waits", |ctx: JobContext, _input: Value| async move {
            ctx.cancelled().await;
            Ok::<_, AgentError>(Value::Null)
        })
        .restartable_agent("again", |_ctx: JobContext, _input: Value| async move {
            tokio::time::sleep(Duration::from_secs(90)).await;
            Ok::<_, AgentError>(Value::Null)
        })
        .build()
        .await
        .unwrap()
}

/// A job gets a credential, which is rotated; then the job is cancelled.
async fn live(runtime: &Runtime, agent: &str) {
    let mut alice = Peer::open(runtime, ALICE, QUIET).await;
    alice
        .send(
            "job.submit",
            json!({"agent": agent, "lease_request": {"model.use": ["m"]}}),
        )
        .await;
    let accepted = alice.next().await;
    if accepted["type"] != "job.accepted" {
        return;
    }
    let id = accepted["payload"]["credentials"][0]["id"]
        .as_str()
        .unwrap();
    alice.expect_event("status").await;
    let _rotated = runtime
        .rotate_credential(&CredentialId::parse(id).unwrap())
        .await;
    alice
        .send("job.cancel", json!({"job_id": accepted["job_id"]}))
        .await;
    while alice.next().await["type"] != "job.error" {}
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// Gives the runtime, and the job that it may run again, the time they need, ends what still runs, and looks whether anything is left.
async fn nothing_stays(runtime: Runtime, disk: &Durable, upstream: &Upstream) -> bool {
    tokio::time::sleep(Duration::from_secs(120)).await;
    let unused = runtime
        .credentials()
        .into_iter()
        .filter(|out| out.state != CredentialState::Issued);
    let idle = unused.count() == 0;
    runtime.shutdown().await;
    let rows = disk.recover().await.unwrap().credentials;
    idle && upstream.good().is_empty() && rows.iter().all(|row| !row.outstanding)
}

/// [ARCP 9.8-2] whichever commit is the last one before the crash: after the next start nothing is left at the upstream.
#[test]
fn a_crash_at_any_commit_leaves_nothing_behind() {
    for agent in ["waits", "again"] {
        let mut survived = 0;
        for commit in 1.. {
            let (disk, upstream) = (Durable::new(), Upstream::default());
            let store = FaultStore::new(disk.clone());
            store.commit_number(commit, StoreFault::Hang);
            let finished = one_life(async {
                let life = async {
                    let runtime = start(store.clone(), &upstream, 12).await;
                    live(&runtime, agent).await;
                };
                tokio::time::timeout(Duration::from_secs(60), life)
                    .await
                    .is_ok()
            });
            one_life(async {
                let runtime = start(FaultStore::new(disk.clone()), &upstream, 13).await;
                let clean = nothing_stays(runtime, &disk, &upstream).await;
                assert!(
                    clean,
                    "{agent}, commit {commit}: {:?} {:?}",
                    upstream.good(),
                    upstream.calls()
                );
            });
            survived += u32::from(!finished);
            if finished && store.commits() < commit {
                break;
            }
        }
        assert!(
            survived >= 5,
            "{survived} commits of `{agent}` were crashed at"
        );
    }
}

/// [ARCP 9.8-2] the same for crashes in the middle of calls to the upstream, answered or not.
#[test]
fn a_crash_in_any_call_leaves_nothing_behind() {
    for (issue, revoke) in [(0, None), (1, None), (2, Some(0)), (2, Some(1))] {
        let (disk, upstream) = (Durable::new(), Upstream::default());
        upstream.issues((0..issue).map(|_| None).chain([Some(Fault::Lose)]));
        if let Some(good) = revoke {
            upstream.revocations((0..good).map(|_| None).chain([Some(Fault::Lose)]));
        }
        one_life(async {
            let life = async {
                let runtime = start(FaultStore::new(disk.clone()), &upstream, 12).await;
                live(&runtime, "waits").await;
                std::future::pending::<()>().await;
            };
            // Shorter than the runtime waits for an answer.
            let _crash = tokio::time::timeout(Duration::from_secs(3), life).await;
        });
        one_life(async {
            let runtime = start(FaultStore::new(disk.clone()), &upstream, 13).await;
            let clean = nothing_stays(runtime, &disk, &upstream).await;
            assert!(
                clean,
                "{issue} {revoke:?}: {:?} {:?}",
                upstream.good(),
                upstream.calls()
            );
        });
    }
}

/// [ARCP 9.8-2] a job that goes on after a restart keeps its credential, and a rotation the crash kept from being told is
/// told then.
#[test]
fn a_job_that_goes_on_keeps_its_credential() {
    let (disk, upstream) = (Durable::new(), Upstream::default());
    let (token, old) = one_life(async {
        let runtime = start(FaultStore::new(disk.clone()), &upstream, 12).await;
        let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
        alice
            .send(
                "job.submit",
                json!({"agent": "again", "lease_request": {"model.use": ["m"]}}),
            )
            .await;
        let accepted = alice.expect("job.accepted").await;
        alice.expect_event("status").await;
        (
            alice.cut(),
            accepted["payload"]["credentials"][0]["value"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    });
    assert!(upstream.accepts(&old));
    let token = one_life(async {
        let store = FaultStore::new(disk.clone());
        let runtime = start(store.clone(), &upstream, 13).await;
        let mut alice = Peer::resume(&runtime, &token, 1).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let accepted = alice.expect("job.accepted").await;
        assert_eq!(
            accepted["payload"]["credentials"][0]["value"],
            old.as_str(),
            "{accepted}"
        );
        let id = runtime.credentials()[0].id.clone();
        // The intent and the new value are kept, and then the lights go out.
        store.commit_number(store.commits() + 3, StoreFault::Hang);
        let rotation = runtime.rotate_credential(&id);
        assert!(
            tokio::time::timeout(Duration::from_secs(60), rotation)
                .await
                .is_err()
        );
        alice.cut()
    });
    one_life(async {
        let runtime = start(FaultStore::new(disk.clone()), &upstream, 14).await;
        let mut alice = Peer::resume(&runtime, &token, 1).await;
        let told = loop {
            let frame = alice.next().await;
            if frame["payload"]["body"]["phase"] == "credential_rotated" {
                break frame["payload"]["body"].clone();
            }
        };
        let new = told["value"].as_str().unwrap();
        assert!(new != old && upstream.accepts(new), "{told}");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!upstream.accepts(&old));
    });
}

/// [ARCP 9.8-2] the same with a store on disk: what could not be revoked before the shutdown is revoked after the next start.
#[tokio::test]
async fn a_reopened_store_knows_what_is_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("towline.db");
    let upstream = Upstream::default();
    upstream.revocations([Some(Fault::Fail); 1000]);
    let options = RuntimeOptions::default()
        .close_timeout(Duration::from_millis(50))
        .drain(Duration::from_millis(50));
    let start = async |upstream: &Upstream| {
        let store = SqliteStore::open(&path).await.unwrap();
        super::builder(&Durable::new(), upstream)
            .store(store)
            .options(options.clone())
            .build()
            .await
            .unwrap()
    };
    let runtime = start(&upstream).await;
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let accepted = super::accepted(&mut alice, super::submit("returns")).await;
    alice.until_end(accepted["job_id"].as_str().unwrap()).await;
    runtime.shutdown().await;
    assert_eq!(upstream.good().len(), 1);

    upstream.heal();
    let runtime = start(&upstream).await;
    tokio::time::timeout(Duration::from_secs(60), async {
        while !runtime.credentials().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(upstream.good().is_empty());
    runtime.shutdown().await;
}
