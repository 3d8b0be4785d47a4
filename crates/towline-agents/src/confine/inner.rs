//! The launcher's second stage: gives up everything the order does not name, then is or starts the program.

use std::{
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt as _, ExitStatusExt as _},
        },
    },
    process::{Command, ExitCode},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal},
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use rustix::{
    fs::CWD,
    io::FdFlags,
    process::{DumpableBehavior, set_dumpable_behavior, set_parent_process_death_signal},
};

use super::{
    bounds,
    exchange::{self, Descriptors, Mode, NOT_RUN, Order, tell},
    files,
    network::Network,
    place::open_exactly,
    report::{End, Refusal, Report, Said, because},
    seccomp, system, view,
};

pub(super) fn run() -> ExitCode {
    // Out of the way of what is handed to the program.
    let Ok(control) = rustix::io::fcntl_dupfd_cloexec(io::stdin(), HIGH) else {
        return ExitCode::from(NOT_RUN);
    };
    let mut control = UnixStream::from(control);
    match confine_and_run(&mut control) {
        Ok(code) => code,
        Err(refusal) => {
            tell(&mut control, &Said::Refused(refusal));
            ExitCode::from(NOT_RUN)
        }
    }
}

fn confine_and_run(control: &mut UnixStream) -> Result<ExitCode, Refusal> {
    let (order, mut descriptors) = exchange::receive(&*control).map_err(because("its order"))?;
    // Shells name no descriptor with two digits.
    descriptors.passed = lowest(&descriptors.passed).map_err(because("its descriptors"))?;
    // Should the first stage be killed, this ends with it.
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| because("an end with the launcher")(error.into()))?;
    rustix::stdio::dup2_stdin(&descriptors.stdin)
        .map_err(|error| because("standard input")(error.into()))?;
    let report = confine(&order, &descriptors)?;
    SigSet::empty()
        .thread_set_mask()
        .map_err(|error| because("signals")(error.into()))?;
    tell(control, &Said::Got(report));
    if order.probe {
        return Ok(ExitCode::SUCCESS);
    }
    let command = command(&order, &descriptors);
    match order.mode {
        Mode::Namespaces => first_process(control, command, descriptors),
        Mode::Plain => become_it(command),
    }
}

/// Gives up, in this order: the rest of the file system, resources, capabilities, files, system calls.
fn confine(order: &Order, descriptors: &Descriptors) -> Result<Report, Refusal> {
    ends_first();
    let mut view = view::Got::default();
    let system = system::places(order.door.is_some());
    if order.mode == Mode::Namespaces {
        view = view::build(order, descriptors, &system)?;
        start_in(&order.directory)?;
    } else {
        rustix::process::fchdir(&descriptors.directory)
            .map_err(|error| because("the directory to start in")(error.into()))?;
    }
    let processes_bounded = bounds::limit(order, view.numbers)?;
    bounds::drop_capabilities().map_err(because("giving up capabilities"))?;
    // The first process of a namespace stays beside the program; its descriptors and memory are not the program's business.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| because("closed memory")(error.into()))?;
    let landlock = files::restrict(order, descriptors, &system, &view)?;
    seccomp::restrict(order.mode, order.door.is_some())?;
    let namespaces: &[&str] = match order.mode {
        Mode::Namespaces => &["user", "pid", "mount", "ipc", "uts", "cgroup", "net"],
        Mode::Plain => &[],
    };
    Ok(Report {
        landlock,
        network: order.door.and_then(|door| {
            if door.inside {
                Some(Network::Namespace)
            } else {
                (landlock >= files::PORTS).then_some(Network::Port)
            }
        }),
        namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        proc: view.proc.is_some(),
        end: match order.mode {
            Mode::Namespaces => End::Namespace,
            Mode::Plain => End::Sweep,
        },
        limits: order.limits.clone(),
        processes_bounded,
        masked: view.masked,
    })
}

/// When the machine's memory runs out, the kernel is to end the program and not the runtime. It counts a process's own memory
/// and no file in memory, so without this the runtime may well be the largest.
fn ends_first() {
    // Where this cannot be said, nothing is worse than it was.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

/// Goes to the directory to start in, which the new view has.
fn start_in(path: &str) -> Result<(), Refusal> {
    let what = format!("the directory to start in, `{path}`");
    let there = open_exactly(CWD, path.as_ref()).map_err(because(&what))?;
    rustix::process::fchdir(there).map_err(|error| because(&what)(error.into()))
}

fn command(order: &Order, descriptors: &Descriptors) -> Command {
    let mut command = match order.mode {
        // Its name leads to the very file that was bound there, and nothing else can be put in its place.
        Mode::Namespaces => Command::new(&order.program),
        // The file itself, whatever its name leads to by now. Who interprets a script has to be able to open it.
        Mode::Plain => {
            if order.script {
                let _ = rustix::io::fcntl_setfd(&descriptors.program, FdFlags::empty());
            }
            Command::new(format!("/proc/self/fd/{}", descriptors.program.as_raw_fd()))
        }
    };
    command
        .arg0(&order.arg0)
        .args(&order.args)
        .env_clear()
        .envs(order.env.iter().map(|(name, value)| (name, value)));
    for (name, descriptor) in order.passed.iter().zip(&descriptors.passed) {
        // Only this one goes over to the program.
        let _ = rustix::io::fcntl_setfd(descriptor, FdFlags::empty());
        command.env(name, descriptor.as_raw_fd().to_string());
    }
    command
}

/// The same descriptors under the lowest numbers that are free.
fn lowest(descriptors: &[OwnedFd]) -> io::Result<Vec<OwnedFd>> {
    let moved = descriptors
        .iter()
        .map(|descriptor| Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, FIRST)?));
    moved.collect()
}

/// The first number after the standard streams.
const FIRST: i32 = 3;

/// Above the numbers that one digit names.
const HIGH: i32 = 10;

fn cannot_run(error: &io::Error) -> Refusal {
    Refusal::CannotRun(error.to_string())
}

fn become_it(mut command: Command) -> Result<ExitCode, Refusal> {
    Err(cannot_run(&command.exec()))
}

/// Starts the program, buries whoever falls to the first process of a namespace, and ends with the program: the kernel ends
/// the rest.
fn first_process(
    control: &mut UnixStream,
    mut command: Command,
    descriptors: Descriptors,
) -> Result<ExitCode, Refusal> {
    let program = command.spawn().map_err(|error| cannot_run(&error))?;
    // Held until here for the program to take over.
    drop(descriptors);
    let null = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null");
    if let Ok(null) = null {
        // The program's streams end with the program, not with this.
        let _ = rustix::stdio::dup2_stdin(&null)
            .and_then(|()| rustix::stdio::dup2_stdout(&null))
            .and_then(|()| rustix::stdio::dup2_stderr(&null));
    }
    let program = Pid::from_raw(i32::try_from(program.id()).unwrap_or_default());
    let status = loop {
        match waitpid(None, None) {
            Ok(status) if status.pid() == Some(program) => break Some(status),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => break None,
        }
    };
    let (code, signal) = match status {
        Some(WaitStatus::Exited(_, code)) => (Some(code), None),
        Some(WaitStatus::Signaled(_, signal, _)) => (None, Some(signal as i32)),
        _ => (None, Some(Signal::SIGKILL as i32)),
    };
    tell(control, &Said::Ended { code, signal });
    let status = std::process::ExitStatus::from_raw(code.unwrap_or(0) << 8 | signal.unwrap_or(0));
    Ok(ExitCode::from(if status.success() { 0 } else { 1 }))
}
