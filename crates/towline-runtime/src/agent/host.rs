//! What registered agents run in.

use std::sync::{Arc, OnceLock, Weak};

use futures_util::future::BoxFuture;
use towline_proto::job::Failure;
use towline_wire::{ErrorCode, RawJson};

use super::Agent;
use crate::{
    agent_options::AgentOptions,
    context::{Equipment, JobContext},
    hub::Hub,
    job::{JobEntry, RunJob, RunRules},
};

/// The runtime that agents run in. Agents are registered while it is described, so it is filled in when it is built. Cheap
/// to clone; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Host(Arc<OnceLock<Built>>);

struct Built {
    /// The hub holds the agents, and they do not hold it.
    hub: Weak<Hub>,
    equipment: Arc<Equipment>,
}

impl Host {
    /// The runtime is built. The first one counts.
    pub(crate) fn fill_in(&self, hub: &Arc<Hub>, equipment: Equipment) {
        let built = Built {
            hub: Arc::downgrade(hub),
            equipment: Arc::new(equipment),
        };
        let first = self.0.set(built).is_ok();
        debug_assert!(first, "a runtime is built once");
    }

    /// An agent as jobs know it.
    pub(crate) fn seat(&self, agent: Arc<dyn Agent>, options: AgentOptions) -> Arc<dyn RunJob> {
        let rules = RunRules {
            options,
            ends_when_spent: agent.spends_unasked(),
        };
        Arc::new(Seated {
            host: self.clone(),
            agent,
            rules,
        })
    }

    fn context(&self, job: Arc<JobEntry>) -> Option<JobContext> {
        let built = self.0.get()?;
        let equipment = Arc::clone(&built.equipment);
        Some(JobContext::new(built.hub.upgrade()?, job, equipment))
    }
}

struct Seated {
    host: Host,
    agent: Arc<dyn Agent>,
    rules: RunRules,
}

impl RunJob for Seated {
    fn run(&self, job: Arc<JobEntry>) -> BoxFuture<'static, Result<RawJson, Failure>> {
        let input = job.row.input.clone();
        // Jobs begin in a runtime that is built, and keep it.
        let Some(ctx) = self.host.context(job) else {
            let gone = Failure::new(ErrorCode::INTERNAL_ERROR, "the runtime is gone");
            return Box::pin(async { Err(gone) });
        };
        let closing = ctx.closing();
        let running = self.agent.run(ctx, input);
        Box::pin(async move {
            let gave = running.await.map_err(super::AgentError::into_failure);
            drop(closing);
            gave
        })
    }

    fn rules(&self) -> RunRules {
        self.rules.clone()
    }
}
