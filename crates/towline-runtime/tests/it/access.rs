//! Access ends when it is taken away (§14), and roles decide what it is (§20).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::future::{BoxFuture, ready};
use serde_json::json;
use towline_runtime::{
    Runtime,
    auth::{AuthRefusal, Authenticator, Credentials, Proof, Proven, StaticTokens},
    roles::{LiveRoles, Reach, Role, Roles},
};
use towline_store::{MemoryStore, Principal};
use towline_wire::JobSeq;

use crate::{
    agents::{echo, patient},
    peer::{ALICE, BOB, NOON, Peer, QUIET, hello, moment, pass, runtime},
    resume::{bare, cannot_resume},
};

async fn knowing(disk: &Arc<MemoryStore>, tokens: &[(&str, &str)]) -> Runtime {
    let tokens = StaticTokens::new(tokens.iter().copied()).unwrap();
    let runtime = runtime().shared_store(disk.clone()).authenticator(tokens);
    runtime.build().await.unwrap()
}

/// [ARCP 14-7] A resume after the token, or the principal, was taken away is UNAUTHENTICATED; the other token of the same
/// principal takes the session up again, and from then on it is the one that counts.
#[tokio::test(start_paused = true)]
async fn a_removed_token_is_no_way_back() {
    let disk = Arc::new(MemoryStore::new());
    let first = knowing(&disk, &[("alice", ALICE), ("bob", BOB)]).await;
    let token = Peer::alice(&first).await.lost().await;
    for tokens in [&[("bob", BOB)][..], &[("alice", "other"), ("bob", ALICE)]] {
        let without = knowing(&disk, tokens).await;
        cannot_resume(&without, bare(&token, 0), "UNAUTHENTICATED").await;
    }
    let again = knowing(&disk, &[("alice", "other")]).await;
    let mut peer = Peer::raw(&again);
    let mut says = hello("other", QUIET);
    says["resume"] = json!({"resume_token": token, "last_event_seq": 0});
    peer.send("session.hello", says).await;
    peer.welcomed().await;
    peer.ask("session.list_jobs", json!({})).await;
    let token = peer.lost().await;
    let old = knowing(&disk, &[("alice", ALICE)]).await;
    cannot_resume(&old, bare(&token, 0), "UNAUTHENTICATED").await;
    let new = knowing(&disk, &[("alice", "other")]).await;
    Peer::resume(&new, &token, 0).await;
}

/// Proves everybody to be alice, until a minute after noon, and as long as it is not revoked.
#[derive(Default)]
struct Passing {
    revoked: Arc<AtomicBool>,
    endless: bool,
}

impl Authenticator for Passing {
    fn authenticate<'a>(
        &'a self,
        _credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        Box::pin(ready(Ok(Principal::new("alice"))))
    }

    fn prove<'a>(
        &'a self,
        _credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        let end = NOON.replace("12:00", "12:01").parse().ok();
        let proof = Proof {
            expires_at: end.filter(|_| !self.endless),
            ..Proof::by("pass")
        };
        Box::pin(ready(Ok(Proven {
            principal: Principal::new("alice"),
            proof,
        })))
    }

    fn still_knows(&self, _principal: &Principal, proof: &Proof) -> bool {
        proof.key.as_deref() == Some("pass") && !self.revoked.load(Ordering::Relaxed)
    }
}

/// [ARCP 14-7] A session ends when its proof expires, its connection with UNAUTHENTICATED and 1008, and it is not resumed.
#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_proof_expires() {
    let runtime = runtime()
        .authenticator(Passing::default())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, "any", QUIET).await;
    pass(58.0).await;
    peer.ask("session.list_jobs", json!({})).await;
    pass(4.0).await;
    peer.expect_error("UNAUTHENTICATED").await;
    assert_eq!(peer.expect_close().await, 1008);
    cannot_resume(&runtime, bare(&peer.token, 0), "UNAUTHENTICATED").await;
    assert_eq!(runtime.attached_sessions(), 0);
}

/// [ARCP 14-7] So does one whose proof its authenticator knows no more, while it is attached.
#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_proof_is_revoked() {
    let passing = Passing {
        endless: true,
        ..Passing::default()
    };
    let revoked = Arc::clone(&passing.revoked);
    let runtime = runtime().authenticator(passing).build().await.unwrap();
    let mut peer = Peer::open(&runtime, "any", QUIET).await;
    pass(600.0).await;
    assert_eq!(runtime.attached_sessions(), 1);
    revoked.store(true, Ordering::Relaxed);
    pass(2.0).await;
    peer.expect_error("UNAUTHENTICATED").await;
    assert_eq!(peer.expect_close().await, 1008);
    revoked.store(false, Ordering::Relaxed);
    Peer::resume(&runtime, &peer.token, 0).await;
}

/// [ARCP 20-1, 7.4-2] With roles every session of the submitter may cancel, and whom a role lets; nobody else.
#[tokio::test(start_paused = true)]
async fn roles_decide_who_cancels() {
    let roles = Roles::new(Role::of_nobody())
        .role(Role::named("ops").may_cancel(Reach::All))
        .assign("bob", "ops")
        .unwrap();
    let runtime = runtime()
        .roles(roles)
        .agent("patient", patient())
        .agent("echo", echo())
        .build()
        .await
        .unwrap();
    let (mut alice, mut again) = (Peer::alice(&runtime).await, Peer::alice(&runtime).await);
    let mut bob = Peer::bob(&runtime).await;
    let of_bob = bob.start(json!({"agent": "patient"})).await;
    alice
        .refused("job.cancel", json!({"job_id": of_bob}), "PERMISSION_DENIED")
        .await;
    for asker in [&mut again, &mut bob] {
        let job = alice.submit(json!({"agent": "patient"})).await;
        moment().await;
        let reply = asker.ask("job.cancel", json!({"job_id": job})).await;
        assert_eq!(reply["type"], "job.cancelled", "{reply}");
        alice.until_end(&job).await;
    }
}

/// Bob watches whom this says.
fn watches(reach: Reach) -> Roles {
    let ops = Role::named("ops").may_watch(reach).admin(false);
    let roles = Roles::new(Role::of_nobody()).role(ops);
    roles.assign("bob", "ops").unwrap()
}

/// [ARCP 20-1, 7.6-5] Whose right to watch is taken away hears no more of the job, and is told so; whoever reads its log without a
/// connection is at the end of it.
#[tokio::test(start_paused = true)]
async fn whoever_may_watch_no_more_hears_no_more() {
    let roles = LiveRoles::new(watches(Reach::All));
    let runtime = runtime()
        .access_policy(roles.clone())
        .observe_policy(roles.clone())
        .agent("patient", patient())
        .build()
        .await
        .unwrap();
    let (mut alice, mut bob) = (Peer::alice(&runtime).await, Peer::bob(&runtime).await);
    let job = alice.start(json!({"agent": "patient"})).await;
    let watched = bob.ask("job.subscribe", json!({"job_id": job})).await;
    assert_eq!(watched["type"], "job.subscribed", "{watched}");
    let scheme = Some("bearer".to_owned());
    let proven = runtime.prove(scheme, Some(BOB.into()), None).await.unwrap();
    let caller = runtime.caller(proven, true);
    let events = caller.events(&job.parse().unwrap(), JobSeq::ZERO).await;
    let mut reader = events.unwrap().unwrap();
    assert!(!reader.next().await.unwrap().is_empty());

    roles.replace(watches(Reach::Own));
    assert!(reader.next().await.unwrap().is_empty());
    let told = bob.expect_error("PERMISSION_DENIED").await;
    assert_eq!(told["payload"]["job_id"], job, "{told}");
    let own = bob.start(json!({"agent": "patient"})).await;
    let cancelled = alice.ask("job.cancel", json!({"job_id": job})).await;
    assert_eq!(cancelled["type"], "job.cancelled", "{cancelled}");
    alice.until_end(&job).await;
    bob.ask("job.cancel", json!({"job_id": own})).await;
    let heard = bob.until_end(&own).await;
    assert!(
        heard.iter().all(|frame| frame["job_id"] == own),
        "{heard:?}"
    );
}

/// [ARCP 14-7] Ending a principal's sessions ends what it reads without one, and whoever waits for a job's end waits no longer;
/// what it asks for later is as before.
#[tokio::test(start_paused = true)]
async fn callers_are_ended_with_sessions() {
    let admin = Roles::new(Role::of_nobody()).role(Role::named("ops").admin(true));
    let runtime = runtime()
        .roles(admin.assign("alice", "ops").unwrap())
        .agent("patient", patient())
        .build()
        .await
        .unwrap();
    let mut bob = Peer::bob(&runtime).await;
    let job = bob.start(json!({"agent": "patient"})).await;
    let job = job.parse().unwrap();
    let caller = async || {
        let scheme = Some("bearer".to_owned());
        let proven = runtime.prove(scheme, Some(BOB.into()), None).await.unwrap();
        runtime.caller(proven, true)
    };
    let (reading, waiting) = (caller().await, caller().await);
    let mut reader = reading.events(&job, JobSeq::ZERO).await.unwrap().unwrap();
    assert!(!reader.next().await.unwrap().is_empty());
    let began = tokio::time::Instant::now();
    let waits = tokio::spawn({
        let job = job.clone();
        async move {
            waiting
                .ended(&job, std::time::Duration::from_secs(60))
                .await
        }
    });
    moment().await;
    let mut alice = Peer::alice(&runtime).await;
    let revoke = "x-vendor.towline.sessions.revoke";
    alice.ask(revoke, json!({"principal": "bob"})).await;
    assert!(reader.next().await.unwrap().is_empty());
    waits.await.unwrap();
    assert!(began.elapsed().as_secs() < 2);
    let later = caller().await;
    assert!(later.is_still_proved() && !reading.is_still_proved());
    assert!(later.events(&job, JobSeq::ZERO).await.unwrap().is_some());
}
