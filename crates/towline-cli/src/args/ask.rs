//! Commands about questions of jobs.

use clap::Args;

use super::{ConnectArgs, FormatArgs};

/// `towline inbox`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example:\n  towline inbox -o ndjson | jq -r .title\n\nAnswer with `towline approve`, `deny` or `answer`."
)]
pub(crate) struct InboxArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// Which question of which job.
#[derive(Debug, Clone, Args)]
pub(crate) struct QuestionArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) job: String,

    /// Which of its questions, where several are open
    #[arg(short = 'Q', long, value_name = "Q")]
    pub(crate) question: Option<String>,

    /// A word beside the answer, for the job's log
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) note: Option<String>,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// `towline approve`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Exit status 2 when the job has no open question of this kind, or several.\n\nExample:\n  towline approve job_01J… --remember"
)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    pub(crate) question: QuestionArgs,

    /// Let everything through that the job's ask pattern covers, for the rest of the job
    #[arg(long)]
    pub(crate) remember: bool,
}

/// `towline answer`
#[derive(Debug, Clone, Args)]
#[command(
    group = clap::ArgGroup::new("said").required(true),
    after_help = "Examples:\n  towline answer job_01J… --choice main\n  towline answer job_01J… --json '{\"city\":\"Bern\"}'"
)]
pub(crate) struct AnswerArgs {
    #[command(flatten)]
    pub(crate) question: QuestionArgs,

    /// Answer with a text
    #[arg(long, value_name = "TEXT", group = "said")]
    pub(crate) text: Option<String>,

    /// Answer with JSON: what a form wants, or true or false
    #[arg(long, value_name = "JSON", group = "said")]
    pub(crate) json: Option<String>,

    /// Answer with one of the options
    #[arg(long, value_name = "ID", group = "said")]
    pub(crate) choice: Option<String>,
}

/// `towline say`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Only agents that listen are told anything.\n\nExample:\n  towline say job_01J… 'leave the tests alone'"
)]
pub(crate) struct SayArgs {
    /// The job: its name, or as much of its beginning as tells it from the others
    #[arg(value_name = "JOB")]
    pub(crate) job: String,

    /// What to tell it
    #[arg(value_name = "TEXT")]
    pub(crate) text: String,

    /// The text is JSON, and is told as such
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
