//! Which `towline.toml` files found in a directory may name programs to run.
//!
//! A directory may come from anywhere: an archive, a repository, a shared drive. What its `towline.toml` would run, and
//! where it would send keys, is left out until somebody who read it says `towline trust` [ARCP 14-9]. Trust is for one path
//! with one content; it is kept in the user's own state directory, so nothing in a directory can claim it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::{
    data_dir,
    failure::{Failure, Outcome},
    guard,
};

/// A configuration file that was found, not named: where it is, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    path: PathBuf,
    digest: String,
}

impl Found {
    pub(crate) fn new(path: &Path, text: &str) -> Self {
        // The file itself is no link, so this is its directory's real name.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Self {
            path,
            digest: hex::encode(Sha256::digest(text)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The files that are trusted.
#[derive(Debug)]
pub(crate) struct Trust {
    directory: PathBuf,
}

impl Trust {
    /// This user's.
    pub(crate) fn of_user() -> Outcome<Self> {
        let state = data_dir::state_dir()?;
        guard::directory(&state)?;
        Ok(Self::at(state.join("trusted")))
    }

    fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Whether a file is trusted as it stands.
    pub(crate) fn holds(&self, found: &Found) -> bool {
        let sound = guard::directory(&self.directory).is_ok();
        sound && fs::read_to_string(self.record(found)).is_ok_and(|text| text == found.digest)
    }

    /// Trusts a file as it stands, and no other content of it.
    pub(crate) fn grant(&self, found: &Found) -> Outcome<()> {
        if let Some(state) = self.directory.parent() {
            data_dir::make_data_dir(state)?;
        }
        data_dir::make_private_dir(&self.directory)?;
        data_dir::write_private(&self.record(found), found.digest.as_bytes())
            .map_err(|error| self.failed(&error))
    }

    /// Trusts a file no more, whatever it holds. Says whether it was trusted.
    pub(crate) fn withdraw(&self, found: &Found) -> Outcome<bool> {
        match fs::remove_file(self.record(found)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn record(&self, found: &Found) -> PathBuf {
        let name = Sha256::digest(found.path.as_os_str().as_encoded_bytes());
        self.directory.join(hex::encode(name))
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        Failure::local(format!(
            "cannot keep what is trusted in `{}`: {error}",
            self.directory.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 14-9] Trust is for a path and a content.
    #[test]
    fn trust_is_for_one_file_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let trust = Trust::at(place.path().join("state/trusted"));
        let found = |name: &str, text: &str| Found::new(&place.path().join(name), text);
        assert!(!trust.holds(&found("a", "one")));
        trust.grant(&found("a", "one")).unwrap();
        assert!(trust.holds(&found("a", "one")));
        assert!(!trust.holds(&found("a", "two")));
        assert!(!trust.holds(&found("b", "one")));
        assert!(trust.withdraw(&found("a", "two")).unwrap());
        assert!(!trust.withdraw(&found("a", "one")).unwrap());
        assert!(!trust.holds(&found("a", "one")));
    }
}
