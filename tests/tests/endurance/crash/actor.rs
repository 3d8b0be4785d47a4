//! A client that submits, watches, cancels, repeats itself, loses its connection, and finds the server gone at any moment.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::watch;
use towline_tests::{
    dice::Dice,
    peer::{Came, FEATURES, Peer, hello},
    server::token_of,
    soon,
};

use super::model::Model;
use crate::work::Work;

/// Jobs that any actor may watch.
pub(super) type Known = Arc<Mutex<Vec<String>>>;

const IN_FLIGHT: usize = 8;

/// One client.
pub(super) struct Actor {
    number: usize,
    dice: Dice,
    url: watch::Receiver<String>,
    stopped: watch::Receiver<bool>,
    known: Known,
    model: Model,
    /// The last welcome's token; `None` before the first session.
    token: Option<String>,
    asked: BTreeMap<String, Ask>,
    requests: u64,
    keys: u64,
}

/// What a request was about.
enum Ask {
    Submit(String),
    Cancel(String),
    Watch,
}

/// How a conversation ended.
enum End {
    Done,
    Lost,
}

impl Actor {
    pub(super) fn new(
        number: usize,
        dice: Dice,
        url: watch::Receiver<String>,
        stopped: watch::Receiver<bool>,
        known: Known,
    ) -> Self {
        let (asked, model) = (BTreeMap::new(), Model::default());
        Self {
            number,
            dice,
            url,
            stopped,
            known,
            model,
            token: None,
            asked,
            requests: 0,
            keys: 0,
        }
    }

    /// Goes on until it was told to stop and everything it started has ended.
    pub(super) async fn run(mut self) -> Model {
        loop {
            let mut peer = Box::pin(soon("a session", self.connect())).await;
            // What has no answer is asked again; keys make that harmless.
            self.asked.clear();
            match self.converse(&mut peer).await {
                End::Done => return self.model,
                End::Lost => {}
            }
        }
    }

    async fn connect(&mut self) -> Peer {
        loop {
            let url = self.url.borrow_and_update().clone();
            if let Some(mut peer) = Peer::try_dial(&url).await {
                let first = self.first_frame();
                if peer.try_send(&first).await && self.welcomed(&mut peer).await {
                    return peer;
                }
            }
            // The next address comes soon; until then the old one may still be the one.
            let _ = tokio::time::timeout(Duration::from_millis(50), self.url.changed()).await;
        }
    }

    fn first_frame(&self) -> Value {
        let Some(token) = &self.token else {
            return hello(&token_of("alice"), &FEATURES);
        };
        let payload = json!({"resume_token": token, "last_event_seq": self.model.last});
        json!({"arcp": "1.1", "id": "resume", "type": "session.resume", "payload": payload})
    }

    async fn welcomed(&mut self, peer: &mut Peer) -> bool {
        let answer = match peer.came_untracked().await {
            Came::Envelope(answer) => answer,
            _ => return false,
        };
        // Whatever dies before it can say that it rotated the token: what was shown is still good [ARCP 6.3-1].
        assert_eq!(
            answer["type"], "session.welcome",
            "{}: {answer}",
            self.number
        );
        self.model.resumes += usize::from(self.token.is_some());
        self.token = answer["payload"]["resume_token"]
            .as_str()
            .map(str::to_owned);
        true
    }

    async fn converse(&mut self, peer: &mut Peer) -> End {
        for key in self.model.unacknowledged() {
            if !self.submit(peer, key).await {
                return End::Lost;
            }
        }
        loop {
            let stopping = *self.stopped.borrow();
            let busy = !self.asked.is_empty() || !self.model.running().is_empty();
            match (stopping, busy) {
                (true, false) => return End::Done,
                (true, true) => {}
                (false, _) => {
                    if !self.act(peer).await {
                        return End::Lost;
                    }
                }
            }
            // Reads for a moment: some of what it does waits for nothing.
            match tokio::time::timeout(Duration::from_millis(20), peer.came_untracked()).await {
                Err(_) => {}
                Ok(Came::Envelope(envelope)) => {
                    if !self.take(peer, &envelope).await {
                        return End::Lost;
                    }
                }
                Ok(Came::Pong(_)) => {}
                Ok(Came::Close(_) | Came::End) => return End::Lost,
            }
        }
    }

    /// Does something, or nothing; whether the connection is still there.
    async fn act(&mut self, peer: &mut Peer) -> bool {
        match self.dice.below(60) {
            0..=9 if self.model.running().len() + self.asked.len() < IN_FLIGHT => {
                self.keys += 1;
                let key = format!("{}-{}", self.number, self.keys);
                let work = Work::any(&mut self.dice);
                self.model.plan(key.clone(), work);
                self.submit(peer, key).await
            }
            10 => {
                // Once more, long after: the same job.
                let at = self.dice.below(1 << 20);
                let again = self.model.some_key(at).map(|(key, _)| key.to_owned());
                match again {
                    Some(key) => self.submit(peer, key).await,
                    None => true,
                }
            }
            11 => {
                let running = self.model.running();
                match running.first() {
                    Some(job) => {
                        self.ask(
                            peer,
                            "job.cancel",
                            json!({"job_id": job}),
                            Ask::Cancel(job.clone()),
                        )
                        .await
                    }
                    None => true,
                }
            }
            12 => {
                let at = usize::try_from(self.dice.below(1 << 20)).unwrap_or(0);
                let job = {
                    let known = self
                        .known
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    known.get(at % known.len().max(1)).cloned()
                };
                match job {
                    Some(job) if !self.model.keys().any(|(_, own)| own == job) => {
                        self.ask(
                            peer,
                            "job.subscribe",
                            json!({"job_id": job, "history": true}),
                            Ask::Watch,
                        )
                        .await
                    }
                    _ => true,
                }
            }
            // The connection breaks by itself now and then.
            13 => !self.dice.once_in(10),
            14 => {
                let ack = json!({"arcp": "1.1", "type": "session.ack", "payload": {"last_processed_seq": self.model.last / 2}});
                peer.try_send(&ack).await
            }
            _ => true,
        }
    }

    async fn submit(&mut self, peer: &mut Peer, key: String) -> bool {
        let payload = self.model.submit(&key);
        self.ask(peer, "job.submit", payload, Ask::Submit(key))
            .await
    }

    async fn ask(&mut self, peer: &mut Peer, kind: &str, payload: Value, about: Ask) -> bool {
        self.requests += 1;
        let id = format!("{}-{}", self.number, self.requests);
        self.asked.insert(id.clone(), about);
        peer.try_send(&json!({"arcp": "1.1", "id": id, "type": kind, "payload": payload}))
            .await
    }

    /// Takes in what came; whether the connection is still there.
    async fn take(&mut self, peer: &mut Peer, envelope: &Value) -> bool {
        match envelope["type"].as_str().unwrap_or_default() {
            "session.ping" => {
                let pong = json!({"arcp": "1.1", "type": "session.pong", "payload": {"ping_nonce": envelope["payload"]["nonce"]}});
                return peer.try_send(&pong).await;
            }
            "job.event" | "job.result" | "job.error" => self.model.hear(envelope),
            "session.closed" => return false,
            _ => self.answered(envelope),
        }
        true
    }

    fn answered(&mut self, envelope: &Value) {
        let Some(ask) = envelope["payload"]["request_id"]
            .as_str()
            .and_then(|id| self.asked.remove(id))
        else {
            return;
        };
        match (ask, envelope["type"].as_str().unwrap_or_default()) {
            (Ask::Submit(key), "job.accepted") => {
                let job = envelope["job_id"].as_str().unwrap_or_default();
                self.model.accept(&key, job);
                self.known
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .push(job.to_owned());
            }
            (Ask::Cancel(job), "job.cancelled") => self.model.cancel(&job),
            // It had ended, or belongs to a session that is gone.
            (Ask::Cancel(_), "session.error") => {
                let code = &envelope["payload"]["code"];
                assert!(
                    code == "INVALID_REQUEST" || code == "PERMISSION_DENIED",
                    "{envelope}"
                );
            }
            (Ask::Watch, "job.subscribed") => {}
            (_, _) => panic!("{}: {envelope}", self.number),
        }
    }
}
