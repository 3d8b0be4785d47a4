//! The client against scripted runtimes, in paused time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod back_pressure;
mod dialects;
mod jobs;
mod joining;
mod large;
mod peer;
mod recorded;
mod recorded_outcomes;
mod resume;
mod session;
mod trace;
mod watching;
