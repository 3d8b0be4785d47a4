//! Starting programs, in this one place: with what environment, inside what bounds, and how they end.

use std::{
    ffi::OsString,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{net::TcpListener, process::Command};
use towline_runtime::{AgentError, JobContext};
use towline_wire::RawJson;

#[cfg(target_os = "linux")]
use crate::held::Begin;
use crate::{
    environment::Environment,
    launcher::Launcher,
    process::{Process, Streams},
    proxy::{Network, Proxy, Shared},
    said::IN_ENVIRONMENT,
    sandbox::Bounds,
    side::{self, Theirs},
    trouble::failed,
};

/// A program about to be started.
#[derive(Debug)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) environment: Environment,
    pub(crate) bounds: Bounds,
    /// What it may reach over the network, when that is anything.
    pub(crate) network: Option<Network>,
    /// What starts it and keeps what it starts together. Without one it is started as it is, and only its process group
    /// ends with it.
    pub(crate) launcher: Option<Launcher>,
}

impl Program {
    /// Tells the program which job it is for, and where in the job's trace; which run of the job this is, and what an earlier
    /// one kept [ARCP 18-5]. Gives the latter back.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub(crate) async fn tell_job(
        &mut self,
        ctx: &JobContext,
    ) -> Result<Option<RawJson>, AgentError> {
        self.tell_where(ctx);
        let attempt = ctx.attempt();
        self.environment.set("TOWLINE_ATTEMPT", attempt.to_string());
        if attempt <= 1 {
            return Ok(None);
        }
        let kept: Option<RawJson> = ctx.restored().await?;
        let fits = kept
            .as_ref()
            .filter(|kept| kept.as_str().len() <= IN_ENVIRONMENT);
        if let Some(kept) = fits {
            self.environment.set("TOWLINE_CHECKPOINT", kept.as_str());
        }
        Ok(kept)
    }

    /// Tells the program which job it is for, and where in the job's trace.
    pub(crate) fn tell_where(&mut self, ctx: &JobContext) {
        self.environment.set("ARCP_JOB_ID", ctx.job_id().as_str());
        self.environment.set("TRACEPARENT", ctx.traceparent());
    }

    /// Starts it; `subject` is what errors call it, and `events` its end of the side channel.
    ///
    /// # Errors
    /// INTERNAL_ERROR when it cannot be started, or not be kept to its bounds; PERMISSION_DENIED when its lease gives what
    /// a program cannot be given.
    pub(crate) async fn start(
        mut self,
        ctx: &JobContext,
        subject: &str,
        events: Option<Theirs>,
    ) -> Result<(Process, Streams), AgentError> {
        match std::mem::replace(&mut self.bounds, Bounds::Off) {
            Bounds::Off => {
                let unbound = "the program is not confined: it has all the rights of the runtime";
                ctx.log("warn", unbound).await?;
                let network = self.network.take().filter(Network::has_own);
                let proxy = match network {
                    Some(network) => Some(self.open(&network).await?),
                    None => None,
                };
                let (process, streams) = self.start_unconfined(subject, events)?;
                Ok((process.with_proxy(proxy), streams))
            }
            #[cfg(target_os = "linux")]
            Bounds::Lease(held) => {
                let launcher = match self.launcher {
                    Some(launcher) => launcher,
                    None => Launcher::find()?,
                };
                let variables = self.environment.variables(|name| std::env::var(name).ok());
                let words = self.argv.iter().skip(1);
                let words = words.map(|word| word.to_string_lossy().into_owned());
                let begin = Begin {
                    arguments: words.collect(),
                    variables,
                    network: self.network,
                    events,
                };
                held.start(ctx, &launcher, begin, subject).await
            }
        }
    }

    /// Opens the proxy of a program that is not confined, on the machine's loopback.
    async fn open(&mut self, network: &Network) -> Result<Proxy, AgentError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let shared = Shared::new(true);
        for (name, value) in network.variables(port, &shared, false) {
            self.environment.set(name, value);
        }
        Ok(network.serve(listener, port, shared))
    }

    fn start_unconfined(
        &self,
        subject: &str,
        events: Option<Theirs>,
    ) -> Result<(Process, Streams), AgentError> {
        let cannot = |why: &str| failed(subject, &format!("cannot be started: {why}"));
        let variables = self.environment.variables(|name| std::env::var(name).ok());
        self.check(&variables).map_err(|why| cannot(&why))?;
        let mut command = self.command();
        command
            .env_clear()
            .envs(variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if let Some(events) = events {
            hand_over(&mut command, events).map_err(|error| cannot(&error.to_string()))?;
        }
        #[cfg(unix)]
        command.process_group(0);
        let kept = self.is_kept();
        // A keeper ends what is below it before it goes; it must not be killed first.
        command.kill_on_drop(!kept);
        let mut child = command
            .spawn()
            .map_err(|error| cannot(&error.to_string()))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process::new(child, kept);
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(cannot("it has no standard streams"));
        };
        Ok((
            process,
            Streams {
                stdin,
                stdout,
                stderr,
            },
        ))
    }

    /// Says what is missing, which the launcher could only say when it is too late for a clear answer.
    fn check(&self, variables: &[(String, String)]) -> Result<(), String> {
        if let Some(directory) = self.directory.as_deref().filter(|path| !path.is_dir()) {
            return Err(format!(
                "its working directory `{}` is not there",
                directory.display()
            ));
        }
        let here = self.directory.as_deref().unwrap_or(Path::new(""));
        match self.look_for(here, variables) {
            // Other systems add endings to names.
            Err(_) if cfg!(not(unix)) => Ok(()),
            found => found.map(drop),
        }
    }

    /// The program's file, as whoever starts it in that directory finds it.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn file(&self, here: &Path) -> Result<PathBuf, String> {
        let variables = self.environment.variables(|name| std::env::var(name).ok());
        self.look_for(here, &variables)
    }

    fn look_for(&self, here: &Path, variables: &[(String, String)]) -> Result<PathBuf, String> {
        let program = Path::new(self.argv.first().map_or("".as_ref(), OsString::as_os_str));
        if program.as_os_str().is_empty() {
            return Err("its command is empty".to_owned());
        }
        let found = if program.components().count() > 1 || program.is_absolute() {
            Some(here.join(program)).filter(|path| path.exists())
        } else {
            let path = variables.iter().rev().find(|(name, _)| name == "PATH");
            let path = path.map_or("", |(_, path)| path);
            std::env::split_paths(path)
                .map(|directory| directory.join(program))
                .find(|path| path.exists())
        };
        found.ok_or_else(|| {
            format!(
                "there is no program `{}`; give its path or put it on PATH",
                program.display()
            )
        })
    }

    fn command(&self) -> Command {
        let Some(launcher) = &self.launcher else {
            let mut command = Command::new(self.argv.first().cloned().unwrap_or_default());
            command.args(self.argv.iter().skip(1));
            return command;
        };
        let mut command = launcher.command();
        if self.is_kept() {
            command
                .arg(crate::launcher::KEEP)
                .arg(std::process::id().to_string());
        }
        command.arg("--").args(&self.argv);
        command
    }

    fn is_kept(&self) -> bool {
        cfg!(target_os = "linux") && self.launcher.is_some()
    }
}

/// Gives the program its end of the side channel, under the number that it is told.
#[cfg(unix)]
fn hand_over(command: &mut Command, events: Theirs) -> std::io::Result<()> {
    use command_fds::{CommandFdExt as _, FdMapping};

    let mapping = FdMapping {
        parent_fd: events,
        child_fd: side::NUMBER,
    };
    command
        .env(side::EVENTS, side::NUMBER.to_string())
        .as_std_mut()
        .fd_mappings(vec![mapping])
        .map_err(std::io::Error::other)?;
    Ok(())
}

#[cfg(not(unix))]
fn hand_over(_: &mut Command, events: Theirs) -> std::io::Result<()> {
    match events {}
}
