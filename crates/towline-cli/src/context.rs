//! What every command has.

use crate::{
    args::GlobalArgs, config::Config, data_dir::DataDir, failure::Outcome, sessions::Sessions,
    telemetry::Target,
};

/// What every command has: the configuration and the data directory.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) data: DataDir,
    /// Whether envelopes are traced.
    pub(crate) traced: bool,
}

impl Context {
    pub(crate) fn new(global: &GlobalArgs) -> Outcome<Self> {
        let mut config = Config::load(global.config.as_deref())?;
        if global.dangerously_unconfined_as_root {
            config.server.allow_unconfined_root = Some(true);
        }
        Ok(Self {
            config,
            data: DataDir::new(global.data_dir.as_deref()),
            traced: Target::new(global.otlp.as_deref()).is_ok_and(|target| target.is_some()),
        })
    }

    /// The sessions left behind here.
    pub(crate) fn sessions(&self) -> Sessions {
        Sessions::new(&self.data)
    }
}
