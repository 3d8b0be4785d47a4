//! The rules of ARCP v1.1 as machines and pure functions: no I/O, no clock, no randomness, no tasks.
//!
//! `now` and ids are arguments, so every race is a table test. The runtime and the client drive these machines; what
//! they decide is committed and sent by their drivers.

pub mod address;
pub mod admission;
pub mod assembly;
pub mod chunks;
pub mod client;
pub mod dialect;
#[cfg(test)]
mod drawing;
pub mod encoding;
pub mod fingerprint;
pub mod heartbeat;
pub mod job;
pub mod lease;
pub mod limits;
pub mod needs;
pub mod outbox;
pub mod questions;
pub mod refusal;
pub mod roles;
#[cfg(feature = "schedules")]
pub mod schedule;
pub mod server;
pub mod span;
pub mod webhook;

pub use dialect::Dialect;
