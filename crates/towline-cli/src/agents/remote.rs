//! Agents that `towline.toml` says are another runtime's.

use towline::{
    agents::RemoteAgent,
    transport::{Transport, TransportError, WebSocketOptions},
};

use crate::{
    config::{AgentSection, Config, elsewhere_target},
    failure::Outcome,
    target::Target,
    values::without_mark,
};

/// The agent of a section with a `url`.
pub(super) fn agent(
    name: &str,
    url: &str,
    section: &AgentSection,
    config: &Config,
) -> Outcome<RemoteAgent> {
    let key = |key: &str| format!("agents.{name}.{key}");
    let target = elsewhere_target(url).map_err(|why| config.wrong(&key("url"), &why))?;
    let mut options = WebSocketOptions::client();
    if let Some(file) = &section.elsewhere.ca_cert {
        let pem = std::fs::read(config.path(file)).map_err(|error| {
            let why = format!("names `{}`, which cannot be read: {error}", file.display());
            config.wrong(&key("ca_cert"), &why)
        })?;
        options = options.root_certificates_pem(without_mark(pem));
    }
    let mut agent = RemoteAgent::new(move || {
        let (target, options) = (target.clone(), options.clone());
        async move { connect(&target, &options).await }
    });
    if let Some(file) = &section.token_file {
        agent = agent.token(config.secret(&key("token_file"), file)?);
    }
    if let Some(there) = &section.elsewhere.agent {
        agent = agent.named(there);
    }
    Ok(agent)
}

async fn connect(
    target: &Target,
    options: &WebSocketOptions,
) -> Result<Box<dyn Transport>, TransportError> {
    target.connect(options).await
}
