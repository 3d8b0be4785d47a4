//! `[agents.NAME]`: what is hosted beside the built-in agents.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use towline::{agents::may_pass, wire::AgentRef};

use super::file::{File, SpanValue};
use crate::failure::Outcome;

/// The built-in agents that may be hosted by name.
pub(crate) const BUILT_IN: [&str; 2] = ["exec", "index"];

/// `[agents.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct AgentSection {
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) builtin: Option<String>,
    #[serde(default)]
    pub(crate) protocol: Option<String>,
    #[serde(default)]
    pub(crate) version: Option<String>,
    #[serde(default)]
    pub(crate) cwd: Option<PathBuf>,
    #[serde(default)]
    pub(crate) env: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) env_pass: Vec<String>,
    #[serde(default)]
    pub(crate) token_file: Option<PathBuf>,
    #[serde(default)]
    pub(super) confine: Option<String>,
    #[serde(default)]
    pub(super) read: Vec<PathBuf>,
    #[serde(default)]
    pub(super) state: Option<PathBuf>,
    #[serde(default)]
    pub(super) limits: AgentLimits,
    #[serde(default)]
    pub(super) model: Option<String>,
}

/// `[agents.NAME.limits]`
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AgentLimits {
    pub(super) memory: Option<Size>,
    pub(super) processes: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) file_size: Option<Size>,
    pub(super) cpu: Option<SpanValue>,
}

/// A number of bytes: `"2GiB"`, or the number.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Size {
    Text(String),
    Bytes(u64),
}

impl AgentSection {
    pub(super) fn validate(&self, name: &str, file: &File) -> Outcome<()> {
        let key = format!("agents.{name}");
        let is_bare = AgentRef::parse(name).is_ok_and(|agent| agent.version().is_none());
        if !is_bare {
            return Err(file.wrong(
                &key,
                "is not an agent's name; use lower-case letters, digits and . _ -",
            ));
        }
        file.checked(&format!("{key}.builtin"), &self.builtin, builtin)?;
        if self.builtin.is_some() && !self.command.is_empty() {
            return Err(file.wrong(
                &format!("{key}.command"),
                "and builtin exclude each other; keep one",
            ));
        }
        if self.builtin.is_none() && self.command.first().is_none_or(String::is_empty) {
            return Err(file.wrong(
                &format!("{key}.command"),
                "is empty; write the program and its arguments as a list",
            ));
        }
        file.checked(&format!("{key}.protocol"), &self.protocol, protocol)?;
        match self.env_pass.iter().find(|name| !may_pass(name)) {
            None => Ok(()),
            Some(name) => Err(file.wrong(
                &format!("{key}.env_pass"),
                &format!(
                    "names `{name}`, which may hold this program's own secrets; give the agent a value of its own with env"
                ),
            )),
        }
    }
}

fn builtin(text: &str) -> Result<(), String> {
    if BUILT_IN.contains(&text) {
        return Ok(());
    }
    Err(format!(
        "`{text}` is not an agent of this program that can be hosted by name; there are {}",
        BUILT_IN.join(", ")
    ))
}

fn protocol(text: &str) -> Result<(), String> {
    match text {
        "arcp" | "exec" => Ok(()),
        other => Err(format!(
            "`{other}` is not a protocol; write arcp (the child speaks ARCP over stdio) or exec (a plain command)"
        )),
    }
}
