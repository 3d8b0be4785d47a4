//! `towline mcp`

use clap::Args;

use super::ConnectArgs;

/// `towline mcp`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  claude mcp add towline -- towline mcp                     # the agents of this directory's towline.toml
  TOWLINE_TOKEN=… towline mcp --url https://arcp.example    # those of a server
Standard input and output carry the protocol. Jobs outlive the calls that started them, and this program when they run on a server;
without one it stays until they have ended.")]
pub(crate) struct McpArgs {
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}
