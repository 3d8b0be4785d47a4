//! The store, and the runtime that this program embeds when no server is named.

use std::{path::PathBuf, sync::Arc, time::Duration};

use towline::{
    runtime::{Runtime, RuntimeOptions, auth::StaticTokens},
    store::{Durability, EventStore, MemoryStore, SqliteOptions, SqliteStore, StoreError},
};

use crate::{
    agents,
    config::Config,
    confinement::confinement,
    data_dir::{self, DataDir},
    failure::{Failure, Outcome, chain},
    output, serve,
};

/// Whose the jobs of an embedded runtime are.
pub(crate) const PRINCIPAL: &str = "local";

/// How long a command waits for another one to let go of the store.
const PATIENCE: Duration = Duration::from_secs(10);
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
}

impl StoreChoice {
    /// What flag, file and default say, in this order.
    pub(crate) fn new(flag: Option<&str>, config: &Config, data: &DataDir) -> Outcome<Self> {
        let section = &config.store;
        let power = section.durability.as_deref() == Some("power");
        match flag {
            Some("memory") => Ok(Self::Memory),
            Some(text) => match text.strip_prefix("sqlite:") {
                Some(path) if !path.is_empty() => Ok(Self::Sqlite {
                    path: path.into(),
                    power,
                }),
                _ => Err(Failure::usage(format!("`{text}` is not a store"))
                    .help("write --store sqlite:PATH or --store memory")),
            },
            None if section.memory == Some(true) => Ok(Self::Memory),
            None => {
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
        let Self::Sqlite { path, power } = self else {
            return Ok(Arc::new(MemoryStore::new()));
        };
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            data_dir::make_private_dir(parent)?;
        }
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
                        output::note(&format!("waiting: {message}"));
                    }
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(Failure::local(chain(&error))),
            }
        }
    }
}

fn in_use(message: &str) -> Failure {
    Failure::local(message)
        .help("talk to that process with --url, wait for it to end, or take another --data-dir")
}

/// A runtime inside this program.
pub(crate) struct Embedded {
    runtime: Runtime,
    token: String,
}

impl Embedded {
    /// Starts one on the store of the data directory, with the built-in agents and those of `towline.toml`.
    pub(crate) async fn start(config: &Config, data: &DataDir) -> Outcome<Self> {
        let choice = StoreChoice::new(None, config, data)?;
        let store = choice.open(PATIENCE).await?;
        // The token never leaves this process; it is there because a runtime lets nobody in without one.
        let token = towline::env::Ids::system()
            .resume_token()
            .expose()
            .to_owned();
        let tokens = StaticTokens::new([(PRINCIPAL, token.as_str())]).map_err(Failure::local)?;
        let options = serve::limits(RuntimeOptions::default().principal_cancels(true), config);
        let builder = Runtime::builder()
            .name("towline", env!("CARGO_PKG_VERSION"))
            .authenticator(tokens)
            .shared_store(store)
            .options(options)
            .trace_link(towline::otel::OpenTelemetryLink);
        let confinement = confinement(config, data, []);
        let builder = agents::built_in(builder, &confinement);
        let mut builder = agents::configured(builder, config, &confinement)?;
        if let Some(provisioner) = config.provisioner()? {
            builder = builder.credentials(provisioner);
        }
        let runtime = builder
            .build()
            .await
            .map_err(|error| Failure::local(chain(&error)))?;
        Ok(Self { runtime, token })
    }

    /// The runtime.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The token that lets this program in.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Ends the runtime and lets go of the store.
    pub(crate) async fn stop(self) {
        self.runtime.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_chosen_by_flag_then_file_then_default() {
        let data = DataDir::new(None);
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
        assert_eq!(choose(None, &config), sqlite(".towline/towline.db"));
        config.store.sqlite = Some("x.db".into());
        assert_eq!(choose(None, &config), sqlite("x.db"));
        assert_eq!(choose(Some("sqlite:y.db"), &config), sqlite("y.db"));
        assert_eq!(choose(Some("memory"), &config), Ok(StoreChoice::Memory));
        for wrong in ["", "sqlite:", "y.db", "postgres:x"] {
            assert!(
                choose(Some(wrong), &config)
                    .unwrap_err()
                    .contains("sqlite:PATH"),
                "{wrong}"
            );
        }
    }
}
