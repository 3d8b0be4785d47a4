use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::{
    super::samples::{Issuer, claims, key_set},
    *,
};

/// An issuer's web server: what it answers, how long that takes, how often it was asked.
struct Server {
    answer: Mutex<Result<String, String>>,
    takes: Mutex<Duration>,
    asked: AtomicUsize,
}

impl Server {
    fn with(keys: &[Value]) -> Arc<Self> {
        let answer = Mutex::new(Ok(key_set(keys)));
        Arc::new(Self {
            answer,
            takes: Mutex::default(),
            asked: AtomicUsize::new(0),
        })
    }

    fn answers(&self, answer: Result<String, &str>) {
        *self.answer.lock() = answer.map_err(str::to_owned);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn keys(self: &Arc<Self>) -> Arc<RemoteKeys> {
        let server = Arc::clone(self);
        let fetch: Fetch = Box::new(move || {
            let server = Arc::clone(&server);
            Box::pin(async move {
                server.asked.fetch_add(1, Ordering::Relaxed);
                let takes = *server.takes.lock();
                tokio::time::sleep(takes).await;
                server.answer.lock().clone().map(String::into_bytes)
            })
        });
        Arc::new(RemoteKeys::new(fetch, &JwksOptions::default()))
    }
}

/// Whether a token signed by `issuer` under `id` verifies.
async fn verifies(keys: &Arc<RemoteKeys>, issuer: &Issuer, id: &str) -> bool {
    let text = issuer.token(Some(id), &claims("alice"));
    let token = Token::parse(&text).unwrap();
    match keys.keys_for(&token).await {
        Ok(keys) => keys.verify(&token).is_ok(),
        Err(_) => false,
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// [ARCP 6.1-4] A fetched key set is kept: many tokens, one fetch.
#[tokio::test(start_paused = true)]
async fn a_fetched_set_is_kept() {
    let issuer = Issuer::ed25519();
    let server = Server::with(&[issuer.jwk("one")]);
    let keys = server.keys();
    assert_eq!(server.asked(), 0);
    for _ in 0..5 {
        assert!(verifies(&keys, &issuer, "one").await);
    }
    assert_eq!(server.asked(), 1);
}

/// [ARCP 6.1-4] An unknown `kid` has the set fetched again, so a new key works at once, but not more often than every
/// 30 seconds, whatever peers send.
#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_looked_up_with_a_limit() {
    let (old, new) = (Issuer::ed25519(), Issuer::p256());
    let server = Server::with(&[old.jwk("old")]);
    let keys = server.keys();
    assert!(verifies(&keys, &old, "old").await);
    pass(30).await;
    server.answers(Ok(key_set(&[old.jwk("old"), new.jwk("new")])));
    assert!(verifies(&keys, &new, "new").await);
    assert_eq!(server.asked(), 2);
    for _ in 0..100 {
        assert!(!verifies(&keys, &new, "made up").await);
    }
    assert_eq!(server.asked(), 2);
    assert!(verifies(&keys, &old, "old").await);
    pass(30).await;
    assert!(!verifies(&keys, &new, "made up").await);
    assert_eq!(server.asked(), 3);
}

/// [ARCP 6.1-4] An old set is renewed without anybody waiting, and a withdrawn key stops working then.
#[tokio::test(start_paused = true)]
async fn an_old_set_is_renewed() {
    let (kept, withdrawn) = (Issuer::ed25519(), Issuer::p256());
    let server = Server::with(&[kept.jwk("kept"), withdrawn.jwk("withdrawn")]);
    let keys = server.keys();
    assert!(verifies(&keys, &withdrawn, "withdrawn").await);
    server.answers(Ok(key_set(&[kept.jwk("kept")])));
    *server.takes.lock() = Duration::from_secs(3);
    pass(600).await;
    let before = Instant::now();
    assert!(verifies(&keys, &kept, "kept").await);
    assert_eq!(Instant::now(), before);
    pass(4).await;
    assert_eq!(server.asked(), 2);
    assert!(!verifies(&keys, &withdrawn, "withdrawn").await);
    assert!(verifies(&keys, &kept, "kept").await);
}

/// [ARCP 6.1-4] While the issuer is down, or answers nonsense, known keys go on working.
#[tokio::test(start_paused = true)]
async fn stale_keys_are_kept_when_the_fetch_fails() {
    let issuer = Issuer::ed25519();
    let server = Server::with(&[issuer.jwk("one")]);
    let keys = server.keys();
    assert!(verifies(&keys, &issuer, "one").await);
    for answer in [
        Err("connection refused"),
        Ok("<html>".to_owned()),
        Ok(key_set(&[])),
    ] {
        server.answers(answer);
        pass(600).await;
        assert!(verifies(&keys, &issuer, "one").await);
        pass(1).await;
        assert!(verifies(&keys, &issuer, "one").await);
    }
    assert_eq!(server.asked(), 4);
}

/// [ARCP 6.1-1] Without any keys every token is refused, and the peer is told to try again, not where the keys are.
#[tokio::test(start_paused = true)]
async fn without_keys_nobody_gets_in() {
    let issuer = Issuer::ed25519();
    let server = Server::with(&[]);
    server.answers(Err("cannot resolve id.internal"));
    let keys = server.keys();
    let text = issuer.token(Some("one"), &claims("alice"));
    let refusal = keys
        .keys_for(&Token::parse(&text).unwrap())
        .await
        .err()
        .unwrap();
    assert!(
        refusal.message().contains("try again later") && !refusal.message().contains("internal")
    );
    server.answers(Ok(key_set(&[issuer.jwk("one")])));
    assert!(!verifies(&keys, &issuer, "one").await);
    pass(30).await;
    assert!(verifies(&keys, &issuer, "one").await);
}

/// [ARCP 6.1-5] Many tokens at once wait for one fetch, and a peer that hangs up does not spoil it for the others.
#[tokio::test(start_paused = true)]
async fn one_fetch_serves_all_who_wait() {
    let issuer = Issuer::ed25519();
    let server = Server::with(&[issuer.jwk("one")]);
    *server.takes.lock() = Duration::from_secs(2);
    let keys = server.keys();
    let hangs_up = tokio::time::timeout(Duration::from_secs(1), verifies(&keys, &issuer, "one"));
    let waits = async {
        pass(1).await;
        (verifies(&keys, &issuer, "one").await, Instant::now())
    };
    let start = Instant::now();
    let (left, (stayed, at)) = tokio::join!(hangs_up, waits);
    assert!(left.is_err() && stayed);
    assert_eq!(at - start, Duration::from_secs(2));
    assert_eq!(server.asked(), 1);
}

/// [ARCP 6.1-4] A shared secret that was published is none.
#[tokio::test(start_paused = true)]
async fn symmetric_keys_are_not_taken_from_the_network() {
    let (issuer, published) = (
        Issuer::ed25519(),
        Issuer::hmac(super::super::samples::SECRET),
    );
    let server = Server::with(&[issuer.jwk("one"), published.jwk("two")]);
    let keys = server.keys();
    assert!(verifies(&keys, &issuer, "one").await);
    assert!(!verifies(&keys, &published, "two").await);
}
