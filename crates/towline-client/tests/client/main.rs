//! The client against scripted runtimes, in paused time.

mod back_pressure;
mod dialects;
mod jobs;
mod peer;
mod recorded;
mod resume;
mod session;
mod watching;
