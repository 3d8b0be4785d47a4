//! `towline nodes`: who shares a database, and who is to leave it.

use std::time::Duration;

use serde::Serialize;
use towline::postgres::{Node, NodeState, Nodes};

use crate::{
    args::{NodesArgs, NodesCommand},
    context::Context,
    database::Database,
    exit,
    failure::{Failure, Outcome},
    output,
    store_choice::StoreChoice,
};

/// A node, as it is listed.
#[derive(Serialize)]
struct Listed {
    name: String,
    inc: u64,
    state: &'static str,
    pulse_age_ms: Option<u64>,
    jobs: u64,
    sessions: u64,
    agents: Vec<String>,
}

impl From<Node> for Listed {
    fn from(node: Node) -> Self {
        let age = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self {
            inc: node.incarnation.number(),
            state: node.state.as_str(),
            pulse_age_ms: node.pulse_age.map(age),
            jobs: node.jobs,
            sessions: node.sessions,
            agents: node.agents,
            name: node.name,
        }
    }
}

pub(super) async fn run(context: &Context, args: NodesArgs) -> Outcome {
    let database = database(context, &args)?;
    let nodes = database.nodes().await?;
    if let Some(NodesCommand::Drain { name }) = &args.command {
        return drain(&database, &nodes, name).await;
    }
    let listed = list(&database, &nodes).await?;
    let listed: Vec<Listed> = listed.into_iter().map(Listed::from).collect();
    output::list(args.format.output, &listed, |listed| match listed {
        [] => "no node has the database".to_owned(),
        _ => output::table(
            &[
                "NODE", "LIFE", "STATE", "PULSE", "JOBS", "SESSIONS", "AGENTS",
            ],
            listed.iter().map(row),
        ),
    })?;
    Ok(exit::SUCCESS)
}

fn row(node: &Listed) -> Vec<String> {
    let pulse = node
        .pulse_age_ms
        .map(|age| format!("{:.1} s ago", age as f64 / 1000.0));
    vec![
        node.name.clone(),
        node.inc.to_string(),
        node.state.to_owned(),
        pulse.unwrap_or_else(|| "-".to_owned()),
        node.jobs.to_string(),
        node.sessions.to_string(),
        node.agents.join(", "),
    ]
}

/// The database that was named, or the one that commands here use.
fn database(context: &Context, args: &NodesArgs) -> Outcome<Database> {
    let choice = match args.store.as_deref().filter(|store| !store.is_empty()) {
        Some(store) => StoreChoice::new(Some(store), &context.config, &context.data),
        None => StoreChoice::of_commands(&context.config, &context.data),
    };
    match choice? {
        StoreChoice::Postgres(database) => {
            Ok(database.in_the_clear(args.dangerously_store_in_the_clear))
        }
        other => Err(Failure::usage(format!(
            "`{}` is no database, and has no nodes",
            other.name()
        ))
        .help("give --store postgres://USER@HOST/DATABASE, as the nodes have it")),
    }
}

async fn list(database: &Database, nodes: &Nodes) -> Outcome<Vec<Node>> {
    let listed = nodes.list().await;
    listed.map_err(|error| database.failed(&error))
}

/// Asks a node to leave, and waits until it has, and others have taken what it left.
async fn drain(database: &Database, nodes: &Nodes, name: &str) -> Outcome {
    let of_name = |node: &&Node| node.name == name;
    let before = list(database, nodes).await?;
    let asked = nodes.drain(name).await;
    if asked.map_err(|error| database.failed(&error))? == 0
        && !before.iter().any(|node| of_name(&node))
    {
        let live = before.iter().filter(|node| node.state != NodeState::Fenced);
        let names: Vec<&str> = live.map(|node| node.name.as_str()).collect();
        return Err(Failure::usage(format!("no node `{name}` has the database"))
            .help(format!("those that do: {}", names.join(", "))));
    }
    loop {
        let listed = list(database, nodes).await?;
        let others = listed
            .iter()
            .any(|node| node.state != NodeState::Fenced && node.name != name);
        let mut own = listed.iter().filter(of_name);
        let Some(node) = own.find(|node| node.state != NodeState::Fenced || node.jobs > 0) else {
            break;
        };
        if node.state == NodeState::Fenced && !others {
            let (jobs, next) = (node.jobs, "the next node that starts has them");
            output::note(&format!(
                "`{name}` has left, and there is no other: {jobs} jobs wait; {next}"
            ));
            break;
        }
        if node.pulse_age.is_some_and(|age| age > SILENT) && !others {
            return Err(Failure::local(format!("`{name}` has given no sign of life for a while"))
                .help("if its process is gone, nothing is to be drained: the next node that starts has what it left"));
        }
        tokio::time::sleep(GLANCE).await;
    }
    output::note(&format!("`{name}` has left"));
    Ok(exit::SUCCESS)
}

/// A node that is silent for so long does not leave by itself.
const SILENT: Duration = Duration::from_secs(15);
const GLANCE: Duration = Duration::from_millis(200);
