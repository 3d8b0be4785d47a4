//! Jobs that are run again: after a failure, after a shutdown, and as another job (§7.3).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use towline_runtime::{
    AdmissionLimits, Agent, AgentError, AgentFuture, AgentOptions, JobContext, Runtime,
    RuntimeBuilder, RuntimeOptions,
};
use towline_store::testing::{Fault, FaultStore};
use towline_wire::{ErrorCode, RawJson};

use crate::{
    agents::echo,
    credentials::upstream::Durable,
    peer::{BOB, Peer, QUIET, kinds, moment, pass, runtime},
};

fn retries(retries: u32) -> AgentOptions {
    AgentOptions::default()
        .retries(retries)
        .backoff(Duration::from_secs(5))
}

/// Fails until the run of that number, which gives its number.
fn fails_until(good: u32) -> impl Fn(JobContext, Value) -> Given + Send + Sync + 'static {
    move |ctx, _input| {
        Box::pin(async move {
            if ctx.attempt() >= good {
                return Ok(json!(ctx.attempt()));
            }
            Err(AgentError::new(ErrorCode::INTERNAL_ERROR, "broken"))
        })
    }
}

type Given = std::pin::Pin<Box<dyn Future<Output = Result<Value, AgentError>> + Send>>;

fn phases(frames: &[Value]) -> Vec<&str> {
    let bodies = frames.iter().map(|frame| &frame["payload"]["body"]);
    bodies.filter_map(|body| body["phase"].as_str()).collect()
}

/// [ARCP 7.3-2, 7.3-4] a failure that may go better another time is tried again inside the job, later each time; the job has
/// one end.
#[tokio::test(start_paused = true)]
async fn retries_happen_inside_one_job() {
    let runtime = runtime()
        .agent_with("shaky", fails_until(3), retries(2))
        .agent_with("hopeless", fails_until(9), retries(2))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, "alice-token", QUIET).await;
    let begun = Instant::now();
    let job = peer.submit(json!({"agent": "shaky"})).await;
    let frames = peer.until_end(&job).await;
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!(
        phases(&frames),
        ["running", "retrying", "running", "retrying", "running"]
    );
    let message = &frames[1]["payload"]["body"]["message"];
    assert_eq!(
        message,
        "run 1 failed: INTERNAL_ERROR: broken; retry 1 of 2 in 5 s"
    );
    assert_eq!(frames.last().unwrap()["payload"]["result"], 3);

    let job = peer.submit(json!({"agent": "hopeless"})).await;
    let frames = peer.until_end(&job).await;
    assert_eq!(phases(&frames).len(), 5, "three runs, two retries");
    assert_eq!(frames.last().unwrap()["payload"]["message"], "broken");
    pass(100.0).await;
    peer.expect_silence().await;
}

/// [ARCP 7.4-1] nobody waits for a retry to cancel a job.
#[tokio::test(start_paused = true)]
async fn the_wait_for_a_retry_can_be_cancelled() {
    let runtime = runtime()
        .agent_with("shaky", fails_until(3), retries(2))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let job = peer.start(json!({"agent": "shaky"})).await;
    assert_eq!(peer.expect_event("status").await["phase"], "retrying");
    let begun = Instant::now();
    peer.ask("job.cancel", json!({"job_id": job})).await;
    peer.expect_end("cancelled").await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// [ARCP 7.3-3, 9.5-2, 9.6-3] a retry gives neither time nor money back.
#[tokio::test(start_paused = true)]
async fn a_retry_renews_nothing() {
    let spends = |ctx: JobContext, _input: Value| async move {
        let left = ctx.budget();
        ctx.log("info", format!("{left:?}")).await?;
        ctx.metric(
            "cost.x",
            "0.6".parse::<towline_wire::Amount>()?,
            Some("USD"),
        )
        .await?;
        Err::<Value, _>(AgentError::new(ErrorCode::INTERNAL_ERROR, "broken"))
    };
    let runtime = runtime()
        .agent_with("shaky", fails_until(99), retries(50))
        .agent_with("spends", spends, retries(1))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::open(&runtime, "alice-token", QUIET).await;
    for (bound, status) in [
        (json!({"max_runtime_sec": 7}), "timed_out"),
        (
            json!({"lease_constraints": {"expires_at": "2026-03-01T12:00:15Z"}}),
            "error",
        ),
    ] {
        let mut submit = json!({"agent": "shaky"});
        let bound = bound.as_object().unwrap().clone();
        submit.as_object_mut().unwrap().extend(bound);
        let job = peer.submit(submit).await;
        let frames = peer.until_end(&job).await;
        assert_eq!(
            phases(&frames),
            ["running", "retrying", "running", "retrying"]
        );
        assert_eq!(frames.last().unwrap()["payload"]["final_status"], status);
    }
    let lease = json!({"cost.budget": ["USD:1.00"]});
    let job = peer
        .submit(json!({"agent": "spends", "lease_request": lease}))
        .await;
    let frames = peer.until_end(&job).await;
    let logs = frames
        .iter()
        .filter_map(|frame| frame["payload"]["body"]["message"].as_str());
    let logs: Vec<_> = logs.filter(|message| message.contains("USD")).collect();
    assert!(
        logs[0].contains("1.00") && logs[1].contains("0.4"),
        "{logs:?}"
    );
}

/// [ARCP 8.4-1] what cannot go better, and what has given a part of its result, is not tried again.
#[tokio::test(start_paused = true)]
async fn some_failures_are_final() {
    let wrong = |_: JobContext, _: Value| async {
        Err::<Value, _>(AgentError::new(ErrorCode::INVALID_REQUEST, "no"))
    };
    let partly = |ctx: JobContext, _: Value| async move {
        let mut writer = ctx.stream_result()?;
        writer.write_text("a part").await?;
        Err::<Value, _>(AgentError::new(ErrorCode::INTERNAL_ERROR, "broken"))
    };
    let runtime = runtime()
        .agent_with("wrong", wrong, retries(3))
        .agent_with("partly", partly, retries(3))
        .build()
        .await
        .unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for agent in ["wrong", "partly"] {
        let job = peer.submit(json!({"agent": agent})).await;
        let frames = peer.until_end(&job).await;
        assert_eq!(phases(&frames), ["running"], "{agent}");
    }
}

/// Says which run it is and what it restored, keeps what it is told to, and stays.
struct Stays {
    keeps: bool,
    runs: Arc<AtomicU32>,
}

impl Agent for Stays {
    fn run(&self, ctx: JobContext, _input: RawJson) -> AgentFuture {
        let (keeps, runs) = (self.keeps, Arc::clone(&self.runs));
        Box::pin(async move {
            let restored: Option<u32> = ctx.restored().await?;
            ctx.log("info", format!("run {} {restored:?}", ctx.attempt()))
                .await?;
            runs.fetch_add(1, Ordering::Relaxed);
            ctx.cancelled().await;
            if keeps {
                // As a program does that is told to end.
                ctx.checkpoint(ctx.attempt()).await?;
            }
            Err(AgentError::new(ErrorCode::CANCELLED, "told to stop"))
        })
    }
}

fn stays(keeps: bool) -> (Stays, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let agent = Stays {
        keeps,
        runs: Arc::clone(&runs),
    };
    (agent, runs)
}

/// Starts a job of an agent that stays, and hears its line.
async fn begin(peer: &mut Peer, agent: &str) -> String {
    let job = peer.start(json!({ "agent": agent })).await;
    peer.expect_event("log").await;
    job
}

fn on(store: &Durable) -> RuntimeBuilder {
    let options = RuntimeOptions::default().drain(Duration::from_secs(1));
    runtime()
        .options(options)
        .shared_store(Arc::new(store.clone()))
}

async fn life(store: &Durable, keeps: bool) -> (Runtime, Arc<AtomicU32>) {
    let (agent, runs) = stays(keeps);
    let built = on(store)
        .restartable_agent("stays", agent)
        .agent("goes", stays(false).0)
        .build()
        .await
        .unwrap();
    (built, runs)
}

/// [ARCP 7.3-4, 6.7-3] a shutdown leaves jobs of restartable agents to the next start, however often: those runs do not
/// count as ones that ended the runtime. What an agent keeps when it is told to stop is kept.
#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_restartable_jobs() {
    let store = Durable::new();
    let (mut runtime, _) = life(&store, true).await;
    let mut peer = Peer::alice(&runtime).await;
    let left = begin(&mut peer, "stays").await;
    let ended = begin(&mut peer, "goes").await;
    for run in 2..=6 {
        runtime.shutdown().await;
        let runs;
        (runtime, runs) = life(&store, run < 3).await;
        moment().await;
        assert_eq!(runs.load(Ordering::Relaxed), 1, "run {run}");
    }
    let mut peer = Peer::alice(&runtime).await;
    for job in [&ended, &left] {
        peer.send("job.subscribe", json!({"job_id": job, "history": true}))
            .await;
    }
    let frames = peer.drain(Duration::from_secs(1)).await;
    let end = frames.iter().find(|frame| frame["type"] == "job.error");
    let end = end.unwrap();
    assert_eq!(end["job_id"], *ended);
    assert_eq!(end["payload"]["details"]["reason"], "runtime_shutdown");
    let own = frames.iter().filter(|frame| frame["job_id"] == *left);
    let messages = own.filter_map(|frame| frame["payload"]["body"]["message"].as_str());
    let messages: Vec<_> = messages.collect();
    assert_eq!(
        messages,
        [
            "run 1 None",
            "run 2 Some(1)",
            "run 3 Some(2)",
            "run 4 Some(2)",
            "run 5 Some(2)",
            "run 6 Some(2)"
        ]
    );
}

/// [ARCP 7.3-4] a job that waits for its place when the runtime shuts down waits on; one whose store forgets ends.
#[tokio::test(start_paused = true)]
async fn a_shutdown_leaves_waiting_jobs() {
    let store = Durable::new();
    let one = AdmissionLimits {
        per_principal: 1,
        ..AdmissionLimits::default()
    };
    let options = RuntimeOptions::default()
        .admission(one)
        .drain(Duration::from_secs(1));
    let (agent, _) = stays(false);
    let first = on(&store)
        .options(options)
        .restartable_agent("stays", agent);
    let first = first.build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    begin(&mut peer, "stays").await;
    peer.submit(json!({"agent": "stays"})).await;
    first.shutdown().await;
    let (second, runs) = life(&store, false).await;
    moment().await;
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(second.live_jobs(), 2);

    let (agent, _) = stays(false);
    let forgets = runtime().restartable_agent("stays", agent);
    let forgets = forgets.build().await.unwrap();
    let mut peer = Peer::alice(&forgets).await;
    begin(&mut peer, "stays").await;
    forgets.shutdown().await;
    assert_eq!(forgets.live_jobs(), 0);
}

/// [ARCP 14-9] a runtime that is there to be looked at leaves jobs to whoever runs them; one may be cancelled there.
#[tokio::test(start_paused = true)]
async fn looking_ends_nothing() {
    let store = Durable::new();
    let (first, _) = life(&store, false).await;
    let mut peer = Peer::alice(&first).await;
    let kept = begin(&mut peer, "stays").await;
    let cancelled = begin(&mut peer, "stays").await;
    first.shutdown().await;
    let look = RuntimeOptions::default()
        .starts_recovered(false)
        .principal_cancels(true);
    let (agent, runs) = stays(false);
    let looked = on(&store).options(look).restartable_agent("stays", agent);
    let looked = looked.build().await.unwrap();
    let mut peer = Peer::alice(&looked).await;
    let listed = peer.ask("session.list_jobs", json!({})).await;
    for job in listed["payload"]["jobs"].as_array().unwrap() {
        assert_eq!(job["status"], "running");
    }
    peer.ask("job.subscribe", json!({"job_id": cancelled}))
        .await;
    peer.ask("job.cancel", json!({"job_id": cancelled})).await;
    peer.expect_end("cancelled").await;
    looked.shutdown().await;
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    let (last, runs) = life(&store, false).await;
    moment().await;
    assert_eq!((last.live_jobs(), runs.load(Ordering::Relaxed)), (1, 1));
    let mut peer = Peer::alice(&last).await;
    let running = json!({"filter": {"status": ["running"]}});
    let listed = peer.ask("session.list_jobs", running);
    assert_eq!(listed.await["payload"]["jobs"][0]["job_id"], kept);
}

/// [ARCP 14-9] a job that never began is begun by whoever runs jobs, whatever its agent, and not ended by who looks.
#[tokio::test(start_paused = true)]
async fn looking_ends_nothing_that_waits() {
    let disk = FaultStore::new(Durable::new());
    let one = AdmissionLimits {
        per_principal: 1,
        ..AdmissionLimits::default()
    };
    let options = RuntimeOptions::default().admission(one);
    let first = runtime()
        .options(options)
        .shared_store(Arc::new(disk.clone()))
        .agent("goes", stays(false).0);
    let first = first.build().await.unwrap();
    let mut peer = Peer::alice(&first).await;
    begin(&mut peer, "goes").await;
    let waits = peer.submit(json!({"agent": "goes"})).await;
    disk.every_commit(Some(Fault::Hang));
    let store = disk.inner().clone();
    let look = RuntimeOptions::default().starts_recovered(false);
    let looked = on(&store).options(look).agent("goes", stays(false).0);
    looked.build().await.unwrap().shutdown().await;
    let (last, _) = life(&store, false).await;
    moment().await;
    let mut peer = Peer::alice(&last).await;
    let running = json!({"filter": {"status": ["running"]}});
    let listed = peer.ask("session.list_jobs", running).await;
    let jobs = listed["payload"]["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 1, "{listed}");
    assert_eq!(jobs[0]["job_id"], waits);
}

/// [ARCP 7.1-1] a submit may be another run of an earlier job of the same principal: what it does not name is as it was there.
#[tokio::test(start_paused = true)]
async fn a_job_is_run_once_more() {
    let runtime = runtime().agent("echo", echo()).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    let lease = json!({"tool.call": ["search.*"]});
    let first = peer
        .submit(json!({"agent": "echo", "input": {"n": 1}, "lease_request": lease}))
        .await;
    peer.until_end(&first).await;
    for (given, seen) in [
        (json!({}), json!({"n": 1})),
        (json!({"input": 2}), json!(2)),
    ] {
        let mut submit = json!({"agent": "echo", "rerun_of": first});
        let given = given.as_object().unwrap().clone();
        submit.as_object_mut().unwrap().extend(given);
        let id = peer.send("job.submit", submit).await;
        let accepted = peer.expect("job.accepted").await;
        assert_eq!(accepted["payload"]["request_id"], id);
        assert_eq!(accepted["payload"]["lease"], lease);
        let job = accepted["job_id"].as_str().unwrap().to_owned();
        let frames = peer.until_end(&job).await;
        assert_eq!(kinds(&frames), ["status", "job.result"]);
        assert_eq!(frames[1]["payload"]["result"], seen);
        let shown = peer.ask("job.subscribe", json!({"job_id": job})).await;
        assert_eq!(shown["payload"]["rerun_of"], first);
    }
    let listed = peer.ask("session.list_jobs", json!({})).await;
    let jobs = listed["payload"]["jobs"].as_array().unwrap().clone();
    let again = jobs.iter().filter(|job| job["rerun_of"] == first);
    assert_eq!(again.count(), 2);
    let mut bob = Peer::open(&runtime, BOB, QUIET).await;
    let foreign = json!({"agent": "echo", "rerun_of": first});
    bob.refused("job.submit", foreign, "JOB_NOT_FOUND").await;
}

/// Spends without asking, as a program does.
struct Unasked;

impl Agent for Unasked {
    fn run(&self, ctx: JobContext, _input: RawJson) -> AgentFuture {
        Box::pin(async move {
            for _ in 0..3 {
                ctx.metric(
                    "cost.x",
                    "0.4".parse::<towline_wire::Amount>()?,
                    Some("USD"),
                )
                .await?;
            }
            Ok(RawJson::NULL)
        })
    }

    fn spends_unasked(&self) -> bool {
        true
    }
}

/// [ARCP 9.6-3, 7.3-3] a job whose agent asks for nothing ends when its budget is spent, though the agent is done at the same
/// moment; the metric that crossed zero is delivered.
#[tokio::test(start_paused = true)]
async fn a_spent_budget_ends_the_job() {
    let runtime = runtime().agent("unasked", Unasked).build().await.unwrap();
    let mut peer = Peer::alice(&runtime).await;
    for (budget, status, costs) in [("USD:1.00", "error", 3), ("USD:2.00", "success", 3)] {
        let lease = json!({"cost.budget": [budget]});
        let job = peer
            .submit(json!({"agent": "unasked", "lease_request": lease}))
            .await;
        let frames = peer.until_end(&job).await;
        let spent = frames
            .iter()
            .filter(|frame| frame["payload"]["body"]["name"] == "cost.x");
        assert_eq!(spent.count(), costs);
        let end = &frames.last().unwrap()["payload"];
        assert_eq!(end["final_status"], status, "{end}");
        if status == "error" {
            assert_eq!(end["code"], "BUDGET_EXHAUSTED");
            assert_eq!(end["retryable"], false);
        }
    }
}
