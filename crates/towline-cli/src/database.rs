//! A database as the store: which one, how it is opened, and how its password is kept out of sight.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use towline::{
    postgres::{Inspection, Nodes, PostgresOptions, PostgresStore, has_password, without_password},
    store::StoreError,
};

use crate::{
    args::ServeArgs,
    config::Config,
    failure::{Failure, Outcome, chain},
    output,
};

/// A database.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Database {
    url: String,
    /// Where the address came from, when it was a file: jobs must not read it.
    file: Option<PathBuf>,
    node: String,
    /// Whether it was given a name of its own: then others may have the database at the same time.
    named: bool,
    shared: bool,
    standby: bool,
    require_sync: bool,
    in_the_clear: bool,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.shown()).finish()
    }
}

impl Database {
    /// The one that a flag or the environment names. What stands on the command line is in the list of processes, which
    /// everybody can read.
    pub(crate) fn named(url: &str, config: &Config) -> Outcome<Self> {
        let mut words = std::env::args_os();
        if has_password(url) && words.any(|word| word.to_string_lossy().contains(url)) {
            return Err(Failure::usage(format!(
                "the password of `{}` would show in the list of processes",
                without_password(url)
            ))
            .help(
                "leave it out, and put the whole address into a file that [store] postgres_file names, or into TOWLINE_STORE, \
                 or the password into ~/.pgpass",
            ));
        }
        Ok(Self::new(url.to_owned(), None, config))
    }

    /// The one that the file names, if it names one.
    pub(crate) fn of_file(config: &Config) -> Outcome<Option<Self>> {
        let section = &config.store;
        if let Some(file) = &section.postgres_file {
            let url = config.secret("store.postgres_file", file)?;
            if !crate::values::is_postgres(&url) {
                return Err(Failure::usage(
                    "the first line of store.postgres_file is no address of a PostgreSQL database",
                )
                .help("write postgres://USER:PASSWORD@HOST/DATABASE there"));
            }
            return Ok(Some(Self::new(url, Some(config.path(file)), config)));
        }
        let url = section.postgres.clone();
        Ok(url.map(|url| Self::new(url, None, config)))
    }

    fn new(url: String, file: Option<PathBuf>, config: &Config) -> Self {
        let node = config.store.node.clone();
        Self {
            url,
            file,
            named: node.is_some(),
            node: node.unwrap_or_else(host_name),
            shared: false,
            standby: false,
            require_sync: false,
            in_the_clear: false,
        }
    }

    /// What `serve` says of it.
    pub(crate) fn serving(mut self, args: &ServeArgs) -> Self {
        if let Some(node) = &args.node {
            self.node.clone_from(node);
            self.named = true;
        }
        self.standby = args.standby;
        // Whoever stands by waits for a database that nobody has.
        self.shared = self.named && !args.standby;
        self.require_sync = args.require_sync;
        self.in_the_clear = args.dangerously_store_in_the_clear;
        self
    }

    /// Lets what is said cross a network as it is.
    pub(crate) fn in_the_clear(self, in_the_clear: bool) -> Self {
        Self {
            in_the_clear,
            ..self
        }
    }

    /// Whether others may have it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// The address as it may be shown.
    pub(crate) fn shown(&self) -> String {
        without_password(&self.url)
    }

    /// Files with its password.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        self.file.iter().cloned().chain(password_file()).collect()
    }

    fn options(&self) -> PostgresOptions {
        let options = PostgresOptions::new()
            .node(&self.node)
            .standby(self.standby)
            .shared(self.shared)
            .require_sync(self.require_sync)
            .dangerously_in_the_clear(self.in_the_clear);
        match password_file() {
            Some(file) => options.password_file(file),
            None => options,
        }
    }

    /// Opens the store. While another process has it, waits for `patience`.
    pub(crate) async fn open(&self, patience: Duration) -> Outcome<Arc<PostgresStore>> {
        let deadline = tokio::time::Instant::now() + patience;
        if self.standby {
            output::note(&format!(
                "standing by for {} if another node has it",
                self.shown()
            ));
        }
        loop {
            match PostgresStore::open_with(&self.url, self.options()).await {
                Ok(store) => return Ok(Arc::new(store)),
                // Finding that out took its time.
                Err(StoreError::InUse(_)) if tokio::time::Instant::now() < deadline => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Looks at who has the store.
    pub(crate) async fn nodes(&self) -> Outcome<Nodes> {
        let nodes = Nodes::begin(&self.url, &self.options()).await;
        nodes.map_err(|error| self.failed(&error))
    }

    /// Looks at the store from outside.
    pub(crate) async fn look(&self) -> Outcome<Inspection> {
        let look = Inspection::begin(&self.url, &self.options()).await;
        look.map_err(|error| self.failed(&error))
    }

    /// An error with the database's address.
    pub(crate) fn failed(&self, error: &StoreError) -> Failure {
        let text = chain(error);
        let shown = self.shown();
        let failure = if text.contains(&shown) {
            Failure::local(text)
        } else {
            Failure::local(format!("`{shown}`: {text}"))
        };
        match error {
            StoreError::InUse(_) => failure.help(
                "talk to that node with --url, stop it, give each node a --node NAME of its own so that they share the database, or \
                 have this one wait for its place with --standby",
            ),
            _ => failure,
        }
    }
}

/// Where libpq looks passwords up.
fn password_file() -> Option<PathBuf> {
    let named = std::env::var_os("PGPASSFILE").filter(|file| !file.is_empty());
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    named
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(home?).join(".pgpass")))
}

/// What this machine is called.
fn host_name() -> String {
    #[cfg(unix)]
    {
        let name = rustix::system::uname();
        name.nodename().to_string_lossy().into_owned()
    }
    #[cfg(not(unix))]
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "towline".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_shows_nowhere() {
        let database = Database::named("postgres://u:s3cret@h/d", &Config::default()).unwrap();
        let shown = format!(
            "{database:?} {} {}",
            database.shown(),
            database.failed(&StoreError::Closed)
        );
        assert!(
            !shown.contains("s3cret") && shown.contains("postgres://u@h/d"),
            "{shown}"
        );
    }
}
