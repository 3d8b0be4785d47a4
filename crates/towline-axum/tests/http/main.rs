//! Jobs over plain HTTP, asked for in raw bytes over real sockets.

#![cfg(feature = "http")]

mod client;
mod events;
mod questions;
mod results;
mod rules;
mod submit;
