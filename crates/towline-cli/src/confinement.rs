//! What no agent's program sees, whatever its lease says: this program's own files.

use std::path::PathBuf;

use towline::agents::Confinement;

use crate::{
    config::{Config, DEFAULT_FILE},
    data_dir::{self, DataDir},
};

/// Confines to the lease of the job, without the files of this program: configuration, data, tokens, keys; and `more`, which
/// the command line named.
pub(crate) fn confinement(
    config: &Config,
    data: &DataDir,
    more: impl IntoIterator<Item = PathBuf>,
) -> Confinement {
    let by_port = config.server.allow_network_by_port;
    Confinement::new()
        .protect(own_files(config, data, more))
        .dangerously_allow_network_by_port(by_port.unwrap_or(false))
}

/// What belongs to this program: what the configuration names, the data directory, the user's state directory (it says what
/// is trusted), a `towline.toml` that is here though another was named (it names the programs of another run), and `more`.
///
/// The directories are made where they are not there: what is not there cannot be hidden, and whoever makes it has it.
pub(crate) fn own_files(
    config: &Config,
    data: &DataDir,
    more: impl IntoIterator<Item = PathBuf>,
) -> Vec<PathBuf> {
    let mut own = config.own_files();
    let state = data_dir::state_dir().ok();
    for directory in [Some(data.path().to_owned()), state].into_iter().flatten() {
        if let Err(error) = data_dir::make_data_dir(&directory) {
            tracing::debug!(%error, "a directory of this program's own is not there");
        }
        own.push(directory);
    }
    let here = PathBuf::from(DEFAULT_FILE);
    own.extend(Some(here).filter(|here| here.exists()));
    own.extend(more);
    own
}
