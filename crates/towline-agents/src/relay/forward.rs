//! A child's events, as the job's.

use serde::Deserialize;
use towline_client::JobEvent;
use towline_runtime::{AgentError, EventError, JobContext, ResultWriter};
use towline_wire::{
    Event, EventKind, EventPayload, Lease, LeaseConstraints, RawJson, event, explain_json,
};

/// Passes events on. What only a runtime may say (`running`, what is left of a budget) stays behind, for ours says it
/// itself; what asks something of a runtime is asked of ours.
pub(super) struct Forward<'j> {
    ctx: &'j JobContext,
    writer: Option<ResultWriter>,
}

/// A `delegate` event, as far as it is an order: the child's own number of the job it made means nothing here.
#[derive(Deserialize)]
struct Order {
    agent: String,
    #[serde(default)]
    input: Option<RawJson>,
    #[serde(default, alias = "lease_request")]
    lease: Option<Lease>,
    #[serde(default, alias = "lease_constraints")]
    constraints: Option<LeaseConstraints>,
}

impl<'j> Forward<'j> {
    pub(super) fn new(ctx: &'j JobContext) -> Self {
        Self { ctx, writer: None }
    }

    /// Passes one on.
    pub(super) async fn event(&mut self, event: &JobEvent) -> Result<(), AgentError> {
        let Ok(payload) = event.payload() else {
            return self
                .warn("the agent's process sent an event that cannot be read")
                .await;
        };
        if payload.kind == EventKind::DELEGATE {
            return self.delegate(&payload).await;
        }
        match payload.event() {
            Ok(Event::ResultChunk(chunk)) => self.piece(chunk).await?,
            Ok(Event::Status(status)) if OURS.contains(&status.phase.as_str()) => {}
            Ok(Event::Metric(metric)) if metric.name == "cost.budget.remaining" => {}
            Ok(_) if payload.kind.is_known() || payload.kind.is_vendor() => {
                match self.ctx.emit(&payload.kind, &payload.body).await {
                    Err(refused @ (EventError::Invalid(_) | EventError::Metric(_))) => {
                        self.warn(&refused.to_string()).await?;
                    }
                    other => other?,
                }
            }
            Ok(_) => {
                let text = format!(
                    "the agent's process sent an event of the unknown kind `{}`",
                    payload.kind
                );
                self.warn(&text).await?;
            }
            Err(fault) => {
                let text = format!(
                    "the agent's process sent a `{}` event that cannot be read: {fault}",
                    payload.kind
                );
                self.warn(&text).await?;
            }
        }
        Ok(())
    }

    /// What the child delegates is a delegation of this job: asked of its lease, bounded, listed and cancelled like any
    /// other [ARCP 10-1]. A refusal goes into the log [ARCP 10-2], and the child goes on.
    async fn delegate(&self, payload: &EventPayload) -> Result<(), AgentError> {
        let order: Order = match payload.body.read() {
            Ok(order) => order,
            Err(cause) => {
                let text = format!(
                    "the agent's process delegated nothing that can be read: {}",
                    explain_json(&cause)
                );
                return self.warn(&text).await;
            }
        };
        let mut delegation = self.ctx.delegate(&order.agent);
        if let Some(input) = order.input {
            delegation = delegation.input(input);
        }
        if let Some(lease) = order.lease {
            delegation = delegation.lease(lease);
        }
        if let Some(constraints) = order.constraints {
            delegation = delegation.constraints(constraints);
        }
        // Its handle is for those who wait for it; the job's end ends it.
        drop(delegation.send().await);
        Ok(())
    }

    async fn warn(&self, text: &str) -> Result<(), AgentError> {
        Ok(self.ctx.log("warn", text).await?)
    }

    async fn piece(&mut self, chunk: event::ResultChunk) -> Result<(), AgentError> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};

        if self.writer.is_none() {
            self.writer = Some(self.ctx.stream_result()?);
        }
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        match chunk.encoding {
            event::ChunkEncoding::Utf8 => writer.write_text(&chunk.data).await?,
            event::ChunkEncoding::Base64 => {
                writer
                    .write_bytes(&BASE64_STANDARD.decode(&chunk.data)?)
                    .await?;
            }
        }
        Ok(())
    }

    /// Ends a streamed result; `false` when there was none.
    pub(super) async fn finish(self, summary: Option<&str>) -> Result<bool, AgentError> {
        let Some(writer) = self.writer else {
            return Ok(false);
        };
        writer.finish(summary).await?;
        Ok(true)
    }
}

/// What the runtime says of a job by itself.
const OURS: [&str; 3] = ["running", "back_pressure", "credential_rotated"];
