//! How a store is opened.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How a [`PostgresStore`](crate::PostgresStore) is opened.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub(crate) node: String,
    pub(crate) lease: Duration,
    pub(crate) standby: bool,
    pub(crate) shared: bool,
    pub(crate) require_sync: bool,
    pub(crate) in_the_clear: bool,
    pub(crate) password_file: Option<PathBuf>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            node: "towline".to_owned(),
            lease: LEASE,
            standby: false,
            shared: false,
            require_sync: false,
            in_the_clear: false,
            password_file: None,
        }
    }
}

impl PostgresOptions {
    /// What is usual.
    pub fn new() -> Self {
        Self::default()
    }

    /// The name of this node; `towline` by default. A process that takes the place of one of the same name, whose connection
    /// is gone, does so at once; one of another name waits for the lease.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = name.into();
        self
    }

    /// For how long a process may show no sign of life before another one takes its place; 6 s by default, from 3 s to 60 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.clamp(LEAST_LEASE, MOST_LEASE);
        self
    }

    /// Whether opening waits for as long as another process has the store; off by default, and then that is
    /// [`StoreError::InUse`](towline_store::StoreError::InUse).
    #[must_use]
    pub fn standby(mut self, standby: bool) -> Self {
        self.standby = standby;
        self
    }

    /// Whether others may have the store at the same time, each under a name of its own; off by default, and then one process has it.
    /// A store that is opened so is [`Shared`](towline_store::Shared).
    #[must_use]
    pub fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Whether a server is refused that does not wait for a synchronous standby; off by default, and then what it does is said
    /// in the log.
    #[must_use]
    pub fn require_sync(mut self, require: bool) -> Self {
        self.require_sync = require;
        self
    }

    /// Lets tokens' hashes, credentials and events cross a network unencrypted: whoever is on the way reads and changes them.
    /// Without it `sslmode=disable` is good for this machine only.
    #[must_use]
    pub fn dangerously_in_the_clear(mut self, yes: bool) -> Self {
        self.in_the_clear = yes;
        self
    }

    /// Where the password is looked up when the URL has none: a file of lines `host:port:database:user:password`, as libpq
    /// reads it. A file that others can read is refused; one that is not there has no password.
    #[must_use]
    pub fn password_file(mut self, path: impl AsRef<Path>) -> Self {
        self.password_file = Some(path.as_ref().to_owned());
        self
    }
}

const LEASE: Duration = Duration::from_secs(6);
const LEAST_LEASE: Duration = Duration::from_secs(3);
const MOST_LEASE: Duration = Duration::from_secs(60);
