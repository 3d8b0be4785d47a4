//! The protocol as a client over a real socket sees it, across sessions, connections and lives of the program.

mod cancel;
mod child;
mod delegation;
mod http;
mod idempotency;
mod leases;
mod listing;
mod resume;
mod streaming;
mod subscribe;
