//! Agents of another runtime. Both runtimes are in this process, and time is virtual.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{io::split, sync::Notify, task::JoinHandle};
use towline_agents::RemoteAgent;
use towline_client::{Client, ClientOptions, Connecting, Connector, Outcome};
use towline_runtime::{
    AgentError, AgentOptions, JobContext, Question, Runtime, RuntimeOptions, auth::StaticTokens,
};
use towline_store::{EventStore, MemoryStore, SqliteStore};
use towline_transport::{MemoryTransport, StdioOptions, StdioTransport, Transport, TransportError};
use towline_wire::{ErrorCode, Lease};

use crate::support::bodies;

/// Lines to a runtime, which can be cut.
#[derive(Clone)]
struct Lines {
    to: Runtime,
    all: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Lines {
    fn to(runtime: &Runtime) -> Self {
        Self {
            to: runtime.clone(),
            all: Arc::default(),
        }
    }

    /// How many were cut.
    fn cut(&self) -> usize {
        let lines = std::mem::take(&mut *self.all.lock());
        lines
            .iter()
            .filter(|line| !line.is_finished())
            .map(JoinHandle::abort)
            .count()
    }
}

impl Connector for Lines {
    fn connect(&self) -> Connecting<'_> {
        let (near, mut left) = tokio::io::duplex(1 << 20);
        let (mut right, far) = tokio::io::duplex(1 << 20);
        let line = tokio::spawn(async move {
            drop(tokio::io::copy_bidirectional(&mut left, &mut right).await);
        });
        self.all.lock().push(line);
        let transport = |stream| {
            let (read, write) = split(stream);
            StdioTransport::over(read, write, StdioOptions::default())
        };
        self.to.accept(transport(far));
        Box::pin(async move { Ok(Box::new(transport(near)) as Box<dyn Transport>) })
    }
}

fn tokens() -> StaticTokens {
    StaticTokens::new([("me", "t")]).unwrap()
}

/// What is at the far end.
struct Far {
    runtime: Runtime,
    go_on: Arc<Notify>,
    runs: Arc<AtomicU32>,
}

/// An agent `work`, which says 1, waits, says 2 and gives its input; `spend`, `ask`, `fail`, `delegate`.
async fn far() -> Far {
    let (go_on, runs) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let work = {
        let (go_on, runs) = (Arc::clone(&go_on), Arc::clone(&runs));
        move |ctx: JobContext, input: Value| {
            let (go_on, runs) = (Arc::clone(&go_on), Arc::clone(&runs));
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
                ctx.log("info", "1").await?;
                tokio::select! {
                    () = go_on.notified() => {}
                    () = ctx.cancelled() => return Err(AgentError::new(ErrorCode::CANCELLED, "cancelled")),
                }
                ctx.log("info", "2").await?;
                Ok::<_, AgentError>(input)
            }
        }
    };
    let spend = |ctx: JobContext, _: Value| async move {
        for _ in 0..5 {
            ctx.metric(
                "cost.work",
                "0.4".parse::<towline_wire::Amount>()?,
                Some("USD"),
            )
            .await?;
        }
        std::future::pending::<Result<Value, AgentError>>().await
    };
    let ask = |ctx: JobContext, _: Value| async move {
        let answer = ctx.ask("go", Question::text("Which?")).await?;
        Ok::<_, AgentError>(json!(answer.value()))
    };
    let fail = |_: JobContext, _: Value| async move {
        let error = AgentError::new(ErrorCode::new("OUT_OF_TUNE"), "the piano");
        Err::<Value, _>(error.with_details(json!({"key": 7})))
    };
    let delegate = |ctx: JobContext, _: Value| async move {
        let child = ctx.delegate("work").input(json!(1)).send().await;
        Ok::<_, AgentError>(json!(child.is_err()))
    };
    let runtime = Runtime::builder()
        .authenticator(tokens())
        .agent("work", work)
        .agent("spend", spend)
        .agent("ask", ask)
        .agent("fail", fail)
        .agent("delegate", delegate)
        .build()
        .await
        .unwrap();
    Far {
        runtime,
        go_on,
        runs,
    }
}

/// The runtime here, with the agents of the far one.
async fn near(lines: &Lines) -> (Runtime, Client) {
    near_with(lines, Arc::new(MemoryStore::new())).await
}

async fn near_with(lines: &Lines, store: Arc<dyn EventStore>) -> (Runtime, Client) {
    let agent = || RemoteAgent::new(lines.clone()).token("t");
    let lasting = AgentOptions::default().restartable(true);
    let runtime = Runtime::builder()
        .authenticator(tokens())
        .shared_store(store)
        .options(RuntimeOptions::default().drain(std::time::Duration::ZERO))
        .agent_with("work", agent(), lasting)
        .agent("spend", agent())
        .agent("ask", agent())
        .agent("fail", agent())
        .agent("other", agent().named("delegate"))
        .build()
        .await
        .unwrap();
    let (ours, theirs) = MemoryTransport::pair();
    runtime.accept(theirs);
    let client = Client::connect(ours, ClientOptions::bearer("t"))
        .await
        .unwrap();
    (runtime, client)
}

async fn messages(client: &Client, job: &towline_wire::JobId) -> Vec<Value> {
    let logs = bodies(client, job, "log").await;
    logs.into_iter().map(|log| log["message"].clone()).collect()
}

/// What an agent elsewhere says and gives, the job says and gives; a lost line is made again, and nothing is lost or doubled.
#[tokio::test(start_paused = true)]
async fn a_job_elsewhere_survives_its_line() {
    let far = far().await;
    let lines = Lines::to(&far.runtime);
    let (_near, client) = near(&lines).await;
    let mut job = client
        .submit("work")
        .input(json!({"n": 1}))
        .send()
        .await
        .unwrap();
    while let Some(event) = job.next_event().await.unwrap() {
        if event.kind().as_str() == "log" {
            break;
        }
    }
    assert_eq!(lines.cut(), 1);
    far.go_on.notify_one();
    let gave: Value = job.result_json().await.unwrap();
    assert_eq!(gave, json!({"n": 1}));
    assert_eq!(messages(&client, job.id()).await, ["1", "2"]);
    assert_eq!(far.runs.load(Ordering::Relaxed), 1);
}

/// A runtime that is started again goes on with the job that is there: it runs once, and its events stand in the log once.
#[tokio::test]
async fn a_job_elsewhere_survives_its_runtime() {
    let far = far().await;
    let lines = Lines::to(&far.runtime);
    let place = tempfile::tempdir().unwrap();
    let open = async || {
        let store = SqliteStore::open(place.path().join("jobs.db")).await;
        near_with(&lines, Arc::new(store.unwrap())).await
    };
    let (first, client) = open().await;
    let mut job = client.submit("work").input(json!(5)).send().await.unwrap();
    while let Some(event) = job.next_event().await.unwrap() {
        if event.kind().as_str() == "log" {
            break;
        }
    }
    let id = job.id().clone();
    drop((job, client));
    first.shutdown().await;
    drop(first);
    let (_second, client) = open().await;
    let mut watched = client
        .subscribe(id.clone())
        .history(true)
        .send()
        .await
        .unwrap();
    far.go_on.notify_one();
    let Outcome::Success(success) = watched.outcome().await.unwrap() else {
        panic!("it failed");
    };
    assert_eq!(success.result.to_json::<Value>().unwrap(), 5);
    assert_eq!(messages(&client, &id).await, ["1", "2"]);
    assert_eq!(far.runs.load(Ordering::Relaxed), 1);
}

/// A cancel here is a cancel there.
#[tokio::test(start_paused = true)]
async fn a_cancel_goes_along() {
    let far = far().await;
    let lines = Lines::to(&far.runtime);
    let (_near, client) = near(&lines).await;
    let mut job = client.submit("work").send().await.unwrap();
    while let Some(event) = job.next_event().await.unwrap() {
        if event.kind().as_str() == "log" {
            break;
        }
    }
    job.cancel("enough").await.unwrap();
    let Outcome::Failure(failure) = job.outcome().await.unwrap() else {
        panic!("it went on");
    };
    assert_eq!(failure.code, ErrorCode::CANCELLED);
    let over = Client::dial(ClientOptions::bearer("t").connector(lines))
        .await
        .unwrap();
    let jobs = over.list_jobs().page().await.unwrap();
    assert_eq!(jobs.jobs.len(), 1);
    assert!(jobs.jobs[0].status.is_terminal());
}

/// Costs count here, failures keep their code and details, questions are asked here, and [ARCP 10-1] the other runtime delegates
/// nothing by itself.
#[tokio::test(start_paused = true)]
async fn what_an_agent_elsewhere_needs_is_asked_here() {
    let far = far().await;
    let (_near, client) = near(&Lines::to(&far.runtime)).await;
    let budget = Lease::new().with("cost.budget", "USD:1.00");
    let mut job = client.submit("spend").lease(budget).send().await.unwrap();
    let Outcome::Failure(failure) = job.outcome().await.unwrap() else {
        panic!("it spent more");
    };
    assert_eq!(failure.code, ErrorCode::BUDGET_EXHAUSTED);

    let mut job = client.submit("fail").send().await.unwrap();
    let Outcome::Failure(failure) = job.outcome().await.unwrap() else {
        panic!("it did not fail");
    };
    assert_eq!(failure.code.as_str(), "OUT_OF_TUNE");
    assert_eq!(
        failure.details.unwrap().read::<Value>().unwrap(),
        json!({"key": 7})
    );

    let mut job = client.submit("ask").send().await.unwrap();
    let question = loop {
        let event = job.next_event().await.unwrap().expect("it asks");
        if event.kind().as_str() == "x-vendor.towline.input_request" {
            let body: Value = event.payload().unwrap().body.read().unwrap();
            break body["question_id"].as_str().unwrap().parse().unwrap();
        }
    };
    job.answer(question, json!("this")).send().await.unwrap();
    assert_eq!(job.result_json::<Value>().await.unwrap(), "this");

    let lease = Lease::new().with("agent.delegate", "*");
    let mut job = client.submit("other").lease(lease).send().await.unwrap();
    assert_eq!(job.result_json::<Value>().await.unwrap(), true);
    assert_eq!(far.runs.load(Ordering::Relaxed), 0);
}

/// A runtime that is not there is named in the error, and another try may find it.
#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_not_there_is_named() {
    let nowhere = RemoteAgent::new(|| async {
        Err::<MemoryTransport, _>(TransportError::unreachable("gone.test", "nobody is there"))
    });
    let runtime = Runtime::builder()
        .authenticator(tokens())
        .agent("gone", nowhere)
        .build()
        .await
        .unwrap();
    let (ours, theirs) = MemoryTransport::pair();
    runtime.accept(theirs);
    let client = Client::connect(ours, ClientOptions::bearer("t"))
        .await
        .unwrap();
    let mut job = client.submit("gone").send().await.unwrap();
    let Outcome::Failure(failure) = job.outcome().await.unwrap() else {
        panic!("it ran");
    };
    assert!(failure.retryable, "{failure:?}");
    assert!(
        failure.message.contains("the runtime of the agent `gone`"),
        "{failure:?}"
    );
}
