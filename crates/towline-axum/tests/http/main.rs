//! Jobs over plain HTTP, asked for in raw bytes over real sockets.

#![cfg(feature = "http")]

mod bounds;
mod client;
mod events;
#[cfg(feature = "mcp")]
mod mcp;
mod questions;
mod results;
mod rules;
mod schedules;
mod submit;
