//! Agents that `towline.toml` names: a plain command run once a job, a child process that speaks ARCP over stdio, or one of
//! this program's own.

use std::{path::Path, sync::Arc};

use towline::{
    agents::{Confinement, ExecAgent, IndexAgent, ProcessAgent},
    otel::TransportTracing as _,
    runtime::{Agent, AgentOptions, IntoAgent, RegisterError, Runtime, RuntimeBuilder},
    wire::RawJson,
};

use super::remote;
use crate::{
    config::{AgentSection, Config},
    failure::Outcome,
    values::without_mark,
};

/// An agent of the file, made and not hosted yet.
pub(crate) struct Hosted {
    /// The name of its section, or that it would have.
    pub(crate) section: String,
    /// What it is hosted as: the name, and the version where it has one.
    pub(crate) name: String,
    agent: Arc<dyn Agent>,
    options: AgentOptions,
}

impl Hosted {
    fn new<M>(
        name: &str,
        section: &AgentSection,
        config: &Config,
        agent: impl IntoAgent<M>,
    ) -> Outcome<Self> {
        let version = section.version.as_ref();
        Ok(Self {
            section: name.to_owned(),
            name: version.map_or_else(|| name.to_owned(), |version| format!("{name}@{version}")),
            agent: agent.into_agent(),
            options: options(name, section, config)?,
        })
    }

    /// Hosts it from the start.
    pub(crate) fn begin_with(self, builder: RuntimeBuilder) -> RuntimeBuilder {
        builder.agent_with(&self.name, self.agent, self.options)
    }

    /// Hosts it from now on.
    pub(crate) fn add_to(self, runtime: &Runtime) -> Result<(), RegisterError> {
        runtime.add_agent_with(&self.name, self.agent, self.options)
    }
}

/// How the jobs of an agent are run, and what it says of itself.
fn options(name: &str, section: &AgentSection, config: &Config) -> Outcome<AgentOptions> {
    let options = section.options();
    let Some(file) = &section.input_schema else {
        return Ok(options);
    };
    let path = config.path(file);
    let wrong = |why: String| {
        let why = format!("`{}`: {why}", path.display());
        config.wrong(&format!("agents.{name}.input_schema"), &why)
    };
    let bytes = std::fs::read(&path).map_err(|error| wrong(error.to_string()))?;
    let text = String::from_utf8(without_mark(bytes));
    let text = text.map_err(|_| wrong("is not UTF-8".to_owned()))?;
    let schema = RawJson::parse(text);
    let schema = schema.map_err(|error| wrong(format!("is not JSON: {error}")))?;
    Ok(options.input_schema(schema))
}

/// Agents of this program, as they are collected.
#[derive(Default)]
pub(super) struct Shelf(Vec<Hosted>);

impl Shelf {
    /// Adds one, as `name` or `name@version`.
    pub(super) fn agent_with<M>(
        mut self,
        name: &str,
        agent: impl IntoAgent<M>,
        options: AgentOptions,
    ) -> Self {
        let section = name.split_once('@').map_or(name, |(bare, _)| bare);
        self.0.push(Hosted {
            section: section.to_owned(),
            name: name.to_owned(),
            agent: agent.into_agent(),
            options,
        });
        self
    }

    pub(super) fn take(self) -> Vec<Hosted> {
        self.0
    }
}

/// Whether a section names a built-in agent that is hosted anyway.
fn is_built_in(name: &str, section: &AgentSection, built_in: bool) -> bool {
    let own = section.builtin.as_deref();
    built_in && own == Some(name) && section.version.is_none()
}

/// The agents of the file. With the built-in ones there already, naming one of them changes nothing.
pub(crate) fn configured(
    config: &Config,
    built_in: bool,
    confinement: &Confinement,
) -> Outcome<Vec<Hosted>> {
    let mut hosted = Vec::new();
    for (name, section) in &config.agents {
        if is_built_in(name, section, built_in) {
            continue;
        }
        let confinement = config.confinement(name, section, confinement)?;
        hosted.push(match section.builtin.as_deref() {
            Some("exec") => {
                let agent = ExecAgent::new()
                    .confinement(confinement)
                    .result(section.form())
                    .live_lines(section.is_live());
                Hosted::new(name, section, config, agent)?
            }
            Some(_) => Hosted::new(name, section, config, IndexAgent::new())?,
            None if section.elsewhere.url.is_some() => {
                let url = section.elsewhere.url.as_deref().unwrap_or_default();
                let agent = remote::agent(name, url, section, config)?;
                Hosted::new(name, section, config, agent)?
            }
            None => {
                let agent = process(name, section, config)?.confinement(confinement);
                Hosted::new(name, section, config, agent)?
            }
        });
    }
    Ok(hosted)
}

fn process(name: &str, section: &AgentSection, config: &Config) -> Outcome<ProcessAgent> {
    let mut agent = match section.protocol.as_deref() {
        Some("exec") => ProcessAgent::exec(&section.command)
            .result(section.form())
            .live_lines(section.is_live()),
        Some("acp") => ProcessAgent::acp(&section.command),
        _ => ProcessAgent::arcp(&section.command),
    };
    if let Some(file) = &section.token_file {
        agent = agent.token(config.secret(&format!("agents.{name}.token_file"), file)?);
    }
    let directory = config.path(section.cwd.as_deref().unwrap_or(Path::new("")));
    if !directory.as_os_str().is_empty() {
        agent = agent.current_dir(directory);
    }
    for (name, value) in &section.env {
        agent = agent.env(name, value);
    }
    for name in &section.env_pass {
        agent = agent.pass_env(name);
    }
    // Whatever the child traces goes on from here.
    Ok(agent.transport_layer(|transport| Box::new(transport.with_tracing())))
}
