//! The files that are nobody's business but this program's.

use std::path::PathBuf;

use super::Config;
use crate::guard;

impl Config {
    /// The file itself, and those it names that hold secrets or the store: no job reaches them, whatever its lease covers.
    pub(crate) fn protected_files(&self) -> Vec<PathBuf> {
        let agents = self.agents.values();
        let named = agents
            .filter_map(|agent| agent.token_file.as_ref())
            .chain(self.auth.secret_files())
            .chain(self.credentials.key_file())
            .chain(&self.server.tls_key);
        let mut own: Vec<PathBuf> = named.map(|file| self.path(file)).collect();
        let store = self.store.sqlite.iter().map(|path| self.path(path));
        own.extend(store.flat_map(|path| guard::beside(&path)));
        let file = &self.file.0;
        if !file.as_os_str().is_empty() {
            own.push(file.clone());
        } else {
            // What is written there today names the programs of tomorrow.
            own.push(super::DEFAULT_FILE.into());
        }
        own
    }
}
