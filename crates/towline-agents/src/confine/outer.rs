//! The launcher's first stage: makes the namespaces, and stays to end everything.

use std::{
    env, fs,
    io::{self, Read as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{net::UnixStream, process::ExitStatusExt as _},
    },
    process::{Child, Command, ExitCode, Stdio},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{SigSet, Signal},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{DumpableBehavior, PidfdFlags, pidfd_open, set_dumpable_behavior},
    thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities},
};

use super::{
    door,
    exchange::{self, Descriptors, INNER, Mode, NOT_RUN, Order, tell},
    report::{Refusal, Said, because},
    sweep::sweep,
};

/// What the second stage needs to build the program's view of the files and to give up all the rest.
const NEEDED: [CapabilitySet; 2] = [CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP];

pub(super) fn run() -> ExitCode {
    let Ok(control) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(NOT_RUN);
    };
    let mut control = UnixStream::from(control);
    match begin(&control) {
        Ok((mode, child, inner)) => supervise(control, mode, child, inner),
        Err(refusal) => {
            tell(&mut control, &Said::Refused(refusal));
            ExitCode::from(NOT_RUN)
        }
    }
}

fn begin(control: &UnixStream) -> Result<(Mode, Child, UnixStream), Refusal> {
    let (mut order, mut descriptors) = exchange::receive(control).map_err(because("its order"))?;
    // Ended by the runtime's word or its end, and by nothing the program's group is sent: the program hears that itself.
    SigSet::all()
        .thread_set_mask()
        .map_err(|error| because("signals")(error.into()))?;
    match order.mode {
        Mode::Namespaces => {
            namespaces()?;
            open_door(&mut order, descriptors.door.take())?;
        }
        Mode::Plain => rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| because("the fall of orphans to the launcher")(error.into()))?,
    }
    let (child, inner) = second_stage(&order, &descriptors).map_err(because("its second stage"))?;
    // Nobody but the program holds its streams, so that their ends are its own doing.
    let null = fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(because("/dev/null"))?;
    rustix::stdio::dup2_stdin(&null)
        .and_then(|()| rustix::stdio::dup2_stdout(&null))
        .and_then(|()| rustix::stdio::dup2_stderr(&null))
        .map_err(|error| because("/dev/null")(error.into()))?;
    Ok((order.mode, child, inner))
}

/// Opens the door in the program's own network. A try only finds out whether one can be.
fn open_door(order: &mut Order, to: Option<OwnedFd>) -> Result<(), Refusal> {
    let Some(ordered) = order.door.filter(|door| door.inside) else {
        return Ok(());
    };
    match door::open_inside(ordered.port, to.as_ref()) {
        Ok(()) => Ok(()),
        Err(_) if order.probe => {
            order.door = None;
            Ok(())
        }
        Err(error) => Err(Refusal::Network(error.to_string())),
    }
}

/// Makes all namespaces but the one of mounts, which the second stage makes for itself.
fn namespaces() -> Result<(), Refusal> {
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let flags = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP
        | CloneFlags::CLONE_NEWNET;
    unshare(flags).map_err(|error| because("namespaces of its own")(error.into()))?;
    let map = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text).map_err(because("a user namespace"))
    };
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("{user} {user} 1"))?;
    map("gid_map", format!("{group} {group} 1"))?;
    keep_over_exec().map_err(because("a user namespace"))
}

/// The second stage is another program run: what it may do in the namespaces has to go over.
fn keep_over_exec() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    for capability in NEEDED {
        sets.inheritable |= capability;
    }
    set_capabilities(None, sets)?;
    for capability in NEEDED {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

fn second_stage(order: &Order, descriptors: &Descriptors) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    exchange::send(&ours, order, &descriptors.all())?;
    // This very program, with the arguments that made it a launcher.
    let mut again = Command::new("/proc/self/exe");
    again
        .args(env::args_os().skip(1))
        .arg(INNER)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(theirs)));
    let child = again.spawn()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok((child, ours))
}

/// Waits for the program's end, or for the runtime's; then ends everything.
fn supervise(
    mut control: UnixStream,
    mode: Mode,
    mut child: Child,
    mut inner: UnixStream,
) -> ExitCode {
    let mut heard = Heard::default();
    if until_the_end(&mut control, &child, &mut inner, &mut heard).is_err() {
        // Nobody to run it for is left, or nothing can be heard any more.
        let _ = child.kill();
    }
    let status = child.wait();
    // What the second stage said last.
    while heard.read(&mut inner, &mut control).unwrap_or(0) > 0 {}
    if mode == Mode::Plain {
        sweep();
    }
    let (code, signal) = match (heard.ended, status) {
        (Some(ended), _) => ended,
        (None, Ok(status)) => (status.code(), status.signal()),
        (None, Err(_)) => (None, Some(Signal::SIGKILL as i32)),
    };
    tell(&mut control, &Said::Ended { code, signal });
    end_like(code, signal)
}

/// `Ok` when the second stage ended; else the runtime is gone.
fn until_the_end(
    control: &mut UnixStream,
    child: &Child,
    inner: &mut UnixStream,
    heard: &mut Heard,
) -> io::Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .ok_or_else(|| io::Error::other("no process"))?;
    let end = pidfd_open(pid, PidfdFlags::empty())?;
    let mut talks = true;
    loop {
        let mut watched = vec![
            PollFd::new(&end, PollFlags::IN),
            PollFd::new(control, PollFlags::IN | PollFlags::RDHUP),
        ];
        if talks {
            watched.push(PollFd::new(inner, PollFlags::IN));
        }
        match poll(&mut watched, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        if ready.get(2).copied().unwrap_or(false) {
            talks = heard.read(inner, control)? > 0;
        }
        if ready[0] {
            return Ok(());
        }
        if ready[1] {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
    }
}

/// What the second stage said: passed on, but for how the program ended.
#[derive(Default)]
struct Heard {
    partial: Vec<u8>,
    ended: Option<(Option<i32>, Option<i32>)>,
}

impl Heard {
    fn read(&mut self, from: &mut UnixStream, to: &mut UnixStream) -> io::Result<usize> {
        let mut buffer = [0; 4096];
        let read = from.read(&mut buffer)?;
        self.partial.extend_from_slice(&buffer[..read]);
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(Said::Ended { code, signal }) => self.ended = Some((code, signal)),
                Ok(said) => tell(to, &said),
                Err(_) => {}
            }
        }
        Ok(read)
    }
}

/// Ends as the program did, so that whoever waits for this process sees it.
fn end_like(code: Option<i32>, signal: Option<i32>) -> ExitCode {
    if let Some(signal) = signal.and_then(|signal| Signal::try_from(signal).ok()) {
        // Core files are off: see the start of the program. The mask has to let the signal through.
        let _ = SigSet::empty().thread_set_mask();
        // Twice, for the first one of some is taken by a handler of the language's, which only then lets go.
        let _ = nix::sys::signal::raise(signal).and_then(|()| nix::sys::signal::raise(signal));
        return ExitCode::from(u8::try_from(128 + signal as i32).unwrap_or(NOT_RUN));
    }
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(NOT_RUN),
    )
}
