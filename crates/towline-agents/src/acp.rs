//! A job done by a program that speaks the Agent Client Protocol (version 1, JSON-RPC in lines on its standard input and output),
//! as coding agents do [ARCP 17-1].
//!
//! ```text
//!   initialize ─▶ session/new, or session/load ─▶ set mode and model ─▶ session/prompt ─▶ the turn's end is the job's end
//!                       │ its id is the job's checkpoint                      │
//!                       ▼                                                     ├─ session/update: events of the job
//!                  a later run loads it                                       ├─ session/request_permission: the lease, a person, no
//!                                                                             ├─ fs/*: the job's own file facade
//!                                                                             └─ terminal/*: programs that the lease covers
//! ```
//!
//! What the agent asks for is a courtesy: what binds it is its confinement [ARCP 17-5].

mod input;
mod permission;
mod session;
mod terminals;
mod turn;
mod wire;

use std::{io, process::ExitStatus, sync::Arc, time::Duration};

use futures_util::future::{FusedFuture as _, FutureExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use towline_runtime::{AgentError, JobContext};
use towline_wire::{RawJson, namespace};

use crate::{
    denial::Complaints,
    keeping::Keeping,
    mcp::JobServer,
    named::Starter,
    pipe::{Allowance, Output},
    plain::{GRACE, describe, log_lines, said_too_much},
    process::Process,
    relay::rest,
    spawn::Program,
    trouble::{agent_process, cancelled, failed},
};
use session::{Own, Session};
use terminals::Terminals;
use wire::{Broken, Wire};

/// The program of one job.
pub(crate) struct AcpChild {
    pub(crate) program: Program,
    /// What an earlier run of the job kept.
    pub(crate) kept: Option<RawJson>,
    /// Where it works when the input does not say.
    pub(crate) directory: std::path::PathBuf,
    /// How much it may say.
    pub(crate) output: Option<u64>,
    /// What starts the commands that it has run for it.
    pub(crate) starter: Starter,
    /// What a later run has to know.
    pub(crate) keeping: Arc<Keeping>,
    /// The job's own tools, if there are any.
    pub(crate) tools: Option<Arc<JobServer>>,
}

/// Runs a job as one prompt of one session. The program is ended when its turn is over, or the job.
pub(crate) async fn run(
    ctx: JobContext,
    child: AcpChild,
    input: RawJson,
) -> Result<RawJson, AgentError> {
    let subject = agent_process(ctx.agent().name());
    let task = input::Task::read(&ctx, &input, &child.directory).await?;
    let complaints = Complaints::within(&child.program.bounds);
    let (mut process, streams) = child.program.start(&ctx, &subject, None).await?;
    let gone = CancellationToken::new();
    let allowance = child.output.map(Allowance::new);
    let mut stderr = Output::new(streams.stderr, &gone).within(allowance.as_ref());
    let stdout = Output::new(streams.stdout, &gone).within(allowance.as_ref());
    let wire = Wire::new(stdout, streams.stdin);
    let terminals = ctx
        .reach()
        .covers_some(namespace::TOOL_CALL, "exec:")
        .then(|| Terminals::new(&ctx, child.starter, &task.cwd));
    let own = own(&process, child.keeping, child.tools.as_deref());
    let mut session = Session::new(&ctx, &subject, wire, own, terminals);
    let gave = {
        let mut worked = std::pin::pin!(session.work(task, child.kept));
        let mut logged = std::pin::pin!(
            log_lines(&ctx, &mut stderr, "debug", |line| complaints.hear(line)).fuse()
        );
        loop {
            tokio::select! {
                biased;
                gave = &mut worked => {
                    if !matches!(gave, Err(Broken::Lost)) {
                        break gave;
                    }
                    // It goes, and how it went says more than that its output ended.
                    let Ok(status) = timeout(FAREWELL, process.ended()).await else {
                        break gave;
                    };
                    gone.cancel();
                    rest(logged).await;
                    break Err(complaints.ended(&ctx, &subject, status).into());
                }
                _ = &mut logged, if !logged.is_terminated() => {}
                status = process.ended(), if !gone.is_cancelled() => {
                    gone.cancel();
                    let gave = (&mut worked).await;
                    rest(logged).await;
                    break gave.map_err(|broken| match broken {
                        Broken::Lost => complaints.ended(&ctx, &subject, status).into(),
                        other => other,
                    });
                }
                () = used_up(allowance.as_ref()) => break Err(said_too_much(&subject).into()),
            }
        }
    };
    session.close().await;
    conclude(&ctx, &subject, process, gave).await
}

/// Sees the program off, and says what came of it.
async fn conclude(
    ctx: &JobContext,
    subject: &str,
    mut process: Process,
    gave: Result<RawJson, Broken>,
) -> Result<RawJson, AgentError> {
    process
        .stop(if ctx.is_cancelled() { FAREWELL } else { GRACE })
        .await;
    match gave {
        Ok(result) => Ok(result),
        Err(Broken::Error(error)) => Err(error),
        Err(Broken::Cancelled) => Err(cancelled()),
        Err(Broken::Lost) => Err(failed(subject, "closed its output before its turn ended")),
    }
}

/// What the session is told of its job.
fn own(process: &Process, keeping: Arc<Keeping>, tools: Option<&JobServer>) -> Own {
    let given = |tools: &JobServer| {
        let url = process.port().map(|port| tools.url(port));
        (url, tools.key().clone())
    };
    Own {
        keeping,
        tools: tools.map(given),
    }
}

impl Complaints {
    /// The program ended in the middle of its turn.
    fn ended(&self, ctx: &JobContext, subject: &str, status: io::Result<ExitStatus>) -> AgentError {
        let (how, status) = match status {
            Ok(status) => (describe(status), Some(status)),
            Err(error) => (error.to_string(), None),
        };
        let what = format!("ended with {how} before its turn did");
        self.failure(ctx.lease(), subject, &what, status)
    }
}

async fn used_up(allowance: Option<&Allowance>) {
    match allowance {
        Some(allowance) => allowance.used_up().await,
        None => std::future::pending().await,
    }
}

/// How long a program has to end by itself.
const FAREWELL: Duration = Duration::from_secs(1);
