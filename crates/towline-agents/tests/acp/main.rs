//! Agents that speak the Agent Client Protocol: turns of the scripted agent, as jobs.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod permits;
mod stage;
mod turns;
