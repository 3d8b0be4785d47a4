//! `towline demo`

use clap::Args;

use crate::values;

/// `towline demo`
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
A server with the dashboard starts on a free port of this machine, and an agent that follows a script works on a scratch
repository. No model, no key, and nothing leaves the machine; Ctrl-C ends it and removes everything.

Examples:
  towline demo
  towline demo --headless      # to its end, without waiting for anybody")]
pub(crate) struct DemoArgs {
    /// Wait for nobody, and end with the job: status 0 when all went as it should
    #[arg(long)]
    pub(crate) headless: bool,

    /// Where the dashboard is [default: a free port of 127.0.0.1]
    #[arg(short, long, value_name = "HOST:PORT", value_parser = values::listen_address)]
    pub(crate) listen: Option<String>,
}
