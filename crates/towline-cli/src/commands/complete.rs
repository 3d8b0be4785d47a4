//! `towline complete`: what a shell offers for a word, asked for by the completion scripts.

use std::{pin::pin, time::Duration};

use futures_util::TryStreamExt as _;
use towline::wire::Secret;

use crate::{
    args::{CompleteArgs, CompleteWhat, ConnectArgs},
    connect::Connection,
    context::Context,
    embedded::Purpose,
    exit,
    failure::Outcome,
    job_name, output,
    values::Span,
};

/// Nobody waits longer for a word.
const PATIENCE: Duration = Duration::from_secs(2);

/// The newest jobs are those somebody means.
const MOST: usize = 200;

pub(super) async fn run(context: &Context, args: &CompleteArgs) -> Outcome {
    let connect = connect_args(&args.words);
    let offered = tokio::time::timeout(PATIENCE, offered(context, &connect, args)).await;
    // A shell that is told nothing offers nothing; an error in the middle of a line helps nobody.
    if let Ok(Ok(names)) = offered {
        names
            .iter()
            .try_for_each(|name| output::line(&output::clean(name)))?;
    }
    Ok(exit::SUCCESS)
}

async fn offered(
    context: &Context,
    connect: &ConnectArgs,
    args: &CompleteArgs,
) -> Outcome<Vec<String>> {
    let connection = Connection::open(context, connect, Purpose::Look).await?;
    let mut names = match args.what {
        CompleteWhat::Agents => agents(&connection),
        CompleteWhat::Jobs => jobs(&connection, &args.word).await,
    };
    connection.close().await;
    names.retain(|name| job_name::begins(name, &args.word));
    Ok(names)
}

fn agents(connection: &Connection) -> Vec<String> {
    let session = connection.client.session();
    let mut names = Vec::new();
    for agent in session.iter().flat_map(|session| session.agents()) {
        names.push(agent.name.clone());
        let versions = agent.versions.iter();
        names.extend(versions.map(|version| format!("{}@{version}", agent.name)));
    }
    names
}

/// The newest first.
async fn jobs(connection: &Connection, word: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut listed = pin!(connection.client.list_jobs().limit(1000).stream());
    while let Ok(Some(job)) = listed.try_next().await {
        let name = job.job_id.to_string();
        if job_name::begins(&name, word) {
            names.push(name);
        }
    }
    names.reverse();
    names.truncate(MOST);
    names
}

/// The words before may say which server is meant.
fn connect_args(words: &[String]) -> ConnectArgs {
    let value = |flag: &str| {
        let joined = format!("{flag}=");
        words.iter().enumerate().find_map(|(at, word)| {
            word.strip_prefix(&joined)
                .map(str::to_owned)
                .or_else(|| (word == flag).then(|| words.get(at + 1).cloned()).flatten())
        })
    };
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    ConnectArgs {
        url: value("--url").or_else(|| variable("TOWLINE_URL")),
        token: value("--token").map(Secret::from),
        token_file: value("--token-file").map(Into::into),
        ca_cert: value("--ca-cert")
            .or_else(|| variable("TOWLINE_CA_CERT"))
            .map(Into::into),
        timeout: Some(Span(PATIENCE)),
    }
}
