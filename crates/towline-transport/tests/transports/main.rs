//! The transports, each by what a peer sees of it.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod behaviour;
mod chaos;
mod child;
mod connect;
mod library;
mod memory;
mod raw;
mod stdio;
mod third_party;
mod websocket;
mod wss;
