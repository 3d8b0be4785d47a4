//! What a principal may spend on a day (§20), and administrators (§14).

use std::sync::Arc;

use serde_json::{Value, json};
use towline_runtime::{
    AgentOptions, Runtime,
    auth::{Replaceable, StaticTokens},
    roles::{LiveRoles, Role, Roles},
};
use towline_store::MemoryStore;

use crate::{
    agents::{echo, patient},
    delegation::{delegates, may_delegate, spend},
    peer::{ALICE, BOB, NOON, Peer, QUIET, pass, runtime},
    resume::{bare, cannot_resume},
};

/// Alice may spend ten dollars a day, Bob what he likes.
fn ten_a_day() -> Roles {
    let dev = Role::named("dev").budget_per_day(&["USD:10.00".to_owned()]);
    Roles::new(Role::of_nobody())
        .role(dev.unwrap())
        .assign("alice", "dev")
        .unwrap()
}

async fn limited(disk: &Arc<MemoryStore>, clock: Arc<towline_env::TokioClock>) -> Runtime {
    runtime()
        .clock(clock)
        .shared_store(disk.clone())
        .roles(ten_a_day())
        .agent("spend", spend)
        .agent("patient", patient())
        .agent("echo", echo())
        .build()
        .await
        .unwrap()
}

fn asks(agent: &str, input: Value, budget: &[&str]) -> Value {
    json!({"agent": agent, "input": input, "lease_request": {"cost.budget": budget}})
}

/// Asks, and passes over what jobs say meanwhile.
async fn reply(peer: &mut Peer, kind: &str, payload: Value) -> Value {
    let id = peer.send(kind, payload).await;
    loop {
        let frame = peer.next().await;
        if frame["payload"]["request_id"] == id {
            return frame;
        }
    }
}

/// Asks for what has to be refused; gives the message.
async fn refused(peer: &mut Peer, kind: &str, payload: Value, code: &str) -> String {
    let answer = reply(peer, kind, payload).await;
    assert_eq!(answer["payload"]["code"], code, "{answer}");
    answer["payload"]["message"].as_str().unwrap().to_owned()
}

/// The budget that a job is accepted with.
async fn granted(peer: &mut Peer, submit: Value) -> (String, Value) {
    let accepted = reply(peer, "job.submit", submit).await;
    assert_eq!(accepted["type"], "job.accepted", "{accepted}");
    let payload = &accepted["payload"];
    let job = payload["job_id"].as_str().unwrap().to_owned();
    (job, payload["lease"]["cost.budget"].clone())
}

/// [ARCP 9.6-1, 20-1] A job whose submit says nothing of money gets what its agent has by default, and no more than the role of
/// whoever submits lets one job spend; what the submit says counts, also where it is nothing.
#[tokio::test(start_paused = true)]
async fn an_agent_has_a_budget_by_default() {
    let thrifty = AgentOptions::default()
        .budget_default("USD", "2.50".parse().unwrap())
        .budget_default("EUR", "1".parse().unwrap());
    let role = Role::named("dev").budget_per_job(&["USD:2.00".to_owned()]);
    let roles = Roles::new(Role::of_nobody())
        .role(role.unwrap())
        .assign("bob", "dev");
    let runtime = runtime()
        .roles(roles.unwrap())
        .agent_with("thrifty", echo(), thrifty)
        .build()
        .await
        .unwrap();
    let plain = json!({"agent": "thrifty"});
    for (who, submit, budget) in [
        (ALICE, plain.clone(), json!(["USD:2.50", "EUR:1"])),
        (BOB, plain, json!(["USD:2.00", "EUR:1"])),
        (
            ALICE,
            asks("thrifty", json!(1), &["USD:9"]),
            json!(["USD:9"]),
        ),
        (ALICE, asks("thrifty", json!(1), &[]), json!([])),
    ] {
        let mut peer = Peer::open(&runtime, who, QUIET).await;
        let (_, given) = granted(&mut peer, submit.clone()).await;
        assert_eq!(given, budget, "{submit}");
    }
}

/// [ARCP 20-1] What is over the rest of the day is cut to it, a job without a budget gets the rest, at nothing there is
/// BUDGET_EXHAUSTED, what was set aside and not spent comes back, a restart forgets nothing, and midnight (UTC) begins anew.
#[tokio::test(start_paused = true)]
async fn a_day_has_one_budget_for_all_jobs() {
    let disk = Arc::new(MemoryStore::new());
    let clock = Arc::new(towline_env::TokioClock::starting_at(NOON.parse().unwrap()));
    let first = limited(&disk, clock.clone()).await;
    let mut alice = Peer::alice(&first).await;
    let (job, budget) = granted(&mut alice, asks("spend", json!(4), &["USD:6"])).await;
    assert_eq!(budget, json!(["USD:6"]));
    alice.until_end(&job).await;
    let (waits, budget) = granted(&mut alice, asks("patient", json!(null), &["USD:50"])).await;
    assert_eq!(budget, json!(["USD:6.00"]), "two of six came back");
    let submit = || json!({"agent": "echo"});
    let message = refused(&mut alice, "job.submit", submit(), "BUDGET_EXHAUSTED").await;
    for part in ["USD:10.00", "role `dev`", "midnight UTC"] {
        assert!(message.contains(part), "{message}");
    }
    let mut bob = Peer::bob(&first).await;
    let (_, budget) = granted(&mut bob, json!({"agent": "echo"})).await;
    assert_eq!(budget, json!(null), "his own budget is nobody's");

    reply(&mut alice, "job.cancel", json!({"job_id": waits})).await;
    alice.until_end(&waits).await;
    let (job, budget) = granted(&mut alice, json!({"agent": "spend", "input": 2.5})).await;
    assert_eq!(
        budget,
        json!(["USD:6.00"]),
        "a job without a budget gets the rest"
    );
    alice.until_end(&job).await;

    let second = limited(&disk, clock.clone()).await;
    let mut alice = Peer::alice(&second).await;
    let (job, budget) = granted(&mut alice, asks("spend", json!(7), &["USD:9"])).await;
    assert_eq!(
        budget,
        json!(["USD:3.50"]),
        "4 and 2.5 were spent before the restart"
    );
    alice.until_end(&job).await;
    refused(&mut alice, "job.submit", submit(), "BUDGET_EXHAUSTED").await;
    pass(12.0 * 3600.0).await;
    let mut alice = Peer::alice(&second).await;
    let (_, budget) = granted(&mut alice, submit()).await;
    assert_eq!(budget, json!(["USD:10.00"]), "a new day");
}

/// [ARCP 20-1] A refused submit gives back what was set aside for it, and one in the queue keeps it.
#[tokio::test(start_paused = true)]
async fn what_never_ran_costs_nothing() {
    let disk = Arc::new(MemoryStore::new());
    let clock = Arc::new(towline_env::TokioClock::starting_at(NOON.parse().unwrap()));
    let runtime = limited(&disk, clock).await;
    let mut alice = Peer::alice(&runtime).await;
    let wrong = json!({"agent": "echo", "lease_request": {"cost.budget": ["much"]}});
    refused(&mut alice, "job.submit", wrong, "INVALID_REQUEST").await;
    let unknown = json!({"agent": "nobody"});
    refused(&mut alice, "job.submit", unknown, "AGENT_NOT_AVAILABLE").await;
    let both = [
        asks("patient", json!(null), &["USD:4"]),
        asks("patient", json!(null), &["USD:4"]),
    ];
    for submit in both {
        granted(&mut alice, submit).await;
    }
    let (_, budget) = granted(&mut alice, asks("patient", json!(null), &["USD:4"])).await;
    assert_eq!(budget, json!(["USD:2.00"]));
}

/// [ARCP 20-1] Children spend of their parent's share.
#[tokio::test(start_paused = true)]
async fn children_spend_of_their_parents_share() {
    let runtime = runtime()
        .roles(ten_a_day())
        .agent("delegates", delegates)
        .agent("spend", spend)
        .agent("patient", patient())
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let parent = json!({
        "agent": "delegates",
        "input": {"agent": "spend", "input": 3, "lease": {"cost.budget": ["USD:4"]}},
        "lease_request": may_delegate(json!({"cost.budget": ["USD:8"]})),
    });
    let (job, _) = granted(&mut alice, parent).await;
    alice.until_end(&job).await;
    let (_, budget) = granted(&mut alice, json!({"agent": "patient"})).await;
    assert_eq!(budget, json!(["USD:7.00"]));
}

/// [ARCP 14-7, 20-1] An administrator ends the sessions of a principal: they lose their connection and are not resumed, after
/// a restart neither. Nobody else may.
#[tokio::test(start_paused = true)]
async fn an_administrator_ends_sessions() {
    let disk = Arc::new(MemoryStore::new());
    let open = async || {
        let roles = Roles::new(Role::of_nobody())
            .role(Role::named("ops").admin(true))
            .assign("alice", "ops")
            .unwrap();
        let built = runtime().shared_store(disk.clone()).roles(roles);
        built.build().await.unwrap()
    };
    let runtime = open().await;
    let mut alice = Peer::alice(&runtime).await;
    let mut bob = Peer::bob(&runtime).await;
    let left = Peer::bob(&runtime).await.lost().await;
    let revoke = "x-vendor.towline.sessions.revoke";
    let whose = json!({"principal": "alice"});
    let message = refused(&mut bob, revoke, whose, "PERMISSION_DENIED").await;
    assert!(message.contains("admin"), "{message}");
    refused(&mut alice, revoke, json!({}), "INVALID_REQUEST").await;
    let answer = alice.ask(revoke, json!({"principal": "bob"})).await;
    assert_eq!(answer["type"], "x-vendor.towline.sessions.revoked");
    assert_eq!(answer["payload"]["sessions"], 2);
    bob.expect_error("UNAUTHENTICATED").await;
    assert_eq!(bob.expect_close().await, 1008);
    cannot_resume(&runtime, bare(&left, 0), "UNAUTHENTICATED").await;
    let mut says = bare(&left, 0);
    says["auth"] = json!({"scheme": "bearer", "token": BOB});
    cannot_resume(&runtime, says, "UNAUTHENTICATED").await;
    let again = open().await;
    cannot_resume(&again, bare(&bob.token, 0), "UNAUTHENTICATED").await;
    Peer::bob(&again).await;
}

/// [ARCP 14-7] When tokens are replaced, whose is gone ends at once; the others, and their roles, live on.
#[tokio::test(start_paused = true)]
async fn tokens_and_roles_are_replaced_under_live_sessions() {
    let tokens = |all: &[(&str, &str)]| Arc::new(StaticTokens::new(all.iter().copied()).unwrap());
    let current = Replaceable::new(tokens(&[("alice", ALICE), ("bob", BOB)]));
    let roles = LiveRoles::new(Roles::new(Role::of_nobody()));
    let runtime = runtime()
        .authenticator(roles.authenticator(current.clone()))
        .access_policy(roles.clone())
        .observe_policy(roles.clone())
        .agent("echo", echo())
        .build()
        .await
        .unwrap();
    let mut alice = Peer::open(&runtime, ALICE, QUIET).await;
    let mut bob = Peer::open(&runtime, BOB, QUIET).await;
    current.replace(tokens(&[("alice", ALICE)]));
    roles.replace(ten_a_day());
    runtime.recheck_sessions();
    bob.expect_error("UNAUTHENTICATED").await;
    assert_eq!(bob.expect_close().await, 1008);
    cannot_resume(&runtime, bare(&bob.token, 0), "UNAUTHENTICATED").await;
    let (_, budget) = granted(&mut alice, json!({"agent": "echo"})).await;
    assert_eq!(
        budget,
        json!(["USD:10.00"]),
        "the new role holds for the old session"
    );
}
