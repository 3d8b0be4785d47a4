//! `[tools.NAME]`: servers of tools that jobs call through their lease, as `mcp:NAME/TOOL`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use towline::{
    agents::{Confinement, McpTools, may_pass},
    wire::{AgentRef, Secret},
};

use super::{
    agents::{AgentLimits, Confined},
    file::File,
};
use crate::{failure::Outcome, values::without_user};

/// `[tools.NAME]`
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct ToolsSection {
    /// The program and its arguments; or instead
    command: Vec<String>,
    /// where the server is.
    url: Option<String>,
    /// The file of the token that is shown to it there.
    token_file: Option<PathBuf>,
    cwd: Option<PathBuf>,
    env: BTreeMap<String, String>,
    env_pass: Vec<String>,
    confine: Option<String>,
    read: Vec<PathBuf>,
    state: Option<PathBuf>,
    limits: AgentLimits,
}

impl ToolsSection {
    /// What it makes this program do by itself.
    pub(super) fn acts(&self, name: &str) -> String {
        match &self.url {
            Some(url) => format!("tools {name}: at {}", without_user(url)),
            None => format!("tools {name}: {}", self.command.join(" ")),
        }
    }

    /// The file with a secret in it.
    pub(super) fn file(&self) -> Option<&PathBuf> {
        self.token_file.as_ref()
    }

    pub(super) fn validate(&self, name: &str, file: &File) -> Outcome<()> {
        let key = |key: &str| format!("tools.{name}.{key}");
        let is_bare = AgentRef::parse(name).is_ok_and(|name| name.version().is_none());
        if !is_bare {
            let wrong = "is no name for tools; use lower-case letters, digits and . _ -";
            return Err(file.wrong(&format!("tools.{name}"), wrong));
        }
        if self.url.is_some() {
            let of_programs = [
                ("command", !self.command.is_empty()),
                ("cwd", self.cwd.is_some()),
                ("env", !self.env.is_empty()),
                ("env_pass", !self.env_pass.is_empty()),
                ("confine", self.confine.is_some()),
                ("read", !self.read.is_empty()),
                ("state", self.state.is_some()),
                ("limits", self.limits != AgentLimits::default()),
            ];
            let given = of_programs.iter().find(|(_, given)| *given);
            return given.map_or(Ok(()), |(name, _)| {
                let wrong = "is for programs that run here, and url names a server elsewhere; keep one of them";
                Err(file.wrong(&key(name), wrong))
            });
        }
        if self.command.first().is_none_or(String::is_empty) {
            let wrong = "is empty; write the program and its arguments as a list, or where the server is as url";
            return Err(file.wrong(&key("command"), wrong));
        }
        if self.token_file.is_some() {
            let wrong = "is for a server at a url; give a program what it needs with env";
            return Err(file.wrong(&key("token_file"), wrong));
        }
        match self.env_pass.iter().find(|name| !may_pass(name)) {
            None => Ok(()),
            Some(name) => Err(file.wrong(
                &key("env_pass"),
                &format!(
                    "names `{name}`, which may hold this program's own secrets; give the server a value of its own with env"
                ),
            )),
        }
    }

    /// How its programs are confined.
    pub(super) fn confined(&self, name: &str) -> Confined<'_> {
        Confined {
            key: format!("tools.{name}"),
            confine: self.confine.as_deref(),
            read: &self.read,
            state: self.state.as_deref(),
            limits: &self.limits,
        }
    }

    /// The server, whose programs are so confined.
    pub(super) fn tools(
        &self,
        name: &str,
        file: &File,
        confinement: Confinement,
    ) -> Outcome<McpTools> {
        if let Some(url) = &self.url {
            let key = format!("tools.{name}.token_file");
            let token = self.token_file.as_ref();
            let token = token.map(|path| file.secret(&key, path)).transpose()?;
            return McpTools::url(url, token.map(Secret::new)).map_err(|error| {
                let why = format!("cannot be used: {error}");
                file.wrong(&format!("tools.{name}.url"), &why)
            });
        }
        let mut tools = McpTools::command(&self.command).confinement(confinement);
        let directory = file.path(&self.cwd.clone().unwrap_or_default());
        if !directory.as_os_str().is_empty() {
            tools = tools.current_dir(directory);
        }
        for (name, value) in &self.env {
            tools = tools.env(name, value);
        }
        for name in &self.env_pass {
            tools = tools.pass_env(name);
        }
        Ok(tools)
    }
}
