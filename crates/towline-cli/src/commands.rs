//! One file for each command; this one only routes.

mod agents;
mod answer;
mod asking;
mod audit;
mod cancel;
mod complete;
mod conformance;
mod credentials;
mod demo;
mod doctor;
mod export;
mod following;
mod get;
mod inbox;
mod interruption;
mod jobs;
pub(crate) mod lease;
mod mcp;
mod nodes;
mod past;
mod ready;
mod result;
mod run;
mod schedule;
mod sessions;
mod shell;
mod store;
mod top;
mod trust;
mod version;
mod wait;
mod watch;
mod webhooks;
mod whoami;

use tracing::Instrument as _;

use crate::{
    args::{Cli, Command, LeaseCommand},
    context::Context,
    failure::Outcome,
};

/// Runs a command that needs neither threads nor a runtime; `None` when it is not one of those.
pub(crate) fn run_plain(cli: &Cli) -> Option<Outcome> {
    Some(match &cli.command {
        Command::Completions { shell } => shell::completions(*shell),
        Command::Man => shell::man(),
        Command::Version { format } => version::run(format.output),
        Command::Trust { remove } => trust::run(&cli.global, *remove),
        Command::Lease {
            command:
                LeaseCommand::Explain {
                    lease,
                    budget,
                    op,
                    principal,
                },
        } => match principal {
            None => lease::explain(&lease::lease_of(lease, budget), op),
            Some(principal) => {
                let asked = lease::lease_of(lease, budget);
                lease::explain_as(cli.global.config.as_deref(), principal, &asked, op)
            }
        },
        _ => return None,
    })
}

/// Runs any other command.
pub(crate) async fn run(cli: Cli) -> Outcome {
    if let Command::Doctor { format } = cli.command {
        return doctor::run(format.output).await;
    }
    if let Command::Demo(args) = cli.command {
        return demo::run(&cli.global, args).await;
    }
    if let Command::Ready(args) = &cli.command {
        return ready::run(cli.global.config.as_deref(), args).await;
    }
    let serves = matches!(cli.command, Command::Serve(_));
    let context = Context::new(&cli.global, serves)?;
    match cli.command {
        Command::Run(args) => {
            let run = run::run(&context, args);
            run.instrument(tracing::info_span!(target: "towline::trace", "towline run"))
                .await
        }
        Command::Rerun(args) => run::again(&context, args).await,
        Command::Serve(args) => crate::serve::run(&context, *args).await,
        Command::Jobs(args) => jobs::run(&context, args).await,
        Command::Top(args) => top::run(&context, args).await,
        Command::Wait(args) => wait::run(&context, args).await,
        Command::Export(args) => export::run(&context, args).await,
        Command::Schedule { command } => schedule::run(&context, command).await,
        Command::Webhooks(args) => webhooks::run(&context, args).await,
        Command::Audit(args) => audit::run(&context, args).await,
        Command::Complete(args) => complete::run(&context, &args).await,
        Command::Get(args) => get::run(&context, args).await,
        Command::Watch(args) => watch::run(&context, args).await,
        Command::Result(args) => result::run(&context, args).await,
        Command::Cancel(args) => cancel::run(&context, args).await,
        Command::Mcp(args) => Box::pin(mcp::run(context, args)).await,
        Command::Inbox(args) => inbox::run(&context, args).await,
        Command::Approve(args) => answer::approve(&context, args).await,
        Command::Deny(args) => answer::deny(&context, args).await,
        Command::Answer(args) => answer::answer(&context, args).await,
        Command::Say(args) => answer::say(&context, args).await,
        Command::Agents { connect, format } => agents::run(&context, &connect, format.output).await,
        Command::WhoAmI { connect, format } => whoami::run(&context, &connect, format.output).await,
        Command::Sessions { format, command } => match command {
            None => sessions::run(&context, format.output),
            Some(command) => sessions::revoke(command).await,
        },
        Command::Store { store, command } => store::run(&context, &store, command).await,
        Command::Nodes(args) => nodes::run(&context, args).await,
        Command::Credentials(args) => credentials::run(&context, args).await,
        Command::Conformance(args) => conformance::run(&args).await,
        Command::Bench(args) => crate::bench::run(args).await,
        // These were run before.
        Command::Completions { .. }
        | Command::Demo(_)
        | Command::Doctor { .. }
        | Command::Man
        | Command::Ready(_)
        | Command::Version { .. }
        | Command::Trust { .. }
        | Command::Lease { .. } => Ok(crate::exit::SUCCESS),
    }
}
