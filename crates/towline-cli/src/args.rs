//! The command line. Precedence: flag > environment (`TOWLINE_*`) > `towline.toml` > default.

mod conformance;
mod connect;
mod operate;
mod run;
mod serve;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use conformance::ConformanceArgs;
pub(crate) use connect::{ConnectArgs, FormatArgs, OutputFormat};
pub(crate) use operate::{CredentialsArgs, LeaseCommand, StoreArgs, StoreCommand};
pub(crate) use run::{CancelArgs, GetArgs, JobsArgs, ResultArgs, RunArgs, WatchArgs};
pub(crate) use serve::ServeArgs;

/// Run, serve, watch and cancel long-lived agent jobs (ARCP v1.1).
#[derive(Debug, Parser)]
#[command(
    name = "towline",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "See `towline --help` for examples, files, environment variables and exit status.",
    after_long_help = after_long_help()
)]
pub(crate) struct Cli {
    /// What applies to every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What applies to every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The configuration file [default: towline.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "TOWLINE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Where jobs, events and detached sessions are kept [default: .towline]
    #[arg(long, global = true, value_name = "DIR", env = "TOWLINE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// How log lines look on standard error; RUST_LOG says which ones (towline=debug, say)
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "TOWLINE_LOG_FORMAT",
        default_value = "human"
    )]
    pub(crate) log_format: LogFormat,

    /// Send spans to this collector, as in http://127.0.0.1:4318
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    pub(crate) otlp: Option<String>,

    /// Let agents with confine = "off" run as root, with root's rights
    #[arg(long, global = true, hide_short_help = true)]
    pub(crate) dangerously_unconfined_as_root: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit a job and follow it to its end
    Run(RunArgs),
    /// Host agents for clients that connect over WebSocket or stdio
    Serve(Box<ServeArgs>),
    /// List jobs
    Jobs(JobsArgs),
    /// Show one job
    Get(GetArgs),
    /// Follow a job that already runs, or read what it said
    Watch(WatchArgs),
    /// Write a job's result to standard output or a file
    Result(ResultArgs),
    /// Cancel a job
    Cancel(CancelArgs),
    /// List the agents a runtime offers
    Agents {
        #[command(flatten)]
        connect: ConnectArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List the sessions of `run --detach` that can be taken up again
    Sessions {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Check, copy, shrink or measure the store
    Store {
        #[command(flatten)]
        store: StoreArgs,
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Say what a lease allows, and why
    Lease {
        #[command(subcommand)]
        command: LeaseCommand,
    },
    /// List credentials that were issued for jobs and are not yet revoked
    Credentials(CredentialsArgs),
    /// Say what this system can hold agents' programs with, and which jobs it would refuse
    Doctor {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Ask any runtime whether it keeps the rules of ARCP v1.1
    Conformance(ConformanceArgs),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  towline completions bash > ~/.local/share/bash-completion/completions/towline"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual, for `man -l`
    #[command(after_help = "Example:\n  towline man > towline.1 && man -l towline.1")]
    Man,
    /// Print the version of the program and of the protocol
    Version {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Measure a server on this machine
    #[command(hide = true)]
    Bench(crate::bench::BenchArgs),
}

fn after_long_help() -> String {
    format!(
        "{EXAMPLES}\n{FILES}\n{ENVIRONMENT}\n{}",
        crate::exit::table()
    )
}

const EXAMPLES: &str = "\
Examples:
  Index this directory; the job may read it and nothing else:
    towline run index --input '{\"root\":\".\"}' --lease \"fs.read=$PWD/**\"
  Host the demo agents, then use them from another shell:
    towline serve --demo --token alice:s3cret
    towline run chatty --input '{\"n\":5}' --url ws://127.0.0.1:7777/arcp --token s3cret
  Start a job, let go of it, come back:
    towline run sleep --input '{\"ms\":60000}' --detach --url ws://127.0.0.1:7777/arcp --token s3cret
    towline watch JOB
    towline cancel JOB
";

const FILES: &str = "\
Files:
  towline.toml      configuration: server, tokens, store, agents
  .towline/         data: towline.db (jobs and events), sessions/ (of `run --detach`, secret)
";

const ENVIRONMENT: &str = "\
Environment (a flag beats it, it beats towline.toml):
  TOWLINE_URL, TOWLINE_TOKEN      the server to talk to and the token to show
  TOWLINE_CONFIG                  the configuration file
  TOWLINE_DATA_DIR                the data directory
  TOWLINE_LOG_FORMAT              human or json
  TOWLINE_LISTEN, TOWLINE_TOKENS, TOWLINE_STORE and others: see `towline serve --help`
  RUST_LOG                        which log lines are shown
  NO_COLOR                        no colours
";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_visible_flag_is_explained() {
        fn check(command: &clap::Command) {
            for arg in command.get_arguments() {
                assert!(
                    arg.get_help().is_some() || arg.is_hide_set(),
                    "{} of {}",
                    arg.get_id(),
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
