//! `url` in `[agents.NAME]`: an agent of another runtime.

use std::path::PathBuf;

use serde::Deserialize;

use super::file::File;
use crate::{failure::Outcome, target::Target, values::without_user};

/// Where it is.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Elsewhere {
    pub(crate) url: Option<String>,
    /// What it is called there.
    pub(crate) agent: Option<String>,
    pub(crate) ca_cert: Option<PathBuf>,
}

impl Elsewhere {
    pub(super) fn validate(&self, key: &str, file: &File) -> Outcome<()> {
        file.checked(&format!("{key}.url"), &self.url, |url| {
            target(url).map(drop)
        })
    }
}

/// A program as a runtime is what `command` is for; and what is in a URL is in every error about it.
pub(crate) fn target(url: &str) -> Result<Target, String> {
    if without_user(url) != url {
        return Err(
            "holds a user or a password; put the token in a file and name it with token_file"
                .to_owned(),
        );
    }
    match Target::parse(url)? {
        Target::Child(_) => {
            Err("names a program; write it as command, with protocol = \"arcp\"".to_owned())
        }
        target => Ok(target),
    }
}
