//! A job's name as it was typed.

use towline::JobId;

use crate::{
    failure::{Failure, Outcome},
    output,
};

/// Reads it.
pub(crate) fn job_id(text: &str) -> Outcome<JobId> {
    JobId::parse(text).map_err(|error| {
        Failure::usage(format!(
            "`{}` is not a job's name: {error}",
            output::clean(text)
        ))
    })
}
