//! A client that submits, watches and cancels as its dice fall.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::sleep;
use towline::client::ClientError;
use towline_tests::dice::Dice;
use towline_wire::{ErrorCode, JobId, JobSeq};

use crate::{
    person::{From, Person},
    world::{Fate, World},
};

/// The jobs anybody knows of.
pub(crate) type Board = Arc<Mutex<Vec<JobId>>>;

/// Somebody with dice.
pub(crate) struct Actor {
    person: Person,
    dice: Dice,
    board: Board,
    own: Vec<JobId>,
}

impl Actor {
    pub(crate) async fn enter(world: World, number: u64, mut dice: Dice, board: Board) -> Self {
        let fates = Mutex::new(dice.split());
        let fates = Arc::new(move |_| Fate::drawn(&mut fates.lock()));
        let seed = dice.below(u64::MAX);
        let person = Person::enter(&world, format!("client {number}"), seed, fates).await;
        Self {
            person,
            dice,
            board,
            own: Vec::new(),
        }
    }

    /// Does so many things.
    pub(crate) async fn act(mut self, things: u64) -> Person {
        for _ in 0..things {
            sleep(Duration::from_millis(self.dice.below(1500))).await;
            match self.dice.below(12) {
                0..4 => self.submit().await,
                4 | 5 => self.submit_with_key().await,
                6..9 => self.subscribe().await,
                9 | 10 => self.cancel().await,
                _ => self.look_around().await,
            }
        }
        self.person
    }

    /// Without a key a submit is made once: a second one would be another job.
    async fn submit(&mut self) {
        let (agent, input) = job(&mut self.dice, None);
        match self.person.try_submit(agent, &input).await {
            Ok(job) => self.note(job),
            Err(error) => self.person.judge("submit", &error),
        }
    }

    async fn submit_with_key(&mut self) {
        let key = self.dice.below(3);
        // The same key has to stand for the same parameters, whoever uses it.
        let (agent, input) = job(&mut Dice::new(key), Some(key));
        let job = self.person.submit(agent, &input).await;
        self.note(job);
    }

    async fn subscribe(&mut self) {
        let Some(job) = self.pick_known() else { return };
        let from = match self.dice.below(3) {
            0 => From::Start,
            1 => From::After(JobSeq::new(self.dice.below(6))),
            _ => From::Now,
        };
        if let Err(error) = self.person.try_subscribe(&job, from).await {
            self.person.judge("subscribe", &error);
        }
    }

    async fn cancel(&mut self) {
        if self.own.is_empty() {
            return;
        }
        let job = self.own[self.dice.below(self.own.len() as u64) as usize].clone();
        match self.person.client().cancel(job, "changed my mind").await {
            Ok(()) => {}
            // It was over, or another session's by its key.
            Err(ClientError::Refused(refusal))
                if [ErrorCode::INVALID_REQUEST, ErrorCode::PERMISSION_DENIED]
                    .contains(&refusal.code) => {}
            Err(error) => self.person.judge("cancel", &error),
        }
    }

    async fn look_around(&mut self) {
        let client = self.person.client();
        if let Err(error) = client.list_jobs().page().await {
            self.person.judge("list_jobs", &error);
        }
        if let Err(error) = client.ping().await {
            self.person.judge("ping", &error);
        }
    }

    fn note(&mut self, job: JobId) {
        self.own.push(job.clone());
        self.board.lock().push(job);
    }

    fn pick_known(&mut self) -> Option<JobId> {
        let board = self.board.lock();
        let at = self.dice.below(board.len().max(1) as u64) as usize;
        board.get(at).cloned()
    }
}

/// An agent and its input.
fn job(dice: &mut Dice, key: Option<u64>) -> (&'static str, Value) {
    let agent = if dice.once_in(3) { "phoenix" } else { "talk" };
    let pause = if dice.once_in(3) { 0 } else { dice.below(700) };
    let end = ["ok", "fail", "stream", "ok"][dice.below(4) as usize];
    let mut input =
        json!({ "n": dice.below(40), "pause_ms": pause, "end": end, "stubborn": dice.once_in(4) });
    if let Some(key) = key {
        input["key"] = json!(format!("key {key}"));
    }
    (agent, input)
}
