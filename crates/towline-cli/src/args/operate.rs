//! Commands for operators.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::FormatArgs;
use crate::values::{self, Budget, Grant};

/// Which store.
#[derive(Debug, Clone, Args)]
pub(crate) struct StoreArgs {
    /// The store's file [default: DATA-DIR/towline.db]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) path: Option<PathBuf>,
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
