//! An agent that is a program the operator names.

use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc};

use towline_runtime::{Agent, AgentError, AgentFuture, JobContext};
use towline_transport::Transport;
use towline_wire::{RawJson, Secret};

use crate::{
    environment::Environment,
    launcher::Launcher,
    plain,
    relay::{self, Child, Layer},
    sandbox::Bounds,
    spawn::Program,
    trouble::agent_process,
};

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
    speaks: Speaks,
    argv: Vec<OsString>,
    directory: Option<PathBuf>,
    environment: Environment,
    launcher: Option<Launcher>,
    token: Option<Secret>,
    layer: Option<Layer>,
}

/// How the program is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Arcp,
    Plain,
}

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
            environment: Environment::default(),
            launcher: None,
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

    /// Sets a variable of its environment. Default: it sees `PATH`, `LANG` and `TZ` as this process has them, `ARCP_JOB_ID`,
    /// `TRACEPARENT`, and nothing else.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.set(name, value);
        self
    }

    /// Passes a variable of this process's environment on, if it is set. Those of towline and OpenTelemetry (`TOWLINE_*`,
    /// `OTEL_*`) hold secrets and are never passed; see [`may_pass`](crate::may_pass).
    #[must_use]
    pub fn pass_env(mut self, name: impl Into<String>) -> Self {
        self.environment.pass(name);
        self
    }

    /// The program that starts it and keeps together what it starts. Default: as [`Launcher::find`] finds it when the job
    /// begins. Without any the program is started as it is, and what leaves its process group outlives the job.
    #[must_use]
    pub fn launcher(mut self, launcher: Launcher) -> Self {
        self.launcher = Some(launcher);
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

    /// The program for one job.
    fn program(&self, ctx: &JobContext) -> Program {
        let mut program = Program {
            argv: self.argv.clone(),
            directory: self.directory.clone(),
            environment: self.environment.clone(),
            bounds: Bounds::Off,
            launcher: self.launcher.clone().or_else(|| Launcher::find().ok()),
        };
        program.tell_job(ctx);
        program
    }

    async fn job(self, ctx: JobContext, input: RawJson) -> Result<RawJson, AgentError> {
        match self.speaks {
            Speaks::Arcp => {
                let child = Child {
                    program: self.program(&ctx),
                    token: self.token,
                    layer: self.layer,
                };
                relay::run(ctx, child, input).await
            }
            Speaks::Plain => {
                let mut stdin = input.as_str().as_bytes().to_vec();
                stdin.push(b'\n');
                let subject = agent_process(ctx.agent().name());
                plain::run(&ctx, &self.program(&ctx), &subject, Some(stdin)).await
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
        f.debug_struct("ProcessAgent")
            .field("speaks", &self.speaks)
            .field("argv", &self.argv)
            .field("directory", &self.directory)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}
