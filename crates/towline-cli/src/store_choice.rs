//! Which store: in memory, a file, or a database.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use towline::store::{Durability, EventStore, MemoryStore, SqliteOptions, SqliteStore, StoreError};

use crate::{
    config::Config,
    data_dir::{self, DataDir},
    database::Database,
    failure::{Failure, Outcome, chain},
    guard::{self, store_files},
    output,
};

/// How often it is looked whether the store is free.
const RETRY: Duration = Duration::from_millis(100);

/// Where jobs and events are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    /// In this process only.
    Memory,
    /// In a file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Whether commits survive a power cut, or the end of the process only.
        power: bool,
    },
    /// In a database.
    Postgres(Database),
}

impl StoreChoice {
    /// Whether it is there at the next start.
    pub(crate) fn is_kept(&self) -> bool {
        *self != Self::Memory
    }

    /// Whether other servers may have it at the same time.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(database) if database.is_shared())
    }

    /// The one of commands that name no store: what the environment, the file and the default say.
    pub(crate) fn of_commands(config: &Config, data: &DataDir) -> Outcome<Self> {
        let named = std::env::var("TOWLINE_STORE").ok();
        Self::new(
            named.as_deref().filter(|named| !named.is_empty()),
            config,
            data,
        )
    }

    /// What tells it from others on this machine.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Memory => "memory".to_owned(),
            Self::Sqlite { path, .. } => {
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                format!("sqlite:{}", path.display())
            }
            Self::Postgres(database) => database.shown(),
        }
    }

    /// What flag, file and default say, in this order.
    pub(crate) fn new(flag: Option<&str>, config: &Config, data: &DataDir) -> Outcome<Self> {
        let section = &config.store;
        let power = section.durability.as_deref() == Some("power");
        match flag {
            Some("memory") => Ok(Self::Memory),
            Some(text) if crate::values::is_postgres(text) => {
                Database::named(text, config).map(Self::Postgres)
            }
            Some(text) => match text.strip_prefix("sqlite:") {
                Some(path) if !path.is_empty() => Ok(Self::Sqlite {
                    path: path.into(),
                    power,
                }),
                _ => Err(Failure::usage(format!("`{text}` is not a store"))
                    .help("write --store sqlite:PATH, --store postgres://USER@HOST/DATABASE or --store memory")),
            },
            None if section.memory == Some(true) => Ok(Self::Memory),
            None => {
                if let Some(database) = Database::of_file(config)? {
                    return Ok(Self::Postgres(database));
                }
                let path = section
                    .sqlite
                    .as_ref()
                    .map_or_else(|| data.store(), |path| config.path(path));
                Ok(Self::Sqlite { path, power })
            }
        }
    }

    /// Opens the store. While another process has it, waits for `patience`.
    pub(crate) async fn open(&self, patience: Duration) -> Outcome<Arc<dyn EventStore>> {
        let (path, power) = match self {
            Self::Sqlite { path, power } => (path, power),
            Self::Memory => return Ok(Arc::new(MemoryStore::new())),
            Self::Postgres(database) => return Ok(Box::pin(database.open(patience)).await?),
        };
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            make_above(parent)?;
        }
        guard::store(path)?;
        let durability = if *power {
            Durability::Power
        } else {
            Durability::Process
        };
        let deadline = tokio::time::Instant::now() + patience;
        let mut told = false;
        loop {
            match SqliteStore::open_with(path, SqliteOptions::new().durability(durability)).await {
                Ok(store) => return Ok(Arc::new(store)),
                Err(StoreError::InUse(message)) if tokio::time::Instant::now() >= deadline => {
                    return Err(in_use(&message));
                }
                Err(StoreError::InUse(message)) => {
                    if !std::mem::replace(&mut told, true) {
                        output::note(&format!("waiting for up to {patience:?}: {message}"));
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(Failure::local(chain(&error))),
            }
        }
    }
}

impl StoreChoice {
    /// Takes the names of all files that SQLite may look for beside an open store, for those that are hidden from jobs have to
    /// be there: a journal that a job put beside the store would be rolled back into it at the next start. In the data
    /// directory everything is hidden as it is.
    pub(crate) fn take_names(&self, data: &DataDir) {
        let Self::Sqlite { path, .. } = self else {
            return;
        };
        if path.starts_with(data.path()) {
            return;
        }
        for file in store_files(path) {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            // It may be there; and where none can be made, a job is refused that could make one.
            drop(options.open(file));
        }
    }
}

/// The store's directory is made as a data directory; one that is there is judged with the store.
fn make_above(directory: &Path) -> Outcome<()> {
    if directory.is_dir() {
        return Ok(());
    }
    data_dir::make_data_dir(directory)
}

fn in_use(message: &str) -> Failure {
    Failure::local(message)
        .help("talk to that process with --url, wait for it to end, or take another --data-dir")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_chosen_by_flag_then_file_then_default() {
        let data = DataDir::new(Some(Path::new("data"))).unwrap();
        let choose = |flag, config: &Config| {
            StoreChoice::new(flag, config, &data).map_err(|failure| failure.to_string())
        };
        let sqlite = |path: &str| {
            Ok(StoreChoice::Sqlite {
                path: path.into(),
                power: false,
            })
        };
        let mut config = Config::default();
        assert_eq!(choose(None, &config), sqlite("data/towline.db"));
        config.store.sqlite = Some("x.db".into());
        assert_eq!(choose(None, &config), sqlite("x.db"));
        assert_eq!(choose(Some("sqlite:y.db"), &config), sqlite("y.db"));
        assert_eq!(choose(Some("memory"), &config), Ok(StoreChoice::Memory));
        let named = |choice: Result<StoreChoice, String>| choice.map(|choice| choice.name());
        let url = "postgres://u@h1,h2/d";
        assert_eq!(named(choose(Some(url), &config)), Ok(url.to_owned()));
        config.store.sqlite = None;
        config.store.postgres = Some(url.to_owned());
        assert_eq!(named(choose(None, &config)), Ok(url.to_owned()));
        assert_eq!(choose(Some("memory"), &config), Ok(StoreChoice::Memory));
        for wrong in ["", "sqlite:", "y.db"] {
            assert!(
                choose(Some(wrong), &config)
                    .unwrap_err()
                    .contains("sqlite:PATH"),
                "{wrong}"
            );
        }
    }
}
