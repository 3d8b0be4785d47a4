//! Takes away from this process what a lease does not give it, then becomes the program.
//!
//! A process can confine itself without unsafe code, and what it has given up stays given up in the program it becomes.

use std::{ffi::OsString, io::Write as _, path::PathBuf, process::ExitCode};

/// What says on standard error, to the agent that started us, that the kernel does not confine.
pub(crate) const UNCONFINED: &str = "towline: not confined:";

/// The status when the program cannot be run, as shells have it.
const CANNOT_RUN: u8 = 127;

/// The status when it must not be run: what has to be taken from it cannot be.
pub(crate) const CANNOT_CONFINE: u8 = 126;

/// What a program is kept to.
#[derive(Debug, Clone)]
pub(crate) enum Bounds {
    /// Nothing: it has the rights of the runtime.
    Off,
    /// What a lease gives it.
    Lease(Granted),
}

/// What a lease gives a program, as the kernel can be told it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Granted {
    /// Directories and files it may read.
    pub(crate) read: Vec<PathBuf>,
    /// Directories and files it may write.
    pub(crate) write: Vec<PathBuf>,
    /// Directories and files it may run and read.
    pub(crate) execute: Vec<PathBuf>,
    /// Whether it may use TCP.
    pub(crate) network: bool,
}

impl Bounds {
    /// Tells the launcher.
    pub(crate) fn tell(&self, command: &mut tokio::process::Command) {
        let granted = match self {
            Self::Off => {
                command.arg(OFF);
                return;
            }
            Self::Lease(granted) => granted,
        };
        for (option, paths) in [
            (READ, &granted.read),
            (WRITE, &granted.write),
            (EXECUTE, &granted.execute),
        ] {
            for path in paths {
                command.arg(option).arg(path);
            }
        }
        if granted.network {
            command.arg(NETWORK);
        }
    }
}

const OFF: &str = "--unconfined";
const READ: &str = "--read";
const WRITE: &str = "--write";
const EXECUTE: &str = "--execute";
const NETWORK: &str = "--network";

/// What the launcher is told.
#[derive(Debug)]
struct Plan {
    bounds: Bounds,
    /// The program and its arguments.
    argv: Vec<OsString>,
}

impl Plan {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let (mut granted, mut is_off) = (Granted::default(), false);
        while let Some(arg) = args.next() {
            let list = match arg.to_str() {
                Some(READ) => &mut granted.read,
                Some(WRITE) => &mut granted.write,
                Some(EXECUTE) => &mut granted.execute,
                Some(NETWORK) => {
                    granted.network = true;
                    continue;
                }
                Some(OFF) => {
                    is_off = true;
                    continue;
                }
                Some("--") => {
                    let bounds = if is_off {
                        Bounds::Off
                    } else {
                        Bounds::Lease(granted)
                    };
                    return Ok(Self {
                        bounds,
                        argv: args.collect(),
                    });
                }
                _ => return Err(format!("`{}` is no option of the launcher", arg.display())),
            };
            let path = args
                .next()
                .ok_or_else(|| format!("`{}` needs a path", arg.display()))?;
            list.push(path.into());
        }
        Err("there is no `--` before the program".to_owned())
    }
}

/// Does what the arguments say, and becomes the program.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let done = Plan::parse(args).and_then(|plan| {
        if let Bounds::Lease(granted) = &plan.bounds {
            confine(granted)?;
        }
        Ok(become_program(&plan.argv))
    });
    let status = done.unwrap_or_else(|why| {
        note(&format!("cannot confine the program: {why}"));
        CANNOT_CONFINE
    });
    ExitCode::from(status)
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

#[cfg(not(unix))]
fn confine(_: &Granted) -> Result<(), String> {
    Err("this system cannot".to_owned())
}

#[cfg(target_os = "linux")]
fn confine(granted: &Granted) -> Result<(), String> {
    let status = landlocked(granted).map_err(|error| error.to_string())?;
    if status.ruleset != landlock::RulesetStatus::FullyEnforced {
        let how = match status.ruleset {
            landlock::RulesetStatus::NotEnforced => "this kernel has no landlock",
            _ => "this kernel enforces only a part",
        };
        note(&format!("{UNCONFINED} {how}"));
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn landlocked(granted: &Granted) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, Ruleset,
        RulesetAttr as _, RulesetCreatedAttr as _, Scope,
    };

    // The newest rights whose meaning this code was written for; older kernels enforce those they know.
    let abi = ABI::V5;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::from_write(abi);
    let execute = read | AccessFs::Execute;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?;
    if !granted.network {
        ruleset =
            ruleset.handle_access(BitFlags::from(AccessNet::BindTcp) | AccessNet::ConnectTcp)?;
    }
    ruleset
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rules(rules(&granted.execute, execute))?
        .add_rules(rules(&granted.read, read))?
        .add_rules(rules(&granted.write, write))?
        .restrict_self()
}

/// One rule for each path that is there; a path that is not there gives nothing.
#[cfg(target_os = "linux")]
fn rules(
    paths: &[std::path::PathBuf],
    access: landlock::BitFlags<landlock::AccessFs>,
) -> impl Iterator<Item = Result<landlock::PathBeneath<landlock::PathFd>, landlock::RulesetError>> {
    use landlock::{AccessFs, PathBeneath, PathFd};

    let found = paths
        .iter()
        .filter_map(|path| Some((path, PathFd::new(path).ok()?)));
    found.map(move |(path, fd)| {
        let only_files = AccessFs::from_file(landlock::ABI::V5);
        let access = if path.is_dir() {
            access
        } else {
            access & only_files
        };
        Ok(PathBeneath::new(fd, access))
    })
}

#[cfg(all(unix, not(target_os = "linux")))]
fn confine(_: &Granted) -> Result<(), String> {
    note(&format!("{UNCONFINED} this system has no landlock"));
    Ok(())
}
