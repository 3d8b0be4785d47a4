//! What a program is kept to, and the part of the launcher that runs one which is kept to nothing.

use std::{ffi::OsString, io::Write as _, process::ExitCode};

/// The status when the program cannot be run, as shells have it.
const CANNOT_RUN: u8 = 127;

/// The status when it must not be run: what has to be taken from it cannot be.
pub(crate) const CANNOT_CONFINE: u8 = 126;

/// What a program is kept to.
#[derive(Debug)]
pub(crate) enum Bounds {
    /// Nothing: it has the rights of the runtime.
    Off,
    /// What a lease gives it.
    #[cfg(target_os = "linux")]
    Lease(Box<crate::held::Held>),
}

/// Becomes the program after the `--`, with all rights of whoever started us.
pub(crate) fn run(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    if args.next().is_none_or(|first| first != "--") {
        note("there is no `--` before the program");
        return ExitCode::from(CANNOT_CONFINE);
    }
    ExitCode::from(become_program(&args.collect::<Vec<_>>()))
}

/// Says something to the agent that started us.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(unix)]
fn become_program(argv: &[OsString]) -> u8 {
    use std::os::unix::process::CommandExt as _;

    let Some((program, arguments)) = argv.split_first() else {
        return CANNOT_RUN;
    };
    // The keeper holds its signals back, and what it starts begins so.
    let _ = nix::sys::signal::SigSet::all().thread_unblock();
    let error = std::process::Command::new(program).args(arguments).exec();
    note(&format!("cannot run `{}`: {error}", program.display()));
    CANNOT_RUN
}

#[cfg(not(unix))]
fn become_program(_: &[OsString]) -> u8 {
    CANNOT_RUN
}
