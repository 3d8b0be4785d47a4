//! A program run for a job: its output is the result, its complaints are log lines, and it ends when the job ends.

use std::{process::ExitStatus, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::ChildStdin,
};
use tokio_util::sync::CancellationToken;
use towline_runtime::{AgentError, JobContext, ResultWriter};
use towline_wire::RawJson;

use crate::{
    pipe::Output,
    process::{Process, Streams},
    spawn::Program,
    trouble::{cancelled, failed},
};

/// Up to here output is an inline result; above it is streamed.
const INLINE: usize = 256 * 1024;

/// A longer line of standard error becomes several log lines.
const LOG_LINE: u64 = 8 * 1024;

/// How long a program has between being asked to end and its end; less than the runtime grants an agent.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// Runs a program to its end. Returns the inline result.
///
/// The end is the end of the program: what it started and left behind ends with it, and whoever still holds its output is
/// not waited for. When the job has to end the program is asked to, then ended; when the future is dropped it ends at once.
pub(crate) async fn run(
    ctx: &JobContext,
    program: Program,
    subject: &str,
    stdin: Option<Vec<u8>>,
) -> Result<RawJson, AgentError> {
    let (process, streams) = program.start(ctx, subject).await?;
    let mut result = Collected::new(ctx);
    let Some(status) = to_the_end(ctx, process, streams, stdin, &mut result).await? else {
        return Err(cancelled());
    };
    if !status.success() {
        let what = format!("ended with {}", describe(status));
        return Err(failed(subject, &what).with_details(details(status)));
    }
    result.finish().await
}

/// Feeds the program, takes what it says, and waits for its end; `None` when the job had to end before. Its output is read
/// to the last, for a program that is asked to end must not die of a pipe that nobody reads.
async fn to_the_end(
    ctx: &JobContext,
    mut process: Process,
    streams: Streams,
    stdin: Option<Vec<u8>>,
    result: &mut Collected<'_>,
) -> Result<Option<ExitStatus>, AgentError> {
    let gone = CancellationToken::new();
    let Streams {
        stdin: input,
        stdout,
        stderr,
    } = streams;
    let ended = async {
        let status = tokio::select! {
            status = process.ended() => Some(status?),
            () = ctx.cancelled() => None,
        };
        if status.is_none() {
            process.stop(GRACE).await;
        }
        gone.cancel();
        Ok::<_, AgentError>(status)
    };
    let fed = async {
        tokio::select! {
            () = feed(input, stdin) => {}
            () = gone.cancelled() => {}
        }
        Ok(())
    };
    let collected = async {
        let mut stdout = Output::new(stdout, &gone);
        let collected = result.collect(&mut stdout).await;
        unless_cancelled(ctx, collected, &mut stdout).await
    };
    let logged = async {
        let mut stderr = Output::new(stderr, &gone);
        let logged = log_lines(ctx, &mut stderr, "info").await;
        unless_cancelled(ctx, logged, &mut stderr).await
    };
    let (status, (), (), ()) = tokio::try_join!(ended, collected, logged, fed)?;
    Ok(status)
}

/// A job that has to end takes no more events; what the program still says then goes nowhere.
async fn unless_cancelled(
    ctx: &JobContext,
    taken: Result<(), AgentError>,
    from: &mut (impl AsyncRead + Unpin),
) -> Result<(), AgentError> {
    if taken.is_err() && ctx.is_cancelled() {
        discard(from).await;
        return Ok(());
    }
    taken
}

/// Reads to the end for nobody.
pub(crate) async fn discard(from: &mut (impl AsyncRead + Unpin)) {
    // A pipe that cannot be read is at its end.
    let _ = tokio::io::copy(from, &mut tokio::io::sink()).await;
}

async fn feed(mut input: ChildStdin, bytes: Option<Vec<u8>>) {
    if let Some(bytes) = bytes {
        // A program may end, or close its input, without reading all of it.
        let _ = input.write_all(&bytes).await;
    }
}

/// A status for a person.
pub(crate) fn describe(status: ExitStatus) -> String {
    status
        .code()
        .map_or_else(|| status.to_string(), |code| format!("status {code}"))
}

/// A status for a program.
fn details(status: ExitStatus) -> RawJson {
    RawJson::of(&serde_json::json!({"exit_code": status.code()})).unwrap_or(RawJson::NULL)
}

/// Collects standard output: small and textual it is an inline result, else it is streamed as it comes.
struct Collected<'c> {
    ctx: &'c JobContext,
    held: Vec<u8>,
    writer: Option<ResultWriter>,
}

impl<'c> Collected<'c> {
    fn new(ctx: &'c JobContext) -> Self {
        Self {
            ctx,
            held: Vec::new(),
            writer: None,
        }
    }

    async fn collect(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<(), AgentError> {
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
    from: &mut (impl AsyncRead + Unpin),
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
        ctx.log(level, text).await?;
    }
}
