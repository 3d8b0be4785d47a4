//! What a job of such an agent is given.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};
use towline_proto::lease::LeaseSet;
use towline_runtime::{AgentError, JobContext};
use towline_wire::{ErrorCode, JobId, Lease, RawJson, namespace};

/// The input as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    prompt: Option<String>,
    blocks: Option<Vec<Value>>,
    cwd: Option<String>,
    #[serde(default)]
    dirs: Vec<String>,
    mode: Option<String>,
    model: Option<String>,
    #[serde(rename = "continue")]
    earlier: Option<JobId>,
}

/// What is to be done.
pub(super) struct Task {
    /// The content blocks of the prompt.
    pub(super) prompt: Value,
    pub(super) cwd: String,
    pub(super) dirs: Vec<String>,
    pub(super) mode: Option<String>,
    pub(super) model: Option<String>,
    /// The job whose session goes on.
    pub(super) earlier: Option<JobId>,
}

impl Task {
    /// Reads it, and looks whether the lease covers where it is to be done. A text alone is a prompt.
    ///
    /// # Errors
    /// INVALID_REQUEST, naming what does not fit; PERMISSION_DENIED for a directory that the lease does not cover.
    pub(super) async fn read(
        ctx: &JobContext,
        input: &RawJson,
        directory: &Path,
    ) -> Result<Self, AgentError> {
        let invalid = |why: String| AgentError::new(ErrorCode::INVALID_REQUEST, why);
        let input: Input = match input.read::<String>() {
            Ok(prompt) => Input {
                prompt: Some(prompt),
                blocks: None,
                cwd: None,
                dirs: Vec::new(),
                mode: None,
                model: None,
                earlier: None,
            },
            Err(_) => input.read().map_err(|error| {
                invalid(format!(
                    "`input` does not fit this agent ({error}): write {{\"prompt\":\"…\"}}, and beside it cwd, dirs, mode, model, continue"
                ))
            })?,
        };
        let prompt = match (input.prompt, input.blocks) {
            (Some(text), None) => json!([{"type": "text", "text": text}]),
            (None, Some(blocks)) if !blocks.is_empty() => Value::Array(blocks),
            _ => {
                return Err(invalid(
                    "`input` has to have exactly one of `prompt`, a text, and `blocks`, content blocks of ACP".to_owned(),
                ));
            }
        };
        let asked = input.cwd.is_some();
        let cwd = input
            .cwd
            .unwrap_or_else(|| directory.to_string_lossy().into_owned());
        for named in asked.then_some(&cwd).into_iter().chain(&input.dirs) {
            covered(ctx, named)?;
        }
        Ok(Self {
            prompt,
            cwd,
            dirs: input.dirs,
            mode: input.mode,
            model: input.model,
            earlier: input.earlier,
        })
    }
}

/// A directory to work in has to be readable with all that is in it, or itself.
fn covered(ctx: &JobContext, directory: &str) -> Result<(), AgentError> {
    if !PathBuf::from(directory).is_absolute() {
        let why = format!("`{directory}` is no absolute path; `cwd` and `dirs` have to be");
        return Err(AgentError::new(ErrorCode::INVALID_REQUEST, why));
    }
    let reach = ctx.reach();
    let trimmed = directory.trim_end_matches('/');
    let covers = |pattern: String| {
        let wanted = LeaseSet::compile(&Lease::new().with(namespace::FS_READ, pattern));
        wanted.is_ok_and(|wanted| reach.contains(&wanted))
    };
    // A name that means more than itself in a pattern cannot be compared as one.
    let is_plain = !directory.contains(['*', '?', '[', ']', '{', '}', '\\']);
    if is_plain && (covers(format!("{trimmed}/**")) || covers(trimmed.to_owned())) {
        return Ok(());
    }
    Err(AgentError::new(
        ErrorCode::PERMISSION_DENIED,
        format!("`{directory}` is outside of the lease: it takes fs.read={trimmed}/**"),
    ))
}
