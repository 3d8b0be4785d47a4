//! What a service manager is told: readiness, reloads, the end, and that the program is alive (`sd_notify`).
//!
//! The manager names a datagram socket in `NOTIFY_SOCKET`; without one nothing is told. Nothing the program does depends on
//! whether a message arrives.

use std::{os::unix::net::UnixDatagram, path::Path, time::Duration};

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: Option<UnixDatagram>,
    alive: Option<Duration>,
}

impl Notify {
    /// To the manager that the environment names.
    pub(crate) fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let socket = variable("NOTIFY_SOCKET").and_then(|name| connected(&name).ok());
        // The manager may mean another process.
        let is_meant =
            variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let micros = variable("WATCHDOG_USEC").filter(|_| is_meant);
        let alive = micros.and_then(|micros| micros.parse().ok());
        Self {
            socket,
            alive: alive.map(|micros: u64| Duration::from_micros(micros / 2).max(SHORTEST)),
        }
    }

    /// Connections are taken from now on.
    pub(crate) fn ready(&self) {
        self.say("READY=1");
    }

    /// The configuration is read again; `ready` says when that is done.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The program is about to end.
    pub(crate) fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that the program is alive, as often as the manager wants to hear it; for ever. Cancel safe.
    pub(crate) async fn live(&self) {
        let Some(alive) = self.alive.filter(|_| self.socket.is_some()) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(alive);
        loop {
            ticks.tick().await;
            self.say("WATCHDOG=1");
        }
    }

    fn say(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(state.as_bytes())
        {
            tracing::debug!(%error, state, "the service manager was not told");
        }
    }
}

/// A socket is a path, or, with `@` in front, a name without one.
fn connected(name: &str) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match name.strip_prefix('@') {
        None => socket.connect(Path::new(name))?,
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(std::io::ErrorKind::Unsupported.into()),
    }
    Ok(socket)
}

/// More often than this nobody needs to hear it.
const SHORTEST: Duration = Duration::from_millis(50);
