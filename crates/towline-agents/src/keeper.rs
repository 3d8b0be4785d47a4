//! The keeper: a process between a runtime and a program, which ends everything the program started.
//!
//! ```text
//! runtime ── keeper ── program ── whatever it starts
//!                └──────────────── orphans of those
//! ```
//!
//! The keeper is the *subreaper* of its descendants: what loses its parent becomes the keeper's child, however often it
//! forked and whatever session it is in, so the keeper's descendants are all there is to end [ARCP 18-4]. It ends them when
//! the program ended, when it is told to, and when the runtime is gone.

use std::{
    collections::BTreeSet,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::Command,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{self, SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getppid},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{PidfdFlags, Resource, Rlimit, pidfd_open, setrlimit},
};

/// What asks the program to end.
pub(crate) const END: Signal = Signal::SIGTERM;

/// What ends it and all it started, at once. (The runtime hangs up.)
pub(crate) const END_NOW: Signal = Signal::SIGHUP;

/// Starts the program, waits for its end, and ends all that is left. Gives the status to leave with.
///
/// # Errors
/// When it cannot be started or kept.
pub(crate) fn keep(runtime: u32, mut program: Command) -> io::Result<u8> {
    prctl::set_child_subreaper(true)?;
    let mut signals = SigSet::empty();
    for wanted in [Signal::SIGCHLD, END, END_NOW] {
        signals.add(wanted);
    }
    // Before the program starts, so that none is missed. It lets them through again by itself.
    signals.thread_block()?;
    let inbox = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let Some(runtime) = parent(runtime) else {
        return Ok(ORPHANED);
    };
    let child = program.process_group(0).spawn()?;
    let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    // Pipes have to end when the program closes them, not when the keeper goes.
    release_streams()?;
    loop {
        if let Some(status) = reap(group) {
            sweep(group);
            return Ok(leave(status));
        }
        let mut ready = [
            PollFd::new(&inbox, PollFlags::IN),
            PollFd::new(&runtime, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled?,
        };
        if !ready[1].revents().is_empty() {
            sweep(group);
            return Ok(ORPHANED);
        }
        while let Some(heard) = inbox.read_signal()? {
            if heard.ssi_signo == END as u32 {
                // It may be gone, which the next round sees.
                let _ = signal::killpg(group, END);
            } else if heard.ssi_signo == END_NOW as u32 {
                sweep(group);
                return Ok(ORPHANED);
            }
        }
    }
}

/// What tells of the runtime's end; `None` when it has ended already, and its number may be somebody else's.
fn parent(runtime: u32) -> Option<OwnedFd> {
    let raw = i32::try_from(runtime).ok()?;
    let watched = pidfd_open(rustix::process::Pid::from_raw(raw)?, PidfdFlags::empty()).ok()?;
    (getppid() == Pid::from_raw(raw)).then_some(watched)
}

fn release_streams() -> io::Result<()> {
    let nothing = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(nothing.as_fd())?;
    rustix::stdio::dup2_stdout(nothing.as_fd())?;
    rustix::stdio::dup2_stderr(nothing.as_fd())?;
    Ok(())
}

/// Takes note of children that ended; gives the program's status if it is among them.
fn reap(program: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(status) if status.pid() == Some(program) => return Some(status),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return None,
            _ => {}
        }
    }
}

/// Ends every descendant. No child left means no descendant left, for orphans become children.
fn sweep(program: Pid) {
    let begun = Instant::now();
    // The group needs no look at /proc, should that not be there.
    let _ = signal::killpg(program, Signal::SIGKILL);
    while begun.elapsed() < PATIENCE {
        for pid in frozen() {
            // It may be gone.
            let _ = signal::kill(pid, Signal::SIGKILL);
        }
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return,
                Ok(WaitStatus::StillAlive) | Err(_) => break,
                Ok(_) => {}
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The descendants, stopped, so that none starts another one between the look and the end.
fn frozen() -> BTreeSet<Pid> {
    let mut known = BTreeSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<Pid> = descendants(std::process::id())
            .into_iter()
            .filter_map(|pid| i32::try_from(pid).ok().map(Pid::from_raw))
            .filter(|pid| known.insert(*pid))
            .collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            let _ = signal::kill(pid, Signal::SIGSTOP);
        }
    }
    known
}

/// All processes below one, by what /proc says.
pub(crate) fn descendants(ancestor: u32) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect();
    let mut below = BTreeSet::new();
    let mut ancestors = vec![ancestor];
    while let Some(ancestor) = ancestors.pop() {
        for (pid, parent) in &parents {
            if *parent == ancestor && below.insert(*pid) {
                ancestors.push(*pid);
            }
        }
    }
    below
}

/// The parent in a line of `/proc/PID/stat`: `PID (name) state PARENT …`, and the name may hold anything.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// The status of the program, as our own; one that a signal ended ends us with the same signal.
fn leave(status: WaitStatus) -> u8 {
    match status {
        WaitStatus::Exited(_, code) => u8::try_from(code & 0xff).unwrap_or(u8::MAX),
        WaitStatus::Signaled(_, signal, _) => {
            let none = Rlimit {
                current: Some(0),
                maximum: Some(0),
            };
            // The program may leave its own core; the keeper has none worth keeping.
            let _ = setrlimit(Resource::Core, none);
            let _ = SigSet::all().thread_unblock();
            let _ = signal::raise(signal);
            128_u8.saturating_add(u8::try_from(signal as i32).unwrap_or(0))
        }
        _ => ORPHANED,
    }
}

/// The status when nobody is left who would look at it.
const ORPHANED: u8 = 125;

/// How long the descendants may take to be gone: only what sleeps in the kernel takes any time at all.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often one looks for processes that were started meanwhile, before ending those that were found.
const ROUNDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        assert_eq!(parent_in("12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(parent_in("12 (a) S 1 (b) R 9 12"), Some(9));
        assert_eq!(parent_in("12 sh"), None);
    }
}
