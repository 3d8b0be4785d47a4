//! An agent that is a program the operator names.

use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc};

use tokio::process::Command;
use towline_runtime::{Agent, AgentError, AgentFuture, JobContext};
use towline_transport::Transport;
use towline_wire::{RawJson, Secret};

use crate::{process, relay};

/// A program that is started once for each job of an agent. It ends with the job, and what it started ends with it.
///
/// ```
/// use towline_agents::ProcessAgent;
///
/// let words = ProcessAgent::exec(["wc", "-w"]);
/// let review = ProcessAgent::arcp(["python3", "agent.py"]).env("MODE", "strict");
/// ```
#[derive(Clone)]
pub struct ProcessAgent {
    pub(crate) speaks: Speaks,
    argv: Vec<OsString>,
    directory: Option<PathBuf>,
    env: Vec<(String, String)>,
    pub(crate) token: Option<Secret>,
    pub(crate) layer: Option<Layer>,
}

/// How the program is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Arcp,
    Plain,
}

/// Wraps the connection to a child.
pub(crate) type Layer = Arc<dyn Fn(Box<dyn Transport>) -> Box<dyn Transport> + Send + Sync>;

impl ProcessAgent {
    /// A program that speaks ARCP as a runtime, on its standard input and output, and hosts an agent of the name this one
    /// is registered under. Events, results and errors of that agent are those of the job.
    ///
    /// It finds the token of the session in `ARCP_TOKEN`, and the job in `ARCP_JOB_ID`.
    pub fn arcp<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self::new(Speaks::Arcp, command)
    }

    /// A program that gets the input as JSON on its standard input, and whose standard output is the result: a text up to
    /// 256 KiB, streamed beyond that, bytes where it is not UTF-8. Lines of standard error are log events; a status other
    /// than 0 ends the job with INTERNAL_ERROR and `details.exit_code`.
    pub fn exec<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self::new(Speaks::Plain, command)
    }

    fn new<A: Into<OsString>>(speaks: Speaks, command: impl IntoIterator<Item = A>) -> Self {
        Self {
            speaks,
            argv: command.into_iter().map(Into::into).collect(),
            directory: None,
            env: Vec::new(),
            token: None,
            layer: None,
        }
    }

    /// Where it runs. Default: where this process does.
    #[must_use]
    pub fn current_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The token an ARCP child expects. Default: a new one for each job.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Wraps the connection to an ARCP child: with tracing, say. Default: as it is.
    #[must_use]
    pub fn transport_layer(
        mut self,
        layer: impl Fn(Box<dyn Transport>) -> Box<dyn Transport> + Send + Sync + 'static,
    ) -> Self {
        self.layer = Some(Arc::new(layer));
        self
    }

    /// The command for one job.
    pub(crate) fn command(&self, ctx: &JobContext) -> Command {
        // An empty command cannot be started, which the job then says.
        let mut command = Command::new(self.argv.first().cloned().unwrap_or_default());
        command
            .args(self.argv.iter().skip(1))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
            .env("ARCP_JOB_ID", ctx.job_id().as_str())
            .env("TRACEPARENT", ctx.traceparent());
        command
    }

    async fn job(self, ctx: JobContext, input: RawJson) -> Result<RawJson, AgentError> {
        match self.speaks {
            Speaks::Arcp => relay::run(ctx, &self, input).await,
            Speaks::Plain => {
                let mut stdin = input.as_str().as_bytes().to_vec();
                stdin.push(b'\n');
                let name = ctx.agent().name().to_owned();
                process::run(&ctx, self.command(&ctx), &name, Some(stdin)).await
            }
        }
    }
}

impl Agent for ProcessAgent {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        Box::pin(self.clone().job(ctx, input))
    }
}

impl fmt::Debug for ProcessAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of the environment may be secrets.
        let env: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("ProcessAgent")
            .field("speaks", &self.speaks)
            .field("argv", &self.argv)
            .field("directory", &self.directory)
            .field("env", &env)
            .finish_non_exhaustive()
    }
}
