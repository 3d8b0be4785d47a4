//! Operations that a person lets through (§15.6), and money (§15.8).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use towline_runtime::{
    AgentError, AgentOptions, JobContext, OnBudgetExhausted, Operation, RuntimeBuilder,
    roles::Role, roles::Roles,
};
use towline_store::{
    MemoryStore,
    testing::{Fault, FaultStore},
};

use crate::{
    agents::echo,
    peer::{ALICE, Peer, QUIET, runtime},
    questions::answer,
};

/// Asks the lease for each operation, and says how each went.
async fn operating(ctx: JobContext, ops: Vec<(String, String)>) -> Result<Value, AgentError> {
    let mut went = Vec::new();
    for (namespace, value) in &ops {
        let allowed = ctx.authorize(Operation::of(namespace, value)).await;
        went.push(match allowed {
            Ok(permit) => json!(permit.value()),
            Err(denied) => json!({ "code": denied.code() }),
        });
    }
    Ok(json!(went))
}

/// Spends 1 USD a call until it may not.
async fn spending(ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    for calls in 0..10 {
        if let Err(denied) = ctx.authorize(Operation::ToolCall("t")).await {
            return Ok(json!({"calls": calls, "refused": denied.code(), "left": ctx.budget()}));
        }
        ctx.metric("cost.t", "1".parse::<towline_wire::Amount>()?, Some("USD"))
            .await?;
    }
    Ok(json!("rich"))
}

async fn delegating(ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    let child = ctx.delegate("echo").input("in").send().await?;
    Ok(json!(child.outcome().await.status))
}

fn agents(builder: RuntimeBuilder) -> RuntimeBuilder {
    let asks = AgentOptions::default().on_budget_exhausted(OnBudgetExhausted::Ask);
    builder
        .restartable_agent("operates", operating)
        .agent_with("spends", spending, asks)
        .agent("ends", spending)
        .agent("delegates", delegating)
        .agent("echo", echo())
}

fn submit(ops: Value, lease: Value) -> Value {
    json!({"agent": "operates", "input": ops, "lease_request": lease})
}

/// The approval that a job asks for; its body.
async fn expect_approval(peer: &mut Peer) -> Value {
    assert_eq!(peer.expect_event("status").await["phase"], "awaiting_input");
    let request = peer.expect_event("x-vendor.towline.input_request").await;
    assert_eq!(
        (&request["kind"], &request["default"]),
        (&json!("approval"), &json!(false))
    );
    assert!(request["call_id"].as_str().unwrap().starts_with("call_"));
    request
}

async fn say(peer: &mut Peer, job: &str, request: &Value, payload: Value) {
    let mut says = json!({"job_id": job, "question_id": request["question_id"]});
    let given = payload.as_object().unwrap().clone();
    says.as_object_mut().unwrap().extend(given);
    let reply = peer.ask("x-vendor.towline.answer", says).await;
    assert_eq!(reply["type"], "x-vendor.towline.answered", "{reply}");
    peer.expect_event("x-vendor.towline.input_resolved").await;
}

/// [ARCP 15-6] an operation that only an ask pattern covers is asked about, on its normalised value; a yes lets this one through
/// and the same one is asked about again; a no denies it. What neither covers is denied at once, and what the lease grants is
/// not asked about.
#[tokio::test(start_paused = true)]
async fn one_yes_is_one_operation() {
    let runtime = agents(runtime()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let ops = json!([
        ["fs.read", "/r/a"],
        ["fs.write", "/w/./x/../a"],
        ["fs.write", "/w/a"],
        ["fs.write", "/etc/passwd"],
    ]);
    let lease = json!({"fs.read": ["/r/**"], "x-vendor.towline.ask": ["fs.write=/w/**"]});
    let job = peer.start(submit(ops, lease)).await;
    let first = expect_approval(&mut peer).await;
    assert_eq!(
        first["operation"],
        json!({"namespace": "fs.write", "value": "/w/a"})
    );
    say(&mut peer, &job, &first, json!({"answer": true})).await;
    assert_eq!(peer.expect_event("status").await["phase"], "running");
    let second = expect_approval(&mut peer).await;
    assert_ne!(first["question_id"], second["question_id"]);
    // A no is a no, whatever is to be remembered.
    say(
        &mut peer,
        &job,
        &second,
        json!({"answer": false, "remember": true}),
    )
    .await;
    assert_eq!(peer.expect_event("status").await["phase"], "running");
    for call in [Some(&second["call_id"]), None] {
        let denied = peer.expect_event("tool_result").await;
        assert_eq!(denied["error"]["code"], "PERMISSION_DENIED");
        assert!(call.is_none_or(|call| denied["call_id"] == *call));
    }
    let end = peer.expect_end("success").await;
    let denied = json!({"code": "PERMISSION_DENIED"});
    assert_eq!(end["result"], json!(["/r/a", "/w/a", denied, denied]));
}

/// [ARCP 15-6] a yes that is to be remembered holds for the ask pattern and the rest of the job, also after a crash; the log has
/// it as a grant.
#[tokio::test(start_paused = true)]
async fn a_remembered_yes_is_a_grant() {
    let disk = FaultStore::new(MemoryStore::new());
    let first = agents(runtime()).shared_store(Arc::new(disk.clone()));
    let first = first.build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    let ops = json!([
        ["fs.write", "/w/a"],
        ["fs.write", "/w/b"],
        ["tool.call", "exec:git"]
    ]);
    let lease = json!({"x-vendor.towline.ask": ["fs.write=/w/**", "tool.call=exec:*"]});
    let job = peer.start(submit(ops, lease)).await;
    let write = expect_approval(&mut peer).await;
    say(
        &mut peer,
        &job,
        &write,
        json!({"answer": true, "remember": true}),
    )
    .await;
    let grant = peer.expect_event("x-vendor.towline.grant").await;
    assert_eq!(
        grant,
        json!({
            "namespace": "fs.write", "pattern": "/w/**", "question_id": write["question_id"], "by": "alice",
        })
    );
    peer.expect_event("status").await;
    let tool = expect_approval(&mut peer).await;
    assert_eq!(tool["operation"]["value"], "exec:git");
    disk.every_commit(Some(Fault::Hang));
    let second = agents(runtime()).shared_store(disk.inner().clone());
    let second = second.build().await.unwrap();
    let mut peer = Peer::resume(&second, &peer.token, peer.last).await;
    peer.expect("job.accepted").await;
    peer.expect_event("status").await;
    let reply = answer(&mut peer, &job, &tool["question_id"], json!(true)).await;
    assert_eq!(reply["type"], "x-vendor.towline.answered");
    let end = peer.until_end(&job).await.pop().unwrap();
    assert_eq!(
        end["payload"]["result"],
        json!(["/w/a", "/w/b", "exec:git"])
    );
}

/// [ARCP 15-3, 15-6] unattended, the job ends without having done what nobody approved.
#[tokio::test(start_paused = true)]
async fn unattended() {
    let runtime = agents(runtime()).build().await.unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let lease = json!({"x-vendor.towline.ask": ["fs.write=/w/**"]});
    let job = peer
        .start(submit(json!([["fs.write", "/w/a"]]), lease))
        .await;
    let end = peer.drain(Duration::from_secs(4000)).await.pop().unwrap();
    assert_eq!(end["job_id"], job);
    assert_eq!(
        end["payload"]["result"],
        json!([{"code": "PERMISSION_DENIED"}])
    );
}

/// [ARCP 15-6] a malformed ask pattern refuses the submit, and a child's may not reach beyond its parent's.
#[tokio::test(start_paused = true)]
async fn ask_patterns_are_checked_at_the_submit() {
    let runtime = agents(runtime()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for bad in ["fs.write", "cost.budget=USD:1", "fs.write=w"] {
        let lease = json!({"x-vendor.towline.ask": [bad]});
        let refused = peer
            .refused("job.submit", submit(json!([]), lease), "INVALID_REQUEST")
            .await;
        assert!(
            refused["message"].as_str().unwrap().contains('`'),
            "{refused}"
        );
    }
}

/// [ARCP 15-6, 20-1] a role's ceiling covers ask patterns, so that nobody approves himself past it.
#[tokio::test(start_paused = true)]
async fn nobody_approves_himself_past_his_role() {
    let ceiling = towline_wire::Lease::new().with("x-vendor.towline.ask", "fs.write=/w/**");
    let role = Role::of_nobody().lease_ceiling(ceiling).unwrap();
    let roles = Roles::new(role);
    let runtime = agents(runtime()).roles(roles).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let over = json!({"x-vendor.towline.ask": ["fs.write=/**"]});
    peer.refused(
        "job.submit",
        submit(json!([]), over),
        "LEASE_SUBSET_VIOLATION",
    )
    .await;
    let within = json!({"x-vendor.towline.ask": ["fs.write=/w/a"]});
    peer.submit(submit(json!([]), within)).await;
}

/// [ARCP 15-6, 10-1] delegating is an operation like any other.
#[tokio::test(start_paused = true)]
async fn delegating_is_asked_about() {
    let runtime = agents(runtime()).build().await.unwrap();
    for yes in [true, false] {
        let mut peer = Peer::alice(&runtime).await;
        let lease = json!({"x-vendor.towline.ask": ["agent.delegate=echo"]});
        let submit = json!({"agent": "delegates", "lease_request": lease});
        let job = peer.start(submit).await;
        let request = expect_approval(&mut peer).await;
        assert_eq!(request["operation"]["namespace"], "agent.delegate");
        say(&mut peer, &job, &request, json!({"answer": yes})).await;
        let end = peer.until_end(&job).await.pop().unwrap();
        if yes {
            assert_eq!(end["payload"]["result"], "success");
        } else {
            assert_eq!(end["payload"]["code"], "PERMISSION_DENIED");
        }
    }
}

/// [ARCP 15-8] an exhausted budget asks for as much again, exactly; the approved amount is a grant in the log, and what is left
/// is told. A no refuses with BUDGET_EXHAUSTED, and so does an agent that does not ask.
#[tokio::test(start_paused = true)]
async fn more_money() {
    let runtime = agents(runtime()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let lease = json!({"tool.call": ["t"], "cost.budget": ["USD:2"]});
    let submit = |agent: &str| json!({"agent": agent, "lease_request": lease});
    let job = peer.start(submit("ends")).await;
    let end = peer.until_end(&job).await.pop().unwrap();
    assert_eq!(end["payload"]["result"]["calls"], 2);
    let job = peer.start(submit("spends")).await;
    let mut frame = peer.next().await;
    while frame["payload"]["body"]["phase"] != "awaiting_input" {
        frame = peer.next().await;
    }
    let request = peer.expect_event("x-vendor.towline.input_request").await;
    assert_eq!(
        request["operation"],
        json!({"namespace": "cost.budget", "value": "USD:2"})
    );
    say(&mut peer, &job, &request, json!({"answer": true})).await;
    let grant = peer.expect_event("x-vendor.towline.grant").await;
    assert_eq!(
        (&grant["namespace"], &grant["pattern"], &grant["by"]),
        (&json!("cost.budget"), &json!("USD:2"), &json!("alice"))
    );
    let left = peer.expect_event("metric").await;
    assert_eq!(
        (&left["name"], &left["value"]),
        (&json!("cost.budget.remaining"), &json!(2))
    );
    let mut frame = peer.next().await;
    while frame["payload"]["kind"] != "x-vendor.towline.input_request" {
        frame = peer.next().await;
    }
    let request = frame["payload"]["body"].clone();
    say(&mut peer, &job, &request, json!({"answer": false})).await;
    let end = peer.until_end(&job).await.pop().unwrap();
    assert_eq!(
        end["payload"]["result"],
        json!({"calls": 4, "refused": "BUDGET_EXHAUSTED", "left": {"USD": 0}})
    );
}

/// [ARCP 15-8, 20-1] nobody is asked for more than the submitter's role lets one job spend.
#[tokio::test(start_paused = true)]
async fn money_has_a_ceiling() {
    let role = Role::of_nobody()
        .budget_per_job(&["USD:3".to_owned()])
        .unwrap();
    let runtime = agents(runtime())
        .roles(Roles::new(role))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let lease = json!({"tool.call": ["t"], "cost.budget": ["USD:2"]});
    let job = peer
        .start(json!({"agent": "spends", "lease_request": lease}))
        .await;
    let mut frame = peer.next().await;
    while frame["payload"]["kind"] != "x-vendor.towline.input_request" {
        frame = peer.next().await;
    }
    let request = frame["payload"]["body"].clone();
    assert_eq!(request["operation"]["value"], "USD:1");
    say(&mut peer, &job, &request, json!({"answer": true})).await;
    let end = peer.until_end(&job).await.pop().unwrap();
    assert_eq!(end["payload"]["result"]["calls"], 3);
    assert_eq!(end["payload"]["result"]["refused"], "BUDGET_EXHAUSTED");
}

/// [ARCP 15-8, 20-1] A principal whose days have a budget is not asked for more: the day would end with more than it has.
#[tokio::test(start_paused = true)]
async fn a_day_has_no_more_to_give() {
    let role = Role::of_nobody()
        .budget_per_day(&["USD:1".to_owned()])
        .unwrap();
    let runtime = agents(runtime())
        .roles(Roles::new(role))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let lease = json!({"tool.call": ["t"]});
    let job = peer
        .start(json!({"agent": "spends", "lease_request": lease}))
        .await;
    let frames = peer.until_end(&job).await;
    let asked = |frame: &Value| frame["payload"]["kind"] == "x-vendor.towline.input_request";
    assert!(!frames.iter().any(asked), "{frames:?}");
    let end = &frames.last().unwrap()["payload"];
    assert_eq!(end["result"]["refused"], "BUDGET_EXHAUSTED", "{end}");
}
