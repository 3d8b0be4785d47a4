//! How an agent of the file is confined: `confine`, `read`, `state` and `limits` of `[agents.NAME]`.

use std::path::PathBuf;

use towline::{
    agents::{Confinement, Limits},
    runtime::RuntimeBuilder,
};

use super::{
    Config,
    agents::{AgentLimits, AgentSection, Confined, Size},
    models::ModelSection,
    tools::ToolsSection,
};
use crate::{
    failure::{Failure, Outcome},
    guard::store_files,
};

impl Config {
    /// The files that are nobody's business but this program's: the file itself, and those it names: secrets, data, and what
    /// decides who somebody is and what something costs.
    pub(crate) fn own_files(&self) -> Vec<PathBuf> {
        let agents = self
            .agents
            .values()
            .filter_map(|agent| agent.token_file.as_ref());
        let server = self.server.tls_key.iter().chain(&self.server.tls_cert);
        let named = self.auth.files().chain(agents).chain(server);
        let mut own: Vec<PathBuf> = named
            .chain(self.credentials.key_file())
            .chain(&self.store.postgres_file)
            .chain(self.models.values().flat_map(ModelSection::files))
            .chain(self.tools.values().filter_map(ToolsSection::file))
            .map(|file| self.path(file))
            .collect();
        own.extend(
            self.store
                .sqlite
                .iter()
                .flat_map(|path| store_files(&self.path(path))),
        );
        if !self.file.0.as_os_str().is_empty() {
            own.push(self.file.0.clone());
        }
        own
    }

    /// What confines the programs of an agent, and what they get: `base`, with what its section says.
    pub(crate) fn confinement(
        &self,
        name: &str,
        section: &AgentSection,
        base: &Confinement,
    ) -> Outcome<Confinement> {
        let held = Confined {
            key: format!("agents.{name}"),
            confine: section.confine.as_deref(),
            read: &section.read,
            state: section.state.as_deref(),
            limits: &section.limits,
        };
        let confinement = self.held(&held, base)?;
        match &section.model {
            Some(model) => {
                let key = format!("agents.{name}.model");
                Ok(confinement.model(self.model(&key, model)?))
            }
            None => Ok(confinement),
        }
    }

    /// Registers the servers of tools.
    pub(crate) fn with_tools(
        &self,
        mut builder: RuntimeBuilder,
        base: &Confinement,
    ) -> Outcome<RuntimeBuilder> {
        for (name, section) in &self.tools {
            let confinement = self.held(&section.confined(name), base)?;
            let tools = section.tools(name, &self.file, confinement)?;
            builder = builder.tool_server(format!("mcp:{name}"), tools);
        }
        Ok(builder)
    }

    /// What confines the programs of a section.
    fn held(&self, section: &Confined<'_>, base: &Confinement) -> Outcome<Confinement> {
        let key = |key: &str| format!("{}.{key}", section.key);
        match section.confine {
            None | Some("lease") => {}
            Some("off") => {
                let limits = self.limits(&key("limits"), section.limits)?;
                // Of these only what the runtime itself counts holds.
                return Ok(self.unconfined(&key("confine"))?.limits(limits));
            }
            Some(other) => {
                return Err(self.wrong(
                    &key("confine"),
                    &format!(
                        "is `{other}`; write lease (what the job was given) or off (everything)"
                    ),
                ));
            }
        }
        let limits = self.limits(&key("limits"), section.limits)?;
        let mut confinement = base.clone().limits(limits);
        for path in section.read {
            // A tree may be written as in a lease.
            let tree = path.to_str().and_then(|text| text.strip_suffix("/**"));
            let path = tree.map_or_else(|| path.clone(), PathBuf::from);
            confinement = confinement.read(self.path(&path));
        }
        if let Some(state) = section.state {
            confinement = confinement.state(self.path(state));
        }
        Ok(confinement)
    }

    /// Root's programs may do anything, so one word is not enough.
    fn unconfined(&self, key: &str) -> Outcome<Confinement> {
        if is_root() && !self.server.allow_unconfined_root.unwrap_or(false) {
            return Err(self.wrong(key, "is off, and this is root").help(
                "confine the agent, run as another user, or say it twice: allow_unconfined_root = true in [server], or \
                 --dangerously-unconfined-as-root",
            ));
        }
        Ok(Confinement::dangerously_off())
    }

    fn limits(&self, key: &str, section: &AgentLimits) -> Outcome<Limits> {
        let mut limits = Limits::default();
        if let Some(memory) = &section.memory {
            limits = limits.memory(Some(self.bytes(&format!("{key}.memory"), memory)?));
        }
        if let Some(size) = &section.file_size {
            limits = limits.file_size(Some(self.bytes(&format!("{key}.file_size"), size)?));
        }
        if let Some(output) = &section.output {
            limits = limits.output(Some(self.bytes(&format!("{key}.output"), output)?));
        }
        if section.processes.is_some() {
            limits = limits.processes(section.processes);
        }
        if section.open_files.is_some() {
            limits = limits.open_files(section.open_files);
        }
        if let Some(cpu) = &section.cpu {
            let span = Self::span_of(Some(cpu)).ok_or_else(|| {
                self.wrong(
                    &format!("{key}.cpu"),
                    "is not a time span; write 90s or 10m",
                )
            })?;
            limits = limits.cpu_seconds(Some(span.0.as_secs().max(1)));
        }
        Ok(limits)
    }

    fn bytes(&self, key: &str, size: &Size) -> Result<u64, Failure> {
        let text = match size {
            Size::Bytes(bytes) => return Ok(*bytes),
            Size::Text(text) => text,
        };
        bytes_of(text).ok_or_else(|| {
            self.wrong(
                key,
                &format!("is `{text}`, which is no size; write 512MiB, 2GiB or a number of bytes"),
            )
        })
    }
}

fn bytes_of(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale: u64 = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    towline::agents::confine::is_root()
}

#[cfg(not(target_os = "linux"))]
fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_people_write_them() {
        assert_eq!(bytes_of("2GiB"), Some(2 << 30));
        assert_eq!(bytes_of("512 MiB"), Some(512 << 20));
        assert_eq!(bytes_of("4096"), Some(4096));
        for wrong in ["", "2GB", "-1", "1.5GiB", "99999999999TiB"] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
    }
}
