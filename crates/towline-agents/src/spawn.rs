//! Starting programs, in this one place: with what environment, inside what bounds, and how they end.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use towline_runtime::{AgentError, JobContext};

use crate::{environment::Environment, launcher::Launcher, sandbox::Bounds, trouble::failed};

/// A program about to be started.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// The program and its arguments.
    pub(crate) argv: Vec<OsString>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) environment: Environment,
    pub(crate) bounds: Bounds,
    /// What starts it and keeps what it starts together. Without one it is started as it is, and only its process group
    /// ends with it.
    pub(crate) launcher: Option<Launcher>,
}

/// A program's streams.
pub(crate) struct Streams {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl Program {
    /// Tells the program which job it is for, and where in the job's trace.
    pub(crate) fn tell_job(&mut self, ctx: &JobContext) {
        self.environment.set("ARCP_JOB_ID", ctx.job_id().as_str());
        self.environment.set("TRACEPARENT", ctx.traceparent());
    }

    /// Starts it; `subject` is what errors call it.
    ///
    /// # Errors
    /// INTERNAL_ERROR when it cannot be started.
    pub(crate) fn start(&self, subject: &str) -> Result<(Process, Streams), AgentError> {
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
        #[cfg(unix)]
        command.process_group(0);
        let kept = self.is_kept();
        // A keeper ends what is below it before it goes; it must not be killed first.
        command.kill_on_drop(!kept);
        let mut child = command
            .spawn()
            .map_err(|error| cannot(&error.to_string()))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Process {
            child,
            kept,
            has_ended: false,
        };
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
        let program = Path::new(self.argv.first().map_or("".as_ref(), OsString::as_os_str));
        if program.as_os_str().is_empty() {
            return Err("its command is empty".to_owned());
        }
        let is_there = if program.components().count() > 1 || program.is_absolute() {
            let here = self.directory.as_deref().unwrap_or(Path::new(""));
            here.join(program).exists()
        } else {
            let path = variables.iter().rev().find(|(name, _)| name == "PATH");
            let path = path.map_or("", |(_, path)| path);
            std::env::split_paths(path).any(|directory| directory.join(program).exists())
        };
        // Other systems add endings to names.
        if is_there || cfg!(not(unix)) || matches!(self.bounds, Bounds::Lease(_)) {
            return Ok(());
        }
        Err(format!(
            "there is no program `{}`; give its path or put it on PATH",
            program.display()
        ))
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
        self.bounds.tell(&mut command);
        command.arg("--").args(&self.argv);
        command
    }

    fn is_kept(&self) -> bool {
        cfg!(target_os = "linux") && self.launcher.is_some()
    }
}

/// A program that was started, and all that it starts. Dropping this ends them at once.
///
/// With a keeper (Linux, and a launcher) everything below it ends, also what changed its session or lost its parent
/// [ARCP 18-4]; else its process group, and on Linux what is below it at that moment.
pub(crate) struct Process {
    child: Child,
    kept: bool,
    has_ended: bool,
}

impl Process {
    /// Waits for the end of the program, whoever still holds its pipes, and ends what it left behind. Cancel safe.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let group = self.id();
        let status = self.child.wait().await?;
        if !std::mem::replace(&mut self.has_ended, true) && !self.kept {
            end_group(group);
        }
        Ok(status)
    }

    /// Asks it to end, and ends it when it did not within `grace`. Cancel safe.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        self.ask_to_end();
        if timeout(grace, self.ended()).await.is_err() {
            self.end_now();
            // Nothing resists but what sleeps in the kernel.
            let _ = timeout(LAST, self.ended()).await;
        }
    }

    /// Its number, until its end was seen: later it may be somebody else's.
    fn id(&self) -> Option<u32> {
        self.child.id().filter(|_| !self.has_ended)
    }
}

#[cfg(unix)]
mod unix {
    use nix::{
        sys::signal::{Signal, kill, killpg},
        unistd::Pid,
    };

    use crate::spawn::Process;

    fn pid(id: Option<u32>) -> Option<Pid> {
        id.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    impl Process {
        pub(super) fn ask_to_end(&self) {
            let Some(leader) = pid(self.id()) else { return };
            // It may be gone, which is what is asked of it.
            let _ = if self.kept {
                kill(leader, Signal::SIGTERM)
            } else {
                killpg(leader, Signal::SIGTERM)
            };
        }

        pub(super) fn end_now(&self) {
            let Some(leader) = pid(self.id()) else { return };
            if self.kept {
                let _ = kill(leader, Signal::SIGHUP);
                return;
            }
            #[cfg(target_os = "linux")]
            for below in crate::keeper::descendants(leader.as_raw().unsigned_abs()) {
                if let Some(below) = pid(Some(below)) {
                    let _ = kill(below, Signal::SIGKILL);
                }
            }
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }

    /// What is left of the group of a process that has ended.
    pub(super) fn end_group(leader: Option<u32>) {
        if let Some(leader) = pid(leader) {
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

#[cfg(unix)]
use unix::end_group;

#[cfg(not(unix))]
impl Process {
    fn ask_to_end(&mut self) {
        self.end_now();
    }

    fn end_now(&mut self) {
        // It may be gone.
        let _ = self.child.start_kill();
    }
}

#[cfg(not(unix))]
fn end_group(_: Option<u32>) {}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_now();
    }
}

/// How long the end may take once nobody is asked any more.
const LAST: Duration = Duration::from_secs(3);
