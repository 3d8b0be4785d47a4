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
        .protect(files(config, more))
        .protect_directories(directories(data))
        .dangerously_allow_network_by_port(by_port.unwrap_or(false))
}

/// What belongs to this program: what the configuration names, its directories, a `towline.toml` that is here though another
/// was named (it names the programs of another run), and `more`.
pub(crate) fn own_files(
    config: &Config,
    data: &DataDir,
    more: impl IntoIterator<Item = PathBuf>,
) -> Vec<PathBuf> {
    let mut own = files(config, more);
    own.extend(directories(data));
    own
}

fn files(config: &Config, more: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut own = config.own_files();
    let here = PathBuf::from(DEFAULT_FILE);
    own.extend(Some(here).filter(|here| here.exists()));
    own.extend(more);
    own
}

/// The data directory, and the user's state directory, which says what is trusted.
fn directories(data: &DataDir) -> Vec<PathBuf> {
    let data = data.path().to_owned();
    [data].into_iter().chain(data_dir::state_dir()).collect()
}
