//! Agents that are not Rust closures: programs and processes that a runtime starts, confines and ends.
//!
//! | agent | a job is |
//! | --- | --- |
//! | [`ProcessAgent::arcp`] | a session with a child process that speaks ARCP on its standard input and output |
//! | [`ProcessAgent::exec`] | a run of a program: input on standard input, output is the result |
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
//! A process cannot be confined from outside without unsafe code, so programs are started by a [`Launcher`].

mod agent;
mod exec;
mod index;
pub mod launcher;
mod process;
mod relay;
mod sandbox;

pub use agent::ProcessAgent;
pub use exec::ExecAgent;
pub use index::IndexAgent;
pub use launcher::Launcher;

use towline_runtime::AgentError;
use towline_wire::ErrorCode;

/// How an agent that heard a cancel ends. The runtime knows better why and says so.
fn cancelled() -> AgentError {
    AgentError::new(ErrorCode::CANCELLED, "the job was cancelled")
}
