//! What no agent's program sees, whatever its lease says: this program's own files.

use std::path::PathBuf;

use towline::agents::Confinement;

use crate::{config::Config, data_dir::DataDir};

/// Confines to the lease of the job, without the files of this program: configuration, data, tokens, keys; and `more`, which
/// the command line named.
pub(crate) fn confinement(
    config: &Config,
    data: &DataDir,
    more: impl IntoIterator<Item = PathBuf>,
) -> Confinement {
    let own = config
        .own_files()
        .into_iter()
        .chain([data.path().to_owned()]);
    Confinement::new().protect(own.chain(more))
}
