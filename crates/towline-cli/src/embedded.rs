//! The runtime that this program embeds when no server is named.

use std::time::Duration;

use towline::runtime::{Runtime, RuntimeOptions, auth::StaticTokens};

#[cfg(unix)]
use crate::beside::{Beside, Card};
use crate::{
    agents,
    config::Config,
    confinement::{confinement, own_files},
    data_dir::DataDir,
    failure::{Failure, Outcome, chain},
    hosting, owner,
    store_choice::StoreChoice,
};

/// How long a command waits for another one to let go of the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an embedded runtime is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To run jobs.
    Work,
    /// To look at what earlier ones left. It starts nothing, and reaches nobody [ARCP 14-9].
    Look,
    /// To cancel one of the jobs that earlier ones left. The others stay as they are: nothing is started [ARCP 14-9].
    Cancel,
}

/// Whether a runtime outlives those who use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It ends with the command it is in.
    Ends,
    /// It is a server's.
    Stays,
}

/// A runtime inside this program.
pub(crate) struct Embedded {
    runtime: Runtime,
    token: String,
    purpose: Purpose,
    /// Those who look on, while jobs run.
    #[cfg(unix)]
    beside: Option<Beside>,
}

impl Embedded {
    /// Starts one on the store of the data directory, with the built-in agents and those of `towline.toml`.
    pub(crate) async fn start(config: &Config, data: &DataDir, purpose: Purpose) -> Outcome<Self> {
        let choice = StoreChoice::of_commands(config, data)?;
        let store = choice.open(PATIENCE).await?;
        choice.take_names(data);
        // The token never leaves this process; it is there because a runtime lets nobody in without one.
        let token = towline::env::Ids::system()
            .resume_token()
            .expose()
            .to_owned();
        let tokens =
            StaticTokens::new([(owner::PRINCIPAL, token.as_str())]).map_err(Failure::local)?;
        let own = own_files(config, data, []);
        let options = RuntimeOptions::default()
            .principal_cancels(true)
            .starts_recovered(purpose == Purpose::Work)
            // A job of an agent of some file is no business of a command that was given another one, or none.
            .leaves_foreign(true)
            .protect(own);
        let options = hosting::limits(options, config);
        let builder = Runtime::builder()
            .name("towline", env!("CARGO_PKG_VERSION"))
            .authenticator(tokens)
            .shared_store(store)
            .options(options)
            .roles(owner::roles())
            .trace_link(towline::otel::OpenTelemetryLink);
        let confinement = confinement(config, data, []);
        let builder = hosting::host(
            builder,
            config,
            agents::built_in(&confinement),
            &confinement,
        )?;
        let builder = match purpose {
            Purpose::Work => hosting::webhooks(hosting::credentials(builder, config)?, config)?,
            Purpose::Cancel => hosting::credentials(builder, config)?,
            // Whoever looks asks no upstream for keys, and gives none back.
            Purpose::Look => builder,
        };
        let runtime = builder
            .build()
            .await
            .map_err(|error| Failure::local(chain(&error)))?;
        #[cfg(unix)]
        let beside = (purpose == Purpose::Work && choice.is_kept())
            .then(|| Beside::open(data, &runtime, &Card::new(&token, Stay::Ends, &choice)))
            .flatten();
        Ok(Self {
            runtime,
            token,
            purpose,
            #[cfg(unix)]
            beside,
        })
    }

    /// The runtime.
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// The token that lets this program in.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether it runs jobs.
    pub(crate) fn runs_jobs(&self) -> bool {
        self.purpose == Purpose::Work
    }

    /// Ends the runtime and lets go of the store.
    pub(crate) async fn stop(self) {
        // Whoever comes now waits for the store instead.
        #[cfg(unix)]
        drop(self.beside);
        self.runtime.shutdown().await;
    }
}
