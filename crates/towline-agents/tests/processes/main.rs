//! Agents that are real processes: shells that behave, and shells that do not.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod acp;
mod elsewhere;
mod ends;
mod forms;
mod relayed;
mod side;
mod support;
mod terminals;
