//! An agent that is a program the operator names.

use std::{ffi::OsString, fmt, path::PathBuf, sync::Arc};

use towline_runtime::{Agent, AgentError, AgentFuture, JobContext};
use towline_transport::Transport;
use towline_wire::{RawJson, Secret};

use crate::{
    acp::{self, AcpChild},
    collected::ResultForm,
    confined::Confinement,
    environment::Environment,
    keeping::Keeping,
    launcher::Launcher,
    mcp::{JobServer, Told},
    named::Starter,
    plain::{self, Manner},
    proxy::Network,
    relay::{self, Child, Layer},
    sandbox::Bounds,
    spawn::Program,
    trouble::{agent_process, failed},
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
    confinement: Confinement,
    token: Option<Secret>,
    layer: Option<Layer>,
    form: ResultForm,
    live: bool,
}

/// What a job has for its agent.
struct Own {
    keeping: Arc<Keeping>,
    tools: Option<Arc<JobServer>>,
}

impl Own {
    /// What an earlier run kept is there again.
    async fn restore(&self, kept: Option<&RawJson>) {
        if let Some(kept) = kept {
            self.keeping.restore(kept).await;
        }
    }
}

/// How the program is talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Arcp,
    Plain,
    Acp,
}

impl ProcessAgent {
    /// A program that speaks ARCP as a runtime, on its standard input and output, and hosts an agent of the name this one
    /// is registered under. Events, results and errors of that agent are those of the job.
    ///
    /// It finds the token of the session in `ARCP_TOKEN`, and the job in `ARCP_JOB_ID`.
    pub fn arcp<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self::new(Speaks::Arcp, command)
    }

    /// A program that gets the input as JSON on its standard input, and whose standard output is the result: JSON or a text up
    /// to 256 KiB, streamed beyond that, bytes where it is not UTF-8; see [`ResultForm`]. Lines of standard error are log
    /// events; a status other than 0 ends the job with INTERNAL_ERROR and `details.exit_code`.
    ///
    /// What else it has to say while it runs, it writes as lines `{"id"?,"kind","body"}` to the descriptor that
    /// `TOWLINE_EVENTS` names [ARCP 18-5].
    pub fn exec<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self::new(Speaks::Plain, command)
    }

    /// A program that speaks the Agent Client Protocol on its standard input and output, as coding agents do [ARCP 17-1]. A job is one
    /// prompt of one session; what the agent says, does, plans and costs are events of the job, the last message is its result.
    /// Its permissions are the lease's, a person's where an ask pattern covers, and none else. Commands that it has run for it are
    /// programs of the job, as far as the lease has some `exec:`; with the feature `mcp` it is given the tools of its job.
    ///
    /// The input is a text, or `{prompt | blocks, cwd?, dirs?, mode?, model?, continue?}`.
    pub fn acp<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self::new(Speaks::Acp, command)
    }

    fn new<A: Into<OsString>>(speaks: Speaks, command: impl IntoIterator<Item = A>) -> Self {
        Self {
            speaks,
            argv: command.into_iter().map(Into::into).collect(),
            directory: None,
            environment: Environment::default(),
            launcher: None,
            confinement: Confinement::default(),
            token: None,
            layer: None,
            form: ResultForm::default(),
            live: false,
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

    /// What confines it. Default: the lease of the job; see [`Confinement`].
    #[must_use]
    pub fn confinement(mut self, confinement: Confinement) -> Self {
        self.confinement = confinement;
        self
    }

    /// What the output of a plain program is as a result. Default: [`ResultForm::Auto`].
    #[must_use]
    pub fn result(mut self, form: ResultForm) -> Self {
        self.form = form;
        self
    }

    /// Whether each line of a plain program's output is a log event as well, as soon as it is written. Default: no.
    #[must_use]
    pub fn live_lines(mut self, live: bool) -> Self {
        self.live = live;
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

    /// The program for one job, and what an earlier run of the job kept.
    async fn program(
        &self,
        ctx: &JobContext,
        subject: &str,
        network: Option<Network>,
    ) -> Result<(Program, Option<RawJson>), AgentError> {
        let mut program = self.bare(network);
        let kept = program.tell_job(ctx).await?;
        if !self.confinement.off {
            self.confine(ctx, &mut program, subject).await?;
        }
        Ok((program, kept))
    }

    fn bare(&self, network: Option<Network>) -> Program {
        Program {
            argv: self.argv.clone(),
            directory: self.directory.clone(),
            environment: self.environment.clone(),
            bounds: Bounds::Off,
            network,
            launcher: self.launcher.clone().or_else(|| Launcher::find().ok()),
        }
    }

    /// Starts the program beside a job's agent: it is told which job it is for, and nothing that the agent keeps.
    #[cfg(feature = "mcp")]
    pub(crate) async fn start_beside(
        &self,
        ctx: &JobContext,
        subject: &str,
    ) -> Result<(crate::process::Process, crate::process::Streams), AgentError> {
        let network = Network::of(ctx, &self.confinement.network);
        let mut program = self.bare(network);
        program.tell_where(ctx);
        if !self.confinement.off {
            self.confine(ctx, &mut program, subject).await?;
        }
        program.start(ctx, subject, None).await
    }

    /// How much it may say.
    #[cfg(feature = "mcp")]
    pub(crate) const fn output(&self) -> Option<u64> {
        self.confinement.limits.output
    }

    #[cfg(target_os = "linux")]
    async fn confine(
        &self,
        ctx: &JobContext,
        program: &mut Program,
        subject: &str,
    ) -> Result<(), AgentError> {
        use crate::held::{Command, Held};

        let words = self
            .argv
            .iter()
            .map(|word| word.to_string_lossy().into_owned());
        let words: Vec<String> = words.collect();
        let Some((given, words)) = words.split_first() else {
            return Err(failed(subject, "cannot be started: its command is empty"));
        };
        let directory = match &self.directory {
            Some(directory) => std::path::absolute(directory)?,
            None => std::env::current_dir()?,
        };
        let command = Command {
            program: program
                .file(&directory)
                .map_err(|why| failed(subject, &format!("cannot be started: {why}")))?,
            given,
            words,
            directory: &directory,
        };
        let (held, home) = Held::of_operator(ctx, &self.confinement, command, subject).await?;
        program.environment.set("HOME", home.to_string_lossy());
        program
            .environment
            .set("TMPDIR", home.join("tmp").to_string_lossy());
        program.bounds = Bounds::Lease(Box::new(held));
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    async fn confine(
        &self,
        _: &JobContext,
        _: &mut Program,
        subject: &str,
    ) -> Result<(), AgentError> {
        Err(failed(
            subject,
            "is not started: this system cannot confine programs, and its confinement is not off",
        ))
    }

    /// What starts the programs that a job of this agent names.
    fn starter(&self, network: Option<Network>) -> Starter {
        let mut confinement = self.confinement.clone();
        // What the agent keeps, its login too, is no business of the commands it has run.
        confinement.state = None;
        Starter {
            launcher: self.launcher.clone().or_else(|| Launcher::find().ok()),
            confinement,
            network,
            read: self.confinement.read.clone(),
        }
    }

    /// The job's own tools: for agents that are told of them, and for others where there is more among them than they have anyway.
    fn tools(&self, ctx: &JobContext, keeping: &Arc<Keeping>) -> Option<Arc<JobServer>> {
        let told = match self.speaks {
            Speaks::Acp => Told::InSession,
            Speaks::Arcp | Speaks::Plain if ctx.has_servers_in_reach() => Told::InEnvironment,
            Speaks::Arcp | Speaks::Plain => return None,
        };
        JobServer::new(ctx, Arc::clone(keeping), told)
    }

    async fn job(self, ctx: JobContext, input: RawJson) -> Result<RawJson, AgentError> {
        let keeping = Arc::new(match self.speaks {
            Speaks::Acp => Keeping::session(&ctx),
            Speaks::Arcp | Speaks::Plain => Keeping::plain(&ctx),
        });
        let tools = self.tools(&ctx, &keeping);
        let network = Network::with_tools(&ctx, &self.confinement.network, tools.clone());
        let agent = self.run_with(ctx, input, network.clone(), Own { keeping, tools });
        Network::run(network, Box::pin(agent)).await
    }

    async fn run_with(
        self,
        ctx: JobContext,
        input: RawJson,
        network: Option<Network>,
        own: Own,
    ) -> Result<RawJson, AgentError> {
        match self.speaks {
            Speaks::Arcp => {
                let subject = agent_process(ctx.agent().name());
                let (program, kept) = self.program(&ctx, &subject, network).await?;
                own.restore(kept.as_ref()).await;
                let child = Child {
                    program,
                    kept,
                    output: self.confinement.limits.output,
                    token: self.token,
                    layer: self.layer,
                };
                relay::run(ctx, child, input).await
            }
            Speaks::Acp => {
                let subject = agent_process(ctx.agent().name());
                let directory = match &self.directory {
                    Some(directory) => std::path::absolute(directory)?,
                    None => std::env::current_dir()?,
                };
                let commands = network.as_ref().and_then(Network::for_commands);
                let starter = self.starter(commands);
                let (program, kept) = self.program(&ctx, &subject, network).await?;
                let output = self.confinement.limits.output;
                let child = AcpChild {
                    program,
                    kept,
                    directory,
                    output,
                    starter,
                    keeping: own.keeping,
                    tools: own.tools,
                };
                acp::run(ctx, child, input).await
            }
            Speaks::Plain => {
                let mut stdin = input.as_str().as_bytes().to_vec();
                stdin.push(b'\n');
                let subject = agent_process(ctx.agent().name());
                let (program, kept) = self.program(&ctx, &subject, network).await?;
                own.restore(kept.as_ref()).await;
                let manner = Manner {
                    form: self.form,
                    live: self.live,
                    output: self.confinement.limits.output,
                };
                plain::run(&ctx, program, &subject, Some(stdin), manner).await
            }
        }
    }
}

impl Agent for ProcessAgent {
    fn run(&self, ctx: JobContext, input: RawJson) -> AgentFuture {
        Box::pin(self.clone().job(ctx, input))
    }

    fn spends_unasked(&self) -> bool {
        true
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
