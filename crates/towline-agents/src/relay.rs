//! A job handed on to a runtime in a child process. What its agent says and gives becomes what the job says and gives.

use std::{process::Stdio, time::Duration};

use towline_client::{Client, ClientError, ClientOptions, JobEvent, JobHandle, JobOutput, Outcome};
use towline_runtime::{AgentError, EventError, JobContext, ResultWriter};
use towline_transport::{StdioOptions, StdioTransport, Transport};
use towline_wire::{ErrorCode, Event, Feature, RawJson, Secret, event};

use crate::{
    ProcessAgent, cancelled,
    process::{Group, log_lines},
};

/// How long the child has to end its job after a cancel; less than the runtime grants an agent.
const GRACE: Duration = Duration::from_secs(3);

/// What a submit adds to its input on a line, leaving aside enormous leases.
const ENVELOPE: usize = 4 * 1024;

pub(crate) async fn run(
    ctx: JobContext,
    agent: &ProcessAgent,
    input: RawJson,
) -> Result<RawJson, AgentError> {
    let program = ctx.agent().name();
    let minted = || {
        Secret::from(
            towline_env::Ids::system()
                .resume_token()
                .expose()
                .to_owned(),
        )
    };
    let token = agent.token.clone().unwrap_or_else(minted);
    let mut command = agent.command(&ctx);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.env("ARCP_TOKEN", token.expose());
    #[cfg(unix)]
    command.process_group(0);
    let mut child = command
        .spawn()
        .map_err(|error| failed(program, &format!("cannot be started: {error}")))?;
    let group = Group::of(&child);
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(program, "has no standard streams"));
    };
    // Some SDKs read lines of at most 64 KiB.
    let mut transport: Box<dyn Transport> = Box::new(StdioTransport::over(
        stdout,
        stdin,
        StdioOptions::default().declare_confidential(true),
    ));
    if let Some(layer) = &agent.layer {
        transport = layer(transport);
    }
    let options = ClientOptions::bearer(token).name("towline", env!("CARGO_PKG_VERSION"));
    let served = async {
        let client = Client::connect(transport, options)
            .await
            .map_err(|error| broken(program, &error))?;
        let gave = relay(&ctx, &client, program, input).await;
        // The child is told to go away; whether it heard it does not change what it gave.
        drop(client.close("done").await);
        gave
    };
    let logged = log_lines(&ctx, stderr, "debug");
    let gave = tokio::select! {
        gave = served => gave,
        () = async { drop(logged.await); std::future::pending().await } => Err(failed(program, "is gone")),
    };
    group.terminate(&mut child).await;
    gave
}

async fn relay(
    ctx: &JobContext,
    client: &Client,
    program: &str,
    input: RawJson,
) -> Result<RawJson, AgentError> {
    check_size(client, program, &input)?;
    let mut submit = client
        .submit(program)
        .input(input)
        .lease(ctx.lease().clone())
        .within(ctx.trace_id(), ctx.span_id());
    let expires = client
        .session()
        .is_some_and(|session| session.features().has(Feature::LeaseExpiresAt));
    let at = ctx.expires_at().filter(|_| expires);
    if let Some(at) = at {
        submit = submit.expires_at(at);
    }
    let mut job = submit
        .send()
        .await
        .map_err(|error| broken(program, &error))?;
    let mut writer = None;
    loop {
        tokio::select! {
            event = job.next_event() => match event.map_err(|error| broken(program, &error))? {
                Some(event) => forward(ctx, &event, &mut writer).await?,
                None => break,
            },
            () = ctx.cancelled() => return stop(job).await,
        }
    }
    let outcome = job
        .outcome()
        .await
        .map_err(|error| broken(program, &error))?;
    conclude(outcome, writer).await
}

/// One SDK reads no longer lines than these, and breaks on others.
fn check_size(client: &Client, program: &str, input: &RawJson) -> Result<(), AgentError> {
    let size = input.as_str().len();
    let limit = client
        .session()
        .and_then(|session| session.dialect().line_limit());
    match limit.filter(|limit| size + ENVELOPE > *limit) {
        None => Ok(()),
        Some(limit) => Err(AgentError::new(
            ErrorCode::INVALID_REQUEST,
            format!(
                "the input has {size} bytes, and the process of the agent `{}` reads lines of at most {limit}",
                program
            ),
        )),
    }
}

/// Asks for the end and waits a little for it; what the job ends with is the runtime's business.
async fn stop(mut job: JobHandle) -> Result<RawJson, AgentError> {
    if job.cancel("the job has to end").await.is_ok() {
        // Whether it ended in time or not, the process is ended next.
        drop(tokio::time::timeout(GRACE, job.outcome()).await);
    }
    Err(cancelled())
}

/// Passes an event on. What only a runtime may say (`running`, what is left of a budget, its children) stays behind: ours
/// says it itself.
async fn forward(
    ctx: &JobContext,
    event: &JobEvent,
    writer: &mut Option<ResultWriter>,
) -> Result<(), AgentError> {
    let Ok(payload) = event.payload() else {
        ctx.log(
            "warn",
            "the agent's process sent an event that cannot be read",
        )
        .await?;
        return Ok(());
    };
    match payload.event() {
        Ok(Event::ResultChunk(chunk)) => piece(ctx, chunk, writer).await?,
        Ok(Event::Delegate(_)) => {}
        Ok(Event::Status(status))
            if ["running", "back_pressure", "credential_rotated"]
                .contains(&status.phase.as_str()) => {}
        Ok(Event::Metric(metric)) if metric.name == "cost.budget.remaining" => {}
        Ok(_) if payload.kind.is_known() || payload.kind.is_vendor() => {
            match ctx.emit(&payload.kind, &payload.body).await {
                Err(refused @ (EventError::Invalid(_) | EventError::Metric(_))) => {
                    ctx.log("warn", refused.to_string()).await?
                }
                other => other?,
            }
        }
        _ => {}
    }
    Ok(())
}

async fn piece(
    ctx: &JobContext,
    chunk: event::ResultChunk,
    writer: &mut Option<ResultWriter>,
) -> Result<(), AgentError> {
    use base64::{Engine as _, prelude::BASE64_STANDARD};

    if writer.is_none() {
        *writer = Some(ctx.stream_result()?);
    }
    let Some(writer) = writer else { return Ok(()) };
    match chunk.encoding {
        event::ChunkEncoding::Utf8 => writer.write_text(&chunk.data).await?,
        event::ChunkEncoding::Base64 => {
            writer
                .write_bytes(&BASE64_STANDARD.decode(&chunk.data)?)
                .await?
        }
    }
    Ok(())
}

async fn conclude(outcome: Outcome, writer: Option<ResultWriter>) -> Result<RawJson, AgentError> {
    match outcome {
        Outcome::Success(success) => {
            if let Some(writer) = writer {
                writer.finish(success.summary.as_deref()).await?;
                return Ok(RawJson::NULL);
            }
            match success.result {
                JobOutput::Inline { value, .. } => Ok(value),
                JobOutput::Streamed { .. } => Ok(RawJson::NULL),
            }
        }
        Outcome::Failure(failure) => {
            let error = AgentError::new(failure.code, failure.message);
            Err(match failure.details {
                Some(details) => error.with_details(details),
                None => error,
            })
        }
    }
}

fn failed(program: &str, what: &str) -> AgentError {
    AgentError::new(
        ErrorCode::INTERNAL_ERROR,
        format!("the process of the agent `{}` {what}", program),
    )
}

/// The child refused, or talks nonsense. Its code is kept where it is about the job.
fn broken(program: &str, error: &ClientError) -> AgentError {
    let code = error
        .code()
        .filter(|code| **code != ErrorCode::UNAUTHENTICATED)
        .cloned();
    let message = format!("the process of the agent `{}`: {}", program, chain(error));
    AgentError::new(code.unwrap_or(ErrorCode::INTERNAL_ERROR), message)
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    for cause in std::iter::successors(error.source(), |cause| cause.source()) {
        let more = cause.to_string();
        // Many errors repeat their cause in their own text.
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
    }
    text
}
