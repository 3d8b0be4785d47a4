//! `towline agents`

use serde::Serialize;
use towline::{
    client::SessionInfo,
    wire::{RawJson, payload::AgentListing},
};

use crate::{
    args::{ConnectArgs, OutputFormat},
    connect::Connection,
    context::Context,
    embedded::Purpose,
    exit,
    failure::Outcome,
    output,
};

pub(super) async fn run(context: &Context, args: &ConnectArgs, format: OutputFormat) -> Outcome {
    if let (None, Some(untrusted)) = (&args.url, context.config.untrusted()) {
        output::note(&format!("note: {untrusted}"));
    }
    let connection = Connection::open(context, args, Purpose::Look).await?;
    let session = connection.client.session();
    let agents = session.as_deref().map_or(&[][..], SessionInfo::agents);
    let agents: Vec<Shown<'_>> = agents.iter().map(Shown::from).collect();
    let listed = output::list(format, &agents, |agents| match agents {
        [] => "the runtime offers no agents".to_owned(),
        _ => output::table(
            &["AGENT", "VERSIONS", "DEFAULT", "DESCRIPTION"],
            agents.iter().map(|agent| {
                vec![
                    agent.name.to_owned(),
                    agent.versions.join(" "),
                    agent.default.unwrap_or_default().to_owned(),
                    agent.description.unwrap_or_default().to_owned(),
                ]
            }),
        ),
    });
    connection.close().await;
    listed.map(|()| exit::SUCCESS)
}

/// An agent as it is shown.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    versions: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<&'a RawJson>,
}

impl<'a> From<&'a AgentListing> for Shown<'a> {
    fn from(agent: &'a AgentListing) -> Self {
        Self {
            name: &agent.name,
            versions: &agent.versions,
            default: agent.default.as_deref(),
            description: agent.description.as_deref(),
            input_schema: agent.input_schema.as_ref(),
        }
    }
}
