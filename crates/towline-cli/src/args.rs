//! The command line. Precedence: flag > environment (`TOWLINE_*`) > `towline.toml` > default.

mod ask;
mod conformance;
mod connect;
mod demo;
mod mcp;
mod operate;
mod ready;
mod run;
mod schedule;
mod serve;
mod webhooks;

use std::path::PathBuf;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use ask::{AnswerArgs, ApproveArgs, InboxArgs, QuestionArgs, SayArgs};
pub(crate) use conformance::ConformanceArgs;
pub(crate) use connect::{ConnectArgs, FormatArgs, OutputFormat};
pub(crate) use demo::DemoArgs;
pub(crate) use mcp::McpArgs;
pub(crate) use operate::{
    AuditArgs, CompleteArgs, CompleteWhat, CredentialsArgs, LeaseCommand, NodesArgs, NodesCommand,
    SessionsCommand, StoreArgs, StoreCommand,
};
pub(crate) use ready::ReadyArgs;
pub(crate) use run::{
    CancelArgs, ExportArgs, GetArgs, JobsArgs, NewJobArgs, RerunArgs, ResultArgs, RunArgs, TopArgs,
    WaitArgs, WatchArgs,
};
pub(crate) use schedule::{ScheduleArgs, ScheduleCommand};
pub(crate) use serve::ServeArgs;
pub(crate) use webhooks::{WebhooksArgs, WebhooksCommand};

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
    /// What the command's standard output carries; it stands among the command's own flags.
    #[arg(skip)]
    pub(crate) form: OutputFormat,
}

/// What applies to every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The configuration file [default: towline.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "TOWLINE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Where jobs, events and detached sessions are kept [default: $XDG_STATE_HOME/towline]
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
    /// See it work: a coding agent without a model, on a scratch repository, and the dashboard
    Demo(DemoArgs),
    /// Submit a job and follow it to its end
    Run(RunArgs),
    /// Host agents for clients that connect over WebSocket or stdio
    Serve(Box<ServeArgs>),
    /// Run a job once more, as a new job
    Rerun(RerunArgs),
    /// List jobs
    Jobs(JobsArgs),
    /// Show all live jobs on one screen
    Top(TopArgs),
    /// Show one job
    Get(GetArgs),
    /// Follow a job that already runs, or read what it said
    Watch(WatchArgs),
    /// Write a job's result to standard output or a file
    Result(ResultArgs),
    /// Wait for the end of jobs
    Wait(WaitArgs),
    /// Write a job's whole log as lines of JSON
    Export(ExportArgs),
    /// Cancel a job
    Cancel(CancelArgs),
    /// Show the agents as tools of the Model Context Protocol, on standard input and output
    Mcp(McpArgs),
    /// List the open questions that one may answer
    Inbox(InboxArgs),
    /// Say yes to a question of a job
    Approve(ApproveArgs),
    /// Say no to a question of a job
    #[command(after_help = "Example:\n  towline deny job_01J… --note 'not on a Friday'")]
    Deny(QuestionArgs),
    /// Answer a question of a job
    Answer(AnswerArgs),
    /// Tell a running job something
    Say(SayArgs),
    /// List the agents a runtime offers
    Agents {
        #[command(flatten)]
        connect: ConnectArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Say who one is to a runtime, and what one may do there
    #[command(name = "whoami")]
    WhoAmI {
        #[command(flatten)]
        connect: ConnectArgs,
        #[command(flatten)]
        format: FormatArgs,
    },
    /// List the sessions of `run --detach` that can be taken up again, or end those of a principal
    Sessions {
        #[command(flatten)]
        format: FormatArgs,
        #[command(subcommand)]
        command: Option<SessionsCommand>,
    },
    /// List schedules, and run, pause or resume one
    Schedule {
        #[command(subcommand)]
        command: ScheduleCommand,
    },
    /// List what was to be told over HTTP and whether it was, or deliver a message once more
    Webhooks(WebhooksArgs),
    /// Say who did what
    Audit(AuditArgs),
    /// Check, copy, shrink or measure the store
    Store {
        #[command(flatten)]
        store: StoreArgs,
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// List the nodes that share a database, or have one leave
    Nodes(NodesArgs),
    /// Trust the towline.toml of this directory, as it stands, to name programs to run
    #[command(
        after_help = "Agents and credentials of a towline.toml that was only found are left out until then. Trust is for this file with this content; one named with --config needs none."
    )]
    Trust {
        /// Trust it no more
        #[arg(long)]
        remove: bool,
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
    /// Say whether a server takes sessions, for health checks; needs no token
    Ready(ReadyArgs),
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
    /// Offer words to a shell
    #[command(hide = true)]
    Complete(CompleteArgs),
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

/// Reads the command line and the environment. A variable that is empty counts as unset, and a switch is on with 1, yes or
/// true.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let mut command = lenient(Cli::command());
    if std::env::args_os().any(|arg| arg == "--stdio") {
        command = command.mut_subcommand("serve", |serve| serve.mut_args(without_listener));
    }
    let matches = command.try_get_matches()?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    cli.form = form_of(&matches);
    Ok(cli)
}

/// What `-o` says. Where it names a file, or is not known, standard output is for people.
fn form_of(matches: &clap::ArgMatches) -> OutputFormat {
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let form = innermost.try_get_one::<OutputFormat>("output");
    form.ok().flatten().copied().unwrap_or_default()
}

fn lenient(command: clap::Command) -> clap::Command {
    command.mut_args(lenient_arg).mut_subcommands(lenient)
}

/// Variables about a listener do not concern a server that has none; its flags are refused.
fn without_listener(arg: clap::Arg) -> clap::Arg {
    if serve::OF_LISTENERS.contains(&arg.get_id().as_str()) {
        arg.env(None::<&str>)
    } else {
        arg
    }
}

fn lenient_arg(arg: clap::Arg) -> clap::Arg {
    let Some(variable) = arg.get_env() else {
        return arg;
    };
    let empty = std::env::var_os(variable).is_some_and(|value| value.is_empty());
    let arg = if matches!(arg.get_action(), clap::ArgAction::SetTrue) {
        arg.value_parser(clap::builder::BoolishValueParser::new())
    } else {
        arg
    };
    if empty { arg.env(None::<&str>) } else { arg }
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
  Start a job, leave it, come back:
    towline run sleep --input '{\"ms\":60000}' --detach --url ws://127.0.0.1:7777/arcp --token s3cret
    towline watch JOB
    towline cancel JOB
";

const FILES: &str = "\
Files:
  towline.toml            configuration: server, tokens, store, agents (which run after `towline trust`)
  ~/.local/state/towline  data: towline.db (jobs and events), sessions/ (of `run --detach`, secret)
";

const ENVIRONMENT: &str = "\
Environment (a flag beats it, it beats towline.toml):
  TOWLINE_URL, TOWLINE_TOKEN      the server to talk to and the token to show
  TOWLINE_CONFIG                  the configuration file
  TOWLINE_DATA_DIR                the data directory
  XDG_STATE_HOME                  where the data directory is, instead of ~/.local/state
  TOWLINE_LOG_FORMAT              human or json
  TOWLINE_LISTEN, TOWLINE_TOKENS, TOWLINE_STORE and others: see `towline serve --help`
  RUST_LOG                        which log lines are shown
  NO_COLOR                        no colours
";

#[cfg(test)]
mod tests {
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
