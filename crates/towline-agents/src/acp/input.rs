//! What a job of an ACP agent is given [ARCP 17-1].

use serde::Deserialize;
use serde_json::{Value, json};
use towline_proto::lease::Operation;
use towline_runtime::{AgentError, JobContext};
use towline_wire::{JobId, RawJson, explain_json};

/// The input of a job.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    blocks: Option<Vec<Value>>,
    pub(crate) cwd: String,
    #[serde(default)]
    pub(super) dirs: Vec<String>,
    #[serde(default)]
    pub(super) mode: Option<String>,
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default, rename = "continue")]
    continues: Option<String>,
}

impl Input {
    /// Reads it, and asks the lease for its directories.
    ///
    /// # Errors
    /// INVALID_REQUEST for what does not fit; PERMISSION_DENIED for a directory outside of the lease.
    pub(crate) async fn read(ctx: &JobContext, input: &RawJson) -> Result<Self, AgentError> {
        let mut read: Self = input
            .read()
            .map_err(|cause| AgentError::invalid_input(&explain_json(&cause)))?;
        if read.prompt.is_some() == read.blocks.is_some() {
            return Err(AgentError::invalid_input(
                &"give it either `prompt`, a text, or `blocks`, a list of content blocks",
            ));
        }
        read.earlier()?;
        for directory in std::iter::once(&mut read.cwd).chain(&mut read.dirs) {
            *directory = covered(ctx, directory).await?;
        }
        Ok(read)
    }

    /// The job whose session goes on.
    pub(super) fn earlier(&self) -> Result<Option<JobId>, AgentError> {
        let job = self.continues.as_deref().map(JobId::parse).transpose();
        job.map_err(|error| AgentError::invalid_input(&format!("`continue`: {error}")))
    }

    /// The prompt as content blocks.
    pub(super) fn blocks(&self) -> Value {
        match (&self.blocks, &self.prompt) {
            (Some(blocks), _) => Value::Array(blocks.clone()),
            (None, prompt) => json!([{"type": "text", "text": prompt}]),
        }
    }
}

/// A directory of the job, without links on its way.
async fn covered(ctx: &JobContext, given: &str) -> Result<String, AgentError> {
    let permit = ctx.authorize(Operation::FsRead(given)).await?;
    let found = tokio::fs::canonicalize(permit.value()).await;
    let found = found.map_err(|error| AgentError::invalid_input(&format!("`{given}`: {error}")))?;
    // A link must not lead out of the lease.
    let permit = ctx
        .authorize(Operation::FsRead(&found.to_string_lossy()))
        .await?;
    Ok(permit.value().to_owned())
}
