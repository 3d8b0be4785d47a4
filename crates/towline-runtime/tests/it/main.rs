//! The runtime over memory transports, driven frame by frame.

#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of tests are tests"
)]

mod access;
mod ack;
mod again;
mod agents;
mod approvals;
mod audit;
mod cancel;
mod close;
mod credentials;
mod days;
mod delegation;
mod dialects;
#[path = "../../../towline-proto/src/drawing.rs"]
mod drawing;
mod ending;
mod events;
mod files;
mod follow;
mod handshake;
mod heartbeat;
mod http;
mod jobs;
mod keeping;
mod keys;
mod lifecycle;
mod limits;
mod list;
mod listing;
mod models;
mod peer;
mod questions;
mod queues;
mod quotas;
mod recorded;
mod resume;
mod schedules;
mod shares;
mod stress;
mod submit;
mod subscribe;
mod tokens;
mod trace;
mod versions;
mod webhooks;
