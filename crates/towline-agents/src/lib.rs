//! Agents that are not Rust closures: programs and processes that a runtime starts, confines and ends.
//!
//! | agent | a job is |
//! | --- | --- |
//! | [`ProcessAgent::arcp`] | a session with a child process that speaks ARCP on its standard input and output |
//! | [`ProcessAgent::exec`] | a run of a program: input on standard input, output is the result |
//! | [`ProcessAgent::acp`] | a turn of a coding agent, which speaks the Agent Client Protocol on its standard input and output |
//! | [`ExecAgent`] | a run of whatever program the job names and its lease covers, kept to the files of the lease |
//! | [`IndexAgent`] | a walk through a tree that the lease lets it read |
//!
//! They are registered like any other:
//!
//! ```
//! use towline_agents::{ExecAgent, ProcessAgent};
//! use towline_runtime::Runtime;
//!
//! # async fn build() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder()
//!     .agent("words", ProcessAgent::exec(["wc", "-w"]))
//!     .agent("review", ProcessAgent::arcp(["python3", "agent.py"]).current_dir("/opt/review"))
//!     .agent("exec", ExecAgent::new());
//! # Ok(())
//! # }
//! ```
//!
//! What a program has to give up it can only give up itself, and what it starts can only be kept together from above: so
//! programs are started by a [`Launcher`]. A `main` that begins with [`launcher::run_if_asked`] makes the runtime's own
//! program one.
//!
//! A program has ended when its process has, whoever still holds its output; what it started ends with it. It sees
//! nothing of the runtime's environment but what it is given. It has no network; where its lease holds `net.fetch`, or its agent
//! has a [`Model`], it reaches a proxy of its job's own, which decides by the lease and sees to the budget. With the feature `mcp` the
//! proxy has tools of the job as well, and servers of tools (`McpTools`) are started for jobs as programs are.

mod acp;
pub mod acp_script;
mod agent;
mod ask;
mod collected;
#[cfg(target_os = "linux")]
pub mod confine;
mod confined;
mod denial;
mod environment;
mod exec;
#[cfg(target_os = "linux")]
mod grants;
#[cfg(target_os = "linux")]
mod held;
mod index;
#[cfg(target_os = "linux")]
mod keeper;
mod keeping;
pub mod launcher;
mod limits;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(not(feature = "mcp"))]
#[path = "no_mcp.rs"]
mod mcp;
#[cfg(target_os = "linux")]
mod memory;
mod named;
mod pipe;
mod plain;
mod process;
mod proxy;
mod relay;
mod remote;
mod said;
mod sandbox;
mod side;
mod spawn;
mod trouble;

pub use agent::ProcessAgent;
pub use ask::AskInput;
pub use collected::ResultForm;
pub use confined::Confinement;
pub use environment::may_pass;
pub use exec::ExecAgent;
pub use index::IndexAgent;
pub use launcher::Launcher;
pub use limits::Limits;
#[cfg(feature = "mcp")]
pub use mcp::{McpTools, McpToolsError};
pub use proxy::{Model, ModelError, Outside, Price, Style};
pub use remote::RemoteAgent;
