//! A job in memory: what is fixed, what changes, its log on the way to the store. Data only; `life` acts on it.

mod entry;
mod tail;

pub(crate) use entry::{Closed, JobEntry, Waiting, remaining};
