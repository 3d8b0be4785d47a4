//! A child's events, as the job's.

use towline_client::{Client, JobEvent};
use towline_runtime::{AgentError, JobContext};
use towline_wire::{Event, EventKind, JobId, event};

use super::asking::Asking;
use crate::{
    collected::{Collected, ResultForm},
    said::{self, IN_MESSAGE, Said},
};

/// Passes events on. What only a runtime may say (`running`, what is left of a budget) stays behind, for ours says it
/// itself; what asks something of a runtime is asked of ours.
pub(super) struct Forward<'j> {
    ctx: &'j JobContext,
    result: Option<Collected<'j>>,
    asking: Asking,
}

impl<'j> Forward<'j> {
    /// For the events of this job of the child.
    pub(super) fn new(ctx: &'j JobContext, client: Client, job: JobId) -> Self {
        Self {
            ctx,
            result: None,
            asking: Asking::new(ctx, client, job),
        }
    }

    /// Passes one on.
    pub(super) async fn event(&mut self, event: &JobEvent) -> Result<(), AgentError> {
        let Ok(payload) = event.payload() else {
            return self
                .warn("the agent's process sent an event that cannot be read")
                .await;
        };
        let kind = &payload.kind;
        let asks = said::is_checkpoint(kind) || *kind == EventKind::DELEGATE;
        if !asks {
            match payload.event() {
                Ok(Event::ResultChunk(chunk)) => return self.piece(chunk).await,
                Ok(event) if said::is_ours(&event) => return Ok(()),
                Ok(Event::InputRequest(request)) => {
                    self.asking.ask(request);
                    return Ok(());
                }
                // What people said stands in our log already.
                Ok(_) if kind.is_of_questions() => return Ok(()),
                Ok(_) if kind.is_known() || kind.is_vendor() => {}
                Ok(_) => {
                    let text =
                        format!("the agent's process sent an event of the unknown kind `{kind}`");
                    return self.warn(&text).await;
                }
                Err(fault) => {
                    let text = format!(
                        "the agent's process sent a `{kind}` event that cannot be read: {fault}"
                    );
                    return self.warn(&text).await;
                }
            }
        }
        match said::say(self.ctx, kind, &payload.body, IN_MESSAGE).await? {
            Said::Done => Ok(()),
            Said::Refused(_, why) => self.warn(&format!("the agent's process: {why}")).await,
        }
    }

    /// What an earlier run of the job passed on. Its questions are asked as before: the job has kept them, and their answers, and
    /// hands those on that come now.
    pub(super) fn again(&mut self, event: &JobEvent) {
        let said = event
            .payload()
            .ok()
            .and_then(|payload| payload.event().ok());
        if let Some(Event::InputRequest(request)) = said {
            self.asking.ask(request);
        }
    }

    /// Of what a child says that was asked to end, its checkpoints count: another run of the job may begin from there.
    pub(super) async fn last_word(&self, event: &JobEvent) {
        let Ok(payload) = event.payload() else {
            return;
        };
        if said::is_checkpoint(&payload.kind) {
            // It is being ended, whatever becomes of this.
            drop(said::say(self.ctx, &payload.kind, &payload.body, IN_MESSAGE).await);
        }
    }

    async fn warn(&self, text: &str) -> Result<(), AgentError> {
        Ok(self.ctx.log("warn", text).await?)
    }

    async fn piece(&mut self, chunk: event::ResultChunk) -> Result<(), AgentError> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};

        let form = match chunk.encoding {
            event::ChunkEncoding::Utf8 => ResultForm::Text,
            event::ChunkEncoding::Base64 => ResultForm::Bytes,
        };
        let begin = || Collected::new(self.ctx, form, false);
        let result = self.result.get_or_insert_with(begin);
        match chunk.encoding {
            event::ChunkEncoding::Utf8 => result.add(chunk.data.as_bytes()).await,
            event::ChunkEncoding::Base64 => result.add(&BASE64_STANDARD.decode(&chunk.data)?).await,
        }
    }

    /// Ends a streamed result; `false` when there was none.
    pub(super) async fn finish(self, summary: Option<&str>) -> Result<bool, AgentError> {
        let Some(result) = self.result else {
            return Ok(false);
        };
        result.end(summary).await?;
        Ok(true)
    }
}
