//! `url` in `[agents.NAME]`: an agent of another runtime.

use std::path::PathBuf;

use serde::Deserialize;
use towline::{
    agents::RemoteAgent,
    transport::{Transport, TransportError, WebSocketOptions},
};

use super::{AgentSection, Config, file::File};
use crate::{
    failure::Outcome,
    target::Target,
    values::{without_mark, without_user},
};

/// Where it is.
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Elsewhere {
    pub(crate) url: Option<String>,
    /// What it is called there.
    agent: Option<String>,
    ca_cert: Option<PathBuf>,
}

impl Elsewhere {
    pub(super) fn validate(&self, key: &str, file: &File) -> Outcome<()> {
        file.checked(&format!("{key}.url"), &self.url, |url| {
            target(url).map(drop)
        })
    }
}

/// A program as a runtime is what `command` is for; and what is in a URL is in every error about it.
fn target(url: &str) -> Result<Target, String> {
    if without_user(url) != url {
        return Err(
            "holds a user or a password; put the token in a file and name it with token_file"
                .to_owned(),
        );
    }
    match Target::parse(url)? {
        Target::Child(_) => {
            Err("names a program; write it as command, with protocol = \"arcp\"".to_owned())
        }
        target => Ok(target),
    }
}

/// The agent of a section with a `url`.
pub(crate) fn agent(
    name: &str,
    url: &str,
    section: &AgentSection,
    config: &Config,
) -> Outcome<RemoteAgent> {
    let key = |key: &str| format!("agents.{name}.{key}");
    let target = target(url).map_err(|why| config.wrong(&key("url"), &why))?;
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
