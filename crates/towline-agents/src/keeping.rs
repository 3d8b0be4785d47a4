//! What a later run of a job has to know: what its agent keeps, and, of one that speaks ACP, which session it is and what that
//! cost. Both stand in the one checkpoint that a job has [ARCP 17-6].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use towline_runtime::{AgentError, JobContext};
use towline_wire::{Amount, RawJson};

/// What is kept of a session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) acp_session: Option<String>,
    #[serde(default)]
    pub(crate) costs: BTreeMap<String, Amount>,
    /// What the agent keeps for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<RawJson>,
}

/// Keeps it.
#[derive(Debug)]
pub(crate) struct Keeping {
    ctx: JobContext,
    /// Whether the checkpoint is of a session, or what the agent keeps and nothing else.
    of_session: bool,
    kept: Mutex<Kept>,
}

impl Keeping {
    /// For an agent of another kind, whose checkpoint is its own.
    pub(crate) fn plain(ctx: &JobContext) -> Self {
        Self::new(ctx, false)
    }

    /// For an agent that speaks ACP.
    pub(crate) fn session(ctx: &JobContext) -> Self {
        Self::new(ctx, true)
    }

    fn new(ctx: &JobContext, of_session: bool) -> Self {
        Self {
            ctx: ctx.clone(),
            of_session,
            kept: Mutex::default(),
        }
    }

    /// What an earlier run kept is there again.
    pub(crate) async fn restore(&self, kept: &RawJson) {
        *self.kept.lock().await = if self.of_session {
            kept.read().unwrap_or_default()
        } else {
            Kept {
                value: Some(kept.clone()),
                ..Kept::default()
            }
        };
    }

    /// What is kept.
    pub(crate) async fn kept(&self) -> Kept {
        self.kept.lock().await.clone()
    }

    /// Keeps which session it is, and what it cost.
    pub(crate) async fn keep_session(
        &self,
        session: Option<String>,
        costs: BTreeMap<String, Amount>,
    ) -> Result<(), AgentError> {
        let mut kept = self.kept.lock().await;
        (kept.acp_session, kept.costs) = (session, costs);
        // Under the lock: the latest checkpoint counts, and has to be the latest.
        Ok(self.ctx.checkpoint(&*kept).await?)
    }

    /// Keeps a value of the agent's. It is durable on return.
    #[cfg(feature = "mcp")]
    pub(crate) async fn keep_value(
        &self,
        value: RawJson,
    ) -> Result<(), towline_runtime::EventError> {
        let mut kept = self.kept.lock().await;
        let next = Kept {
            value: Some(value),
            ..kept.clone()
        };
        if self.of_session {
            self.ctx.checkpoint(&next).await?;
        } else {
            self.ctx.checkpoint(&next.value).await?;
        }
        *kept = next;
        Ok(())
    }
}
