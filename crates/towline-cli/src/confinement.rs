//! What no agent's program sees, whatever its lease says: this program's own files.

use std::path::PathBuf;

use towline::agents::Confinement;

use crate::{
    config::{Config, DEFAULT_FILE},
    data_dir::DataDir,
};

/// Confines to the lease of the job, without the files of this program: configuration, data, tokens, keys; and `more`, which
/// the command line named.
pub(crate) fn confinement(
    config: &Config,
    data: &DataDir,
    more: impl IntoIterator<Item = PathBuf>,
) -> Confinement {
    Confinement::new().protect(own_files(config, data, more))
}

/// What belongs to this program: what the configuration names, the data directory, the `towline.toml` that is here or would be
/// (what is written there names the programs of the next run), and `more`.
pub(crate) fn own_files(
    config: &Config,
    data: &DataDir,
    more: impl IntoIterator<Item = PathBuf>,
) -> Vec<PathBuf> {
    let mut own = config.own_files();
    own.extend([data.path().to_owned(), DEFAULT_FILE.into()]);
    own.extend(more);
    own
}
