//! `towline`: run, serve, watch and cancel long-lived agent jobs.
//!
//! `args` says what the command line looks like; `commands` has one file for each command; `agents` one for each built-in
//! agent. What a command needs of a runtime it gets from `connect`, which embeds one or talks to a server.

mod agents;
mod args;
mod asking;
mod bench;
#[cfg(unix)]
mod beside;
mod commands;
mod config;
mod confinement;
mod connect;
mod context;
mod data_dir;
mod database;
mod embedded;
mod exit;
mod facts;
mod failure;
mod guard;
mod hosting;
mod job_name;
mod keyboard;
mod logging;
mod mcp;
mod nearest;
#[cfg(unix)]
mod notify;
mod output;
mod owner;
mod refused;
mod serve;
mod sessions;
mod signals;
mod store_choice;
mod target;
mod telemetry;
mod trust;
#[cfg(unix)]
mod unix_socket;
mod values;
mod work_dir;

use std::process::ExitCode;

use crate::{
    args::Cli,
    failure::{Failure, Outcome},
    telemetry::Telemetry,
};

fn main() -> ExitCode {
    // Before there are threads: agents in processes are started through this program.
    if let Some(code) = towline::agents::launcher::run_if_asked() {
        return code;
    }
    // An agent to try things with, which needs nothing of what follows.
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|first| first == values::ACP_SCRIPT) {
        return towline::agents::acp_script::main(args.next().map(Into::into));
    }
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let form = cli.form;
    match run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            output::error(&failure);
            // Whoever reads no documents any more has read what there is on standard error.
            let _ = output::error_document(form, &failure);
            ExitCode::from(failure.status())
        }
    }
}

/// Help and version are printed and fine; everything else clap says is wrong usage.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe leaves nobody to complain to.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() {
        exit::USAGE
    } else {
        exit::SUCCESS
    })
}

fn run(cli: Cli) -> Outcome {
    // Commands that need no runtime run without one.
    if let Some(outcome) = commands::run_plain(&cli) {
        return outcome;
    }
    // From here on there are tokens in this memory.
    #[cfg(target_os = "linux")]
    towline::agents::confine::close_memory()
        .map_err(|error| Failure::local(format!("cannot close this program's memory: {error}")))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime =
        runtime.map_err(|error| Failure::local(format!("cannot start threads: {error}")))?;
    let inside = runtime.enter();
    let telemetry = Telemetry::install(cli.global.otlp.as_deref());
    logging::install(&cli, &telemetry);
    telemetry.complain();
    let outcome = runtime.block_on(commands::run(cli));
    telemetry.finish();
    drop(inside);
    // A thread may still wait for standard input; nobody needs it any more.
    runtime.shutdown_background();
    outcome
}
