//! What an agent says of its turn, as the job's events [ARCP 17-2, 17-3].

use std::collections::BTreeMap;

use serde_json::Value;
use towline_runtime::{EventError, JobContext};
use towline_wire::{Amount, CallId, ErrorCode, EventKind, event};

use super::calls::Call;

/// The updates of one turn, as they come.
pub(super) struct Updates {
    ctx: JobContext,
    speech: Option<Speech>,
    last: Option<String>,
    calls: BTreeMap<String, Call>,
    /// The most of a cost that was reported, by currency.
    pub(super) spent: BTreeMap<String, Amount>,
}

/// A message or a thought that is not over.
struct Speech {
    is_thought: bool,
    id: Option<String>,
    text: String,
    /// How much of it is in the log.
    told: usize,
}

impl Updates {
    pub(super) fn new(ctx: &JobContext, spent: BTreeMap<String, Amount>) -> Self {
        Self {
            ctx: ctx.clone(),
            speech: None,
            last: None,
            calls: BTreeMap::new(),
            spent,
        }
    }

    /// Takes an update; whether a cost grew with it.
    pub(super) async fn take(&mut self, update: &Value) -> Result<bool, EventError> {
        let kind = update["sessionUpdate"].as_str().unwrap_or_default();
        if let "agent_message_chunk" | "agent_thought_chunk" = kind
            && let Some(text) = update["content"]["text"].as_str()
        {
            let id = update["messageId"].as_str();
            self.speak(kind == "agent_thought_chunk", id, text).await?;
            return Ok(false);
        }
        self.pause().await?;
        match kind {
            "tool_call" | "tool_call_update" => self.call(update).await?,
            "plan" => self.plan(update).await?,
            "usage_update" => return self.usage(update).await,
            _ => self.keep(update).await?,
        }
        Ok(false)
    }

    async fn speak(
        &mut self,
        is_thought: bool,
        id: Option<&str>,
        text: &str,
    ) -> Result<(), EventError> {
        let goes_on = self
            .speech
            .as_ref()
            .is_some_and(|speech| speech.is_thought == is_thought && speech.id.as_deref() == id);
        if !goes_on {
            self.pause().await?;
        }
        let speech = self.speech.get_or_insert_with(|| Speech {
            is_thought,
            id: id.map(str::to_owned),
            text: String::new(),
            told: 0,
        });
        speech.text.push_str(text);
        if speech.text.len() - speech.told >= PIECE {
            speech.tell(&self.ctx).await?;
        }
        if speech.text.len() > LONGEST {
            return Err(EventError::Invalid(format!(
                "the agent's message has more than {LONGEST} bytes"
            )));
        }
        Ok(())
    }

    /// Ends the message that is under way.
    pub(super) async fn pause(&mut self) -> Result<(), EventError> {
        let Some(mut speech) = self.speech.take() else {
            return Ok(());
        };
        let told = speech.tell(&self.ctx).await;
        if !speech.is_thought {
            self.last = Some(speech.text);
        }
        told
    }

    async fn plan(&self, update: &Value) -> Result<(), EventError> {
        let entries = update["entries"].as_array().map_or(&[][..], Vec::as_slice);
        let are = |status: &'static str| {
            let are = entries.iter();
            are.filter(move |entry| entry["status"] == status)
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let mut progress = self
            .ctx
            .progress(count(are("completed").count()))
            .of(count(entries.len()));
        let now = are("in_progress").next();
        if let Some(now) = now.and_then(|entry| entry["content"].as_str()) {
            progress = progress.message(now);
        }
        progress.send().await?;
        // Counting says nothing of the steps themselves.
        self.keep(update).await
    }

    async fn usage(&mut self, update: &Value) -> Result<bool, EventError> {
        let cost = &update["cost"];
        let amount = match &cost["amount"] {
            Value::Number(number) => number.to_string().parse::<Amount>().ok(),
            _ => None,
        };
        let grew = match (amount, cost["currency"].as_str()) {
            (Some(amount), Some(currency)) => self.grow(amount, currency).await?,
            _ => false,
        };
        self.keep(update).await?;
        Ok(grew)
    }

    async fn grow(&mut self, amount: Amount, currency: &str) -> Result<bool, EventError> {
        let before = self.spent.get(currency).copied();
        let growth = match before {
            Some(before) => amount.checked_sub(before),
            None => Some(amount),
        };
        let Some(growth) = growth.filter(|growth| !growth.is_negative()) else {
            return Ok(false);
        };
        if growth.decimal().is_zero() || self.spent.len() >= CURRENCIES && before.is_none() {
            return Ok(false);
        }
        self.spent.insert(currency.to_owned(), amount);
        self.ctx.metric("cost.acp", growth, Some(currency)).await?;
        Ok(true)
    }

    /// What the permissions of a call are asked about: with what this request says of it.
    pub(super) async fn asked(&mut self, about: &Value) -> Result<Call, EventError> {
        self.pause().await?;
        let id = about["toolCallId"].as_str().unwrap_or_default();
        if !self.calls.contains_key(id) {
            self.begin(id, about).await?;
        } else if let Some(call) = self.calls.get_mut(id) {
            call.learn(about);
        }
        let unnumbered = || Call::new(CallId::minted(""), about);
        Ok(self.calls.get(id).cloned().unwrap_or_else(unnumbered))
    }

    /// A refusal is the call's result: there is no second one.
    pub(super) fn refused(&mut self, id: &CallId) {
        if let Some(call) = self.calls.values_mut().find(|call| call.id == *id) {
            call.is_closed = true;
        }
    }

    async fn begin(&mut self, id: &str, update: &Value) -> Result<(), EventError> {
        let mut call = Call::new(CallId::minted(""), update);
        call.id = self.ctx.tool_call(call.name(), call.args()).await?;
        self.calls.insert(id.to_owned(), call);
        Ok(())
    }

    async fn call(&mut self, update: &Value) -> Result<(), EventError> {
        let id = update["toolCallId"].as_str().unwrap_or_default();
        if !self.calls.contains_key(id) {
            if update["sessionUpdate"] != "tool_call" || self.calls.len() >= CALLS {
                return self.keep(update).await;
            }
            self.begin(id, update).await?;
        } else {
            if let Some(call) = self.calls.get_mut(id) {
                call.learn(update);
            }
            if !is_over(update) || self.calls.get(id).is_some_and(|call| call.is_closed) {
                self.keep(update).await?;
            }
        }
        if !is_over(update) {
            return Ok(());
        }
        let Some(call) = self.calls.remove(id).filter(|call| !call.is_closed) else {
            return Ok(());
        };
        for (path, size) in call.diffs() {
            let artifact = event::ArtifactRef {
                uri: format!("file://{path}"),
                content_type: "text/plain".to_owned(),
                byte_size: Some(size),
                sha256: None,
            };
            self.ctx.artifact(artifact).await?;
        }
        self.end(&call, update["status"] == "failed").await
    }

    async fn end(&self, call: &Call, has_failed: bool) -> Result<(), EventError> {
        if !has_failed {
            return self.ctx.tool_result(&call.id, call.result()).await;
        }
        self.keep(&call.result()).await?;
        self.ctx
            .tool_failed(&call.id, error(&call.complaint()))
            .await
    }

    /// What there is no kind for.
    async fn keep(&self, update: &Value) -> Result<(), EventError> {
        self.ctx.emit(&EventKind::new(KEPT), update).await
    }

    /// Ends the turn: what is under way is over, and calls that have no result have failed. Gives the last message.
    pub(super) async fn end_turn(&mut self) -> Result<Option<String>, EventError> {
        self.pause().await?;
        for call in std::mem::take(&mut self.calls).into_values() {
            if !call.is_closed {
                let error = error("the turn ended before the call did");
                self.ctx.tool_failed(&call.id, error).await?;
            }
        }
        Ok(self.last.take())
    }
}

impl Speech {
    /// Puts into the log what is not there yet.
    async fn tell(&mut self, ctx: &JobContext) -> Result<(), EventError> {
        let text = &self.text[self.told..];
        if text.is_empty() {
            return Ok(());
        }
        self.told = self.text.len();
        if self.is_thought {
            ctx.thought(text).await
        } else {
            ctx.log("info", text).await
        }
    }
}

fn is_over(update: &Value) -> bool {
    update["status"] == "completed" || update["status"] == "failed"
}

fn error(message: &str) -> event::ToolError {
    event::ToolError {
        code: ErrorCode::INTERNAL_ERROR,
        message: message.to_owned(),
        retryable: false,
    }
}

/// The kind of what is kept as it came.
const KEPT: &str = "x-vendor.towline.acp";
/// A longer message goes into the log in pieces.
const PIECE: usize = 512 * 1024;
/// The longest message.
const LONGEST: usize = 16 * 1024 * 1024;
/// How many calls may be open at once.
const CALLS: usize = 1024;
/// How many currencies are kept.
const CURRENCIES: usize = 16;
