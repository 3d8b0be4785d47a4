//! What the tools are called.

use std::collections::{BTreeMap, BTreeSet};

use towline_wire::payload::AgentListing;

use crate::tools::OWN;

/// The agents by the names of their tools [ARCP 19-1]: dots become `_`; an agent whose name another tool has already is
/// `agent_NAME`, as often as it takes. A name that needs no change goes before one that does, so that an agent is not renamed
/// because of another one's dots.
pub(crate) fn by_tool(agents: Vec<AgentListing>) -> BTreeMap<String, AgentListing> {
    let mut taken: BTreeSet<String> = OWN.iter().map(|name| (*name).to_owned()).collect();
    let (dotted, plain): (Vec<_>, Vec<_>) = agents
        .into_iter()
        .partition(|agent| agent.name.contains('.'));
    let mut named = BTreeMap::new();
    for agent in plain.into_iter().chain(dotted) {
        let mut name = agent.name.replace('.', "_");
        while !taken.insert(name.clone()) {
            name.insert_str(0, "agent_");
        }
        named.insert(name, agent);
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 19-1] Names are those of the agents, without dots and without collisions.
    #[test]
    fn every_agent_has_a_name_of_its_own() {
        let agents = ["a.b", "a_b", "agent_jobs", "echo", "job_get", "jobs"];
        let agents = agents.map(|name| AgentListing {
            name: name.to_owned(),
            ..AgentListing::default()
        });
        let named: Vec<(String, String)> = by_tool(agents.into())
            .into_iter()
            .map(|(tool, agent)| (tool, agent.name))
            .collect();
        let expected = [
            ("a_b", "a_b"),
            ("agent_a_b", "a.b"),
            ("agent_agent_jobs", "jobs"),
            ("agent_job_get", "job_get"),
            ("agent_jobs", "agent_jobs"),
            ("echo", "echo"),
        ];
        assert_eq!(
            named,
            expected.map(|(tool, agent)| (tool.to_owned(), agent.to_owned()))
        );
    }
}
