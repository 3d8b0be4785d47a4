//! Agents that are real processes: shells that behave, and shells that do not.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod acp;
mod elsewhere;
mod ends;
mod forms;
#[cfg(feature = "mcp")]
mod own_tools;
mod relayed;
mod rude;
mod side;
mod support;
mod terminals;
#[cfg(feature = "mcp")]
mod tool_servers;
