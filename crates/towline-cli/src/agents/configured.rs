//! Agents that `towline.toml` names: a plain command run once a job, or a child process that speaks ARCP over stdio.

use std::path::Path;

use towline::{agents::ProcessAgent, otel::TransportTracing as _, runtime::RuntimeBuilder};

use crate::{
    config::{AgentSection, Config},
    failure::Outcome,
};

/// Registers the agents of the file.
pub(crate) fn configured(builder: RuntimeBuilder, config: &Config) -> Outcome<RuntimeBuilder> {
    config
        .agents
        .iter()
        .try_fold(builder, |builder, (name, section)| {
            let agent = process(name, section, config)?;
            Ok(match &section.version {
                Some(version) => builder.agent(&format!("{name}@{version}"), agent),
                None => builder.agent(name, agent),
            })
        })
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
    // Whatever the child traces goes on from here.
    Ok(agent.transport_layer(|transport| Box::new(transport.with_tracing())))
}
