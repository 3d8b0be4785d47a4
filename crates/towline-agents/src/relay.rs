//! A job handed on to another runtime, in a child process or elsewhere. What its agent says and gives becomes what the job says
//! and gives.

mod asking;
mod forward;
mod marks;
mod remote;
mod strict;

use std::{convert::Infallible, io, process::ExitStatus, sync::Arc, time::Duration};

use futures_util::future::{Fuse, FusedFuture, FutureExt as _};
use tokio::{
    io::AsyncRead,
    process::{ChildStdin, ChildStdout},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use towline_client::{
    Client, ClientError, ClientOptions, HandshakeError, JobHandle, JobOutput, Outcome, SessionOver,
};
use towline_env::{Clock as _, Ids, SystemClock};
use towline_runtime::{AgentError, JobContext};
use towline_transport::{StdioOptions, StdioTransport, Transport};
use towline_wire::{ErrorCode, Feature, FeatureSet, Lease, RawJson, Secret, namespace};
use tracing::Instrument as _;

use crate::{
    denial::Complaints,
    pipe::{Allowance, Output},
    plain::{GRACE, describe, discard, log_lines, said_too_much},
    process::Process,
    spawn::Program,
    trouble::{agent_process, cancelled, chain, failed},
};
use forward::Forward;
use marks::Marks;
use strict::{Strays, Strict};

pub(crate) use remote::run_elsewhere;

/// The longest line of a child, as long as a message of a client may be.
const LINE: usize = 16 << 20;

/// The longest line to a child: what everybody reads who does not say otherwise [ARCP 4-6].
const SENT: usize = 4 << 20;

/// What a submit adds to its input on a line, leaving aside enormous leases.
const ENVELOPE: usize = 4 * 1024;

/// How long a child that has given its result has to end by itself, before it is asked to.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is offered to a child: credentials are the submitter's, and no child's to hand out.
const FEATURES: FeatureSet = FeatureSet::ALL.without(Feature::ProvisionedCredentials);

/// Wraps the connection to a child.
pub(crate) type Layer = Arc<dyn Fn(Box<dyn Transport>) -> Box<dyn Transport> + Send + Sync>;

/// A child for one job.
pub(crate) struct Child {
    pub(crate) program: Program,
    /// What it expects; a new one when it takes any.
    pub(crate) token: Option<Secret>,
    pub(crate) layer: Option<Layer>,
    /// What an earlier run of the job kept.
    pub(crate) kept: Option<RawJson>,
    /// How much it may say.
    pub(crate) output: Option<u64>,
}

/// Runs a job in a child process.
///
/// The terminal is the child's, and waits for nothing after it; the process ends behind it. One that ends before has ended
/// the job, whoever still holds its output.
pub(crate) async fn run(
    ctx: JobContext,
    child: Child,
    input: RawJson,
) -> Result<RawJson, AgentError> {
    let Child {
        mut program,
        token,
        layer,
        kept,
        output,
    } = child;
    let name = ctx.agent().name().to_owned();
    let minted = || Secret::from(Ids::system().resume_token().expose().to_owned());
    let token = token.unwrap_or_else(minted);
    program.environment.set("ARCP_TOKEN", token.expose());
    let subject = agent_process(&name);
    let complaints = Complaints::within(&program.bounds);
    let (mut process, streams) = program.start(&ctx, &subject, None).await?;
    let gone = CancellationToken::new();
    let allowance = output.map(Allowance::new);
    let mut stderr = Output::new(streams.stderr, &gone).within(allowance.as_ref());
    let stdout = Output::new(streams.stdout, &gone).within(allowance.as_ref());
    let (transport, strays) = connection(stdout, streams.stdin, layer);
    let options = ClientOptions::bearer(token)
        .name("towline", env!("CARGO_PKG_VERSION"))
        .features(FEATURES);
    let relay = Relay {
        ctx: &ctx,
        name: &name,
        subject: &subject,
        kept,
        allowance,
        complaints,
        relayed: Relayed::ToChild,
    };
    let relayed = relay.run(transport, options, strays, input);
    let (client, gave) = relay
        .to_the_end(relayed, &mut process, &mut stderr, &gone)
        .await;
    if ctx.is_cancelled() {
        tokio::select! {
            () = process.stop(LAST_WORDS) => {}
            never = unheard(&mut stderr) => match never {},
        }
    } else {
        let farewell = farewell(client, process, stderr);
        drop(tokio::spawn(farewell.in_current_span()));
    }
    gave.map_err(Broken::into_error)
}

/// The connection to a child, and what is told of its lines.
fn connection(
    stdout: Output<ChildStdout>,
    stdin: ChildStdin,
    layer: Option<Layer>,
) -> (Box<dyn Transport>, Strays) {
    let options = StdioOptions::default()
        .max_line_length(LINE)
        .max_send_length(SENT)
        .declare_confidential(true);
    let (transport, strays) = Strict::new(StdioTransport::over(stdout, stdin, options));
    let transport: Box<dyn Transport> = Box::new(transport);
    let transport = match layer {
        Some(layer) => layer(transport),
        None => transport,
    };
    (transport, strays)
}

/// The client, if a session came about, and what the child gave.
type Gave = (Option<Client>, Result<RawJson, Broken>);

/// What came first.
enum First {
    Relayed(Gave),
    Gone(io::Result<ExitStatus>),
}

/// What is left of the log, unless it is over.
pub(crate) async fn rest<F: Future<Output = Result<(), AgentError>>>(
    logged: std::pin::Pin<&mut Fuse<F>>,
) {
    if !logged.is_terminated() {
        // A job that has ended takes no more lines.
        drop(logged.await);
    }
}

/// Sees a child off that has given what it had to give: it hears the goodbye, is asked to end, is ended.
async fn farewell(
    client: Option<Client>,
    mut process: Process,
    mut stderr: impl AsyncRead + Unpin + Send,
) {
    let goodbye = async {
        if let Some(client) = client {
            // Whether it heard it does not change what it gave.
            drop(client.close("done").await);
        }
    };
    let ending = async {
        let leaves = async {
            goodbye.await;
            process.ended().await.is_ok()
        };
        if timeout(FAREWELL, leaves).await.is_err() {
            process.stop(GRACE).await;
        }
    };
    tokio::select! {
        () = ending => {}
        never = unheard(&mut stderr) => match never {},
    }
}

/// Lets a child complain to the end, for nobody: the job is over, and a pipe that is not read might end the child.
async fn unheard(stderr: &mut (impl AsyncRead + Unpin)) -> Infallible {
    discard(stderr).await;
    std::future::pending().await
}

/// Where the runtime is that a job is handed on to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relayed {
    /// In a process of ours, which is made for the job and starts no jobs of its own.
    ToChild,
    /// Elsewhere: a runtime that lives without us, and may have agents that ours must not reach.
    Elsewhere,
}

/// One job's way through a child.
struct Relay<'j> {
    ctx: &'j JobContext,
    name: &'j str,
    /// What errors call the child.
    subject: &'j str,
    /// What an earlier run of the job kept.
    kept: Option<RawJson>,
    allowance: Option<Allowance>,
    complaints: Complaints,
    relayed: Relayed,
}

impl Relay<'_> {
    /// Waits for what the child gives, or for its end, and forwards its complaints until then.
    async fn to_the_end(
        &self,
        relayed: impl Future<Output = Gave>,
        process: &mut Process,
        stderr: &mut (impl AsyncRead + Unpin),
        gone: &CancellationToken,
    ) -> Gave {
        let mut relayed = std::pin::pin!(relayed);
        let mut logged = std::pin::pin!(
            log_lines(self.ctx, stderr, "debug", |line| self.complaints.hear(line)).fuse()
        );
        let first = tokio::select! {
            biased;
            relayed = &mut relayed => First::Relayed(relayed),
            status = process.ended() => First::Gone(status),
            never = async { rest(logged.as_mut()).await; std::future::pending().await } => never,
        };
        match first {
            First::Relayed((client, Err(lost))) if lost.was_lost => {
                // It goes, and how it went says more.
                let status = timeout(FAREWELL, process.ended()).await;
                gone.cancel();
                rest(logged).await;
                let lost = match status {
                    Ok(status) => lost.after_the_end(self, status),
                    Err(_) => lost,
                };
                (client, Err(lost))
            }
            First::Relayed(relayed) => {
                // What it complained of before stands in its pipe; what comes after is not waited for.
                tokio::task::yield_now().await;
                let _ = rest(logged).now_or_never();
                relayed
            }
            First::Gone(status) => {
                gone.cancel();
                // What it said last is still in its pipes.
                let ((client, gave), ()) = tokio::join!(relayed, rest(logged));
                let gave = gave.map_err(|error| error.after_the_end(self, status));
                (client, gave)
            }
        }
    }

    async fn run(
        &self,
        transport: Box<dyn Transport>,
        options: ClientOptions,
        strays: Strays,
        input: RawJson,
    ) -> Gave {
        let client = match self.connected(Client::connect(transport, options)).await {
            Ok(client) => client,
            Err(broken) => return (None, Err(broken)),
        };
        let gave = match self.submitted(&client, input, None).await {
            Ok(job) => self.follow(&client, job, strays, None).await,
            Err(broken) => Err(broken),
        };
        (Some(client), gave)
    }

    async fn connected(
        &self,
        connecting: impl Future<Output = Result<Client, ClientError>>,
    ) -> Result<Client, Broken> {
        tokio::select! {
            connected = connecting => connected.map_err(|error| self.broken(error)),
            () = self.used_up() => Err(said_too_much(self.subject).into()),
            () = self.ctx.cancelled() => Err(cancelled().into()),
        }
    }

    async fn submitted(
        &self,
        client: &Client,
        input: RawJson,
        key: Option<&str>,
    ) -> Result<JobHandle, Broken> {
        tokio::select! {
            submitted = self.submit(client, input, key) => submitted,
            () = self.used_up() => Err(said_too_much(self.subject).into()),
            () = self.ctx.cancelled() => Err(cancelled().into()),
        }
    }

    /// Passes on what a job over there says, up to what it gives.
    async fn follow(
        &self,
        client: &Client,
        mut job: JobHandle,
        mut strays: Strays,
        mut marks: Option<&mut Marks<'_>>,
    ) -> Result<RawJson, Broken> {
        let mut forward = Forward::new(self.ctx, client.clone(), job.id().clone());
        loop {
            tokio::select! {
                event = job.next_event() => match event.map_err(|error| self.broken(error))? {
                    Some(event) if marks.as_mut().is_none_or(|marks| marks.is_news()) => {
                        forward.event(&event).await?;
                    }
                    Some(event) => forward.again(&event),
                    None => break,
                },
                () = due(marks.as_deref()) => {
                    if let Some(marks) = &mut marks {
                        marks.keep().await.map_err(AgentError::from)?;
                    }
                }
                Some(stray) = strays.recv() => {
                    self.ctx.log("warn", stray).await.map_err(AgentError::from)?;
                }
                () = self.used_up() => return Err(said_too_much(self.subject).into()),
                () = self.ctx.cancelled() => match &mut marks {
                    Some(marks) if self.ctx.is_left() => {
                        marks.keep().await.map_err(AgentError::from)?;
                        return Err(cancelled().into());
                    }
                    _ => return stop(job, &forward).await,
                },
            }
        }
        let outcome = job.outcome().await.map_err(|error| self.broken(error))?;
        conclude(outcome, forward).await.map_err(Broken::from)
    }

    async fn submit(
        &self,
        client: &Client,
        input: RawJson,
        key: Option<&str>,
    ) -> Result<JobHandle, Broken> {
        let session = client.session();
        let limit = session
            .as_ref()
            .and_then(|session| session.dialect().line_limit());
        self.check_size(limit, &input)?;
        let features = session.map_or(FeatureSet::NONE, |session| session.features());
        let mut submit = client
            .submit(self.name)
            .input(input)
            .lease(told(self.ctx.lease(), features, self.relayed))
            .within(self.ctx.trace_id(), self.ctx.span_id());
        let tells = features.has(Feature::LeaseExpiresAt);
        if let Some(key) = key {
            submit = submit.idempotency_key(key);
        }
        if let Some(kept) = &self.kept {
            submit = submit.checkpoint(kept.clone());
        }
        if let Some(at) = self.ctx.expires_at().filter(|_| tells) {
            submit = submit.expires_at(at);
        }
        submit.send().await.map_err(|error| self.refused(error))
    }

    async fn used_up(&self) {
        match &self.allowance {
            Some(allowance) => allowance.used_up().await,
            None => std::future::pending().await,
        }
    }

    /// A child that cannot read the line would never answer it; one SDK reads no more than 64 KiB, and breaks on more.
    fn check_size(&self, limit: Option<usize>, input: &RawJson) -> Result<(), AgentError> {
        let (size, limit) = (input.as_str().len(), limit.unwrap_or(SENT));
        if size + ENVELOPE <= limit {
            return Ok(());
        }
        Err(AgentError::new(
            ErrorCode::INVALID_REQUEST,
            format!(
                "the input has {size} bytes, and {} reads lines of at most {limit}; hand large inputs over by reference",
                self.subject
            ),
        ))
    }

    /// A submit that failed. A lease that ended while the child started is refused by it as one that lies in the past, which
    /// is not what is wrong with it.
    fn refused(&self, error: ClientError) -> Broken {
        let has_expired = |at| at <= SystemClock.now();
        if error.code() == Some(&ErrorCode::INVALID_REQUEST)
            && self.ctx.expires_at().is_some_and(has_expired)
        {
            let message = format!("the lease expired while {} started", self.subject);
            return AgentError::new(ErrorCode::LEASE_EXPIRED, message).into();
        }
        self.broken(error)
    }

    /// The child refused, or talks nonsense, or is gone. Its code is kept where it is about the job.
    fn broken(&self, error: ClientError) -> Broken {
        let was_lost = matches!(
            error,
            ClientError::Connect(_)
                | ClientError::Disconnected { .. }
                | ClientError::Handshake(HandshakeError::Ended)
                | ClientError::SessionOver(
                    SessionOver::ByRuntime { .. } | SessionOver::NotResumable
                )
        );
        if let ClientError::SessionOver(SessionOver::TooBig { limit }) = error {
            let what = format!(
                "sent a line of more than {limit} bytes; results of that size have to be streamed"
            );
            return failed(self.subject, &what).into();
        }
        let code = error
            .code()
            .filter(|code| **code != ErrorCode::UNAUTHENTICATED)
            .cloned();
        let message = format!("{}: {}", self.subject, chain(&error));
        let error = AgentError::new(code.unwrap_or(ErrorCode::INTERNAL_ERROR), message);
        Broken { error, was_lost }
    }
}

/// Waits until there is something to keep of how far a job was followed.
async fn due(marks: Option<&Marks<'_>>) {
    match marks {
        Some(marks) => marks.due().await,
        None => std::future::pending().await,
    }
}

/// The lease as a child can be told it. The one that counts is the job's own, whatever the child knows of it.
fn told(lease: &Lease, features: FeatureSet, relayed: Relayed) -> Lease {
    let knows = |name: &str| match name {
        // What its agent delegates is ours [ARCP 10-1]; its own runtime would do it there a second time.
        namespace::AGENT_DELEGATE => relayed == Relayed::ToChild,
        namespace::COST_BUDGET => features.has(Feature::CostBudget),
        namespace::MODEL_USE => features.has(Feature::ModelUse),
        _ => true,
    };
    let known = lease.iter().filter(|(name, _)| knows(name));
    known
        .flat_map(|(name, patterns)| patterns.iter().map(move |pattern| (name, pattern)))
        .fold(Lease::new(), |lease, (name, pattern)| {
            lease.with(name, pattern)
        })
}

/// Why a job in a child came to nothing.
struct Broken {
    error: AgentError,
    /// Whether the connection just ended, of which the end of the process is the better account.
    was_lost: bool,
}

impl Broken {
    fn into_error(self) -> AgentError {
        self.error
    }

    /// The same, now that the process is known to have ended.
    fn after_the_end(self, relay: &Relay<'_>, status: io::Result<ExitStatus>) -> Self {
        if !self.was_lost {
            return self;
        }
        let (how, status) = match status {
            Ok(status) => (describe(status), Some(status)),
            Err(error) => (error.to_string(), None),
        };
        let what = format!("ended with {how} before its job did");
        let (lease, subject) = (relay.ctx.lease(), relay.subject);
        relay
            .complaints
            .failure(lease, subject, &what, status)
            .into()
    }
}

impl From<AgentError> for Broken {
    fn from(error: AgentError) -> Self {
        Self {
            error,
            was_lost: false,
        }
    }
}

/// Asks for the end and waits a little for it; what the job ends with is the runtime's business.
async fn stop(mut job: JobHandle, forward: &Forward<'_>) -> Result<RawJson, Broken> {
    if job.cancel("the job has to end").await.is_ok() {
        let last = async {
            while let Ok(Some(event)) = job.next_event().await {
                forward.last_word(&event).await;
            }
        };
        // Whether it ended in time or not, the process is ended next.
        drop(timeout(GRACE, last).await);
    }
    Err(cancelled().into())
}

async fn conclude(outcome: Outcome, forward: Forward<'_>) -> Result<RawJson, AgentError> {
    match outcome {
        Outcome::Success(success) => {
            if forward.finish(success.summary.as_deref()).await? {
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

/// How long a process has between being asked to end and its end, when its job was given time already.
const LAST_WORDS: Duration = Duration::from_secs(1);
