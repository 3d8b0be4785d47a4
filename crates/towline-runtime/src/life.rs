//! What happens to a job from its acceptance to its end, and what has to be looked after meanwhile.

pub(crate) mod janitor;
mod places;
pub(crate) mod recovery;
mod run;

pub(crate) use places::Waiting;
pub(crate) use run::{after_end, finish, lease_expired, settle, start, stop_job, stopped};
