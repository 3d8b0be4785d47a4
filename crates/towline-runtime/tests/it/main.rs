//! The runtime over memory transports, driven frame by frame.

mod files;
mod http;
mod jobs;
mod models;
mod peer;
