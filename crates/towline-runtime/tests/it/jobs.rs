//! Jobs from submit to terminal.

use serde_json::{Value, json};
use towline_runtime::{AgentError, JobContext};

use crate::peer::{Peer, runtime};

/// [ARCP 7.1-2, 7.3-1, 7.3-2] accepted, running, events, one terminal.
#[tokio::test(start_paused = true)]
async fn a_job_runs() {
    let runtime = runtime()
        .agent("chatty", |ctx: JobContext, input: Value| async move {
            for line in 1..=3u32 {
                ctx.log("info", format!("line {line}")).await?;
                ctx.progress(line).of(3).await?;
            }
            Ok::<_, AgentError>(json!({"echo": input}))
        })
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let job = alice
        .submit(json!({"agent": "chatty", "input": {"a": 1}}))
        .await;
    let frames = alice.until_end(&job).await;
    let kinds: Vec<_> = frames
        .iter()
        .map(|frame| frame["payload"]["kind"].as_str().unwrap_or("end"))
        .collect();
    assert_eq!(
        kinds,
        [
            "status", "log", "progress", "log", "progress", "log", "progress", "end"
        ]
    );
    for (seq, frame) in (1..).zip(&frames) {
        assert_eq!(frame["event_seq"], seq);
        assert_eq!(frame["job_seq"], seq);
    }
    let end = frames.last().unwrap();
    assert_eq!(end["payload"]["final_status"], "success");
    assert_eq!(end["payload"]["result"], json!({"echo": {"a": 1}}));
    runtime.shutdown().await;
}

/// [ARCP 6.3-3, 6.3-4] a job goes on while its client is away, and the resumed stream has no gap.
#[tokio::test(start_paused = true)]
async fn a_session_resumes() {
    let runtime = runtime()
        .agent("slow", |ctx: JobContext, _input: Value| async move {
            for line in 1..=10u32 {
                ctx.log("info", format!("line {line}")).await?;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Ok::<_, AgentError>(Value::Null)
        })
        .build()
        .await
        .unwrap();
    let mut alice = Peer::alice(&runtime).await;
    let job = alice.submit(json!({"agent": "slow"})).await;
    for seq in 1..=4 {
        assert_eq!(alice.next().await["event_seq"], seq);
    }
    let token = alice.cut();
    let mut again = Peer::resume(&runtime, &token, 2).await;
    again.expect("job.accepted").await;
    let frames = again.until_end(&job).await;
    let seqs: Vec<_> = frames
        .iter()
        .map(|frame| frame["event_seq"].as_u64().unwrap())
        .collect();
    assert_eq!(seqs, (3..=12).collect::<Vec<_>>());
    runtime.shutdown().await;
}
