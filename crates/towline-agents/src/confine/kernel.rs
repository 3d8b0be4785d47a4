//! What the kernel can hold, found out by trying.

use std::{
    fmt,
    process::{Command, Stdio},
};

use serde::Serialize;

use crate::limits::Limits;

use super::{
    exchange::{Mode, Order},
    hold::hand_over,
    network::{Network, Ordered, PORT},
    place::Place,
    report::{Refusal, Report},
};

/// What this system can hold a program with: found out by letting a launcher confine itself and run nothing.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Kernel {
    /// What is got with namespaces, or why there are none.
    pub namespaces: Result<Report, Refusal>,
    /// What is got without, where namespaces cannot be had; or why that is not enough.
    pub plain: Option<Result<Report, Refusal>>,
}

impl Kernel {
    /// Tries with a launcher: `launcher` makes a command of it, with its first arguments. Takes some milliseconds; ask once and
    /// keep it.
    pub async fn probe(launcher: impl Fn() -> Command) -> Self {
        let namespaces = attempt(launcher(), Mode::Namespaces).await;
        let plain = match namespaces {
            Ok(_) => None,
            Err(_) => Some(attempt(launcher(), Mode::Plain).await),
        };
        Self { namespaces, plain }
    }

    /// As [`Kernel::probe`], where namespaces are not wanted, or are known not to be had.
    pub async fn probe_without_namespaces(launcher: impl Fn() -> Command) -> Self {
        let unwanted = Refusal::CannotConfine("namespaces were not asked for".to_owned());
        Self {
            namespaces: Err(unwanted),
            plain: Some(attempt(launcher(), Mode::Plain).await),
        }
    }

    /// How programs are held here.
    pub(super) fn mode(&self) -> Result<Mode, Refusal> {
        match (&self.namespaces, &self.plain) {
            (Ok(_), _) => Ok(Mode::Namespaces),
            (Err(_), Some(Ok(_))) => Ok(Mode::Plain),
            (Err(refusal), _) => Err(refusal.clone()),
        }
    }

    /// What keeps a program to a door here, where it is enough that it is kept to its port (`by_port`) or has to be kept to
    /// its address as well.
    ///
    /// # Errors
    /// Nothing does.
    pub fn network(&self, by_port: bool) -> Result<Network, Refusal> {
        self.mode()?;
        let network = self.report().and_then(|report| report.network);
        match network {
            Some(Network::Port) if !by_port => Err(Refusal::Network(
                "without a network namespace it can be kept to a port, and not to an address: let unprivileged user \
                 namespaces be made, or accept that with network_by_port"
                    .to_owned(),
            )),
            Some(network) => Ok(network),
            None => Err(Refusal::Network(
                "this kernel neither lets it have a network of its own nor has Landlock 4 (Linux 6.7)".to_owned(),
            )),
        }
    }

    /// Why no program can be confined here; `None` where it can.
    pub fn refuses(&self) -> Option<Refusal> {
        match (&self.namespaces, &self.plain) {
            (Err(namespaces), Some(Err(plain))) => Some(Refusal::CannotConfine(format!(
                "{plain}; with namespaces: {namespaces}"
            ))),
            _ => self.mode().err(),
        }
    }

    /// What holds programs here.
    pub fn report(&self) -> Option<&Report> {
        match (&self.namespaces, &self.plain) {
            (Ok(report), _) | (_, Some(Ok(report))) => Some(report),
            _ => None,
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.refuses(), self.report()) {
            (Some(refusal), _) => refusal.fmt(f),
            (None, Some(report)) => report.fmt(f),
            (None, None) => f.write_str("nothing is known"),
        }
    }
}

async fn attempt(mut launcher: Command, mode: Mode) -> Result<Report, Refusal> {
    let broken = |error: std::io::Error| Refusal::CannotConfine(error.to_string());
    let order = Order {
        mode,
        probe: true,
        program: "/".to_owned(),
        script: false,
        arg0: String::new(),
        args: Vec::new(),
        env: Vec::new(),
        directory: "/".to_owned(),
        granted: Vec::new(),
        passed: Vec::new(),
        hidden: Vec::new(),
        limits: Limits::default(),
        door: Some(Ordered {
            port: PORT,
            inside: mode == Mode::Namespaces,
        }),
    };
    let root = Place::open("/").map_err(broken)?;
    let null = std::fs::File::open("/dev/null").map_err(broken)?;
    let descriptors = [
        std::os::fd::AsFd::as_fd(&null),
        std::os::fd::AsFd::as_fd(&root),
        std::os::fd::AsFd::as_fd(&root),
    ];
    let mut hold = hand_over(&mut launcher, &order, &descriptors).map_err(broken)?;
    launcher.stdout(Stdio::null()).stderr(Stdio::null());
    let mut command = tokio::process::Command::from(launcher);
    command.kill_on_drop(true);
    let mut child = command.spawn().map_err(broken)?;
    // The command holds the launcher's end of the socket: kept, its silence could not be told from its end.
    drop(command);
    let got = hold.begun().await;
    child.wait().await.map_err(broken)?;
    got
}
