//! A program run for a job: its output is the result, its complaints are log lines, and it ends when the job ends.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
};
use towline_runtime::{AgentError, JobContext, ResultWriter};
use towline_wire::{ErrorCode, RawJson};

use crate::{cancelled, sandbox::UNCONFINED};

/// Up to here output is an inline result; above it is streamed.
const INLINE: usize = 256 * 1024;

/// A longer line of standard error becomes several log lines.
const LOG_LINE: u64 = 8 * 1024;

/// How long a program has between SIGTERM and SIGKILL; less than the runtime grants an agent.
const GRACE: Duration = Duration::from_secs(3);

/// Runs a program to its end, in a process group of its own. Returns the inline result.
///
/// When the job is to end the group gets SIGTERM, then SIGKILL; when the future is dropped the group gets SIGKILL.
pub(crate) async fn run(
    ctx: &JobContext,
    mut command: Command,
    name: &str,
    stdin: Option<Vec<u8>>,
) -> Result<RawJson, AgentError> {
    let input = if stdin.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    #[cfg(unix)]
    command.process_group(0);
    let child = command.spawn();
    let mut child = child.map_err(|error| failed(name, &format!("cannot be started: {error}")))?;
    let group = Group::of(&child);
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failed(name, "has no output"));
    };
    let feed = async {
        if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), stdin) {
            // A program may end, or close its input, without reading all of it.
            let _ = pipe.write_all(&bytes).await;
        }
    };
    let mut output = Output::new(ctx);
    let pumped = async {
        let (collected, logged, ()) =
            tokio::join!(output.collect(stdout), log_lines(ctx, stderr, "info"), feed);
        collected.and(logged)
    };
    tokio::select! {
        pumped = pumped => pumped?,
        () = ctx.cancelled() => {
            group.terminate(&mut child).await;
            return Err(cancelled());
        }
    }
    let status = tokio::select! {
        status = child.wait() => status?,
        () = ctx.cancelled() => {
            group.terminate(&mut child).await;
            return Err(cancelled());
        }
    };
    if !status.success() {
        return Err(
            failed(name, &format!("ended with {}", describe(status))).with_details(details(status))
        );
    }
    output.finish().await
}

fn failed(name: &str, what: &str) -> AgentError {
    AgentError::new(
        ErrorCode::INTERNAL_ERROR,
        format!("the program `{name}` {what}"),
    )
}

fn describe(status: std::process::ExitStatus) -> String {
    status
        .code()
        .map_or_else(|| status.to_string(), |code| format!("status {code}"))
}

fn details(status: std::process::ExitStatus) -> RawJson {
    RawJson::of(&serde_json::json!({"exit_code": status.code()})).unwrap_or(RawJson::NULL)
}

/// Collects standard output: small and textual it is an inline result, else it is streamed as it comes.
struct Output<'c> {
    ctx: &'c JobContext,
    held: Vec<u8>,
    writer: Option<ResultWriter>,
}

impl<'c> Output<'c> {
    fn new(ctx: &'c JobContext) -> Self {
        Self {
            ctx,
            held: Vec::new(),
            writer: None,
        }
    }

    async fn collect(&mut self, mut from: impl AsyncRead + Unpin) -> Result<(), AgentError> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.held.extend_from_slice(&buffer[..read]);
            if self.writer.is_some() || self.held.len() > INLINE {
                self.stream(false).await?;
            }
        }
    }

    /// Sends what is held; a character that is not whole yet stays, unless nothing more comes.
    async fn stream(&mut self, last: bool) -> Result<(), AgentError> {
        if self.writer.is_none() {
            self.writer = Some(self.ctx.stream_result()?);
        }
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let held = std::mem::take(&mut self.held);
        match std::str::from_utf8(&held) {
            Ok(text) => writer.write_text(text).await?,
            Err(error) if error.error_len().is_none() && !last => {
                let (whole, rest) = held.split_at(error.valid_up_to());
                self.held = rest.to_vec();
                writer.write_text(&String::from_utf8_lossy(whole)).await?;
            }
            Err(_) => writer.write_bytes(&held).await?,
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<RawJson, AgentError> {
        let text = std::str::from_utf8(&self.held);
        if let (None, Ok(text)) = (&self.writer, text) {
            return Ok(RawJson::of(text)?);
        }
        self.stream(true).await?;
        if let Some(writer) = self.writer {
            writer.finish(None).await?;
        }
        Ok(RawJson::NULL)
    }
}

/// Each line becomes a log event.
pub(crate) async fn log_lines(
    ctx: &JobContext,
    from: impl AsyncRead + Unpin,
    level: &str,
) -> Result<(), AgentError> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut from)
            .take(LOG_LINE)
            .read_until(b'\n', &mut line)
            .await?
            == 0
        {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        let level = if text.starts_with(UNCONFINED) {
            "warn"
        } else {
            level
        };
        ctx.log(level, text).await?;
    }
}

/// The process group of a program; killed when this is dropped before the program ended.
pub(crate) struct Group {
    #[cfg(unix)]
    leader: Option<nix::unistd::Pid>,
}

#[cfg(unix)]
impl Group {
    pub(crate) fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            leader: id.map(nix::unistd::Pid::from_raw),
        }
    }

    pub(crate) async fn terminate(&self, child: &mut Child) {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        // Whether it went or not, the group is killed when this is dropped.
        let _ = tokio::time::timeout(GRACE, child.wait()).await;
    }

    fn signal(&self, signal: nix::sys::signal::Signal) {
        if let Some(leader) = self.leader {
            // The group may be gone already.
            let _ = nix::sys::signal::killpg(leader, signal);
        }
    }
}

#[cfg(unix)]
impl Drop for Group {
    fn drop(&mut self) {
        // What the program left running in its group ends with the job.
        self.signal(nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(not(unix))]
impl Group {
    pub(crate) fn of(_: &Child) -> Self {
        Self {}
    }

    pub(crate) async fn terminate(&self, child: &mut Child) {
        // It is gone, or it is killed when it is dropped.
        let _ = child.kill().await;
    }
}
