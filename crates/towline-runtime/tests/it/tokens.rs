//! Resume tokens (§6.3): which are good, and until when.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use towline_store::MemoryStore;

use crate::{
    agents::Valve,
    peer::{Peer, moment, runtime},
    resume::{bare, cannot_resume, valved},
};

/// Lets the runtime hear the client, and waits until it has.
async fn speak(peer: &mut Peer) {
    peer.send("session.ping", json!({"nonce": "n"})).await;
    peer.expect("session.pong").await;
}

/// [ARCP 6.3-1] the token rotates at every welcome; the one before stops working with the first frame that the client sends
/// on the new connection.
#[tokio::test(start_paused = true)]
async fn tokens_rotate() {
    let runtime = valved(&Valve::new()).await;
    let first = Peer::alice(&runtime).await;
    let session = first.session.clone();
    let mut tokens = vec![first.lost().await];
    for _ in 0..3 {
        let mut peer = Peer::resume(&runtime, tokens.last().unwrap(), 0).await;
        assert_eq!(peer.session, session);
        speak(&mut peer).await;
        for old in &tokens {
            cannot_resume(&runtime, bare(old, 0), "RESUME_WINDOW_EXPIRED").await;
        }
        assert_eq!(
            runtime.attached_sessions(),
            1,
            "the failed tries took nothing over"
        );
        tokens.push(peer.lost().await);
    }
}

/// [ARCP 6.3-1, 6.3-8] a welcome that is lost costs no session, however often that happens: the token that was shown is good,
/// and takes the connection over that nobody was heard on. So is the new one; who shows that one gives up the old.
#[tokio::test(start_paused = true)]
async fn a_lost_welcome_costs_no_session() {
    let runtime = valved(&Valve::new()).await;
    let first = Peer::alice(&runtime).await;
    let session = first.session.clone();
    let shown = first.lost().await;
    let mut unheard = Vec::new();
    for _ in 0..3 {
        let peer = Peer::resume(&runtime, &shown, 0).await;
        assert_eq!(peer.session, session);
        unheard.push(peer);
        moment().await;
        assert_eq!(runtime.attached_sessions(), 1);
    }
    let newest = unheard.pop().unwrap();
    for peer in &mut unheard {
        let closed = peer.expect("session.closed").await;
        assert_eq!(closed["payload"]["reason"], "superseded");
    }
    // The last but one is good, for nobody knows which of the two tries was the client's later one.
    cannot_resume(
        &runtime,
        bare(&unheard[0].token, 0),
        "RESUME_WINDOW_EXPIRED",
    )
    .await;
    let next = Peer::resume(&runtime, &newest.token, 0).await;
    cannot_resume(&runtime, bare(&shown, 0), "RESUME_WINDOW_EXPIRED").await;
    let mut last = Peer::resume(&runtime, &newest.token, 0).await;
    speak(&mut last).await;
    cannot_resume(&runtime, bare(&newest.token, 0), "RESUME_WINDOW_EXPIRED").await;
    cannot_resume(&runtime, bare(&next.token, 0), "RESUME_WINDOW_EXPIRED").await;
    assert_eq!(runtime.attached_sessions(), 1);
}

/// [ARCP 6.3-1, 6.3-9] the same across the death of the runtime, and so is that the client was heard.
#[tokio::test(start_paused = true)]
async fn a_welcome_lost_in_a_crash_costs_no_session() {
    let disk = Arc::new(MemoryStore::new());
    let start = || async { runtime().shared_store(disk.clone()).build().await.unwrap() };
    let first = start().await;
    let shown = Peer::alice(&first).await.lost().await;
    let lost = Peer::resume(&first, &shown, 0).await;
    moment().await;
    let second = start().await;
    let mut peer = Peer::resume(&second, &shown, 0).await;
    speak(&mut peer).await;
    moment().await;
    let third = start().await;
    cannot_resume(&third, bare(&shown, 0), "RESUME_WINDOW_EXPIRED").await;
    cannot_resume(&third, bare(&lost.token, 0), "RESUME_WINDOW_EXPIRED").await;
    Peer::resume(&third, &peer.token, 0).await;
}

/// [ARCP 6.3-1, 6.3-8] of several that show one token at the same moment the last one has the session, and the others hear
/// that they were superseded.
#[tokio::test(start_paused = true)]
async fn one_session_has_one_connection() {
    let runtime = valved(&Valve::new()).await;
    for attached in [false, true] {
        let first = Peer::alice(&runtime).await;
        let token = first.token.clone();
        let kept = if attached {
            Some(first)
        } else {
            drop(first);
            None
        };
        moment().await;
        let mut tries = Vec::new();
        for _ in 0..4 {
            tries.push(Peer::asks_to_resume(&runtime, &token, 0).await);
        }
        let (mut won, mut lost) = (Vec::new(), 0);
        for mut peer in tries {
            assert_eq!(peer.next().await["type"], "session.welcome");
            match tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
                Err(_) => won.push(peer),
                Ok(closed) => lost += u32::from(closed["payload"]["reason"] == "superseded"),
            }
        }
        assert_eq!((won.len(), lost), (1, 3));
        moment().await;
        assert_eq!(runtime.attached_sessions(), 1);
        drop((kept, won));
        moment().await;
        assert_eq!(runtime.attached_sessions(), 0, "nobody was counted twice");
    }
}

/// [ARCP 6.3-7] tokens are not kept, only their hashes.
#[tokio::test(start_paused = true)]
async fn tokens_are_kept_hashed() {
    let runtime = valved(&Valve::new()).await;
    let alice = Peer::alice(&runtime).await;
    let recovered = runtime.store().recover().await.unwrap();
    assert_ne!(recovered.sessions[0].row.token_hash, [0; 32]);
    assert!(!format!("{recovered:?}").contains(&alice.token[3..]));
}
