//! Cancelling (§7.4).

use std::time::Duration;

use serde_json::{Value, json};
use towline_proto::admission::AdmissionLimits;
use towline_runtime::{AgentError, JobContext, Runtime, RuntimeOptions};

use crate::{
    agents::{Deaf, echo, patient},
    peer::{ALICE, Peer, QUIET, kinds, moment, pass, runtime},
};

async fn agents(options: RuntimeOptions) -> Runtime {
    let built = runtime()
        .options(options)
        .agent("patient", patient())
        .agent("deaf", Deaf)
        .agent("echo", echo());
    built.agent("family", family).build().await.unwrap()
}

/// Has a child, and waits for it.
async fn family(ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    let child = ctx.delegate("patient").send().await?;
    let outcome = child.outcome().await;
    Ok(json!({"child": child.job_id(), "status": outcome.status}))
}

/// [ARCP 7.4-1, 11-2] acknowledged without a number, then the terminal, though the agent returned normally; the job may be named
/// on the envelope, in the payload, or in both alike.
#[tokio::test(start_paused = true)]
async fn cancelled() {
    let runtime = agents(RuntimeOptions::default()).await;
    let mut peer = Peer::alice(&runtime).await;
    for ways in ["payload", "envelope", "both"] {
        let job = peer.start(json!({"agent": "patient"})).await;
        let named = json!({"job_id": job});
        let payload = if ways == "envelope" {
            json!({"reason": "enough"})
        } else {
            json!({"job_id": job, "reason": "enough"})
        };
        let fields = if ways == "payload" { json!({}) } else { named };
        let id = peer.send_with("job.cancel", payload, fields).await;
        let acknowledged = peer.expect("job.cancelled").await;
        assert_eq!(
            acknowledged["payload"],
            json!({"request_id": id, "job_id": job, "reason": "enough", "reply_to": id})
        );
        assert_eq!(acknowledged["job_id"], job);
        assert!(acknowledged.get("event_seq").is_none());
        let end = peer.next().await;
        assert_eq!(end["type"], "job.error");
        assert_eq!(end["trace_id"], acknowledged["trace_id"]);
        assert_eq!(end["payload"]["final_status"], "cancelled");
        assert_eq!(
            (&end["payload"]["code"], &end["payload"]["retryable"]),
            (&json!("CANCELLED"), &json!(false))
        );
    }
    let job = peer.start(json!({"agent": "patient"})).await;
    let id = peer
        .send_with(
            "job.cancel",
            json!({"job_id": job}),
            json!({"job_id": "job_other"}),
        )
        .await;
    assert_eq!(
        peer.expect_error("INVALID_REQUEST").await["payload"]["request_id"],
        id
    );
    peer.refused("job.cancel", json!({}), "INVALID_REQUEST")
        .await;
    peer.expect_silence().await;
}

/// [ARCP 7.4-2, 7.6-7] only the session that submitted may cancel; everybody else is told why not, or, where foreign jobs are
/// concealed, that there is no such job, in the same words as for one that never was.
#[tokio::test(start_paused = true)]
async fn who_may_cancel() {
    for conceal in [false, true] {
        let runtime = agents(RuntimeOptions::default().conceal_foreign_jobs(conceal)).await;
        let (mut owner, mut other) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
        let mut bob = Peer::bob(&runtime).await;
        let job = owner.start(json!({"agent": "patient"})).await;
        other.ask("job.subscribe", json!({"job_id": job})).await;
        other
            .refused("job.cancel", json!({"job_id": job}), "PERMISSION_DENIED")
            .await;
        let unknown = bob
            .refused("job.cancel", json!({"job_id": "job_none"}), "JOB_NOT_FOUND")
            .await;
        let code = if conceal {
            "JOB_NOT_FOUND"
        } else {
            "PERMISSION_DENIED"
        };
        let foreign = bob
            .refused("job.cancel", json!({"job_id": job}), code)
            .await;
        if conceal {
            let plain = |error: Value, job: &str| {
                let mut error = error;
                for member in ["request_id", "reply_to"] {
                    error.as_object_mut().unwrap().remove(member);
                }
                error.to_string().replace(job, "JOB")
            };
            assert_eq!(plain(foreign, &job), plain(unknown, "job_none"));
        }
        let mut owner = Peer::resume(&runtime, &owner.lost().await, 1).await;
        owner.expect_silence().await;
        assert_eq!(
            owner.ask("job.cancel", json!({"job_id": job})).await["type"],
            "job.cancelled"
        );
        let end = other.until_end(&job).await.pop().unwrap();
        assert_eq!(end["payload"]["final_status"], "cancelled");
    }
}

/// [ARCP 7.4-2] a deployment may let every session of the principal cancel; no other principal even then.
#[tokio::test(start_paused = true)]
async fn every_session_of_the_principal() {
    let runtime = agents(RuntimeOptions::default().principal_cancels(true)).await;
    let mut owner = Peer::alice(&runtime).await;
    let job = owner.start(json!({"agent": "patient"})).await;
    Peer::bob(&runtime)
        .await
        .refused("job.cancel", json!({"job_id": job}), "PERMISSION_DENIED")
        .await;
    let mut other = Peer::alice(&runtime).await;
    assert_eq!(
        other.ask("job.cancel", json!({"job_id": job})).await["type"],
        "job.cancelled"
    );
    owner.expect_end("cancelled").await;
}

/// [ARCP 7.4-2] when the submitting session is gone for good, its principal may cancel from another.
#[tokio::test(start_paused = true)]
async fn orphans() {
    let runtime = agents(RuntimeOptions::default().resume_window(Duration::from_secs(30))).await;
    let mut owner = Peer::alice(&runtime).await;
    let job = owner.start(json!({"agent": "patient"})).await;
    owner.lost().await;
    let mut other = Peer::open(&runtime, ALICE, QUIET).await;
    pass(25.0).await;
    other
        .refused("job.cancel", json!({"job_id": job}), "PERMISSION_DENIED")
        .await;
    pass(10.0).await;
    Peer::bob(&runtime)
        .await
        .refused("job.cancel", json!({"job_id": job}), "PERMISSION_DENIED")
        .await;
    assert_eq!(
        other.ask("job.cancel", json!({"job_id": job})).await["type"],
        "job.cancelled"
    );
    moment().await;
    assert_eq!(runtime.live_jobs(), 0);
}

/// [ARCP 7.4-3] a finished job is INVALID_REQUEST with its status; a second cancel is acknowledged too, and there is one end.
#[tokio::test(start_paused = true)]
async fn too_late_and_twice() {
    let runtime = agents(RuntimeOptions::default()).await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let done = peer.submit(json!({"agent": "echo"})).await;
    peer.until_end(&done).await;
    let error = peer
        .refused("job.cancel", json!({"job_id": done}), "INVALID_REQUEST")
        .await;
    assert_eq!(
        (&error["details"]["status"], &error["job_id"]),
        (&json!("success"), &json!(done))
    );
    let job = peer.start(json!({"agent": "deaf"})).await;
    for _ in 0..3 {
        assert_eq!(
            peer.ask("job.cancel", json!({"job_id": job})).await["type"],
            "job.cancelled"
        );
    }
    peer.expect_end("cancelled").await;
    let error = peer
        .refused("job.cancel", json!({"job_id": job}), "INVALID_REQUEST")
        .await;
    assert_eq!(error["details"]["status"], "cancelled");
    peer.expect_silence().await;
}

/// [ARCP 7.4-4] a job that waits ends without its agent, and its place in the queue goes to the next.
#[tokio::test(start_paused = true)]
async fn pending_jobs() {
    let limits = AdmissionLimits {
        per_principal: 1,
        running: 10,
        queued: 2,
    };
    let runtime = agents(RuntimeOptions::default().admission(limits)).await;
    let mut peer = Peer::alice(&runtime).await;
    let running = peer.start(json!({"agent": "patient"})).await;
    let waiting = peer.submit(json!({"agent": "echo"})).await;
    let next = peer.submit(json!({"agent": "echo", "input": "next"})).await;
    peer.refused("job.submit", json!({"agent": "echo"}), "INTERNAL_ERROR")
        .await;
    assert_eq!(
        peer.ask("job.cancel", json!({"job_id": waiting})).await["type"],
        "job.cancelled"
    );
    let end = peer.next().await;
    assert_eq!(
        (
            &end["job_id"],
            &end["job_seq"],
            &end["payload"]["final_status"]
        ),
        (&json!(waiting), &json!(1), &json!("cancelled"))
    );
    peer.submit(json!({"agent": "echo"})).await;
    peer.send("job.cancel", json!({"job_id": running})).await;
    peer.until_end(&running).await;
    assert_eq!(
        peer.until_end(&next).await.last().unwrap()["payload"]["result"],
        "next"
    );
    pass(1.0).await;
    assert_eq!(runtime.live_jobs(), 0);
}

/// [ARCP 7.4-4, 10-2] cancelling a parent cancels its children; a submitter may cancel a child alone.
#[tokio::test(start_paused = true)]
async fn families() {
    let runtime = agents(RuntimeOptions::default()).await;
    let mut peer = Peer::alice(&runtime).await;
    let request = json!({"agent": "family", "lease_request": {"agent.delegate": ["patient"]}});
    let parent = peer.start(request.clone()).await;
    let child = peer.expect_event("delegate").await["child_job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    peer.expect("job.accepted").await;
    peer.expect_event("status").await;
    peer.send("job.cancel", json!({"job_id": parent})).await;
    peer.expect("job.cancelled").await;
    let ends = [peer.next().await, peer.next().await];
    assert!(
        ends.iter()
            .all(|end| end["payload"]["final_status"] == "cancelled")
    );
    assert_eq!(
        (&ends[0]["job_id"], &ends[1]["job_id"]),
        (&json!(child), &json!(parent))
    );

    let parent = peer.start(request).await;
    let child = peer.expect_event("delegate").await["child_job_id"]
        .as_str()
        .unwrap()
        .to_owned();
    peer.expect("job.accepted").await;
    peer.expect_event("status").await;
    peer.send("job.cancel", json!({"job_id": child})).await;
    let frames = peer.until_end(&parent).await;
    assert_eq!(kinds(&frames), ["job.cancelled", "job.error", "job.result"]);
    assert_eq!(
        frames[2]["payload"]["result"],
        json!({"child": child, "status": "cancelled"})
    );
}
