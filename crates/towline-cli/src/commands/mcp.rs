//! `towline mcp`

use std::time::Duration;

use towline::mcp::Server;

use crate::{
    args::McpArgs,
    context::Context,
    exit,
    failure::{Failure, Outcome, chain},
    mcp::Office,
    output,
    signals::{Signal, Signals},
};

/// Serves one client on standard input and output, until it goes or a signal comes. Jobs of a runtime in this program are
/// waited for when the client goes: a lost connection cancels none [ARCP 19-1].
pub(super) async fn run(context: Context, args: McpArgs) -> Outcome {
    let mut signals = Signals::new()?;
    if let (None, Some(untrusted)) = (&args.connect.url, context.config.untrusted()) {
        output::note(&format!("note: {untrusted}"));
    }
    let options = context.config.mcp.options();
    let office = Office::open(context, args.connect).await?;
    let server = Server::new(office.clone()).options(options);
    let serving = server.serve(tokio::io::stdin(), tokio::io::stdout());
    let served = tokio::select! {
        served = serving => served.map_err(|error| Failure::connection(chain(&error))),
        () = ended_by(&mut signals) => {
            office.close().await;
            return Ok(exit::SUCCESS);
        }
    };
    tokio::select! {
        () = jobs_ended(&office) => {}
        () = ended_by(&mut signals) => {}
    }
    office.close().await;
    served.map(|()| exit::SUCCESS)
}

async fn ended_by(signals: &mut Signals) {
    let (Signal::End(_) | Signal::Hangup) = signals.next().await;
}

async fn jobs_ended(office: &Office) {
    while office.has_live_jobs().await {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How often it is looked whether jobs still run, once nobody is there any more.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
