//! `towline webhooks`

use clap::{Args, Subcommand};

use super::{ConnectArgs, FormatArgs};

/// `towline webhooks`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  towline webhooks --url https://arcp.example -o json\n  towline webhooks redeliver msg_01J…_9 --url https://arcp.example"
)]
pub(crate) struct WebhooksArgs {
    #[command(subcommand)]
    pub(crate) command: Option<WebhooksCommand>,

    /// At most this many, the latest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,

    #[command(flatten)]
    pub(crate) format: FormatArgs,

    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

/// What to do about messages.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// Deliver a message once more, whatever became of it
    Redeliver {
        /// The message, as the list names it
        id: String,
        #[command(flatten)]
        format: FormatArgs,
        #[command(flatten)]
        connect: ConnectArgs,
    },
}
