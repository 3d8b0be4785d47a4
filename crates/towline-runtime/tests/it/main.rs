//! The runtime over memory transports, driven frame by frame.

mod files;
mod jobs;
mod peer;
