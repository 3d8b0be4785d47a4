//! `towline.toml`: read, checked, never guessed at.
//!
//! Every key that is not known is an error that names the nearest known one; every value that is wrong is an error that
//! names the file, the key, the value and the remedy. Paths in the file count from the file's directory.

mod agents;
mod auth;
mod confine;
mod credentials;
mod elsewhere;
mod file;
mod keys;
mod mcp;
mod mistake;
mod models;
mod queues;
mod roles;
mod schedules;
mod server;
mod store;
mod tools;
mod webhooks;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use towline::{
    axum::Proxy,
    runtime::{
        Allowed, HttpWebhooks, QueueRules, Schedule,
        credentials::LiteLlmProvisioner,
        roles::{Role, Roles},
    },
};

use crate::{
    failure::{Failure, Outcome},
    guard,
    trust::Found,
    values::{PrincipalToken, Span, without_user},
};

pub(crate) use agents::{AgentSection, on_budget_exhausted};
use auth::AuthSection;
pub(crate) use auth::JwtSection;
pub(crate) use elsewhere::target as elsewhere_target;
use file::File;
pub(crate) use file::{SpanValue, first_line};
pub(crate) use server::LimitsSection;
use server::ServerSection;
use store::StoreSection;

/// The file's name when none is given.
pub(crate) const DEFAULT_FILE: &str = "towline.toml";

/// What `towline.toml` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Config {
    /// `[server]`
    pub(crate) server: ServerSection,
    /// `[auth]`
    pub(crate) auth: AuthSection,
    /// `[roles.NAME]`
    pub(crate) roles: BTreeMap<String, roles::RoleSection>,
    /// `[store]`
    pub(crate) store: StoreSection,
    /// `[credentials]`
    pub(crate) credentials: credentials::CredentialsSection,
    /// `[mcp]`
    pub(crate) mcp: mcp::McpSection,
    /// `[models.NAME]`
    pub(crate) models: BTreeMap<String, models::ModelSection>,
    /// `[tools.NAME]`
    tools: BTreeMap<String, tools::ToolsSection>,
    /// `[schedules.NAME]`
    schedules: BTreeMap<String, schedules::ScheduleSection>,
    /// `[webhooks]`
    pub(crate) webhooks: webhooks::WebhooksSection,
    /// `[queues.NAME]`
    queues: BTreeMap<String, queues::QueueSection>,
    /// `[agents.NAME]`
    pub(crate) agents: BTreeMap<String, AgentSection>,
    /// The file itself, for messages.
    #[serde(skip)]
    file: File,
    /// When it was found, not named: what it is trusted by.
    #[serde(skip)]
    found: Option<Found>,
    /// The agents that were left out, when it is not trusted.
    #[serde(skip)]
    withheld: Option<Vec<String>>,
}

impl Config {
    /// Reads the given file; or `towline.toml` of this directory if it is there; else there is nothing in it.
    pub(crate) fn load(given: Option<&Path>) -> Outcome<Self> {
        let file = given.unwrap_or(Path::new(DEFAULT_FILE));
        let Some(text) = guard::configuration(file, given.is_some())? else {
            return Ok(Self::default());
        };
        let mut config = Self::parse(&text, file)?;
        config.found = given.is_none().then(|| Found::new(file, &text));
        Ok(config)
    }

    /// The file, when it was not named but found in this directory.
    pub(crate) fn found(&self) -> Option<&Found> {
        self.found.as_ref()
    }

    /// What the file makes this program do by itself, a line each: programs it runs, places it sends keys to.
    pub(crate) fn acts(&self) -> Vec<String> {
        let agents = self
            .agents
            .iter()
            .map(|(name, agent)| match &agent.builtin {
                Some(own) => format!("agent {name}: the built-in {own}"),
                None => match &agent.elsewhere.url {
                    Some(url) => format!("agent {name}: at {}", without_user(url)),
                    None => format!("agent {name}: {}", agent.command.join(" ")),
                },
            });
        let proxy = self.credentials.litellm.iter();
        let proxy = proxy.map(|proxy| format!("keys for jobs: {}", without_user(proxy.url())));
        let models = self
            .models
            .iter()
            .map(|(name, model)| format!("model {name}: {}", without_user(model.base_url())));
        let tools = self.tools.iter().map(|(name, tools)| tools.acts(name));
        let approving = self.mcp.acts();
        let acts = agents.chain(proxy).chain(models).chain(tools);
        let posting = self.webhooks.acts();
        acts.chain(approving).chain(posting).collect()
    }

    /// Leaves out what would take something away from the user's own jobs, because nobody said that the file is trusted.
    pub(crate) fn spare_jobs(&mut self) {
        self.store.retention = store::RetentionSection::default();
    }

    /// Leaves out all the file would do by itself, because nobody said that it is trusted.
    pub(crate) fn withhold(&mut self) {
        self.credentials = credentials::CredentialsSection::default();
        self.mcp = mcp::McpSection::default();
        self.webhooks = webhooks::WebhooksSection::default();
        self.models.clear();
        self.tools.clear();
        let agents = std::mem::take(&mut self.agents);
        self.withheld = Some(agents.into_keys().collect());
    }

    /// What to say when something of the file was left out.
    pub(crate) fn untrusted(&self) -> Option<Failure> {
        let agents = self.withheld.as_ref()?;
        let what = match agents.as_slice() {
            [] => "its [credentials] are left out".to_owned(),
            agents => format!("its agents ({}) are left out", agents.join(", ")),
        };
        let message = format!("{DEFAULT_FILE} of this directory is not trusted, so {what}");
        Some(Failure::usage(message).help(
            "read it, then trust it as it stands with `towline trust`; or name it with --config",
        ))
    }

    /// Refuses an agent that was left out.
    pub(crate) fn check_trust(&self, agent: &str) -> Outcome<()> {
        let name = agent.split('@').next().unwrap_or(agent);
        let withheld = self.withheld.iter().flatten();
        match self.untrusted() {
            Some(failure) if withheld.into_iter().any(|known| known == name) => Err(failure),
            _ => Ok(()),
        }
    }

    fn parse(text: &str, file: &Path) -> Outcome<Self> {
        let text = text.trim_start_matches('\u{feff}');
        let refuse = |error: toml::de::Error| {
            Failure::usage(format!(
                "{}: {}",
                file.display(),
                mistake::told(&error, text)
            ))
        };
        let table: toml::Table = text.parse().map_err(refuse)?;
        keys::check(&table)
            .map_err(|message| Failure::usage(format!("{}: {message}", file.display())))?;
        let mut config: Self = toml::from_str(text).map_err(refuse)?;
        config.file = File(file.to_owned());
        config.server.validate(&config.file)?;
        config.auth.validate(&config.file)?;
        config.roles(Role::of_nobody())?;
        config.store.validate(&config.file)?;
        config.credentials.validate(&config.file)?;
        for (name, model) in &config.models {
            model.validate(name, &config.file)?;
        }
        let allowed = config.webhooks.allowed(&config.file)?;
        for (name, tools) in &config.tools {
            tools.validate(name, &config.file)?;
        }
        for (name, agent) in &config.agents {
            agent.validate(name, &config.file)?;
            config.check_queue(name, agent)?;
            if let Some(notify) = &agent.notify {
                let key = format!("agents.{name}.notify");
                notify.validate(&key, &allowed, &config.file)?;
            }
        }
        config.queues()?;
        config.schedules()?;
        Ok(config)
    }

    /// The agents whose jobs run programs here, with the built-in one that `demo` hosts.
    pub(crate) fn programs(&self, demo: bool) -> Vec<String> {
        let runs = |agent: &AgentSection| {
            !agent.command.is_empty() || agent.builtin.as_deref() == Some("exec")
        };
        let of_file = self.agents.iter().filter(|(_, agent)| runs(agent));
        let ours = (demo && !self.agents.contains_key("exec")).then(|| "exec".to_owned());
        ours.into_iter()
            .chain(of_file.map(|(name, _)| name.clone()))
            .collect()
    }

    /// A span of the file, checked before.
    pub(crate) fn span_of(value: Option<&SpanValue>) -> Option<Span> {
        value.and_then(SpanValue::span)
    }

    /// The proxies whose word on their peers' addresses is taken, checked before.
    pub(crate) fn trusted_proxies(&self) -> Vec<Proxy> {
        let named = self.server.trusted_proxies.iter().flatten();
        named.filter_map(|proxy| proxy.parse().ok()).collect()
    }

    /// The tokens of the file, with those that stand in files of their own.
    pub(crate) fn tokens(&self) -> Outcome<Vec<PrincipalToken>> {
        self.auth.tokens(&self.file)
    }

    /// The roles of the file and who has them; `unnamed` is what holds for the rest.
    pub(crate) fn roles(&self, unnamed: Role) -> Outcome<Roles> {
        roles::roles(&self.roles, &self.auth, &self.file, unnamed)
    }

    /// The queues of the file.
    pub(crate) fn queues(&self) -> Outcome<Vec<(String, QueueRules)>> {
        let queues = self.queues.iter();
        queues
            .map(|(name, queue)| Ok((name.clone(), queue.rules(name, &self.file)?)))
            .collect()
    }

    /// Where messages may be posted to, and who posts them, if the file says so.
    pub(crate) fn webhooks(&self) -> Outcome<Option<(Allowed, HttpWebhooks)>> {
        self.webhooks.sender(&self.file)
    }

    /// The schedules of the file.
    pub(crate) fn schedules(&self) -> Outcome<Vec<Schedule>> {
        let schedules = self.schedules.iter();
        schedules
            .map(|(name, schedule)| schedule.schedule(name, &self.file))
            .collect()
    }

    /// Whether the schedules are those of another reading of the file.
    pub(crate) fn same_schedules(&self, other: &Self) -> bool {
        self.schedules == other.schedules
    }

    /// Whether the queues are those of another reading of the file.
    pub(crate) fn same_queues(&self, other: &Self) -> bool {
        self.queues == other.queues
    }

    /// Whether the servers of tools are those of another reading of the file.
    pub(crate) fn same_tools(&self, other: &Self) -> bool {
        self.tools == other.tools
    }

    fn check_queue(&self, name: &str, agent: &AgentSection) -> Outcome<()> {
        match &agent.queue {
            Some(queue) if !self.queues.contains_key(queue) => {
                let key = format!("agents.{name}.queue");
                let message = format!("names `{queue}`, which is none; write [queues.{queue}]");
                Err(self.file.wrong(&key, &message))
            }
            _ => Ok(()),
        }
    }

    /// The LiteLLM proxy of the file, if it names one.
    pub(crate) fn provisioner(&self) -> Outcome<Option<LiteLlmProvisioner>> {
        self.credentials.provisioner(&self.file)
    }

    /// The first line of a file that holds a secret.
    pub(crate) fn secret(&self, key: &str, file: &Path) -> Outcome<String> {
        self.file.secret(key, file)
    }

    /// A path of the file, counted from the file's directory.
    pub(crate) fn path(&self, path: &Path) -> PathBuf {
        self.file.path(path)
    }

    /// A value of the file that is wrong.
    pub(crate) fn wrong(&self, key: &str, message: &str) -> Failure {
        self.file.wrong(key, message)
    }
}

#[cfg(test)]
mod tests;
