//! What runs a job, as the job knows it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use towline_proto::job::Failure;
use towline_wire::RawJson;

use super::JobEntry;
use crate::agent_options::AgentOptions;

/// Something that runs jobs: an agent, in the runtime it was registered with. A job knows no more of it.
pub(crate) trait RunJob: Send + Sync {
    /// Runs a job. A panic may come from here or from the future.
    fn run(&self, job: Arc<JobEntry>) -> BoxFuture<'static, Result<RawJson, Failure>>;

    /// How its jobs are run.
    fn rules(&self) -> RunRules;
}

/// How the jobs of an agent are run.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunRules {
    pub(crate) options: AgentOptions,
    /// Whether the job ends when its budget is spent, for no operation of the agent has to ask for anything.
    pub(crate) ends_when_spent: bool,
}
