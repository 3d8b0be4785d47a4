//! Which agents there are.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use parking_lot::RwLock;
use serde_json::value::{RawValue, to_raw_value};
use towline_proto::refusal::Refusal;
use towline_wire::{AgentRef, AgentRefError, ErrorCode, payload::AgentListing};

use crate::job::RunJob;

/// An agent under one name and version.
#[derive(Clone)]
pub(crate) struct AgentEntry {
    pub(crate) agent: Arc<dyn RunJob>,
}

/// Why an agent cannot be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// The name or the version breaks the grammar.
    #[error(transparent)]
    Name(#[from] AgentRefError),
    /// The same name and version is there already.
    #[error(
        "the agent `{0}` is registered already; remove it first, or give the new one another version"
    )]
    Taken(AgentRef),
    /// An agent is registered with and without versions.
    #[error(
        "the agent `{0}` is registered both with and without a version; give every one of them a version"
    )]
    Mixed(AgentRef),
    /// The default version is not there.
    #[error("the default version `{0}` is not registered")]
    UnknownDefault(AgentRef),
    /// What it says of its input is not a JSON Schema, or too long: a welcome lists all agents.
    #[error(
        "the input schema of the agent `{agent}` {fault}; write a JSON Schema, as an object, of at most {MOST_SCHEMA_BYTES} bytes"
    )]
    Schema {
        /// The agent.
        agent: AgentRef,
        /// What is wrong.
        fault: &'static str,
    },
}

/// The longest schema, in bytes.
const MOST_SCHEMA_BYTES: usize = 64 * 1024;

/// Why an agent cannot be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ResolveError {
    Name(AgentRef),
    Version(AgentRef),
}

impl From<ResolveError> for Refusal {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::Name(agent) => Self::new(
                ErrorCode::AGENT_NOT_AVAILABLE,
                format!("`agent`: there is no agent `{}`", agent.name()),
            ),
            ResolveError::Version(agent) => Self::new(
                ErrorCode::AGENT_VERSION_NOT_AVAILABLE,
                format!("`agent`: there is no version `{agent}`"),
            ),
        }
    }
}

/// The agents of a runtime. Agents may come and go while it runs; a job keeps the agent it was resolved to
/// [ARCP 7.5-3].
#[derive(Default)]
pub(crate) struct Registry {
    names: RwLock<Names>,
}

#[derive(Default)]
struct Names {
    by_name: BTreeMap<Box<str>, Versions>,
    /// The listing as every welcome carries it, once it was asked for. It can be long, and changes with the agents only.
    written: OnceLock<Arc<RawValue>>,
}

#[derive(Default)]
struct Versions {
    /// By version; the empty version is that of an agent without versions.
    entries: BTreeMap<Box<str>, AgentEntry>,
    default: Option<Box<str>>,
}

impl Registry {
    pub(crate) fn add(&self, agent: &AgentRef, entry: AgentEntry) -> Result<(), RegisterError> {
        check_schema(agent, &entry)?;
        let mut names = self.names.write();
        let versions = names.change().entry(agent.name().into()).or_default();
        let version = agent.version().unwrap_or("");
        if versions.entries.contains_key(version) {
            return Err(RegisterError::Taken(agent.clone()));
        }
        let mixes = versions
            .entries
            .keys()
            .any(|other| other.is_empty() != version.is_empty());
        if mixes {
            return Err(RegisterError::Mixed(agent.clone()));
        }
        versions.entries.insert(version.into(), entry);
        Ok(())
    }

    pub(crate) fn set_default(&self, agent: &AgentRef) -> Result<(), RegisterError> {
        let mut names = self.names.write();
        let version = agent.version().unwrap_or("");
        let versions = names
            .change()
            .get_mut(agent.name())
            .filter(|versions| versions.entries.contains_key(version));
        let versions = versions.ok_or_else(|| RegisterError::UnknownDefault(agent.clone()))?;
        versions.default = Some(version.into());
        Ok(())
    }

    /// Removes one version, or, without a version, every one. `false` when there was none.
    pub(crate) fn remove(&self, agent: &AgentRef) -> bool {
        let mut names = self.names.write();
        let names = names.change();
        let Some(version) = agent.version() else {
            return names.remove(agent.name()).is_some();
        };
        let Some(versions) = names.get_mut(agent.name()) else {
            return false;
        };
        let removed = versions.entries.remove(version).is_some();
        versions.default.take_if(|default| &**default == version);
        if versions.entries.is_empty() {
            names.remove(agent.name());
        }
        removed
    }

    /// The agent a reference means now, with the version it is resolved to [ARCP 7.5-2].
    pub(crate) fn resolve(&self, agent: &AgentRef) -> Result<(AgentRef, AgentEntry), ResolveError> {
        let names = self.names.read();
        let versions = names
            .by_name
            .get(agent.name())
            .ok_or_else(|| ResolveError::Name(agent.clone()))?;
        let version = agent.version().map_or_else(|| versions.default(), Some);
        let found = version.and_then(|version| versions.entries.get_key_value(version));
        let (version, entry) = found.ok_or_else(|| ResolveError::Version(agent.clone()))?;
        let resolved = if version.is_empty() {
            agent.clone()
        } else {
            agent
                .with_version(version)
                .map_err(|_| ResolveError::Version(agent.clone()))?
        };
        Ok((resolved, entry.clone()))
    }

    /// What the welcome lists [ARCP 6.2-2].
    pub(crate) fn listing(&self) -> Vec<AgentListing> {
        self.names.read().listing()
    }

    /// The same, written.
    pub(crate) fn written_listing(&self) -> Arc<RawValue> {
        let names = self.names.read();
        let write = || {
            let written = to_raw_value(&names.listing());
            debug_assert!(written.is_ok(), "a listing has a JSON form");
            Arc::from(written.unwrap_or_else(|_| RawValue::NULL.to_owned()))
        };
        Arc::clone(names.written.get_or_init(write))
    }
}

impl Names {
    /// The agents, to be changed.
    fn change(&mut self) -> &mut BTreeMap<Box<str>, Versions> {
        self.written = OnceLock::new();
        &mut self.by_name
    }

    fn listing(&self) -> Vec<AgentListing> {
        let listed = self.by_name.iter().map(|(name, versions)| {
            let mut known: Vec<&str> = versions
                .entries
                .keys()
                .map(|version| &**version)
                .filter(|version| !version.is_empty())
                .collect();
            known.sort_by(|left, right| by_precedence(left, right));
            let default = versions.default();
            // Whoever names no version gets this one, so it is the one that speaks for the name.
            let entry = default.and_then(|version| versions.entries.get(version));
            let options = entry.map(|entry| entry.agent.rules().options);
            let (description, input_schema) = options.map_or((None, None), |options| {
                let description = options.description.map(|text| text.to_string());
                (description, options.input_schema)
            });
            let default = default.filter(|version| !version.is_empty());
            AgentListing {
                name: name.to_string(),
                versions: known.into_iter().map(str::to_owned).collect(),
                default: default.map(str::to_owned),
                description,
                input_schema,
            }
        });
        listed.collect()
    }
}

impl Versions {
    fn default(&self) -> Option<&str> {
        let highest = || {
            self.entries
                .keys()
                .map(|version| &**version)
                .max_by(|left, right| by_precedence(left, right))
        };
        self.default.as_deref().or_else(highest)
    }
}

fn check_schema(agent: &AgentRef, entry: &AgentEntry) -> Result<(), RegisterError> {
    let fault = match entry.agent.rules().options.input_schema {
        None => return Ok(()),
        Some(schema) if schema.as_str().len() > MOST_SCHEMA_BYTES => "is too long",
        Some(schema) if !schema.as_str().trim_start().starts_with('{') => "is not an object",
        Some(_) => return Ok(()),
    };
    Err(RegisterError::Schema {
        agent: agent.clone(),
        fault,
    })
}

/// SemVer order; versions that are not SemVer come before those that are, in lexical order [ARCP 7.5-2].
fn by_precedence(left: &str, right: &str) -> Ordering {
    match (semver::Version::parse(left), semver::Version::parse(right)) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        (Ok(_), Err(_)) => Ordering::Greater,
        (Err(_), Ok(_)) => Ordering::Less,
        (Err(_), Err(_)) => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;
    use towline_proto::job::Failure;
    use towline_wire::RawJson;

    use super::*;
    use crate::job::{JobEntry, RunRules};

    /// Is registered, and never run.
    struct Idle;

    impl RunJob for Idle {
        fn run(&self, _job: Arc<JobEntry>) -> BoxFuture<'static, Result<RawJson, Failure>> {
            Box::pin(async { Ok(RawJson::NULL) })
        }

        fn rules(&self) -> RunRules {
            RunRules::default()
        }
    }

    fn registry(agents: &[&str]) -> Registry {
        let registry = Registry::default();
        for agent in agents {
            let entry = AgentEntry {
                agent: Arc::new(Idle),
            };
            registry
                .add(&AgentRef::parse(agent).unwrap(), entry)
                .unwrap();
        }
        registry
    }

    fn resolve(registry: &Registry, agent: &str) -> Result<String, ErrorCode> {
        let resolved = registry.resolve(&AgentRef::parse(agent).unwrap());
        resolved
            .map(|(agent, _)| agent.to_string())
            .map_err(|error| Refusal::from(error).code)
    }

    /// [ARCP 7.5-2] a bare name means the default, else the highest by SemVer, then lexical.
    #[test]
    fn bare_names_resolve_to_the_highest_version() {
        let agents = registry(&[
            "a@1.9.0",
            "a@1.10.0",
            "a@1.10.0-rc.1",
            "a@zeta",
            "b@x",
            "b@y",
            "c",
        ]);
        assert_eq!(resolve(&agents, "a").unwrap(), "a@1.10.0");
        assert_eq!(resolve(&agents, "b").unwrap(), "b@y");
        assert_eq!(resolve(&agents, "c").unwrap(), "c");
        agents
            .set_default(&AgentRef::parse("a@1.9.0").unwrap())
            .unwrap();
        assert_eq!(resolve(&agents, "a").unwrap(), "a@1.9.0");
        assert_eq!(
            resolve(&agents, "nobody"),
            Err(ErrorCode::AGENT_NOT_AVAILABLE)
        );
        assert_eq!(
            resolve(&agents, "a@3.0.0"),
            Err(ErrorCode::AGENT_VERSION_NOT_AVAILABLE)
        );
        assert_eq!(
            resolve(&agents, "c@1"),
            Err(ErrorCode::AGENT_VERSION_NOT_AVAILABLE)
        );
    }

    /// [ARCP 7.5-3] agents come and go.
    #[test]
    fn removal() {
        let agents = registry(&["a@1.0.0", "a@2.0.0"]);
        assert!(agents.remove(&AgentRef::parse("a@2.0.0").unwrap()));
        assert_eq!(resolve(&agents, "a").unwrap(), "a@1.0.0");
        assert!(agents.remove(&AgentRef::parse("a").unwrap()));
        assert_eq!(resolve(&agents, "a"), Err(ErrorCode::AGENT_NOT_AVAILABLE));
        assert!(!agents.remove(&AgentRef::parse("a").unwrap()));
    }

    /// [ARCP 7.5-3] What a welcome lists is what there is, written once until that changes.
    #[test]
    fn the_written_listing_changes_with_the_agents() {
        let agents = registry(&["a@1.0.0"]);
        let listed = |agents: &Registry| {
            let written = agents.written_listing();
            assert!(Arc::ptr_eq(&written, &agents.written_listing()));
            assert_eq!(
                written.get(),
                to_raw_value(&agents.listing()).unwrap().get()
            );
            written.get().to_owned()
        };
        let mut seen = vec![listed(&agents)];
        let idle = || AgentEntry {
            agent: Arc::new(Idle),
        };
        let other = AgentRef::parse("a@2.0.0").unwrap();
        agents.add(&other, idle()).unwrap();
        seen.push(listed(&agents));
        agents
            .set_default(&AgentRef::parse("a@1.0.0").unwrap())
            .unwrap();
        seen.push(listed(&agents));
        assert!(agents.remove(&other));
        seen.push(listed(&agents));
        seen.dedup();
        assert_eq!(seen.len(), 4, "{seen:?}");
    }

    /// What is asked for by name alone is described by the version that gets it.
    #[test]
    fn the_default_version_speaks_for_the_name() {
        struct Described(&'static str);

        impl RunJob for Described {
            fn run(&self, _job: Arc<JobEntry>) -> BoxFuture<'static, Result<RawJson, Failure>> {
                Box::pin(async { Ok(RawJson::NULL) })
            }

            fn rules(&self) -> RunRules {
                let schema = RawJson::parse(r#"{"type":"object"}"#).unwrap();
                RunRules {
                    options: crate::AgentOptions::default()
                        .description(self.0)
                        .input_schema(schema),
                    ..RunRules::default()
                }
            }
        }

        let agents = registry(&["plain"]);
        for (agent, text) in [("a@1.0.0", "old"), ("a@2.0.0", "new")] {
            let entry = AgentEntry {
                agent: Arc::new(Described(text)),
            };
            agents.add(&AgentRef::parse(agent).unwrap(), entry).unwrap();
        }
        let listed = agents.listing();
        assert_eq!(listed[0].description.as_deref(), Some("new"));
        assert!(listed[0].input_schema.is_some());
        assert_eq!(
            (&listed[1].description, &listed[1].input_schema),
            (&None, &None)
        );
    }

    #[test]
    fn an_agent_has_versions_or_has_none() {
        let agents = registry(&["a@1.0.0"]);
        let entry = agents.resolve(&AgentRef::parse("a").unwrap()).unwrap().1;
        let bare = AgentRef::parse("a").unwrap();
        assert_eq!(
            agents.add(&bare, entry.clone()),
            Err(RegisterError::Mixed(bare))
        );
        let taken = AgentRef::parse("a@1.0.0").unwrap();
        assert_eq!(agents.add(&taken, entry), Err(RegisterError::Taken(taken)));
    }
}
