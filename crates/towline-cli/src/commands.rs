//! One file for each command; this one only routes.

mod confine;
pub(crate) use confine::UNCONFINED;
pub(crate) mod lease;
mod shell;
mod version;

use crate::{
    args::{Cli, Command, LeaseCommand},
    failure::Outcome,
};

/// Runs a command that needs neither threads nor a runtime; `None` when it is not one of those.
pub(crate) fn run_plain(cli: &Cli) -> Option<Outcome> {
    Some(match &cli.command {
        Command::Completions { shell } => shell::completions(*shell),
        Command::Man => shell::man(),
        Command::Version { format } => version::run(format.output),
        Command::Lease {
            command: LeaseCommand::Explain { lease, budget, op },
        } => lease::explain(lease, budget, op),
        Command::Confine(args) => confine::run(args),
        _ => return None,
    })
}
