//! `/v1/agents`: what there is to submit to [ARCP 16-1].

use axum::{
    Extension,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use towline_runtime::Caller;
use towline_wire::{RawJson, payload::AgentListing};

use super::{accept, document::document, problem::Problem, query};

/// The agents there are.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Agents)]
pub(super) struct AgentsPage {
    /// The agents.
    agents: Vec<Agent>,
}

/// An agent.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Agent {
    /// Its name.
    name: String,
    /// Its versions.
    versions: Vec<String>,
    /// The version a bare name means.
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// What its input has to look like: a JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    input_schema: Option<RawJson>,
}

impl From<AgentListing> for Agent {
    fn from(agent: AgentListing) -> Self {
        Self {
            name: agent.name,
            versions: agent.versions,
            default: agent.default,
            description: agent.description,
            input_schema: agent.input_schema,
        }
    }
}

/// Lists the agents.
#[utoipa::path(
    get, path = "/v1/agents", operation_id = "listAgents", tag = "agents",
    responses((status = 200, description = "the agents there are", body = AgentsPage))
)]
pub(super) async fn list(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    query::members(request.uri(), &[])?;
    let page = AgentsPage {
        agents: caller.agents().into_iter().map(Agent::from).collect(),
    };
    Ok(document(&page)?.into_response())
}
