//! What all resources share: the runtime, and what they read of every request.

use std::sync::Arc;

use axum::http::request::Parts;
use towline_runtime::Runtime;
use towline_wire::JobId;

use super::problem::Problem;
use crate::{EndpointOptions, Visit};

/// A runtime as it is served.
pub(super) struct Face {
    pub(super) runtime: Runtime,
    pub(super) options: EndpointOptions,
}

pub(super) type Shared = Arc<Face>;

/// The request goes on for longer than a plain request may: the server's clock stops [ARCP 14-5].
pub(super) fn takes_long(parts: &Parts) {
    if let Some(visit) = parts.extensions.get::<Visit>() {
        visit.taken();
    }
}

/// The job a path names.
pub(super) fn job_of(path: &str) -> Result<JobId, Problem> {
    JobId::parse(path).map_err(|_| Problem::no_such_job(path))
}
