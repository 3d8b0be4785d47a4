//! Other values for the same credential.

use std::time::Duration;

use serde_json::json;
use towline_runtime::credentials::RotateError;
use towline_wire::CredentialId;

use super::{
    accepted, builder, credential, submit,
    upstream::{Durable, Fault, Upstream},
    value,
};
use crate::peer::{ALICE, Peer, QUIET};

/// [ARCP 9.8-3] the submitter is told the new value, others only that there is one; the id stays and the old value is
/// revoked.
#[tokio::test(start_paused = true)]
async fn a_rotation_reaches_the_submitter_alone() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let first = accepted(&mut alice, submit("waits")).await;
    alice.expect_event("status").await;
    let mut watcher = Peer::open(&runtime, ALICE, QUIET).await;
    let subscribed = watcher
        .ask("job.subscribe", json!({"job_id": first["job_id"]}))
        .await;
    assert!(subscribed["payload"].get("credentials").is_none());
    let plain: Vec<_> = QUIET
        .iter()
        .copied()
        .filter(|feature| *feature != "provisioned_credentials")
        .collect();
    let mut plain = Peer::open(&runtime, ALICE, &plain).await;
    plain
        .ask("job.subscribe", json!({"job_id": first["job_id"]}))
        .await;

    let id = CredentialId::parse(credential(&first)["id"].as_str().unwrap()).unwrap();
    runtime.rotate_credential(&id).await.unwrap();
    let told = alice.expect_event("status").await;
    assert_eq!(
        (&told["phase"], &told["id"]),
        (&json!("credential_rotated"), &json!(id))
    );
    let new = told["value"].as_str().unwrap();
    assert!(new != value(&first) && upstream.accepts(new));
    assert_eq!(
        (&told["credential_id"], &told["credential_value"]),
        (&json!(id), &json!(new))
    );
    let others = watcher.expect_event("status").await;
    assert_eq!(
        others,
        json!({"phase": "credential_rotated", "id": id, "credential_id": id})
    );
    plain.expect_silence().await;
    assert!(!upstream.accepts(&value(&first)));
    let requests = upstream.requests();
    assert_eq!(
        (&requests[1].credential, requests[1].reference.as_str()),
        (&id, &*format!("{id}.1"))
    );

    // A resumed session is told of the value that is good now, and of nothing older.
    runtime.rotate_credential(&id).await.unwrap();
    let newer = alice.expect_event("status").await["value"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut again = Peer::resume(&runtime, &alice.cut(), 0).await;
    let replayed = again.expect("job.accepted").await;
    assert_eq!(value(&replayed), newer);
    again.expect_event("status").await;
    assert_eq!(again.expect_event("status").await["value"], newer.as_str());
    assert_eq!(again.expect_event("status").await["value"], newer.as_str());

    again
        .send("job.cancel", json!({"job_id": first["job_id"]}))
        .await;
    again.until_end(first["job_id"].as_str().unwrap()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(upstream.good().is_empty());
    let mut after = Peer::resume(&runtime, &again.cut(), 0).await;
    let frames = after.until_end(first["job_id"].as_str().unwrap()).await;
    assert!(!json!(frames).to_string().contains("SECRET"), "{frames:?}");
    runtime.shutdown().await;
}

/// [ARCP 9.8-3] a rotation that fails leaves the value that is good alone, and whatever it may have made is revoked.
#[tokio::test(start_paused = true)]
async fn a_failed_rotation_changes_nothing() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let first = accepted(&mut alice, submit("waits")).await;
    alice.expect_event("status").await;
    let id = CredentialId::parse(credential(&first)["id"].as_str().unwrap()).unwrap();
    for fault in [Fault::Fail, Fault::Refuse, Fault::Lose, Fault::Late] {
        upstream.issues([Some(fault)]);
        let failed = runtime.rotate_credential(&id).await;
        assert!(
            matches!(failed, Err(RotateError::Upstream(_))),
            "{failed:?}"
        );
        alice.expect_silence().await;
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert_eq!(upstream.good(), [format!("{id}.0")], "{fault:?}");
    }
    runtime.rotate_credential(&id).await.unwrap();
    assert!(
        upstream.accepts(
            alice.expect_event("status").await["value"]
                .as_str()
                .unwrap()
        )
    );
    alice
        .send("job.cancel", json!({"job_id": first["job_id"]}))
        .await;
    alice.until_end(first["job_id"].as_str().unwrap()).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(upstream.good().is_empty());
    let refused = runtime.rotate_credential(&id).await;
    assert!(
        matches!(&refused, Err(RotateError::Unknown(unknown)) if *unknown == id),
        "{refused:?}"
    );
    runtime.shutdown().await;
}

/// [ARCP 9.8-2, 9.8-3] a job that ends in the middle of its rotation takes both values along.
#[tokio::test(start_paused = true)]
async fn a_rotation_that_the_job_does_not_survive_is_undone() {
    let (store, upstream) = (Durable::new(), Upstream::default());
    let runtime = builder(&store, &upstream).build().await.unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let first = accepted(&mut alice, submit("waits")).await;
    alice.expect_event("status").await;
    let id = CredentialId::parse(credential(&first)["id"].as_str().unwrap()).unwrap();
    upstream.issues([Some(Fault::Lose)]);
    let rotation = tokio::spawn({
        let runtime = runtime.clone();
        async move { runtime.rotate_credential(&id).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    alice
        .send("job.cancel", json!({"job_id": first["job_id"]}))
        .await;
    alice.until_end(first["job_id"].as_str().unwrap()).await;
    assert!(rotation.await.unwrap().is_err());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(upstream.good().is_empty(), "{:?}", upstream.calls());
    assert!(runtime.credentials().is_empty());
    runtime.shutdown().await;
}
