//! Webhooks (16-6): what is told, when, in which order, and to whom.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use towline_runtime::{
    AgentOptions, Allowed, CallTrace, Caller, Runtime, RuntimeBuilder, RuntimeOptions,
    WebhookFailure, WebhookMessage, WebhookSender,
    roles::{Role, Roles},
};
use towline_store::{DeliveryQuery, EventStore as _, Principal};
use towline_wire::{ErrorCode, JobId, Secret};

use crate::{
    agents::{echo, patient},
    credentials::upstream::Durable,
    peer::{ALICE, BOB, Peer, QUIET, pass, runtime},
    questions::asks,
};

const URL: &str = "https://hooks.example/in";

/// A receiver that does what it is told, and everything when it is told nothing.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Every try: where to, its name, and what.
    tries: Vec<(String, String, Value)>,
    /// What comes next, by URL.
    next: HashMap<String, VecDeque<Answer>>,
    /// What came through.
    taken: Vec<(String, Value)>,
}

#[derive(Clone)]
enum Answer {
    Fails(&'static str),
    Hangs,
    /// It takes it after so many seconds.
    Takes(u64),
    /// It takes it, and the answer is lost.
    TakesAndHangs,
}

impl Receiver {
    fn will(&self, url: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut inner = self.0.lock().unwrap();
        inner
            .next
            .insert(url.to_owned(), answers.into_iter().collect());
    }

    fn tries(&self) -> usize {
        self.0.lock().unwrap().tries.len()
    }

    /// The names and kinds of what came through, in order.
    fn taken(&self) -> Vec<(String, String)> {
        let inner = self.0.lock().unwrap();
        let of =
            |(id, body): &(String, Value)| (id.clone(), body["type"].as_str().unwrap().to_owned());
        inner.taken.iter().map(of).collect()
    }

    fn kinds(&self) -> Vec<String> {
        self.taken().into_iter().map(|(_, kind)| kind).collect()
    }

    fn bodies(&self) -> Vec<Value> {
        let inner = self.0.lock().unwrap();
        inner.taken.iter().map(|(_, body)| body.clone()).collect()
    }
}

impl WebhookSender for Receiver {
    fn send<'a>(
        &'a self,
        message: &'a WebhookMessage,
    ) -> BoxFuture<'a, Result<(), WebhookFailure>> {
        Box::pin(async move {
            let url = message.receiver.url.to_string();
            let body: Value = message.body.read().unwrap();
            let answer = {
                let mut inner = self.0.lock().unwrap();
                inner
                    .tries
                    .push((url.clone(), message.id.clone(), body.clone()));
                inner.next.get_mut(&url).and_then(VecDeque::pop_front)
            };
            if matches!(answer, None | Some(Answer::TakesAndHangs)) {
                let mut inner = self.0.lock().unwrap();
                inner.taken.push((message.id.clone(), body.clone()));
            }
            match answer {
                None => Ok(()),
                Some(Answer::Takes(seconds)) => {
                    tokio::time::sleep(Duration::from_secs(seconds)).await;
                    self.0
                        .lock()
                        .unwrap()
                        .taken
                        .push((message.id.clone(), body));
                    Ok(())
                }
                Some(Answer::Fails(reason)) => Err(WebhookFailure::new(reason)),
                Some(Answer::Hangs | Answer::TakesAndHangs) => std::future::pending().await,
            }
        })
    }
}

fn telling(receiver: &Receiver) -> RuntimeBuilder {
    let allowed = Allowed::new(["https://hooks.example/**", "https://slow.example/**"]).unwrap();
    asks(runtime())
        .agent("echo", echo())
        .agent("patient", patient())
        .webhooks(allowed, receiver.clone())
}

fn told(events: &[&str]) -> Value {
    json!({"url": URL, "events": events})
}

/// Somebody who asks without a connection, and so sees no events.
async fn caller(runtime: &Runtime, token: &str) -> Caller {
    let proven = runtime.prove(None, Some(Secret::from(token)), None).await;
    runtime.caller(proven.unwrap(), true)
}

async fn submit(caller: &Caller, submit: Value) -> JobId {
    let document = caller.submit(submit.into(), CallTrace::default()).await;
    document.unwrap().job_id
}

async fn refused(caller: &Caller, submit: Value, code: &ErrorCode) {
    let refusal = caller.submit(submit.into(), CallTrace::default()).await;
    assert_eq!(refusal.unwrap_err().code, *code);
}

async fn listed(caller: &Caller) -> Vec<Value> {
    let listed = caller.webhooks(None).await.unwrap();
    listed.iter().map(|message| json!(message)).collect()
}

/// What a session is shown.
async fn listed_by(peer: &mut Peer) -> Vec<Value> {
    let answer = peer
        .ask("x-vendor.towline.webhook", json!({"action": "list"}))
        .await;
    answer["payload"]["webhooks"].as_array().unwrap().clone()
}

/// [ARCP 16-6] the start, each question and the end of a job are told once each, in order, as the job was then.
#[tokio::test(start_paused = true)]
async fn what_happens_is_told_once_and_in_order() {
    let receiver = Receiver::default();
    let runtime = telling(&receiver).build().await.unwrap();
    let alice = caller(&runtime, ALICE).await;
    let all = told(&["started", "input_request", "ended"]);
    let job = submit(
        &alice,
        json!({"agent": "asks", "input": {"title": "May I?", "seconds": 60}, "notify": all}),
    )
    .await;
    pass(120.0).await;
    assert_eq!(
        receiver.kinds(),
        ["job.started", "job.input_request", "job.ended"]
    );
    let bodies = receiver.bodies();
    assert!(
        bodies
            .iter()
            .all(|body| body["data"]["job_id"] == job.as_str())
    );
    assert!(
        bodies
            .iter()
            .all(|body| body["data"]["input"]["title"] == "May I?")
    );
    assert_eq!(bodies[0]["data"]["status"], "running");
    assert_eq!(bodies[0]["timestamp"], bodies[0]["data"]["started_at"]);
    assert_eq!(bodies[1]["data"]["questions"][0]["title"], "May I?");
    assert_eq!(bodies[2]["data"]["status"], "success");
    assert_eq!(bodies[2]["data"]["result"]["outcome"], "expired");
    assert_eq!(bodies[2]["timestamp"], bodies[2]["data"]["completed_at"]);
    let messages = listed(&alice).await;
    let is_done = |message: &Value| message["status"] == "delivered" && message["tries"] == 1;
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(is_done), "{messages:?}");
}

/// [ARCP 16-6] a submit that says no more is told the end, also that of a job which never ran; and a job without `notify`
/// leaves nothing.
#[tokio::test(start_paused = true)]
async fn the_end_is_told_when_nothing_else_is_said() {
    let receiver = Receiver::default();
    let runtime = telling(&receiver).build().await.unwrap();
    let alice = caller(&runtime, ALICE).await;
    submit(&alice, json!({"agent": "echo", "input": 1})).await;
    submit(
        &alice,
        json!({"agent": "echo", "input": 2, "notify": {"url": URL}}),
    )
    .await;
    let later =
        json!({"agent": "echo", "notify": {"url": URL}, "not_before": "2026-03-02T00:00:00Z"});
    let waiting = submit(&alice, later).await;
    pass(1.0).await;
    alice.cancel(&waiting, None).await.unwrap();
    pass(1.0).await;
    let bodies = receiver.bodies();
    let ends: Vec<_> = bodies.iter().map(|body| &body["data"]["status"]).collect();
    assert_eq!(ends, ["success", "cancelled"]);
    assert_eq!(bodies[0]["data"]["result"], 2);
    assert_eq!(bodies[1]["data"]["error"]["code"], "CANCELLED");
}

/// [ARCP 16-6] a receiver that fails and hangs is told all the same, each message under one name and in order; other
/// receivers do not wait for it.
#[tokio::test(start_paused = true)]
async fn one_that_fails_is_told_later() {
    let receiver = Receiver::default();
    let fails = [
        Answer::Fails("the receiver answered 500"),
        Answer::Hangs,
        Answer::Fails("the receiver answered 302; redirects are not followed"),
    ];
    receiver.will("https://slow.example/in", fails);
    let runtime = telling(&receiver).build().await.unwrap();
    let alice = caller(&runtime, ALICE).await;
    let slow = json!({"url": "https://slow.example/in", "events": ["started", "ended"]});
    submit(&alice, json!({"agent": "echo", "notify": slow})).await;
    pass(0.5).await;
    submit(&alice, json!({"agent": "echo", "notify": told(&["ended"])})).await;
    pass(1.0).await;
    assert_eq!(receiver.kinds(), ["job.ended"]);
    // 0 s, 1 s and ten of hanging, 2 s, 4 s.
    pass(20.0).await;
    assert_eq!(receiver.kinds(), ["job.ended", "job.started", "job.ended"]);
    assert_eq!(receiver.tries(), 6);
    let first = {
        let inner = receiver.0.lock().unwrap();
        let slow = inner.tries.iter().filter(|(url, ..)| url.contains("slow"));
        slow.map(|(_, id, _)| id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(first[0], first[3]);
    let messages = listed(&alice).await;
    let started = messages
        .iter()
        .find(|message| message["type"] == "job.started")
        .unwrap();
    assert_eq!(
        (&started["tries"], &started["status"]),
        (&json!(4), &json!("delivered"))
    );
    assert!(started["last_error"].as_str().unwrap().contains("302"));
}

/// [ARCP 16-6] what is not delivered when the runtime dies is delivered by the next one, in order; what was delivered and not
/// noted down comes once more under the same name. The messages are durable with the events that they tell of.
#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing() {
    let (store, receiver) = (Durable::new(), Receiver::default());
    receiver.will(URL, [Answer::TakesAndHangs]);
    let runtime_of = || telling(&receiver).store(store.clone());
    let first = runtime_of().build().await.unwrap();
    let alice = caller(&first, ALICE).await;
    submit(
        &alice,
        json!({"agent": "echo", "notify": told(&["started", "ended"])}),
    )
    .await;
    pass(2.0).await;
    assert_eq!(receiver.kinds(), ["job.started"]);
    let pending = store.recover().await.unwrap().deliveries;
    assert_eq!(pending.len(), 2);
    // It dies: nothing of it is heard any more.
    drop((alice, first));
    receiver.will(URL, [Answer::Fails("the receiver answered 503")]);
    let second = runtime_of().build().await.unwrap();
    pass(5.0).await;
    let taken = receiver.taken();
    let kinds: Vec<_> = taken.iter().map(|(_, kind)| kind.as_str()).collect();
    assert_eq!(kinds, ["job.started", "job.started", "job.ended"]);
    assert_eq!(taken[0].0, taken[1].0);
    assert!(store.recover().await.unwrap().deliveries.is_empty());
    drop(second);
}

/// [ARCP 16-6] after a day a message is given up and the next one has its turn; it is delivered once more when somebody says so.
#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_delivered_once_more() {
    let receiver = Receiver::default();
    receiver.will(URL, vec![Answer::Fails("the receiver answered 500"); 36]);
    let runtime = telling(&receiver).build().await.unwrap();
    let alice = caller(&runtime, ALICE).await;
    submit(
        &alice,
        json!({"agent": "echo", "notify": told(&["started", "ended"])}),
    )
    .await;
    pass(25.0 * 3600.0).await;
    assert_eq!(receiver.kinds(), ["job.ended"]);
    let alice = caller(&runtime, ALICE).await;
    let messages = listed(&alice).await;
    let failed = messages
        .iter()
        .find(|message| message["status"] == "failed")
        .unwrap();
    assert_eq!(failed["type"], "job.started");
    assert_eq!(failed["last_error"], "the receiver answered 500");
    let id = failed["id"].as_str().unwrap();
    let again = alice.redeliver(id).await.unwrap();
    assert_eq!(again.status, "pending");
    pass(1.0).await;
    assert_eq!(receiver.kinds(), ["job.ended", "job.started"]);
    // Also what came through may be delivered once more, under the name it has.
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let asked = json!({"action": "redeliver", "id": id});
    let again = peer.ask("x-vendor.towline.webhook", asked).await;
    assert_eq!(again["payload"]["webhook"]["id"], id);
    assert_eq!(listed_by(&mut peer).await.len(), 2);
    pass(1.0).await;
    let taken = receiver.taken();
    assert_eq!(taken[1], taken[2]);
}

/// [ARCP 16-6] what is wanted once more while it is being tried is tried once more after that.
#[tokio::test(start_paused = true)]
async fn one_that_is_being_tried_is_delivered_once_more() {
    let receiver = Receiver::default();
    receiver.will(URL, [Answer::Hangs]);
    let runtime = telling(&receiver).build().await.unwrap();
    let alice = caller(&runtime, ALICE).await;
    submit(&alice, json!({"agent": "echo", "notify": {"url": URL}})).await;
    pass(1.0).await;
    assert_eq!((receiver.tries(), receiver.taken().len()), (1, 0));
    let id = listed(&alice).await[0]["id"].as_str().unwrap().to_owned();
    alice.redeliver(&id).await.unwrap();
    // The try fails after ten seconds; the next one would be a second later, and is made at once.
    pass(9.5).await;
    assert_eq!((receiver.tries(), receiver.taken().len()), (2, 1));
    assert_eq!(listed(&alice).await[0]["tries"], 2);
    // Once more, while a try that comes through is being made.
    let before = receiver.taken().len();
    receiver.will(URL, [Answer::Takes(5)]);
    alice.redeliver(&id).await.unwrap();
    pass(1.0).await;
    alice.redeliver(&id).await.unwrap();
    pass(6.0).await;
    assert_eq!(receiver.taken().len(), before + 2);
    assert_eq!(listed(&alice).await[0]["status"], "delivered");
}

/// [ARCP 16-6] a URL that is not covered is refused at the submit, and where the allow-list has changed nothing is posted.
#[tokio::test(start_paused = true)]
async fn only_what_is_allowed_is_posted_to() {
    let (store, receiver) = (Durable::new(), Receiver::default());
    receiver.will(URL, [Answer::Fails("the receiver answered 500")]);
    let first = telling(&receiver)
        .store(store.clone())
        .build()
        .await
        .unwrap();
    let alice = caller(&first, ALICE).await;
    for url in [
        "https://elsewhere.example/in",
        "https://user@hooks.example/in",
        "http://127.0.0.1/in",
    ] {
        let submit = json!({"agent": "echo", "notify": {"url": url}});
        refused(&alice, submit, &ErrorCode::PERMISSION_DENIED).await;
    }
    let unknown = json!({"agent": "echo", "notify": told(&["finished"])});
    refused(&alice, unknown, &ErrorCode::INVALID_REQUEST).await;
    submit(&alice, json!({"agent": "echo", "notify": told(&[])})).await;
    pass(0.5).await;
    assert_eq!(receiver.tries(), 1);
    first.shutdown().await;
    let nowhere = runtime()
        .store(store.clone())
        .webhooks(Allowed::default(), receiver.clone());
    let second = nowhere.build().await.unwrap();
    pass(5.0).await;
    assert_eq!(receiver.tries(), 1);
    let alice = caller(&second, ALICE).await;
    let messages = listed(&alice).await;
    assert!(
        messages[0]["last_error"]
            .as_str()
            .unwrap()
            .contains("not covered")
    );
}

/// [ARCP 16-6] a message is shown to whose job it is of, and to an administrator; nobody else has it delivered.
#[tokio::test(start_paused = true)]
async fn others_are_not_shown_them() {
    let receiver = Receiver::default();
    let roles = |alice: Role| Roles::new(Role::named("anyone")).give("alice", alice);
    for (is_admin, count) in [(false, 0), (true, 1)] {
        let alice = Role::named("ops").admin(is_admin);
        let runtime = telling(&receiver)
            .roles(roles(alice))
            .build()
            .await
            .unwrap();
        let bob = caller(&runtime, BOB).await;
        submit(&bob, json!({"agent": "echo", "notify": told(&[])})).await;
        pass(1.0).await;
        let own = listed(&bob).await;
        assert_eq!(own.len(), 1);
        let alice = caller(&runtime, ALICE).await;
        assert_eq!(listed(&alice).await.len(), count);
        let again = alice.redeliver(own[0]["id"].as_str().unwrap()).await;
        assert_eq!(again.is_ok(), is_admin);
    }
}

/// [ARCP 16-6] `[agents.NAME] notify`: jobs of an agent are told to whom the deployment says, unless their submit says another.
#[tokio::test(start_paused = true)]
async fn an_agent_has_a_receiver_of_its_own() {
    let receiver = Receiver::default();
    let ops = "https://hooks.example/ops?token=secret";
    let options = AgentOptions::default().notify(ops, ["started", "ended"]);
    let runtime = telling(&receiver)
        .roles(Roles::new(Role::named("anyone")).give("bob", Role::named("ops").admin(true)))
        .agent_with("watched", echo(), options)
        .build()
        .await
        .unwrap();
    let alice = caller(&runtime, ALICE).await;
    submit(&alice, json!({"agent": "watched"})).await;
    submit(
        &alice,
        json!({"agent": "watched", "notify": told(&["ended"])}),
    )
    .await;
    pass(1.0).await;
    let mut urls: Vec<_> = listed(&alice).await;
    urls.sort_by_key(|message| message["url"].to_string());
    let urls: Vec<_> = urls
        .iter()
        .map(|message| message["url"].as_str().unwrap())
        .collect();
    assert_eq!(
        urls,
        [
            "https://hooks.example/in",
            "https://hooks.example/…",
            "https://hooks.example/…"
        ]
    );
    // Its URL may be a secret, which an administrator may know.
    let bob = caller(&runtime, BOB).await;
    let all = listed(&bob).await;
    assert!(all.iter().any(|message| message["url"] == ops), "{all:?}");
}

/// [ARCP 16-6] a shutdown leaves nothing untried, and waits no longer for a receiver that hangs.
#[tokio::test(start_paused = true)]
async fn a_shutdown_tries_what_is_due() {
    let (store, receiver) = (Durable::new(), Receiver::default());
    let options = RuntimeOptions::default().drain(Duration::from_secs(1));
    let runtime = telling(&receiver)
        .store(store.clone())
        .options(options)
        .build()
        .await
        .unwrap();
    let alice = caller(&runtime, ALICE).await;
    submit(&alice, json!({"agent": "patient", "notify": told(&[])})).await;
    runtime.shutdown().await;
    assert_eq!(receiver.kinds(), ["job.ended"]);
    let query = DeliveryQuery {
        principal: Some(Principal::new("alice")),
        limit: 10,
    };
    assert_eq!(
        store.deliveries(query).await.map(|rows| rows.len()).ok(),
        Some(1)
    );
}
