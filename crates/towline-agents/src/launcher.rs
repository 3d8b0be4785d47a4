//! The program that starts programs.
//!
//! What a program has to give up before it runs (files, the network) a process can only take from itself, so a program is
//! started through another one that confines itself and then becomes it. Any program that calls [`main`] or
//! [`run_if_asked`] can be that one:
//!
//! - the runtime's own program, when its `main` begins with
//!
//!   ```no_run
//!   use std::process::ExitCode;
//!
//!   fn main() -> ExitCode {
//!       if let Some(code) = towline_agents::launcher::run_if_asked() {
//!           return code;
//!       }
//!       // Only now threads, a tokio runtime, and the rest.
//!       ExitCode::SUCCESS
//!   }
//!   ```
//!
//! - `towline-confine`, which this crate ships: beside the runtime's program, or in a directory of `PATH`;
//! - any other that [`Launcher::program`] names.
//!
//! On Linux the launcher stays beside the program as its keeper, a small process that ends whatever the program started,
//! when the program has ended, when the job has to, and when the runtime is gone.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::sandbox;

/// What a program that is asked to be the launcher finds as its first argument.
const ASKED: &str = "__confine";

/// Says whose program is to be kept: the number of the runtime's process follows.
pub(crate) const KEEP: &str = "--keep";

/// The launcher this crate ships.
const SHIPPED: &str = "towline-confine";

/// Whether this very program said that it can be the launcher.
static CAN: AtomicBool = AtomicBool::new(false);

/// A program that starts programs, with its first arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
}

/// There is no launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoLauncher;

impl std::fmt::Display for NoLauncher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "there is no program to confine others with: call `towline_agents::launcher::run_if_asked` first in `main`, put \
             `{SHIPPED}` beside this program or on PATH, or name one with `launcher`"
        )
    }
}

impl std::error::Error for NoLauncher {}

impl Launcher {
    /// A program that calls [`main`].
    pub fn program(path: impl Into<PathBuf>) -> Self {
        Self {
            program: path.into(),
            args: Vec::new(),
        }
    }

    /// Adds an argument before those the launcher is given, for a program that calls [`main`] when it sees that argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// This program, if it called [`run_if_asked`]; else `towline-confine` beside it; else `towline-confine` on `PATH`.
    ///
    /// # Errors
    /// [`NoLauncher`] when there is none of these.
    pub fn find() -> Result<Self, NoLauncher> {
        if CAN.load(Ordering::Relaxed) {
            return this_program().map(Self::program).ok_or(NoLauncher);
        }
        let name = format!("{SHIPPED}{}", env::consts::EXE_SUFFIX);
        let beside = env::current_exe()
            .ok()
            .and_then(|path| Some(path.parent()?.to_owned()));
        let path = env::var_os("PATH").unwrap_or_default();
        beside
            .into_iter()
            .chain(env::split_paths(&path).filter(|directory| directory.is_absolute()))
            .map(|directory| directory.join(&name))
            .find(|file| file.is_file())
            .map(Self::program)
            .ok_or(NoLauncher)
    }

    /// What this system can hold programs with, found out by trying. Takes some milliseconds.
    #[cfg(target_os = "linux")]
    pub async fn probe(&self) -> crate::confine::Kernel {
        crate::confine::Kernel::probe(|| self.command().into_std()).await
    }

    /// The command so far.
    pub(crate) fn command(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).arg(ASKED);
        command
    }
}

/// The program we are, even when its file was replaced meanwhile.
pub(crate) fn this_program() -> Option<PathBuf> {
    let linux = Path::new("/proc/self/exe");
    if linux.exists() {
        Some(linux.to_owned())
    } else {
        env::current_exe().ok()
    }
}

/// Is the launcher, if that is what this process was started for, and lets this program be one: what
/// [`Launcher::find`] finds first.
///
/// Call it first in `main`: before threads are started, and before anything is read or written. Where it returns a
/// status, leave with it at once.
pub fn run_if_asked() -> Option<ExitCode> {
    if env::args_os().nth(1).is_some_and(|first| first == ASKED) {
        return Some(main());
    }
    CAN.store(true, Ordering::Relaxed);
    None
}

/// Is the launcher: the whole `main` of a program that is nothing else.
pub fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let Some(asked) = args.iter().position(|arg| arg == ASKED) else {
        return refuse("this program is started by runtimes, not by people");
    };
    let (asked, rest) = args.split_at(asked + 1);
    match rest {
        [keep, runtime, rest @ ..] if keep == KEEP => keep_program(runtime, asked, rest),
        #[cfg(target_os = "linux")]
        rest if crate::confine::is_stage(rest) => crate::confine::main(rest.first()),
        _ => sandbox::run(rest.iter().cloned()),
    }
}

/// Starts itself once more, to become the program, and keeps that.
#[cfg(target_os = "linux")]
fn keep_program(runtime: &OsStr, asked: &[OsString], rest: &[OsString]) -> ExitCode {
    let (Some(runtime), Some(this)) = (
        runtime.to_str().and_then(|text| text.parse().ok()),
        this_program(),
    ) else {
        return refuse("it is not told whose program to keep");
    };
    let mut program = std::process::Command::new(this);
    program.args(asked).args(rest);
    match crate::keeper::keep(runtime, program) {
        Ok(status) => ExitCode::from(status),
        Err(error) => refuse(&format!("the program cannot be kept: {error}")),
    }
}

#[cfg(not(target_os = "linux"))]
fn keep_program(_: &OsStr, _: &[OsString], _: &[OsString]) -> ExitCode {
    refuse("programs cannot be kept on this system")
}

fn refuse(why: &str) -> ExitCode {
    sandbox::note(why);
    ExitCode::from(sandbox::CANNOT_CONFINE)
}
