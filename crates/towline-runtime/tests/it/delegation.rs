//! Child jobs (§9.4, §10).

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use towline_runtime::{AgentError, ChildOutcome, JobContext, Operation, Runtime, RuntimeOptions};
use towline_wire::{Amount, Lease, LeaseConstraints};

use crate::{
    agents::{Valve, echo, lines, patient},
    peer::{ALICE, Peer, QUIET, kinds, pass, runtime},
};

/// What a delegating agent is asked for.
#[derive(Deserialize)]
pub struct Asked {
    agent: String,
    #[serde(default)]
    input: Value,
    #[serde(default)]
    lease: Lease,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    max_runtime: Option<f64>,
}

fn told(outcome: ChildOutcome) -> Value {
    json!({
        "status": outcome.status,
        "result": outcome.result,
        "code": outcome.error.map(|error| error.code),
    })
}

/// Delegates as it is told to, and returns how that ended.
pub async fn delegates(ctx: JobContext, asked: Asked) -> Result<Value, AgentError> {
    let constraints = LeaseConstraints {
        expires_at: asked.expires_at,
    };
    let mut delegation = ctx
        .delegate(&asked.agent)
        .input(asked.input)
        .lease(asked.lease)
        .constraints(constraints);
    if let Some(seconds) = asked.max_runtime {
        delegation = delegation.max_runtime(Duration::from_secs_f64(seconds));
    }
    let child = delegation.send().await?;
    Ok(told(child.outcome().await))
}

/// Delegates to itself until it may not.
async fn deeper(ctx: JobContext, depth: u32) -> Result<Value, AgentError> {
    let mut lease = Lease::new();
    lease.set("agent.delegate", vec!["deeper".to_owned()]);
    match ctx
        .delegate("deeper")
        .input(depth + 1)
        .lease(lease)
        .send()
        .await
    {
        Ok(child) => Ok(child
            .outcome()
            .await
            .result
            .map_or(Value::Null, |result| result.read().unwrap_or_default())),
        Err(denied) => Ok(json!([depth, denied.code()])),
    }
}

pub async fn family(options: RuntimeOptions) -> Runtime {
    let built = runtime()
        .options(options)
        .agent("delegates", delegates)
        .agent("deeper", deeper)
        .agent("echo@1.0.0", echo());
    let built = built
        .agent("patient", patient())
        .agent("lines", lines())
        .agent("whoami", whoami);
    built.agent("spend", spend).build().await.unwrap()
}

/// Says what it was given.
async fn whoami(ctx: JobContext, _input: Value) -> Result<Value, AgentError> {
    let budget: Vec<String> = ctx
        .budget()
        .iter()
        .map(|(currency, left)| format!("{currency}:{left}"))
        .collect();
    Ok(json!({
        "parent": ctx.parent(), "trace": ctx.trace_id().to_string(), "expires_at": ctx.expires_at().map(|at| at.to_string()),
        "budget": budget, "principal": ctx.principal().as_str(), "session": ctx.session_id(),
    }))
}

/// Spends what it is told to.
pub async fn spend(ctx: JobContext, amount: Amount) -> Result<Value, AgentError> {
    ctx.metric("cost.work", amount, Some("USD")).await?;
    Ok(Value::Null)
}

pub fn may_delegate(more: Value) -> Value {
    let mut lease = json!({"agent.delegate": ["*"]});
    lease
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    lease
}

/// [ARCP 10-1, 11-2, 7.1-2] a child is told of on its parent and accepted in the submitting session; it has the same principal,
/// session and trace; its events are there, and its outcome comes back.
#[tokio::test(start_paused = true)]
async fn a_child() {
    let runtime = family(RuntimeOptions::default()).await;
    let mut peer = Peer::alice(&runtime).await;
    let input =
        json!({"agent": "whoami", "input": {"x": 1}, "lease": {"tool.call": ["search.web"]}});
    let request = json!({"agent": "delegates", "input": input, "lease_request": may_delegate(json!({"tool.call": ["search.*"]}))});
    let accepted = peer.ask("job.submit", request).await;
    let parent = accepted["job_id"].clone();
    peer.expect_event("status").await;
    let delegate = peer.expect_event("delegate").await;
    let child = delegate["child_job_id"].clone();
    // [ARCP 8-1] what one SDK requires and the others do not know.
    let name = child.as_str().unwrap().replace("job_", "call_");
    assert_eq!(delegate["delegate_id"], name);
    assert_eq!(delegate["lease_request"], delegate["lease"]);
    assert_eq!(
        (&delegate["agent"], &delegate["input"]),
        (&json!("whoami"), &json!({"x": 1}))
    );
    let child_accepted = peer.expect("job.accepted").await;
    assert_eq!(
        (
            &child_accepted["job_id"],
            &child_accepted["payload"]["parent_job_id"]
        ),
        (&child, &parent)
    );
    assert_eq!(child_accepted["payload"]["delegate_id"], name);
    assert_eq!(
        child_accepted["payload"]["lease"],
        json!({"tool.call": ["search.web"]})
    );
    assert_eq!(child_accepted["trace_id"], accepted["trace_id"]);
    assert!(child_accepted["payload"].get("request_id").is_none());
    let running = peer.next().await;
    assert_eq!(
        (&running["job_id"], &running["trace_id"]),
        (&child, &accepted["trace_id"])
    );
    let result = peer.expect_end("success").await["result"].clone();
    assert_eq!(
        (&result["parent"], &result["trace"]),
        (&parent, &accepted["trace_id"])
    );
    assert_eq!(
        (&result["principal"], &result["session"]),
        (&json!("alice"), &json!(peer.session))
    );
    let end = peer.expect_end("success").await;
    assert_eq!(
        end["result"],
        json!({"status": "success", "result": result, "code": null})
    );
    let listed = peer.ask("session.list_jobs", json!({})).await;
    let listed = listed["payload"]["jobs"].as_array().unwrap();
    let is_child = |job: &&Value| job["parent_job_id"] == parent;
    assert_eq!(listed.iter().filter(is_child).count(), 1, "{listed:?}");
}

/// [ARCP 10-1] the handle gives the child's events, in order, and cancels it.
#[tokio::test(start_paused = true)]
async fn the_handle() {
    let valve = Valve::new();
    let open = valve.clone();
    let watches = move |ctx: JobContext, _input: Value| {
        let open = open.clone();
        async move {
            let mut child = ctx.delegate("valve").send().await?;
            let mut heard = Vec::new();
            open.open(2);
            while let Some(event) = child.next_event().await? {
                heard.push((event.seq.value(), event.event.kind.to_string()));
                if heard.len() == 3 {
                    child.cancel(Some("enough"));
                }
            }
            let outcome = child.outcome().await;
            assert_eq!(child.next_event().await?, None);
            Ok::<_, AgentError>(json!([heard, told(outcome)]))
        }
    };
    let runtime = runtime()
        .agent("valve", valve.agent())
        .agent("watches", watches)
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer
        .start(json!({"agent": "watches", "lease_request": may_delegate(json!({}))}))
        .await;
    let end = peer.until_end(&job).await.pop().unwrap();
    let outcome = json!({"status": "cancelled", "result": null, "code": "CANCELLED"});
    assert_eq!(
        end["payload"]["result"],
        json!([[[1, "status"], [2, "log"], [3, "log"]], outcome])
    );
}

/// [ARCP 10-2, 9.4-1, 9.4-3, 9.4-4, 9.5-1] what a child may not have is refused with the code for it, as a `tool_result` error on
/// the parent, and there is no child.
#[tokio::test(start_paused = true)]
async fn refusals() {
    let runtime = family(RuntimeOptions::default()).await;
    let mut peer = Peer::alice(&runtime).await;
    let granted = json!({
        "agent.delegate": ["echo", "patient"], "fs.read": ["/data/**"], "cost.budget": ["USD:1"], "model.use": ["acme/*"],
    });
    for (input, code) in [
        (json!({"agent": "lines"}), "PERMISSION_DENIED"),
        (json!({"agent": "nobody"}), "AGENT_NOT_AVAILABLE"),
        (json!({"agent": "echo@9"}), "AGENT_VERSION_NOT_AVAILABLE"),
        (json!({"agent": "No Agent"}), "INVALID_REQUEST"),
        (
            json!({"agent": "echo", "lease": {"fs.read": ["/**"]}}),
            "LEASE_SUBSET_VIOLATION",
        ),
        (
            json!({"agent": "echo", "lease": {"fs.write": ["/data/x"]}}),
            "LEASE_SUBSET_VIOLATION",
        ),
        (
            json!({"agent": "echo", "lease": {"cost.budget": ["USD:1.01"]}}),
            "LEASE_SUBSET_VIOLATION",
        ),
        (
            json!({"agent": "echo", "lease": {"model.use": ["**"]}}),
            "LEASE_SUBSET_VIOLATION",
        ),
        (
            json!({"agent": "echo", "lease": {"fs.read": ["nowhere"]}}),
            "INVALID_REQUEST",
        ),
        (
            json!({"agent": "echo", "expires_at": "2020-01-01T00:00:00Z"}),
            "INVALID_REQUEST",
        ),
    ] {
        let job = peer
            .start(json!({"agent": "delegates", "input": input, "lease_request": granted}))
            .await;
        let frames = peer.until_end(&job).await;
        assert_eq!(kinds(&frames), ["tool_result", "job.error"], "{input}");
        assert_eq!(
            frames[0]["payload"]["body"]["error"]["code"], code,
            "{input}"
        );
        assert_eq!(frames[1]["payload"]["code"], code);
    }
    let listed = peer
        .ask("session.list_jobs", json!({"filter": {"agent": "echo"}}))
        .await;
    assert_eq!(listed["payload"]["jobs"], json!([]));
}

/// [ARCP 10-2] how deep and how wide delegation may go.
#[tokio::test(start_paused = true)]
async fn caps() {
    let wide = |ctx: JobContext, _input: Value| async move {
        let mut children = Vec::new();
        loop {
            match ctx.delegate("patient").send().await {
                Ok(child) => children.push(child),
                Err(denied) => return Ok::<_, AgentError>(json!([children.len(), denied.code()])),
            }
        }
    };
    let options = RuntimeOptions::default().max_depth(3).max_children(5);
    let built = runtime()
        .options(options)
        .agent("deeper", deeper)
        .agent("wide", wide)
        .agent("patient", patient());
    let runtime = built.build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for (agent, expected) in [
        ("deeper", json!([3, "PERMISSION_DENIED"])),
        ("wide", json!([5, "PERMISSION_DENIED"])),
    ] {
        let job = peer
            .submit(json!({"agent": agent, "input": 0, "lease_request": may_delegate(json!({}))}))
            .await;
        let end = peer.until_end(&job).await.pop().unwrap();
        assert_eq!(end["payload"]["result"], expected);
    }
    pass(1.0).await;
    assert_eq!(
        runtime.live_jobs(),
        0,
        "[ARCP 10-2] a parent's end cancels its children"
    );
}

/// [ARCP 7.1-5] children never queue: parents that fill every place do not wait for each other forever.
#[tokio::test(start_paused = true)]
async fn children_never_queue() {
    let limits = towline_proto::admission::AdmissionLimits {
        per_principal: 2,
        running: 2,
        queued: 10,
        ..Default::default()
    };
    let runtime = family(RuntimeOptions::default().admission(limits)).await;
    let mut peer = Peer::alice(&runtime).await;
    let request = json!({"agent": "delegates", "input": {"agent": "echo", "input": 1}, "lease_request": may_delegate(json!({}))});
    for _ in 0..6 {
        peer.send("job.submit", request.clone()).await;
    }
    let mut ended = 0;
    while ended < 12 {
        let frame = peer.next().await;
        ended += usize::from(frame["type"] == "job.result");
    }
    assert_eq!(runtime.live_jobs(), 0);
}

/// [ARCP 9.4-5] a client may submit a child of its own running job: bounded like any child, told of on the parent, in its trace.
#[tokio::test(start_paused = true)]
async fn children_by_submit() {
    let runtime = family(RuntimeOptions::default()).await;
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let lease =
        json!({"agent.delegate": ["whoami"], "cost.budget": ["USD:5"], "fs.read": ["/data/**"]});
    let accepted = peer
        .ask(
            "job.submit",
            json!({"agent": "patient", "lease_request": lease}),
        )
        .await;
    let parent = accepted["job_id"].as_str().unwrap().to_owned();
    peer.expect_event("status").await;
    let request = json!({"agent": "whoami", "parent_job_id": parent, "lease_request": {"cost.budget": ["USD:2"]}});
    let id = peer
        .send_with(
            "job.submit",
            request,
            json!({"trace_id": "0af7651916cd43dd8448eb211c80319c"}),
        )
        .await;
    let child = peer.expect("job.accepted").await;
    assert_eq!(
        (
            &child["payload"]["request_id"],
            &child["payload"]["parent_job_id"]
        ),
        (&json!(id), &json!(parent))
    );
    assert_eq!(
        child["trace_id"], accepted["trace_id"],
        "a child ignores its own"
    );
    assert_eq!(child["payload"]["budget"], json!({"USD": 2}));
    let frames = peer.until_end(child["job_id"].as_str().unwrap()).await;
    assert_eq!(kinds(&frames), ["delegate", "status", "job.result"]);
    assert_eq!(
        (
            &frames[0]["job_id"],
            &frames[0]["payload"]["body"]["child_job_id"]
        ),
        (&json!(parent), &child["job_id"])
    );

    let of = |parent: &str, agent: &str, lease: Value| json!({"agent": agent, "parent_job_id": parent, "lease_request": lease});
    peer.refused(
        "job.submit",
        of(&parent, "lines", json!({})),
        "PERMISSION_DENIED",
    )
    .await;
    peer.refused(
        "job.submit",
        of(&parent, "whoami", json!({"fs.read": ["/**"]})),
        "LEASE_SUBSET_VIOLATION",
    )
    .await;
    peer.refused(
        "job.submit",
        of(&parent, "whoami", json!({"cost.budget": ["USD:5.01"]})),
        "LEASE_SUBSET_VIOLATION",
    )
    .await;
    peer.refused(
        "job.submit",
        of("job_none", "whoami", json!({})),
        "JOB_NOT_FOUND",
    )
    .await;
    Peer::bob(&runtime)
        .await
        .refused(
            "job.submit",
            of(&parent, "whoami", json!({})),
            "JOB_NOT_FOUND",
        )
        .await;
    let mut other = Peer::alice(&runtime).await;
    other
        .refused(
            "job.submit",
            of(&parent, "whoami", json!({})),
            "PERMISSION_DENIED",
        )
        .await;
    peer.ask("job.cancel", json!({"job_id": parent})).await;
    peer.expect_end("cancelled").await;
    peer.refused(
        "job.submit",
        of(&parent, "whoami", json!({})),
        "INVALID_REQUEST",
    )
    .await;
}

/// [ARCP 9.3-1, 9.5-2, 9.6-3] expiry, then money, then patterns: what is asked of a lease that lacks all three fails in that order.
#[tokio::test(start_paused = true)]
async fn the_order_of_checks() {
    let asks = |ctx: JobContext, _input: Value| async move {
        let mut codes = Vec::new();
        for wait in [0, 0, 60] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let refused = ctx
                .authorize(Operation::FsRead("/elsewhere"))
                .await
                .unwrap_err();
            codes.push(refused.code().to_string());
            let _crossed = ctx.metric("cost.x", 2, Some("USD")).await;
        }
        Ok::<_, AgentError>(json!(codes))
    };
    let runtime = runtime()
        .options(RuntimeOptions::default().expiry_grace(Duration::from_secs(100)))
        .agent("asks", asks);
    let runtime = runtime.build().await.unwrap();
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let job = peer
        .start(json!({
            "agent": "asks",
            "lease_request": {"fs.read": ["/data/**"], "cost.budget": ["USD:1"]},
            "lease_constraints": {"expires_at": "2026-03-01T12:00:30Z"},
        }))
        .await;
    let frames = peer.until_end(&job).await;
    let codes: Vec<_> = frames
        .iter()
        .filter(|frame| frame["payload"]["kind"] == "tool_result")
        .collect();
    let codes: Vec<_> = codes
        .iter()
        .map(|frame| frame["payload"]["body"]["error"]["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        ["PERMISSION_DENIED", "BUDGET_EXHAUSTED", "LEASE_EXPIRED"]
    );
    assert_eq!(frames.last().unwrap()["payload"]["code"], "LEASE_EXPIRED");
}
