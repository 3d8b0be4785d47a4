//! Commands for operators.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{ConnectArgs, FormatArgs};
use crate::values::{self, Budget, Grant, Span};

/// Which store.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// The store's file [default: DATA-DIR/towline.db]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,

    /// The store, as `serve` takes it: postgres://USER@HOST/DATABASE or sqlite:PATH
    #[arg(
        long,
        global = true,
        value_name = "STORE",
        env = "TOWLINE_STORE",
        hide_env_values = true,
        conflicts_with = "path"
    )]
    pub(crate) store: Option<String>,
}

/// `towline store …`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum StoreCommand {
    /// Check the file and what it says; status 1 when something is wrong
    Verify {
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Copy the store to a new file
    #[command(after_help = "Example:\n  towline store backup towline-monday.db")]
    Backup {
        /// The file to write; it must not exist
        to: PathBuf,
    },
    /// Give freed space back to the file system
    Compact,
    /// Count jobs, events and bytes
    Stats {
        #[command(flatten)]
        format: FormatArgs,
    },
}

/// `towline nodes …`
#[derive(Debug, Clone, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  towline nodes --store postgres://towline@db/towline\n  towline nodes drain a --store postgres://towline@db/towline"
)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    pub(crate) format: FormatArgs,

    /// The database, as `serve` takes it: postgres://USER@HOST/DATABASE
    #[arg(
        long,
        global = true,
        value_name = "STORE",
        env = "TOWLINE_STORE",
        hide_env_values = true
    )]
    pub(crate) store: Option<String>,

    /// Speak to a database on another machine without TLS (sslmode=disable)
    #[arg(long, global = true)]
    pub(crate) dangerously_store_in_the_clear: bool,

    #[command(subcommand)]
    pub(crate) command: Option<NodesCommand>,
}

/// What becomes of a node.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum NodesCommand {
    /// Have a node shut down and leave its sessions and jobs to the others; returns when nothing is its own any more
    Drain {
        /// The node's name
        name: String,
    },
}

/// `towline lease …`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LeaseCommand {
    /// Say for each operation whether the lease allows it, and why
    #[command(
        after_help = "Example:\n  towline lease explain --lease 'fs.read=/data/**' --op fs.read=/data/../etc/passwd\n  towline lease explain --as alice --lease 'fs.read=/data/**'\n\nStatus 0 when everything asked for is allowed, 1 otherwise."
    )]
    Explain {
        /// A grant, as in fs.read=/data/**; may be repeated
        #[arg(
            short,
            long,
            value_name = "NS=PATTERN",
            required_unless_present = "principal"
        )]
        lease: Vec<Grant>,
        /// Say what holds for this principal on a server with this configuration, and what it is granted of the lease
        #[arg(long = "as", value_name = "PRINCIPAL")]
        principal: Option<String>,
        /// A budget, as in USD:1.00; may be repeated
        #[arg(short, long, value_name = "CURRENCY:AMOUNT")]
        budget: Vec<Budget>,
        /// An operation, as in fs.read=/data/a.txt; may be repeated
        #[arg(long, value_name = "NS=VALUE", required_unless_present = "principal", requires = "lease", value_parser = values::operation)]
        op: Vec<Grant>,
    },
}

/// `towline credentials`
#[derive(Debug, Clone, Args)]
pub(crate) struct CredentialsArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// `towline audit`
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Reads the store of the data directory, also while a server has it.\n\nExamples:\n  towline audit --since 1d --refused\n  towline audit --principal alice --action submit -o ndjson"
)]
pub(crate) struct AuditArgs {
    /// Only entries younger than this, as in 1h
    #[arg(long, value_name = "SPAN", value_parser = values::positive_span)]
    pub(crate) since: Option<Span>,

    /// Only this action: auth, resume, submit, cancel, subscribe, lease.expired, sessions.revoke, credential.issue, …
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,

    /// Only what this principal did, or what was done to it
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) principal: Option<String>,

    /// Only what was refused
    #[arg(long)]
    pub(crate) refused: bool,

    /// At most this many, the latest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// `towline sessions …`
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SessionsCommand {
    /// End the sessions of a principal on a running server; needs a role with `admin`
    #[command(
        after_help = "They lose their connections and cannot be resumed; jobs go on. Whoever still has a good token can open another session: take the token away first, and reload the server with SIGHUP.\n\nExample:\n  towline sessions revoke alice --url wss://arcp.example --token-file admin.token"
    )]
    Revoke {
        /// Whose sessions
        principal: String,
        #[command(flatten)]
        format: FormatArgs,
        #[command(flatten)]
        connect: ConnectArgs,
    },
}

/// `towline complete`
#[derive(Debug, Clone, Args)]
pub(crate) struct CompleteArgs {
    /// What is looked for
    pub(crate) what: CompleteWhat,
    /// The word so far
    #[arg(default_value = "")]
    pub(crate) word: String,
    /// The words of the line
    #[arg(last = true)]
    pub(crate) words: Vec<String>,
}

/// What a shell can be offered.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum CompleteWhat {
    /// Names of jobs
    Jobs,
    /// Names of agents
    Agents,
}
