//! Agents that `towline.toml` names: a plain command run once a job, a child process that speaks ARCP over stdio, or one of
//! this program's own.

use std::path::Path;

use towline::{
    agents::{Confinement, ExecAgent, IndexAgent, ProcessAgent},
    otel::TransportTracing as _,
    runtime::{IntoAgent, RuntimeBuilder},
};

use crate::{
    config::{AgentSection, Config},
    failure::Outcome,
};

/// Registers the agents of the file. With the built-in ones there already, naming one of them changes nothing.
pub(crate) fn configured(
    mut builder: RuntimeBuilder,
    config: &Config,
    built_in: bool,
    confinement: &Confinement,
) -> Outcome<RuntimeBuilder> {
    for (name, section) in &config.agents {
        let own = section.builtin.as_deref();
        if built_in && own == Some(name) && section.version.is_none() {
            continue;
        }
        let confinement = config.confinement(name, section, confinement)?;
        builder = match own {
            Some("exec") => {
                let agent = ExecAgent::new().confinement(confinement);
                register(builder, name, section, agent)
            }
            Some(_) => register(builder, name, section, IndexAgent::new()),
            None => {
                let agent = process(name, section, config)?.confinement(confinement);
                register(builder, name, section, agent)
            }
        };
    }
    Ok(builder)
}

fn register<M>(
    builder: RuntimeBuilder,
    name: &str,
    section: &AgentSection,
    agent: impl IntoAgent<M>,
) -> RuntimeBuilder {
    match &section.version {
        Some(version) => builder.agent(&format!("{name}@{version}"), agent),
        None => builder.agent(name, agent),
    }
}

fn process(name: &str, section: &AgentSection, config: &Config) -> Outcome<ProcessAgent> {
    let mut agent = match section.protocol.as_deref() {
        Some("exec") => ProcessAgent::exec(&section.command),
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
