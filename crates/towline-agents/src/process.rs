//! A process that was started: its streams, and how it ends.

use std::{io, process::ExitStatus, time::Duration};

use tokio::{
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    time::timeout,
};

#[cfg(target_os = "linux")]
use crate::memory::Bound;
use crate::proxy::Proxy;

/// A program's streams.
pub(crate) struct Streams {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

/// What keeps a program: let go, everything it started ends, and then what was only for it.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Kept {
    _hold: crate::confine::Hold,
    _home: Option<tempfile::TempDir>,
}

#[cfg(target_os = "linux")]
impl Kept {
    pub(crate) fn new(hold: crate::confine::Hold, home: Option<tempfile::TempDir>) -> Self {
        Self {
            _hold: hold,
            _home: home,
        }
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
    /// Its way to the network, which ends with it.
    proxy: Option<Proxy>,
    /// What a confined program is held by.
    #[cfg(target_os = "linux")]
    held: Option<Kept>,
    /// What it may hold in memory with all that it starts.
    bound: Bound,
    /// Why it was ended, when that was not the job's doing.
    broke: Option<String>,
}

impl Process {
    /// A program with all rights; whether a keeper is between.
    pub(crate) fn new(child: Child, kept: bool) -> Self {
        Self {
            child,
            kept,
            has_ended: false,
            proxy: None,
            #[cfg(target_os = "linux")]
            held: None,
            bound: Bound::default(),
            broke: None,
        }
    }

    /// A confined program: its launcher is its keeper. It may hold so much memory, with all that it starts.
    #[cfg(target_os = "linux")]
    pub(crate) fn held(child: Child, held: Kept, memory: Option<u64>) -> Self {
        Self {
            child,
            kept: true,
            has_ended: false,
            proxy: None,
            held: Some(held),
            bound: Bound::new(memory),
            broke: None,
        }
    }

    /// The same with a proxy.
    pub(crate) fn with_proxy(mut self, proxy: Option<Proxy>) -> Self {
        self.proxy = proxy;
        self
    }

    /// The port of its proxy on its loopback, if it has one.
    pub(crate) fn port(&self) -> Option<u16> {
        self.proxy.as_ref().map(Proxy::port)
    }

    /// Waits for the end of the program, whoever still holds its pipes, and ends what it left behind. One that breaks its
    /// bound is ended, and the error says how; it reads well behind "ended with". Cancel safe.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        let group = self.id();
        let status = loop {
            tokio::select! {
                biased;
                status = self.child.wait() => break status?,
                why = self.bound.broken(group), if self.broke.is_none() => {
                    self.broke = Some(why);
                    self.end_now();
                }
            }
        };
        if !std::mem::replace(&mut self.has_ended, true) && !self.kept {
            end_group(group);
        }
        match &self.broke {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(status),
        }
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

    use super::Process;

    fn pid(id: Option<u32>) -> Option<Pid> {
        id.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    impl Process {
        pub(super) fn ask_to_end(&self) {
            let Some(leader) = pid(self.id()) else { return };
            #[cfg(target_os = "linux")]
            let alone = self.kept && self.held.is_none();
            #[cfg(not(target_os = "linux"))]
            let alone = self.kept;
            // It may be gone, which is what is asked of it. A launcher that confines hears nothing, its program does.
            let _ = if alone {
                kill(leader, Signal::SIGTERM)
            } else {
                killpg(leader, Signal::SIGTERM)
            };
        }

        pub(super) fn end_now(&mut self) {
            #[cfg(target_os = "linux")]
            if self.held.take().is_some() {
                return;
            }
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

/// Elsewhere nothing is confined, and nothing bounded.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Default)]
struct Bound;

#[cfg(not(target_os = "linux"))]
impl Bound {
    async fn broken(&mut self, _: Option<u32>) -> String {
        std::future::pending().await
    }
}

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
