//! What operators see of a server: one trace through everything a job touches, and its metrics.

mod addresses;
mod collector;
mod metrics;
mod traces;
