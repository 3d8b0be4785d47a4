//! What a program may use up.

use std::fmt;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;

/// What one program, with all it starts, may use up. The kernel counts file size and processor time for each process by
/// itself.
///
/// Core files are always off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub(crate) memory: Option<u64>,
    pub(crate) processes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) file_size: Option<u64>,
    pub(crate) cpu_seconds: Option<u64>,
    pub(crate) scratch: u64,
    /// Held by the runtime, not by the kernel.
    #[serde(default)]
    pub(crate) output: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: Some(2048 * MIB),
            processes: Some(256),
            open_files: Some(1024),
            file_size: Some(4096 * MIB),
            cpu_seconds: None,
            scratch: 256 * MIB,
            output: None,
        }
    }
}

impl Limits {
    /// Memory that the program and all it starts may fill together, in bytes. Default: 2 GiB; `None`: what the machine has.
    ///
    /// It bounds what is filled, not the addresses that are set aside, which JavaScript and Java take by the gigabyte. The
    /// kernel keeps each process to it; the sum is looked at twice a second, and above it the job ends with INTERNAL_ERROR.
    /// Memory that processes share counts once there.
    #[must_use]
    pub fn memory(mut self, bytes: Option<u64>) -> Self {
        self.memory = bytes;
        self
    }

    /// Processes and threads at a time. Default: 256.
    #[must_use]
    pub fn processes(mut self, count: Option<u64>) -> Self {
        self.processes = count;
        self
    }

    /// Descriptors a process may hold. Default: 1024.
    #[must_use]
    pub fn open_files(mut self, count: Option<u64>) -> Self {
        self.open_files = count;
        self
    }

    /// Size of each file that is written, in bytes. Default: 4 GiB.
    #[must_use]
    pub fn file_size(mut self, bytes: Option<u64>) -> Self {
        self.file_size = bytes;
        self
    }

    /// Processor time of a process, in seconds. Default: as long as the job runs.
    #[must_use]
    pub fn cpu_seconds(mut self, seconds: Option<u64>) -> Self {
        self.cpu_seconds = seconds;
        self
    }

    /// What it may write to its standard output and error together, in bytes; more ends the job with INTERNAL_ERROR.
    /// Default: as much as a result and a log may have.
    #[must_use]
    pub fn output(mut self, bytes: Option<u64>) -> Self {
        self.output = bytes;
        self
    }

    /// Size of the private `/tmp`, in bytes; it is memory. Default: 256 MiB.
    #[must_use]
    pub fn scratch(mut self, bytes: u64) -> Self {
        self.scratch = bytes;
        self
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [
            ("memory", self.memory),
            ("processes", self.processes),
            ("open_files", self.open_files),
            ("file_size", self.file_size),
            ("cpu_seconds", self.cpu_seconds),
            ("output", self.output),
        ];
        for (name, value) in named {
            if let Some(value) = value {
                write!(f, "{name}={value} ")?;
            }
        }
        f.write_str("core=0")
    }
}
