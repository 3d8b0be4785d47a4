//! A job in memory: what is fixed, what changes, its log on the way to the store. Data only; `life` acts on it.

mod asking;
mod entry;
mod kin;
mod log;
mod run_job;
mod tail;
mod talk;

pub(crate) use asking::CannotAsk;
pub(crate) use entry::{CausedBy, Changes, JobCore, JobEntry, Place, remaining};
pub(crate) use kin::Kin;
pub(crate) use log::{AppendError, Backlog, LONGEST_EVENT};
pub(crate) use run_job::{RunJob, RunRules};
