//! `towline schedule`

use clap::Subcommand;
use towline::wire::Timestamp;

use super::{ConnectArgs, FormatArgs};

/// What to do about schedules.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// List schedules and when they fire next: those of towline.toml, or with --url those of a server
    Ls {
        /// Show so many of the next times
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1000))]
        next: u32,
        /// Show the times after this moment, as in 2026-03-28T00:00:00Z [default: now]
        #[arg(long, value_name = "TIME")]
        from: Option<Timestamp>,
        #[command(flatten)]
        format: FormatArgs,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Submit a schedule's job now, and print its name
    Run(ScheduleArgs),
    /// Let a schedule fire no more, until it is resumed
    Pause(ScheduleArgs),
    /// Let a schedule fire again; what came meanwhile was not missed
    Resume(ScheduleArgs),
}

/// A schedule of a server.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ScheduleArgs {
    /// The schedule
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
