//! The life of a job (§7.3).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use towline_proto::admission::AdmissionLimits;
use towline_runtime::{
    Agent, AgentError, AgentFuture, EventError, JobContext, Operation, RuntimeOptions,
};
use towline_store::{
    MemoryStore,
    testing::{Fault, FaultStore},
};
use towline_wire::{ErrorCode, RawJson};

use crate::{
    agents::{Deaf, Valve, echo, patient},
    peer::{ALICE, NOON, Peer, QUIET, kinds, moment, pass, runtime},
};

/// [ARCP 7.3-2] nothing of a job follows its terminal, whatever a task it left behind tries.
#[tokio::test(start_paused = true)]
async fn nothing_follows_the_terminal() {
    let (tell, told) = std::sync::mpsc::channel();
    let leaky = move |ctx: JobContext, _input: Value| {
        let tell = tell.clone();
        async move {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let late = ctx.log("info", "too late").await;
                let stream = ctx.stream_result().map(drop);
                let cost = ctx.metric("cost.x", 1, Some("USD")).await;
                tell.send([late, stream, cost]).unwrap();
            });
            Ok::<_, AgentError>(json!(1))
        }
    };
    let runtime = runtime().agent("leaky", leaky).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.submit(json!({"agent": "leaky"})).await;
    let frames = peer.until_end(&job).await;
    assert_eq!(kinds(&frames), ["status", "job.result"]);
    let end = &frames[1];
    assert_eq!(
        end["payload"],
        json!({"final_status": "success", "result": 1, "completed_at": "2026-03-01T12:00:00.000Z", "job_id": job})
    );
    assert_eq!(
        (&end["event_seq"], &end["job_id"]),
        (&json!(2), &json!(job))
    );
    pass(2.0).await;
    let told = told.recv().unwrap();
    assert_eq!(told.len(), 3);
    assert!(
        told.iter()
            .all(|told| matches!(told, Err(EventError::JobEnded))),
        "{told:?}"
    );
    peer.expect_silence().await;
}

/// [ARCP 7.3-3, 7.1-1] `max_runtime_sec` may be a fraction, and counts from `running`, not from the submit.
#[tokio::test(start_paused = true)]
async fn out_of_time() {
    let options = RuntimeOptions::default().admission(AdmissionLimits {
        per_principal: 1,
        ..Default::default()
    });
    let runtime = runtime()
        .options(options)
        .agent("patient", patient())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let blocker = peer
        .start(json!({"agent": "patient", "max_runtime_sec": 3}))
        .await;
    let timed = peer
        .submit(json!({"agent": "patient", "max_runtime_sec": 0.25}))
        .await;
    let before = Instant::now();
    assert_eq!(
        peer.until_end(&blocker).await.last().unwrap()["payload"]["final_status"],
        "timed_out"
    );
    assert_eq!(before.elapsed().as_secs(), 3);
    let before = Instant::now();
    let end = peer.until_end(&timed).await.pop().unwrap();
    assert!(
        (250..255).contains(&before.elapsed().as_millis()),
        "{:?}",
        before.elapsed()
    );
    assert_eq!(end["type"], "job.error");
    let payload = &end["payload"];
    assert_eq!(
        (&payload["code"], &payload["retryable"]),
        (&json!("TIMEOUT"), &json!(true))
    );
}

/// [ARCP 9.5-2, 7.3-3] an expired lease ends the job at the first thing it asks for, with LEASE_EXPIRED.
#[tokio::test(start_paused = true)]
async fn an_expired_lease_is_noticed_at_the_first_attempt() {
    let eager = |ctx: JobContext, _input: Value| async move {
        loop {
            match ctx.authorize(Operation::ToolCall("search")).await {
                Ok(_permit) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(denied) => {
                    assert_eq!(*denied.code(), ErrorCode::LEASE_EXPIRED);
                    return Ok::<_, AgentError>(json!("went on"));
                }
            }
        }
    };
    let runtime = runtime().agent("eager", eager).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer
        .start(json!({
            "agent": "eager",
            "lease_request": {"tool.call": ["search"]},
            "lease_constraints": {"expires_at": "2026-03-01T12:00:02.05Z"},
        }))
        .await;
    let before = Instant::now();
    let denial = peer.expect_event("tool_result").await;
    assert_eq!(
        before.elapsed().as_millis() / 50,
        42,
        "the first time it asked after the expiry"
    );
    assert_eq!(denial["error"]["code"], "LEASE_EXPIRED");
    assert_eq!(denial["error"]["retryable"], false);
    let end = peer.expect_end("error").await;
    assert_eq!(
        (&end["code"], &end["retryable"]),
        (&json!("LEASE_EXPIRED"), &json!(false))
    );
    let audit = runtime.store().audit(100).await.unwrap();
    let expired: Vec<_> = audit
        .iter()
        .filter(|row| row.action == "lease.expired")
        .collect();
    assert_eq!(expired.len(), 1);
    assert!(expired[0].data.as_str().contains(&job));
}

/// [ARCP 9.5-2] a job that asks for nothing ends a grace after the expiry; one with a deaf agent, another grace later.
#[tokio::test(start_paused = true)]
async fn an_expired_lease_ends_a_job_that_asks_for_nothing() {
    let runtime = runtime()
        .agent("patient", patient())
        .agent("deaf", Deaf)
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let request = |agent| json!({"agent": agent, "lease_constraints": {"expires_at": "2026-03-01T12:00:10Z"}});
    let patient = peer.start(request("patient")).await;
    let deaf = peer.start(request("deaf")).await;
    let before = Instant::now();
    for (job, seconds) in [(patient, 11), (deaf, 16)] {
        let end = peer.until_end(&job).await.pop().unwrap();
        assert_eq!(before.elapsed().as_secs(), seconds);
        assert_eq!(end["payload"]["code"], "LEASE_EXPIRED");
        assert_eq!(end["payload"]["final_status"], "error");
    }
}

/// [ARCP 7.3-3, 9.6-3] a used-up budget refuses what comes after; an agent that gives up for it ends as BUDGET_EXHAUSTED.
#[tokio::test(start_paused = true)]
async fn out_of_money() {
    let spender = |ctx: JobContext, _input: Value| async move {
        loop {
            let _permit = ctx.authorize(Operation::ToolCall("search")).await?;
            ctx.metric(
                "cost.search",
                "0.4".parse::<towline_wire::Amount>().unwrap(),
                Some("USD"),
            )
            .await?;
        }
        #[expect(unreachable_code, reason = "tells the closure's type")]
        Ok::<Value, AgentError>(Value::Null)
    };
    let runtime = runtime().agent("spender", spender).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let lease = json!({"tool.call": ["search"], "cost.budget": ["USD:1.00"]});
    let job = peer
        .submit(json!({"agent": "spender", "lease_request": lease}))
        .await;
    let frames = peer.until_end(&job).await;
    let costs = frames
        .iter()
        .filter(|frame| frame["payload"]["body"]["name"] == "cost.search")
        .count();
    assert_eq!(costs, 3, "the one that crosses zero is still delivered");
    let reports: Vec<String> = frames
        .iter()
        .filter(|frame| frame["payload"]["body"]["name"] == "cost.budget.remaining")
        .map(|frame| frame["payload"]["body"]["value"].to_string())
        .collect();
    assert_eq!(reports, ["0.60", "0.20", "-0.20"]);
    let refusal = &frames[frames.len() - 2]["payload"]["body"]["error"];
    assert_eq!(
        (&refusal["code"], &refusal["retryable"]),
        (&json!("BUDGET_EXHAUSTED"), &json!(false))
    );
    let end = &frames.last().unwrap()["payload"];
    assert_eq!(
        (&end["final_status"], &end["code"]),
        (&json!("error"), &json!("BUDGET_EXHAUSTED"))
    );
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// [ARCP 7.3-4, 7.4-1] an agent that does not hear is dropped after the grace period, and its job gets its one terminal.
#[tokio::test(start_paused = true)]
async fn a_deaf_agent_is_dropped() {
    let gone = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&gone);
    let deaf = move |_ctx: JobContext, _input: Value| {
        let dropped = Dropped(Arc::clone(&flag));
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
            Ok::<_, AgentError>(Value::Null)
        }
    };
    let runtime = runtime().agent("deaf", deaf).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for (request, status, after) in [
        (json!({"agent": "deaf"}), "cancelled", 5),
        (
            json!({"agent": "deaf", "max_runtime_sec": 2}),
            "timed_out",
            7,
        ),
    ] {
        gone.store(false, Ordering::Relaxed);
        let before = Instant::now();
        let job = peer.start(request).await;
        if status == "cancelled" {
            peer.ask("job.cancel", json!({"job_id": job})).await;
        }
        peer.expect_end(status).await;
        assert_eq!(before.elapsed().as_secs(), after);
        moment().await;
        assert!(gone.load(Ordering::Relaxed));
    }
    assert_eq!(runtime.live_jobs(), 0);
}

/// Says that it will, then blocks its thread until it is told to go, which no cancel does.
struct Blocking(Arc<AtomicBool>);

impl Agent for Blocking {
    fn run(&self, ctx: JobContext, _input: RawJson) -> AgentFuture {
        let go = Arc::clone(&self.0);
        Box::pin(async move {
            let _logged = ctx.log("info", "about to block").await;
            while !go.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(RawJson::NULL)
        })
    }
}

/// [ARCP 7.3-4, 6.5-4] not even an agent that blocks its thread keeps its job from its terminal, or others from running.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocking_agent() {
    let go = Arc::new(AtomicBool::new(false));
    let options = RuntimeOptions::default().cancel_grace(Duration::from_millis(30));
    let built = runtime()
        .options(options)
        .agent("blocking", Blocking(Arc::clone(&go)))
        .agent("echo", echo());
    let runtime = built.build().await.unwrap();
    // Also when an assertion fails: a thread that is blocked is waited for.
    let _free = Free(Arc::clone(&go));
    let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
    let stuck = peer.start(json!({"agent": "blocking"})).await;
    peer.expect_event("log").await;
    let other = peer.submit(json!({"agent": "echo", "input": 1})).await;
    peer.until_end(&other).await;
    peer.ask("job.cancel", json!({"job_id": stuck})).await;
    assert_eq!(peer.expect_end("cancelled").await["code"], "CANCELLED");
    let other = peer.submit(json!({"agent": "echo", "input": 2})).await;
    peer.until_end(&other).await;
}

/// Lets a blocked agent go.
struct Free(Arc<AtomicBool>);

impl Drop for Free {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Panics before there is anything to poll.
struct Hasty;

impl Agent for Hasty {
    fn run(&self, _ctx: JobContext, _input: RawJson) -> AgentFuture {
        panic!("secret-in-a-panic")
    }
}

/// [ARCP 7.3-4, 12-2] a panic ends its own job with INTERNAL_ERROR and says nothing of what it was.
#[tokio::test(start_paused = true)]
async fn panics() {
    let explode = |_ctx: JobContext, input: Value| async move {
        assert!(input.is_array(), "secret-in-a-panic {input}");
        Ok::<_, AgentError>(input)
    };
    let runtime = runtime()
        .agent("explode", explode)
        .agent("hasty", Hasty)
        .agent("echo", echo())
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for agent in ["explode", "hasty"] {
        peer.start(json!({"agent": agent, "input": "secret-input"}))
            .await;
        let end = peer.expect_end("error").await;
        assert_eq!(
            (&end["code"], &end["retryable"]),
            (&json!("INTERNAL_ERROR"), &json!(true))
        );
        assert!(!end.to_string().contains("secret"), "{end}");
    }
    let job = peer.submit(json!({"agent": "echo"})).await;
    peer.until_end(&job).await;
}

/// [ARCP 12-1, 7.3-3] an agent ends its job with a code and a message of its own; what is no error of its own is INTERNAL_ERROR.
#[tokio::test(start_paused = true)]
async fn agents_give_up() {
    #[derive(Deserialize)]
    struct Wanted {
        code: Option<String>,
    }
    let fail = |_ctx: JobContext, wanted: Wanted| async move {
        let Some(code) = wanted.code else {
            return Ok("x".parse::<u32>()?);
        };
        let error = AgentError::new(ErrorCode::new(&code), "the well is dry");
        Err(error.with_details(json!({"well": 3})))
    };
    let runtime = runtime().agent("fail", fail).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for (code, status, retryable) in [
        ("PERMISSION_DENIED", "error", false),
        ("AGENT_NOT_AVAILABLE", "error", true),
        ("CANCELLED", "cancelled", false),
        ("TIMEOUT", "timed_out", true),
    ] {
        peer.start(json!({"agent": "fail", "input": {"code": code}}))
            .await;
        let end = peer.expect_end(status).await;
        assert_eq!(
            (&end["code"], &end["retryable"]),
            (&json!(code), &json!(retryable))
        );
        assert_eq!(
            (&end["message"], &end["details"]),
            (&json!("the well is dry"), &json!({"well": 3}))
        );
    }
    peer.start(json!({"agent": "fail", "input": {}})).await;
    assert_eq!(peer.expect_end("error").await["code"], "INTERNAL_ERROR");
    peer.start(json!({"agent": "fail", "input": {"code": 7}}))
        .await;
    let end = peer.expect_end("error").await;
    assert_eq!(end["code"], "INVALID_REQUEST");
    assert!(end["message"].as_str().unwrap().contains("input"));
}

/// [ARCP 7.3-5, 7.3-2] whatever happens in the same moment, one end is recorded, and it is the only one.
#[tokio::test(start_paused = true)]
async fn races() {
    let punctual = |_ctx: JobContext, _input: Value| async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok::<_, AgentError>(json!("done"))
    };
    let options = RuntimeOptions::default().expiry_grace(Duration::ZERO);
    let runtime = runtime()
        .options(options)
        .agent("punctual", punctual)
        .build()
        .await
        .unwrap();
    for causes in 0..8u32 {
        let mut peer = Peer::open(&runtime, ALICE, QUIET).await;
        let mut request = json!({"agent": "punctual"});
        let mut possible = vec!["success"];
        if causes & 1 > 0 {
            request["max_runtime_sec"] = json!(10);
            possible.push("timed_out");
        }
        if causes & 2 > 0 {
            let at = NOON.parse::<towline_wire::Timestamp>().unwrap();
            let since = at.plus(Duration::from_secs(u64::from(causes) * 20 + 10));
            request["lease_constraints"] = json!({"expires_at": since.to_string()});
            possible.push("error");
        }
        let job = peer.start(request).await;
        let ended = Instant::now() + Duration::from_secs(10);
        if causes & 4 > 0 {
            possible.push("cancelled");
            tokio::time::sleep_until(ended).await;
            peer.send("job.cancel", json!({"job_id": job})).await;
        }
        tokio::time::sleep_until(ended + Duration::from_secs(10)).await;
        let mut ends = Vec::new();
        while let Ok(frame) = tokio::time::timeout(Duration::ZERO, peer.next()).await {
            if frame["payload"].get("final_status").is_some() {
                ends.push(
                    frame["payload"]["final_status"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                );
            }
        }
        assert_eq!(ends.len(), 1, "{causes}: {ends:?}");
        assert!(possible.contains(&ends[0].as_str()), "{causes}: {ends:?}");
    }
}

/// [ARCP 7.3-5, 7.4-3] the first cause that was recorded stays, whatever comes while the agent winds down.
#[tokio::test(start_paused = true)]
async fn the_first_cause_stays() {
    let runtime = runtime().agent("deaf", Deaf).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer
        .start(json!({"agent": "deaf", "max_runtime_sec": 2}))
        .await;
    pass(1.0).await;
    peer.ask("job.cancel", json!({"job_id": job})).await;
    assert_eq!(peer.expect_end("cancelled").await["code"], "CANCELLED");

    let job = peer
        .start(json!({"agent": "deaf", "max_runtime_sec": 2}))
        .await;
    pass(3.0).await;
    let error = peer
        .refused("job.cancel", json!({"job_id": job}), "INVALID_REQUEST")
        .await;
    assert_eq!(error["details"]["status"], "timed_out");
    peer.expect_end("timed_out").await;
}

/// [ARCP 7.3-4] after a restart a restartable agent runs again, with what it kept; its log goes on.
#[tokio::test(start_paused = true)]
async fn restartable_agents() {
    let disk = FaultStore::new(MemoryStore::new());
    let runs = Arc::new(AtomicU32::new(0));
    let valve = Valve::new();
    let stepping = |runs: &Arc<AtomicU32>| {
        let runs = Arc::clone(runs);
        move |ctx: JobContext, input: Value| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            async move {
                let kept: Option<u32> = ctx.restored().await?;
                ctx.log("info", format!("from {kept:?}")).await?;
                if run == 0 {
                    ctx.checkpoint(7).await?;
                    ctx.log("info", "kept").await?;
                    std::future::pending::<()>().await;
                }
                Ok::<_, AgentError>(json!([kept, input]))
            }
        }
    };
    let first = runtime()
        .shared_store(Arc::new(disk.clone()))
        .restartable_agent("steps", stepping(&runs));
    let first = first.agent("valve", valve.agent()).build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    let job = peer.start(json!({"agent": "steps", "input": "in"})).await;
    peer.expect_event("log").await;
    peer.expect_event("log").await;
    disk.every_commit(Some(Fault::Hang));
    let second = runtime()
        .shared_store(disk.inner().clone())
        .restartable_agent("steps", stepping(&runs));
    let second = second.build().await.unwrap();
    let mut peer = Peer::resume(&second, &peer.token, 3).await;
    let frames = peer.until_end(&job).await;
    assert_eq!(
        kinds(&frames),
        ["job.accepted", "status", "log", "job.result"]
    );
    assert_eq!(frames[2]["payload"]["body"]["message"], "from Some(7)");
    assert_eq!(frames[3]["payload"]["result"], json!([7, "in"]));
    assert_eq!(frames[3]["job_seq"], 6);
}

/// [ARCP 7.3-4] a job whose end was decided when the runtime died ends that way.
#[tokio::test(start_paused = true)]
async fn an_end_that_was_decided_survives() {
    let disk = FaultStore::new(MemoryStore::new());
    let first = runtime()
        .shared_store(Arc::new(disk.clone()))
        .restartable_agent("deaf", Deaf)
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&first).await;
    let job = peer.start(json!({"agent": "deaf"})).await;
    peer.ask("job.cancel", json!({"job_id": job, "reason": "enough"}))
        .await;
    disk.every_commit(Some(Fault::Hang));
    let second = runtime()
        .shared_store(disk.inner().clone())
        .restartable_agent("deaf", Deaf)
        .build()
        .await
        .unwrap();
    let mut peer = Peer::resume(&second, &peer.token, 1).await;
    peer.expect("job.accepted").await;
    assert_eq!(peer.expect_end("cancelled").await["code"], "CANCELLED");
}
