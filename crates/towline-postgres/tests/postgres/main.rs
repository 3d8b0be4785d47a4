//! The PostgreSQL store, on a server of this process's own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod crash;
mod faults;
mod model;
mod opening;
mod sharing;
mod suite;
