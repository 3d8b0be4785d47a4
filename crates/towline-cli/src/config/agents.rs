//! `[agents.NAME]`: what is hosted beside the built-in agents.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use towline::{
    agents::{ResultForm, may_pass},
    lease::Amounts,
    runtime::{AgentOptions, OnBudgetExhausted},
    wire::AgentRef,
};

use super::{
    elsewhere::Elsewhere,
    file::{File, SpanValue},
    roles::Texts,
    webhooks::NotifyValue,
};
use crate::{failure::Outcome, values};

/// The built-in agents that may be hosted by name.
pub(crate) const BUILT_IN: [&str; 2] = ["exec", "index"];

/// `[agents.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct AgentSection {
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) builtin: Option<String>,
    #[serde(flatten)]
    pub(crate) elsewhere: Elsewhere,
    #[serde(default)]
    pub(crate) protocol: Option<String>,
    #[serde(default)]
    pub(crate) version: Option<String>,
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// The file of a JSON Schema.
    #[serde(default)]
    pub(crate) input_schema: Option<PathBuf>,
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
    restartable: Option<bool>,
    #[serde(default)]
    listens: bool,
    #[serde(default)]
    on_budget_exhausted: Option<String>,
    #[serde(default)]
    budget_default: Option<Texts>,
    #[serde(default)]
    retries: u32,
    #[serde(default)]
    backoff: Option<SpanValue>,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    live: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) queue: Option<String>,
    #[serde(default)]
    pub(super) notify: Option<NotifyValue>,
}

/// What a section says of how its programs are confined.
pub(super) struct Confined<'s> {
    /// What the section is called.
    pub(super) key: String,
    pub(super) confine: Option<&'s str>,
    pub(super) read: &'s [PathBuf],
    pub(super) state: Option<&'s Path>,
    pub(super) limits: &'s AgentLimits,
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
    pub(super) output: Option<Size>,
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
        if self.elsewhere.url.is_some() {
            self.validate_elsewhere(&key, file)?;
        } else if self.builtin.is_none() && self.command.first().is_none_or(String::is_empty) {
            return Err(file.wrong(
                &format!("{key}.command"),
                "is empty; write the program and its arguments as a list",
            ));
        }
        file.checked(&format!("{key}.protocol"), &self.protocol, protocol)?;
        file.checked(
            &format!("{key}.on_budget_exhausted"),
            &self.on_budget_exhausted,
            on_budget_exhausted,
        )?;
        if let Some(budget) = &self.budget_default {
            Amounts::parse(budget.all()).map_err(|error| {
                file.wrong(
                    &format!("{key}.budget_default"),
                    &format!("{error}; write \"USD:2.00\""),
                )
            })?;
        }
        self.validate_output(&key, file)?;
        let backoff = format!("{key}.backoff");
        file.span(&backoff, self.backoff.as_ref(), values::positive_span)?;
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

impl AgentSection {
    /// How the agent's jobs are run, but for what its input looks like, which stands in a file.
    pub(crate) fn options(&self) -> AgentOptions {
        let mut options = AgentOptions::default()
            .restartable(self.is_restartable())
            .listens(self.listens)
            .retries(self.retries);
        let then = self.on_budget_exhausted.as_deref();
        if let Some(then) = then.and_then(|text| on_budget_exhausted(text).ok()) {
            options = options.on_budget_exhausted(then);
        }
        let budget = self.budget_default.as_ref().map(Texts::all);
        // It was checked when the file was read.
        let budget = Amounts::parse(budget.unwrap_or_default()).unwrap_or_default();
        for (currency, amount) in budget.iter() {
            options = options.budget_default(currency, amount);
        }
        if let Some(description) = &self.description {
            options = options.description(description.as_str());
        }
        if let Some(queue) = &self.queue {
            options = options.queue(queue);
        }
        if let Some(notify) = &self.notify {
            options = options.notify(notify.url(), notify.events());
        }
        match self.backoff.as_ref().and_then(SpanValue::span) {
            Some(span) => options.backoff(span.0),
            None => options,
        }
    }

    /// Whether its jobs run again after a crash: those of coding agents by default, whose sessions are loaded [ARCP 17-6].
    fn is_restartable(&self) -> bool {
        let by_default = self.protocol.as_deref() == Some("acp");
        self.restartable.unwrap_or(by_default)
    }

    /// Whether each line of the program's output is a log event: with the built-in `exec` unless it is said not to be.
    pub(crate) fn is_live(&self) -> bool {
        match self.live.as_deref() {
            None => self.is_exec(),
            Some(live) => live == "lines",
        }
    }

    /// Whether it is the built-in agent that runs programs.
    fn is_exec(&self) -> bool {
        self.builtin.as_deref() == Some("exec")
    }

    /// What the program's output is as a result.
    pub(crate) fn form(&self) -> ResultForm {
        let named = self.result.as_deref().and_then(form);
        named.unwrap_or_default()
    }

    /// An agent of another runtime has no program here.
    fn validate_elsewhere(&self, key: &str, file: &File) -> Outcome<()> {
        let of_programs = [
            ("command", !self.command.is_empty()),
            ("builtin", self.builtin.is_some()),
            (
                "protocol",
                self.protocol.as_deref().is_some_and(|text| text != "arcp"),
            ),
            ("cwd", self.cwd.is_some()),
            ("env", !self.env.is_empty()),
            ("env_pass", !self.env_pass.is_empty()),
            ("confine", self.confine.is_some()),
            ("read", !self.read.is_empty()),
            ("state", self.state.is_some()),
            ("limits", self.limits != AgentLimits::default()),
            ("model", self.model.is_some()),
        ];
        if let Some((name, _)) = of_programs.iter().find(|(_, given)| *given) {
            return Err(file.wrong(
                &format!("{key}.{name}"),
                "is for programs that run here, and url names a runtime elsewhere; keep one of them",
            ));
        }
        self.elsewhere.validate(key, file)
    }

    /// What is said of a program's output is about programs that have one.
    fn validate_output(&self, key: &str, file: &File) -> Outcome<()> {
        let is_plain = self.protocol.as_deref() == Some("exec") || self.is_exec();
        for (name, given) in [("result", &self.result), ("live", &self.live)] {
            if given.is_some() && !is_plain {
                return Err(file.wrong(
                    &format!("{key}.{name}"),
                    "is for agents with protocol = \"exec\" or builtin = \"exec\", whose output is the result",
                ));
            }
        }
        file.checked(&format!("{key}.result"), &self.result, |text| {
            form(text).map(drop).ok_or_else(|| {
                format!("`{text}` is no form of a result; write auto, json, text or bytes")
            })
        })?;
        file.checked(&format!("{key}.live"), &self.live, |text| match text {
            "lines" | "off" => Ok(()),
            other => Err(format!("is `{other}`; write lines or off")),
        })
    }
}

fn form(text: &str) -> Option<ResultForm> {
    match text {
        "auto" => Some(ResultForm::Auto),
        "json" => Some(ResultForm::Json),
        "text" => Some(ResultForm::Text),
        "bytes" => Some(ResultForm::Bytes),
        _ => None,
    }
}

/// What becomes of an operation when the budget is used up.
pub(crate) fn on_budget_exhausted(text: &str) -> Result<OnBudgetExhausted, String> {
    match text {
        "end" => Ok(OnBudgetExhausted::End),
        "ask" => Ok(OnBudgetExhausted::Ask),
        other => Err(format!(
            "`{other}` is neither end (the operation is refused) nor ask (a person is asked for more)"
        )),
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
        "arcp" | "exec" | "acp" => Ok(()),
        other => Err(format!(
            "`{other}` is not a protocol; write acp (a coding agent that speaks the Agent Client Protocol), arcp (the child speaks ARCP over stdio) \
             or exec (a plain command)"
        )),
    }
}
