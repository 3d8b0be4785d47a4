//! Commands about jobs.

use std::path::PathBuf;

use clap::Args;

use super::{ConnectArgs, FormatArgs};
use crate::{
    values::{self, Budget, Grant, Input, Span},
    work_dir::WorkDir,
};

/// `towline run`
#[derive(Debug, Clone, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    /// The agent, NAME or NAME@VERSION; `towline agents` lists them
    pub(crate) agent: String,

    /// Let the job work in this directory: short for fs.read and fs.write on DIR/**, and `cwd` in its input
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<WorkDir>,

    #[command(flatten)]
    pub(crate) job: NewJobArgs,
}

/// What a new job is given, and how it is followed.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewJobArgs {
    /// What the agent is given: JSON, @FILE, or - for standard input [default: null; for `rerun` what the old job was given]
    #[arg(short, long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    pub(crate) input: Option<Input>,

    /// Grant the job something, as in fs.read=/data/** or tool.call=exec:ls; may be repeated
    #[arg(short, long, value_name = "NS=PATTERN")]
    pub(crate) lease: Vec<Grant>,

    /// Ask before the job does something that its lease does not cover, as in fs.write=/data/**; may be repeated
    #[arg(long, value_name = "NS=PATTERN")]
    pub(crate) ask: Vec<Grant>,

    /// Bound what the job may spend, as in USD:1.00; may be repeated
    #[arg(short, long, value_name = "CURRENCY:AMOUNT")]
    pub(crate) budget: Vec<Budget>,

    /// End the job's authority after this long, as in 10m
    #[arg(long, value_name = "SPAN", value_parser = values::positive_span)]
    pub(crate) expires_in: Option<Span>,

    /// End the job when it has run this long, as in 5m
    #[arg(long, value_name = "SPAN", value_parser = values::positive_span)]
    pub(crate) max_runtime: Option<Span>,

    /// Begin no sooner than this moment, as in 2026-01-31T02:30:00Z; until then the job is pending
    #[arg(long, value_name = "TIME", conflicts_with = "after")]
    pub(crate) at: Option<towline::wire::Timestamp>,

    /// Begin no sooner than after this long, as in 2h
    #[arg(long = "in", value_name = "SPAN", value_parser = values::positive_span)]
    pub(crate) after: Option<Span>,

    /// Stand in this queue of the runtime's
    #[arg(long, value_name = "NAME")]
    pub(crate) queue: Option<String>,

    /// Go before jobs of lower priority in the queue, from -100 to 100 [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-100..=100))]
    pub(crate) priority: Option<i64>,

    /// Have this URL told over HTTP when the job has ended; the runtime's [webhooks] have to allow it
    #[arg(long, value_name = "URL")]
    pub(crate) notify: Option<String>,

    /// Have --notify told of this as well or instead: started, input_request, ended; may be repeated
    #[arg(long, value_name = "EVENT", requires = "notify", value_parser = ["started", "input_request", "ended"])]
    pub(crate) notify_of: Vec<String>,

    /// An idempotency key: the same key and parameters again find the first job instead of starting another
    #[arg(short, long, value_name = "KEY")]
    pub(crate) key: Option<String>,

    /// Return as soon as the job is accepted; `watch`, `cancel` and `result` come back to it (needs a server)
    #[arg(short, long)]
    pub(crate) detach: bool,

    /// Show no events, only the result
    #[arg(short, long)]
    pub(crate) quiet: bool,

    /// Let a terminal have the result as it is, with whatever it would obey
    #[arg(long)]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

const RUN_EXAMPLES: &str = "\
Examples:
  towline run echo --input '{\"hi\":1}'
  towline run index --input '{\"root\":\".\"}' --lease \"fs.read=$PWD/**\" > index.jsonl
  towline run exec --input '{\"argv\":[\"ls\",\"-l\"]}' --lease tool.call=exec:ls --lease \"fs.read=$PWD/**\"
  towline run exec --dir . --input '{\"argv\":[\"make\"]}' --lease tool.call=exec:make
  towline run spend --input '{\"costs\":[[\"USD\",0.4]]}' --lease tool.call=search.* --budget USD:1.00 -o ndjson

Ctrl-C cancels the job and waits for its end; a second one leaves at once.
Exit status: 0 success, 1 the job ended otherwise, 2 usage, others by error code (`towline --help`).";

/// `towline rerun`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "The new job has the agent, the input, the lease and the longest runtime of the old one, save what is given here; --lease, --ask and --budget replace the whole lease.\n\nExample:\n  towline rerun job_01J… --input '{\"n\":7}'"
)]
pub(crate) struct RerunArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) earlier: String,

    #[command(flatten)]
    pub(crate) job: NewJobArgs,
}

/// `towline jobs`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  towline jobs --status running --status pending\n  towline jobs --agent index --since 1h -o ndjson\n  towline jobs --failed --since 1d --search review"
)]
pub(crate) struct JobsArgs {
    /// Only jobs in this state: pending, running, success, error, cancelled, timed_out; may be repeated
    #[arg(short, long, value_name = "STATUS", value_parser = STATUSES, hide_possible_values = true)]
    pub(crate) status: Vec<String>,

    /// Only jobs that failed: error and timed_out
    #[arg(long, conflicts_with = "status")]
    pub(crate) failed: bool,

    /// Only jobs of which the listing mentions this: in the name, agent, principal, lease, trace
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,

    /// Only jobs of this agent; NAME@VERSION means that version alone
    #[arg(short, long, value_name = "AGENT")]
    pub(crate) agent: Option<String>,

    /// Only jobs younger than this, as in 1h
    #[arg(long, value_name = "SPAN", value_parser = values::positive_span)]
    pub(crate) since: Option<Span>,

    /// At most this many, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// What a job may be.
const STATUSES: [&str; 6] = [
    "pending",
    "running",
    "success",
    "error",
    "cancelled",
    "timed_out",
];

/// `towline get`
#[derive(Debug, Clone, Args)]
pub(crate) struct GetArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) job: String,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `towline watch`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "A job of `run --detach` is found by its name alone: the saved session knows the server.\n\nExample:\n  towline watch job_01J… --from 100 -o ndjson"
)]
pub(crate) struct WatchArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) job: String,

    /// Begin at this event of the job, counted from 1 [default: its first]
    #[arg(long, value_name = "N", conflicts_with = "live")]
    pub(crate) from: Option<u64>,

    /// Only what happens from now on
    #[arg(long)]
    pub(crate) live: bool,

    /// Let a terminal have the result as it is, with whatever it would obey
    #[arg(long)]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `towline result`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Waits for the end of a job that still runs.\n\nExample:\n  towline result job_01J… -o index.jsonl"
)]
pub(crate) struct ResultArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) job: String,

    /// Write to this file instead of standard output; it appears complete or not at all
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Let a terminal have the result as it is, with whatever it would obey
    #[arg(long)]
    pub(crate) raw: bool,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `towline cancel`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Every session of whoever submitted a job may cancel it, and whom a role lets. Some runtimes let only the session that submitted it: `run --detach` keeps that one for you."
)]
pub(crate) struct CancelArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) job: String,

    /// Why, for the job's log
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `towline wait`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Says each job's end as it comes.\nExit status: 0 when all ended with success, 1 otherwise.\n\nExample:\n  towline wait job_01J… job_01K… && echo all done"
)]
pub(crate) struct WaitArgs {
    /// The jobs: their names, or as much of the beginning as tells each from the others
    #[arg(value_name = "JOB", required = true)]
    pub(crate) jobs: Vec<String>,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `towline export`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "One JSON object a line: job.event for each event, in order, then job.result or job.error. A job that runs is written as far as it got.\n\nExample:\n  towline export job_01J… -o job.ndjson"
)]
pub(crate) struct ExportArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) job: String,

    /// Write to this file instead of standard output; it appears complete or not at all
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `towline top`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Ctrl-C leaves. Where standard output is no terminal, and with --once, what runs now is written once."
)]
pub(crate) struct TopArgs {
    /// Look again this often [default: 1s]
    #[arg(long, value_name = "SPAN", value_parser = values::positive_span)]
    pub(crate) every: Option<Span>,

    /// Look once, and end
    #[arg(long)]
    pub(crate) once: bool,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
