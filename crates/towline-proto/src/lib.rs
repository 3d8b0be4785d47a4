//! The rules of ARCP v1.1 as machines and pure functions: no I/O, no clock, no randomness, no tasks.
//!
//! `now` and ids are arguments, so every race is a table test. The runtime and the client drive these machines; what
//! they decide is committed and sent by their drivers.

pub mod dialect;
pub mod heartbeat;
pub mod lease;

pub use dialect::Dialect;
