//! Agents that speak the Agent Client Protocol, as coding agents do (chapter 17).

mod calls;
mod client;
mod input;
mod rpc;
mod session;
mod updates;

use std::{convert::Infallible, io, process::ExitStatus, time::Duration};

use futures_util::{FutureExt as _, future::FusedFuture as _};
use tokio::{io::AsyncRead, time::timeout};
use tokio_util::sync::CancellationToken;
use towline_runtime::{AgentError, JobContext};
use towline_wire::RawJson;
use tracing::Instrument as _;

pub(crate) use self::input::Input;
use self::{
    rpc::{Incoming, Outgoing},
    session::{Broken, Session},
};
use crate::{
    pipe::{Allowance, Output},
    plain::{GRACE, describe, discard, log_lines},
    process::Process,
    spawn::Program,
    trouble::{agent_process, failed},
};

/// Runs a job as one turn of an agent. Like a program of any other protocol it is confined by the job's lease, and ends
/// with its job.
pub(crate) async fn run(
    ctx: JobContext,
    program: Program,
    output: Option<u64>,
    input: Input,
) -> Result<RawJson, AgentError> {
    let subject = agent_process(ctx.agent().name());
    let (mut process, streams) = program.start(&ctx, &subject, None).await?;
    let gone = CancellationToken::new();
    let allowance = output.map(Allowance::new);
    let mut stderr = Output::new(streams.stderr, &gone).within(allowance.as_ref());
    let stdout = Output::new(streams.stdout, &gone).within(allowance.as_ref());
    let pipes = (Incoming::new(stdout), Outgoing::new(streams.stdin));
    let mut session = Session::new(&ctx, &subject, pipes, allowance);
    let (gave, status) =
        to_the_end(&ctx, &mut session, &input, &mut process, &mut stderr, &gone).await;
    let gave = match gave {
        Err(Broken::Lost) => Err(lost(&subject, status, &mut process).await),
        Err(Broken::Failed(error)) => Err(error),
        Ok(result) => Ok(result),
    };
    // Its standard input ends with the session.
    drop(session);
    if ctx.is_cancelled() {
        tokio::select! {
            () = process.stop(LAST_WORDS) => {}
            never = unheard(&mut stderr) => match never {},
        }
    } else {
        drop(tokio::spawn(farewell(process, stderr).in_current_span()));
    }
    gave
}

/// Runs the turn, while the agent's complaints go into the log. Gives its status too, when the agent has ended.
async fn to_the_end(
    ctx: &JobContext,
    session: &mut Session<'_>,
    input: &Input,
    process: &mut Process,
    stderr: &mut (impl AsyncRead + Unpin),
    gone: &CancellationToken,
) -> (Result<RawJson, Broken>, Option<io::Result<ExitStatus>>) {
    let mut turn = std::pin::pin!(session.turn(input));
    let mut logged = std::pin::pin!(log_lines(ctx, stderr, "debug", |_| {}).fuse());
    let mut status = None;
    let gave = loop {
        tokio::select! {
            biased;
            gave = &mut turn => break gave,
            ended = process.ended(), if status.is_none() => {
                status = Some(ended);
                gone.cancel();
            }
            // A job that has ended takes no more lines.
            _ = &mut logged, if !logged.is_terminated() => {}
        }
    };
    if status.is_some() && !logged.is_terminated() {
        // What it complained of last says why.
        drop(logged.await);
    }
    (gave, status)
}

/// How an agent that ended in the middle of its turn is told of.
async fn lost(
    subject: &str,
    status: Option<io::Result<ExitStatus>>,
    process: &mut Process,
) -> AgentError {
    let status = match status {
        Some(status) => Some(status),
        None => timeout(FAREWELL, process.ended()).await.ok(),
    };
    match status {
        Some(Ok(status)) => {
            let what = format!("ended with {} in the middle of its turn", describe(status));
            failed(subject, &what).with_details(serde_json::json!({"exit_code": status.code()}))
        }
        Some(Err(error)) => failed(subject, &format!("is lost: {error}")),
        None => failed(
            subject,
            "closed its standard output in the middle of its turn",
        ),
    }
}

/// Sees an agent off that has given what it had to give: its input is at its end, it is asked to end, is ended.
async fn farewell(mut process: Process, mut stderr: impl AsyncRead + Unpin + Send) {
    let ending = async {
        if timeout(FAREWELL, process.ended()).await.is_err() {
            process.stop(GRACE).await;
        }
    };
    tokio::select! {
        () = ending => {}
        never = unheard(&mut stderr) => match never {},
    }
}

async fn unheard(stderr: &mut (impl AsyncRead + Unpin)) -> Infallible {
    discard(stderr).await;
    std::future::pending().await
}

/// How long an agent has to end its turn once it is cancelled, and again to end; together less than the runtime grants.
const LAST_WORDS: Duration = Duration::from_millis(1500);
/// How long an agent has to leave by itself.
const FAREWELL: Duration = Duration::from_secs(1);
