//! Without the feature `mcp` a job has no server of tools.

use std::sync::Arc;

use hyper::{Request, Response, body::Incoming};
use towline_runtime::JobContext;
use towline_wire::Secret;

use crate::{keeping::Keeping, proxy::Body};

/// How a program hears of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Told {
    InSession,
    InEnvironment,
}

/// There is none.
#[derive(Debug)]
pub(crate) enum JobServer {}

impl JobServer {
    pub(crate) fn new(_: &JobContext, _: Arc<Keeping>, _: Told) -> Option<Arc<Self>> {
        None
    }

    pub(crate) fn is_at(&self, _: &str) -> bool {
        match *self {}
    }

    pub(crate) fn variables(&self, _: u16) -> Vec<(String, String)> {
        match *self {}
    }

    pub(crate) fn url(&self, _: u16) -> String {
        match *self {}
    }

    pub(crate) fn key(&self) -> &Secret {
        match *self {}
    }

    pub(crate) async fn answer(&self, _: Request<Incoming>) -> Response<Body> {
        match *self {}
    }
}
