//! Agents that are not Rust closures: programs and processes that a runtime starts, confines and ends.

#[cfg(target_os = "linux")]
pub mod confine;
