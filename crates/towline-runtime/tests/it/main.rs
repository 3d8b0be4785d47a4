//! The runtime over memory transports, driven frame by frame.

#![expect(clippy::unwrap_used, unreachable_pub, reason = "helpers of tests are tests")]

mod agents;
mod files;
mod handshake;
mod http;
mod jobs;
mod models;
mod peer;
mod resume;
