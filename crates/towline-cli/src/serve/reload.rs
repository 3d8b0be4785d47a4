//! SIGHUP: tokens, roles, certificates and agents are read again while sessions and jobs go on.
//!
//! Everything new is read and checked first, then put in its place; what cannot be read changes nothing. What the new
//! configuration takes away ends [ARCP 14-7]. The rest of the file holds from the next start, and is named when it changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use axum_server::tls_rustls::RustlsConfig;
use towline::{
    agents::Confinement,
    runtime::{
        Runtime,
        auth::{Authenticator, Replaceable},
        roles::{LiveRoles, Roles},
    },
};

use super::{
    auth::{self, Minting},
    here::Here,
    roles, tls,
};
use crate::{
    agents,
    args::ServeArgs,
    config::Config,
    confinement::confinement,
    context::Context,
    failure::{Failure, Outcome},
    output,
};

/// What a server can be given anew.
pub(super) struct Live<'s> {
    pub(super) context: &'s Context,
    pub(super) args: &'s ServeArgs,
    pub(super) here: Here,
    pub(super) authenticator: Replaceable,
    pub(super) roles: LiveRoles,
    /// The listener's certificate, and the files it is read from.
    pub(super) certificate: Option<(RustlsConfig, (PathBuf, PathBuf))>,
    /// The token that was minted at the start.
    pub(super) minted: Option<String>,
    /// Whether the built-in agents are hosted.
    pub(super) demo: bool,
    /// Files that no program of an agent may see, beside those of the configuration.
    pub(super) own_files: Vec<PathBuf>,
    /// The configuration as it holds, and whose tokens there are.
    pub(super) config: Config,
    pub(super) tokens: Tokens,
}

/// The hashes of each principal's tokens.
pub(super) type Tokens = BTreeMap<String, BTreeSet<String>>;

/// What was read, and can be put in place.
struct Next {
    config: Config,
    tokens: Tokens,
    authenticator: Arc<dyn Authenticator>,
    roles: Roles,
    certificate: Option<Arc<rustls::ServerConfig>>,
    agents: Vec<agents::Hosted>,
}

impl Live<'_> {
    /// Reads everything again, and says what changed; or says what is wrong, and changes nothing.
    pub(super) fn reload(&mut self, runtime: &Runtime) {
        match self.read() {
            Ok(next) => {
                let said = self.apply(next, runtime);
                output::note(&format!("reloaded: {}", output::clean(said)));
            }
            Err(failure) => output::note(&format!(
                "not reloaded, nothing was changed: {}",
                output::clean_lines(failure)
            )),
        }
    }

    fn read(&self) -> Outcome<Next> {
        let config = self.context.read_again()?;
        if let Some(untrusted) = config.untrusted() {
            return Err(untrusted);
        }
        let minting = Minting::As(self.minted.as_deref());
        let admission = auth::admission(self.args, &config, minting)?;
        if admission.authenticator.lets_anyone_in() != self.authenticator.lets_anyone_in() {
            return Err(Failure::usage("whether anybody is let in cannot change"));
        }
        let roles = roles::roles(&config, self.args.dangerously_grant_any_lease)?;
        let roles = self.here.roles(roles, &admission.tokens);
        let certificate = self.certificate.as_ref();
        let certificate = certificate
            .map(|(_, (chain, key))| tls::config(chain, key))
            .transpose()?;
        let changed: BTreeSet<&String> = self.changed_agents(&config).collect();
        let confinement = confinement(&config, &self.context.data, self.own_files.clone());
        let mut agents = agents::configured(&config, self.demo, &confinement)?;
        // One of ours is there again when the file no longer has another in its place.
        let mut ours = self.our_agents(&confinement);
        ours.retain(|agent| agents.iter().all(|other| other.section != agent.section));
        agents.append(&mut ours);
        agents.retain(|agent| changed.contains(&agent.section));
        Ok(Next {
            config,
            tokens: admission.tokens,
            authenticator: Arc::from(admission.authenticator),
            roles,
            certificate,
            agents,
        })
    }

    /// The agents of this program that are hosted beside those of the file.
    pub(super) fn our_agents(&self, confinement: &Confinement) -> Vec<agents::Hosted> {
        if self.demo {
            agents::demo(confinement)
        } else {
            Vec::new()
        }
    }

    fn changed_agents<'c>(&'c self, next: &'c Config) -> impl Iterator<Item = &'c String> {
        let names = self.config.agents.keys().chain(next.agents.keys());
        names.filter(|name| self.config.agents.get(*name) != next.agents.get(*name))
    }

    fn apply(&mut self, next: Next, runtime: &Runtime) -> String {
        let mut said = self.differences(&next);
        self.roles.replace(next.roles);
        self.authenticator.replace(next.authenticator);
        if let (Some((listener, _)), Some(certificate)) = (&self.certificate, next.certificate) {
            listener.reload_from_config(certificate);
            said.push("certificate read".to_owned());
        }
        for (name, section) in &self.config.agents {
            if next.config.agents.get(name) != Some(section) {
                runtime.remove_agent(name);
            }
        }
        // What has the name of one that comes now is one of ours.
        for agent in &next.agents {
            runtime.remove_agent(&agent.section);
        }
        for agent in next.agents {
            let name = agent.name.clone();
            if let Err(error) = agent.add_to(runtime) {
                said.push(format!("agent {name} cannot be hosted: {error}"));
            }
        }
        self.config = next.config;
        self.tokens = next.tokens;
        runtime.recheck_sessions();
        if said.is_empty() {
            "nothing changed".to_owned()
        } else {
            said.join("; ")
        }
    }

    /// What is told of the difference: names, never values.
    fn differences(&self, next: &Next) -> Vec<String> {
        let mut said = Vec::new();
        let (old, new) = (&self.config, &next.config);
        names(&mut said, "tokens", &self.tokens, &next.tokens);
        names(&mut said, "roles", &old.roles, &new.roles);
        names(&mut said, "agents", &old.agents, &new.agents);
        if old.auth.jwt != new.auth.jwt {
            said.push("auth.jwt changed".to_owned());
        }
        let later: Vec<&str> = [
            ("server", old.server != new.server),
            ("store", old.store != new.store),
            ("credentials", old.credentials != new.credentials),
            ("models", old.models != new.models),
            ("webhooks", old.webhooks != new.webhooks),
            ("tools", !old.same_tools(new)),
            ("schedules", !old.same_schedules(new)),
            ("queues", !old.same_queues(new)),
        ]
        .into_iter()
        .filter_map(|(section, changed)| changed.then_some(section))
        .collect();
        if !later.is_empty() {
            said.push(format!(
                "changed, and holds from the next start: {}",
                later.join(", ")
            ));
        }
        said
    }
}

/// What was added, removed and changed, by name.
fn names<V: PartialEq>(
    said: &mut Vec<String>,
    what: &str,
    before: &BTreeMap<String, V>,
    after: &BTreeMap<String, V>,
) {
    let list = |word: &str, names: Vec<&String>| {
        let names: Vec<&str> = names.into_iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
    };
    let added = after.keys().filter(|name| !before.contains_key(*name));
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let changed = after
        .iter()
        .filter(|(name, value)| before.get(*name).is_some_and(|before| before != *value))
        .map(|(name, _)| name);
    let parts: Vec<String> = [
        list("added", added.collect()),
        list("removed", removed.collect()),
        list("changed", changed.collect()),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !parts.is_empty() {
        said.push(format!("{what} {}", parts.join(", ")));
    }
}
