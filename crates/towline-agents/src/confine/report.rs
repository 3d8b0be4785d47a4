//! What the launcher says: what was taken from a program, or why it does not run.

use std::{fmt, io, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

use super::network::Network;

/// What holds a program that runs: measured by the launcher right before the program began, not by the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of Landlock's interface that is enforced.
    pub landlock: u8,
    /// The namespaces of its own that the program has: `user`, `pid`, `mount`, `ipc`, `uts`, `cgroup`, `net`. Empty where
    /// the kernel lets none be made.
    pub namespaces: Vec<String>,
    /// What keeps it to its door, where it has one.
    pub network: Option<Network>,
    /// Whether its `/proc` shows its own processes. Without, it has none that it may read.
    pub proc: bool,
    /// What ends whatever the program started.
    pub end: End,
    /// The limits that hold, by what.
    pub limits: Limits,
    /// Whether the limit of processes holds. It does not for root without a namespace of processes that can be bounded.
    pub processes_bounded: bool,
    /// Files and directories of towline's own that the program finds empty.
    pub masked: Vec<PathBuf>,
}

/// What ends the processes that a program started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum End {
    /// The namespace they live in ends with its first process.
    Namespace,
    /// The launcher, to whom orphans fall, kills all descendants.
    Sweep,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "confined by landlock {}, seccomp {}, ",
            self.landlock,
            match self.network {
                None => "without network",
                Some(Network::Namespace) => "with the job's proxy for a network",
                Some(Network::Port) =>
                    "with the port of the job's proxy, at any address, for a network",
            }
        )?;
        if self.namespaces.is_empty() {
            f.write_str("no namespaces of its own, ")?;
        } else {
            write!(f, "namespaces {}, ", self.namespaces.join(" "))?;
        }
        write!(f, "no capabilities, limits {}", self.limits)?;
        if !self.processes_bounded {
            f.write_str(" (processes unbounded)")?;
        }
        for path in &self.masked {
            write!(f, ", without {}", path.display())?;
        }
        Ok(())
    }
}

/// Why a program does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// What has to hold cannot be held here; the text names it.
    CannotConfine(String),
    /// A granted tree has one of towline's own files in it, which cannot be hidden here.
    Protected {
        /// The grant.
        grant: PathBuf,
        /// The file or directory that nobody's program may see.
        path: PathBuf,
    },
    /// One of towline's own files has further names (hard links), and one of them may lie in a granted tree.
    Linked {
        /// The grant.
        grant: PathBuf,
        /// The file.
        path: PathBuf,
    },
    /// One of towline's own files is not there yet, so it cannot be hidden, and a granted tree is where it would be.
    NotThere {
        /// The grant, for writing.
        grant: PathBuf,
        /// The file.
        path: PathBuf,
    },
    /// The program is to have a network, and cannot be kept to its lease there; the text says why.
    Network(String),
    /// The program is confined and cannot be run all the same.
    CannotRun(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CannotConfine(what) => write!(f, "the program cannot be confined: {what}"),
            Self::Protected { grant, path } => write!(
                f,
                "the granted `{}` holds `{}`, which no job may see and which cannot be hidden here: grant a directory \
                 beside it",
                grant.display(),
                path.display()
            ),
            Self::Linked { grant, path } => write!(
                f,
                "`{}`, which no job may see, has further names (hard links), and one of them may be in the granted `{}`: \
                 put a copy in the place of the link",
                path.display(),
                grant.display(),
            ),
            Self::NotThere { grant, path } => write!(
                f,
                "`{}`, which no job may see, is not there yet and cannot be hidden in the granted `{}`: make it first, or \
                 grant a directory beside it",
                path.display(),
                grant.display(),
            ),
            Self::Network(why) => write!(
                f,
                "the program cannot be kept to the network that its lease holds: {why}"
            ),
            Self::CannotRun(why) => write!(f, "the program cannot be run: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// A line that the launcher writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    /// The program is about to begin, held by this.
    Got(Report),
    /// It does not begin.
    Refused(Refusal),
    /// It ended: with this status, or by this signal.
    Ended {
        code: Option<i32>,
        signal: Option<i32>,
    },
}

/// Makes a refusal of an error, by what it was about.
pub(super) fn because(what: &str) -> impl Fn(io::Error) -> Refusal + '_ {
    move |error| Refusal::CannotConfine(format!("{what}: {error}"))
}
