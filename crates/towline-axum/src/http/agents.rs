//! `/v1/agents`: what there is to submit to [ARCP 16-1].

use axum::{
    Extension,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use towline_runtime::Caller;
use towline_wire::payload::AgentListing;

use super::{accept, document::document, problem::Problem, query};

/// The agents there are.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Agents)]
pub(super) struct AgentsPage {
    /// The agents.
    #[schema(value_type = Vec<Agent>)]
    agents: Vec<AgentListing>,
}

/// An agent. Written down for the description.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "the schema is made of it, and nothing else")]
pub(super) struct Agent {
    /// Its name.
    name: String,
    /// Its versions.
    versions: Vec<String>,
    /// The version a bare name means.
    default: Option<String>,
    /// What it is for.
    description: Option<String>,
    /// What its input has to look like: a JSON Schema.
    input_schema: Option<serde_json::Value>,
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
        agents: caller.agents(),
    };
    Ok(document(&page)?.into_response())
}
