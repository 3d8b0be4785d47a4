//! What every command has.

use crate::{
    args::GlobalArgs, config::Config, data_dir::DataDir, failure::Outcome, guard,
    sessions::Sessions, telemetry::Target, trust::Trust,
};

/// What every command has: the configuration and the data directory.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) data: DataDir,
    /// Whether envelopes are traced.
    pub(crate) traced: bool,
    global: GlobalArgs,
}

impl Context {
    /// Reads the configuration and finds the data directory; refuses what is not ours alone. What a `towline.toml` that was
    /// only found would do is left out, unless it is trusted [ARCP 14-9].
    ///
    /// A server that is started where a file is keeps what that says for as long as it says: that is its own.
    pub(crate) fn new(global: &GlobalArgs, serves: bool) -> Outcome<Self> {
        let config = read(global, serves)?;
        let data = DataDir::new(global.data_dir.as_deref())?;
        guard::directory(data.path())?;
        Ok(Self {
            config,
            data,
            traced: Target::new(global.otlp.as_deref()).is_ok_and(|target| target.is_some()),
            global: global.clone(),
        })
    }

    /// The configuration as it stands in the file now.
    pub(crate) fn read_again(&self) -> Outcome<Config> {
        read(&self.global, true)
    }

    /// The sessions left behind here.
    pub(crate) fn sessions(&self) -> Sessions {
        Sessions::new(&self.data)
    }
}

fn read(global: &GlobalArgs, serves: bool) -> Outcome<Config> {
    let mut config = Config::load(global.config.as_deref())?;
    if global.dangerously_unconfined_as_root {
        config.server.allow_unconfined_root = Some(true);
    }
    if let Some(found) = config.found() {
        let acts = !config.acts().is_empty();
        let trusted = match Trust::of_user() {
            Ok(trust) => trust.holds(found),
            Err(failure) if acts => return Err(failure),
            Err(_) => false,
        };
        if !trusted && !serves {
            config.spare_jobs();
        }
        if !trusted && acts {
            config.withhold();
        }
    }
    Ok(config)
}
