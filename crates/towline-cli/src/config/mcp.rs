//! `[mcp]`: agents as tools of the Model Context Protocol.

use serde::Deserialize;
use towline::mcp::Options;

/// `[mcp]`
#[derive(Debug, Default, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct McpSection {
    /// Whether the tool `job_answer` may answer approvals.
    may_approve: bool,
}

impl McpSection {
    /// What the file lets models do by itself, if it does.
    pub(super) fn acts(&self) -> Option<String> {
        self.may_approve
            .then(|| "mcp: models may approve what jobs ask".to_owned())
    }

    /// What it decides.
    pub(crate) fn options(&self) -> Options {
        Options::default().dangerously_let_models_approve(self.may_approve)
    }
}
