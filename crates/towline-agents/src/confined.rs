//! What confines the programs of an agent: what the operator says of it, and what a lease makes of that.

use std::path::{Path, PathBuf};
#[cfg(target_os = "linux")]
use std::sync::Arc;

#[cfg(target_os = "linux")]
use crate::confine::{Kernel, Protected};
use crate::{
    limits::Limits,
    proxy::{Model, Outside, Settings},
};

/// What confines the programs of an agent. By default each is kept to its job's lease, and a job whose program cannot be is
/// refused.
///
/// ```
/// use towline_agents::{Confinement, ExecAgent, Limits};
///
/// let confinement = Confinement::new()
///     .limits(Limits::default().memory(Some(512 << 20)))
///     .protect(["/etc/mine/tokens", "/var/lib/mine"]);
/// let exec = ExecAgent::new().confinement(confinement);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Confinement {
    pub(crate) off: bool,
    pub(crate) limits: Limits,
    pub(crate) read: Vec<PathBuf>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) network: Settings,
    pub(crate) by_port: bool,
    #[cfg(target_os = "linux")]
    pub(crate) protected: Arc<Protected>,
    #[cfg(target_os = "linux")]
    pub(crate) kernel: Arc<tokio::sync::OnceCell<Kernel>>,
}

impl Confinement {
    /// To the lease of the job.
    pub fn new() -> Self {
        Self::default()
    }

    /// None: programs have all the rights of this process, its user's files and its network. Each job's log says so.
    pub fn dangerously_off() -> Self {
        Self {
            off: true,
            ..Self::default()
        }
    }

    /// What a program may use up. Default: see [`Limits`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What programs of a [`ProcessAgent`](crate::ProcessAgent) may read and run beside what their lease gives: a directory
    /// with all below it, or a file. Default: nothing but the files among the words of its command.
    #[must_use]
    pub fn read(mut self, path: impl Into<PathBuf>) -> Self {
        self.read.push(path.into());
        self
    }

    /// A directory of the agent's own, which stays: `HOME` of its programs, and `TMPDIR` in it. Made when it is not there.
    /// Default: one for each job, gone with it.
    #[must_use]
    pub fn state(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state = Some(directory.into());
        self
    }

    /// Gives its programs a model service: they find its address and a key of their job in their environment, and each call is
    /// decided by `model.use` and paid from the job's budget. Default: none.
    #[must_use]
    pub fn model(mut self, model: Model) -> Self {
        self.network.model = Some(model);
        self
    }

    /// How names are looked up, and connections made, for programs whose lease lets them fetch. Default: as the system does.
    #[must_use]
    pub fn outside(mut self, outside: impl Outside) -> Self {
        self.network.outside = Some(std::sync::Arc::new(outside));
        self
    }

    /// Lets programs have a network where the kernel can keep them to the port of their proxy and not to its address, so that
    /// they reach whoever listens on the same port elsewhere. Default: off, such jobs are refused. Where programs get a network
    /// namespace this changes nothing.
    #[must_use]
    pub fn dangerously_allow_network_by_port(mut self, allow: bool) -> Self {
        self.by_port = allow;
        self
    }

    /// Files and directories that no program sees, whatever its lease says: configuration, tokens, keys, the store. One that is
    /// not there when a program starts that could make it is a reason not to start it.
    #[must_use]
    pub fn protect(mut self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        #[cfg(target_os = "linux")]
        {
            self.protected = Arc::new(Protected::new(paths));
        }
        #[cfg(not(target_os = "linux"))]
        {
            // Nothing is confined here, so nothing runs that is not off.
            let _ = (&mut self, paths);
        }
        self
    }

    /// Directories that no program sees either, beside what [`Confinement::protect`] was given before. One that is not there is
    /// made, for its owner alone, before a program starts that could make it.
    #[must_use]
    pub fn protect_directories(
        mut self,
        paths: impl IntoIterator<Item = impl AsRef<Path>>,
    ) -> Self {
        #[cfg(target_os = "linux")]
        {
            // Built by one, and not shared before it is used; else what it holds is looked up anew.
            let protected = Arc::try_unwrap(std::mem::take(&mut self.protected));
            let protected = protected.unwrap_or_else(|shared| shared.again());
            self.protected = Arc::new(protected.directories(paths));
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (&mut self, paths);
        }
        self
    }
}
