//! The transports, each by what a peer sees of it.

mod behaviour;
mod chaos;
mod child;
mod connect;
mod memory;
mod raw;
mod stdio;
mod third_party;
mod websocket;
mod wss;
