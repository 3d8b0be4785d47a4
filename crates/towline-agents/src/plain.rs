//! A program run for a job: its output is the result, its complaints are log lines, and it ends when the job ends.

use std::{process::ExitStatus, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::ChildStdin,
};
use tokio_util::sync::CancellationToken;
use towline_runtime::{AgentError, JobContext};
use towline_wire::RawJson;

use crate::{
    collected::{Collected, LOG_LINE, ResultForm},
    denial::Complaints,
    pipe::{Allowance, Output},
    process::{Process, Streams},
    side,
    spawn::Program,
    trouble::{cancelled, failed},
};

/// How long a program has between being asked to end and its end; less than the runtime grants an agent.
pub(crate) const GRACE: Duration = Duration::from_secs(3);

/// How a program is run for a job.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manner {
    /// What its output is as a result.
    pub(crate) form: ResultForm,
    /// Whether each line of its output is a log event as well, as soon as it is written.
    pub(crate) live: bool,
    /// How much it may say.
    pub(crate) output: Option<u64>,
}

/// Runs a program to its end. Returns the inline result.
///
/// The end is the end of the program: what it started and left behind ends with it, and whoever still holds its output is
/// not waited for. When the job has to end the program is asked to, then ended; when the future is dropped it ends at once.
pub(crate) async fn run(
    ctx: &JobContext,
    program: Program,
    subject: &str,
    stdin: Option<Vec<u8>>,
    manner: Manner,
) -> Result<RawJson, AgentError> {
    let complaints = Complaints::within(&program.bounds);
    let (channel, theirs) = side::pair()?;
    let (process, streams) = program.start(ctx, subject, theirs).await?;
    let mut talk = Talk {
        ctx,
        result: Collected::new(ctx, manner.form, manner.live),
        complaints,
        allowance: manner.output.map(Allowance::new),
    };
    let Some(status) = talk
        .until_the_end(process, streams, channel, stdin, subject)
        .await?
    else {
        return Err(cancelled());
    };
    if status.success() {
        return talk.result.finish(subject).await;
    }
    let what = format!("ended with {}", describe(status));
    Err(talk
        .complaints
        .failure(ctx.lease(), subject, &what, Some(status)))
}

/// What is heard of a program.
struct Talk<'c> {
    ctx: &'c JobContext,
    result: Collected<'c>,
    complaints: Complaints,
    allowance: Option<Allowance>,
}

impl Talk<'_> {
    /// Feeds the program, takes what it says, and waits for its end; `None` when the job had to end before. Its output is read
    /// to the last, for a program that is asked to end must not die of a pipe that nobody reads.
    async fn until_the_end(
        &mut self,
        mut process: Process,
        streams: Streams,
        channel: side::Ours,
        stdin: Option<Vec<u8>>,
        subject: &str,
    ) -> Result<Option<ExitStatus>, AgentError> {
        let Self {
            ctx,
            result,
            complaints,
            allowance,
        } = self;
        let (ctx, allowance): (&JobContext, _) = (ctx, allowance.as_ref());
        let gone = CancellationToken::new();
        let Streams {
            stdin: input,
            stdout,
            stderr,
        } = streams;
        let ended = ended(ctx, &mut process, &gone, subject);
        let fed = async {
            tokio::select! {
                () = feed(input, stdin) => {}
                () = gone.cancelled() => {}
            }
            Ok(())
        };
        let collected = async {
            let mut stdout = Output::new(stdout, &gone).within(allowance);
            let collected = result.collect(&mut stdout).await;
            unless_cancelled(ctx, collected, &mut stdout).await
        };
        let logged = async {
            let mut stderr = Output::new(stderr, &gone).within(allowance);
            let logged = log_lines(ctx, &mut stderr, "info", |line| complaints.hear(line)).await;
            unless_cancelled(ctx, logged, &mut stderr).await
        };
        let told = side::serve(ctx, channel, &gone);
        let all = async { tokio::try_join!(ended, collected, logged, fed, told) };
        let used_up = async {
            match allowance {
                Some(allowance) => allowance.used_up().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = used_up => Err(said_too_much(subject)),
            all = all => all.map(|(status, ..)| status),
        }
    }
}

/// Waits for the program's end, or brings it about when the job is to stop; no status then.
async fn ended(
    ctx: &JobContext,
    process: &mut Process,
    gone: &CancellationToken,
    subject: &str,
) -> Result<Option<ExitStatus>, AgentError> {
    let status = tokio::select! {
        status = process.ended() => {
            Some(status.map_err(|why| failed(subject, &format!("ended with {why}")))?)
        }
        () = ctx.cancelled() => None,
    };
    if status.is_none() {
        process.stop(GRACE).await;
    }
    gone.cancel();
    Ok(status)
}

/// What a job hears whose program said more than it may.
pub(crate) fn said_too_much(subject: &str) -> AgentError {
    failed(
        subject,
        "wrote more than its limit of output lets it; have it write less, or the operator raise `output` in its limits",
    )
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

/// Each line becomes a log event, and is looked at.
pub(crate) async fn log_lines(
    ctx: &JobContext,
    from: &mut (impl AsyncRead + Unpin),
    level: &str,
    mut look: impl FnMut(&str),
) -> Result<(), AgentError> {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut from)
            .take(LOG_LINE as u64)
            .read_until(b'\n', &mut line)
            .await?
            == 0
        {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        look(text);
        ctx.log(level, text).await?;
    }
}
