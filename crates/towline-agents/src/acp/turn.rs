//! What an agent says during its turn, as events of the job [ARCP 17-2, 17-3].

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use towline_runtime::{AgentError, JobContext};
use towline_wire::{Amount, CallId, ErrorCode, EventKind, event};

use super::wire::taken;

/// One turn of a session.
pub(super) struct Turn<'j> {
    ctx: &'j JobContext,
    /// What is being said.
    saying: Option<Saying>,
    /// The last message that was said whole.
    last: Option<String>,
    calls: BTreeMap<String, Call>,
    /// The most that the session was said to cost, by currency.
    costs: BTreeMap<String, Amount>,
}

/// A message that comes in pieces.
struct Saying {
    is_thought: bool,
    message: Option<String>,
    text: String,
}

/// A tool call, as far as it was told of.
struct Call {
    id: CallId,
    told: Value,
    is_open: bool,
}

impl<'j> Turn<'j> {
    /// Costs are counted from `costs` on: what the session cost before.
    pub(super) const fn new(ctx: &'j JobContext, costs: BTreeMap<String, Amount>) -> Self {
        Self {
            ctx,
            saying: None,
            last: None,
            calls: BTreeMap::new(),
            costs,
        }
    }

    /// What the session was said to cost until now.
    pub(super) const fn costs(&self) -> &BTreeMap<String, Amount> {
        &self.costs
    }

    /// What was told of a tool call, with what a request says of it anew.
    pub(super) fn call(&self, news: Value) -> Value {
        let known = news["toolCallId"]
            .as_str()
            .and_then(|id| self.calls.get(id));
        let known = known.map_or(Value::Null, |call| call.told.clone());
        merged(known, news)
    }

    /// What the log calls a tool call that is not answered yet.
    pub(super) fn open_call(&self, tool: &str) -> Option<CallId> {
        let call = self.calls.get(tool).filter(|call| call.is_open)?;
        Some(call.id.clone())
    }

    /// Notes that a call was refused, which the log says already: what the agent tells of it is no second end.
    pub(super) fn was_refused(&mut self, tool: &str) {
        if let Some(call) = self.calls.get_mut(tool) {
            call.is_open = false;
        }
    }

    /// The params of a `session/update`.
    pub(super) async fn update(&mut self, mut params: Value) -> Result<(), AgentError> {
        let update = taken(&mut params, "update");
        let kind = update["sessionUpdate"].as_str().unwrap_or_default();
        let text = update["content"]["text"].as_str();
        let text = text.filter(|_| update["content"]["type"] == "text");
        match (kind, text) {
            ("agent_message_chunk", Some(text)) => {
                let text = text.to_owned();
                return self.say(false, &update["messageId"], &text).await;
            }
            ("agent_thought_chunk", Some(text)) => {
                let text = text.to_owned();
                return self.say(true, &update["messageId"], &text).await;
            }
            _ => self.pause().await?,
        }
        match kind {
            "tool_call" | "tool_call_update" => self.tool(update).await,
            "plan" => self.plan(&update).await,
            "usage_update" => self.usage(update).await,
            _ => self.keep(update).await,
        }
    }

    /// What has no kind of its own is kept as it is.
    async fn keep(&self, update: Value) -> Result<(), AgentError> {
        Ok(self.ctx.emit(&EventKind::new(OTHER), update).await?)
    }

    async fn say(&mut self, is_thought: bool, id: &Value, text: &str) -> Result<(), AgentError> {
        let message = id.as_str().map(str::to_owned);
        let goes_on = self
            .saying
            .as_ref()
            .is_some_and(|saying| saying.is_thought == is_thought && saying.message == message);
        if !goes_on {
            self.pause().await?;
        }
        let saying = self.saying.get_or_insert_with(|| Saying {
            is_thought,
            message,
            text: String::new(),
        });
        if saying.text.len() + text.len() > MESSAGE {
            let why = format!("the agent's process said a message of more than {MESSAGE} bytes");
            return Err(AgentError::new(ErrorCode::INTERNAL_ERROR, why));
        }
        saying.text.push_str(text);
        Ok(())
    }

    /// Whatever else comes, what was being said is whole.
    pub(super) async fn pause(&mut self) -> Result<(), AgentError> {
        let Some(saying) = self.saying.take() else {
            return Ok(());
        };
        let mut rest = saying.text.as_str();
        while !rest.is_empty() {
            let mut end = rest.len().min(EVENT);
            while !rest.is_char_boundary(end) {
                end -= 1;
            }
            let (piece, after) = rest.split_at(end);
            if saying.is_thought {
                self.ctx.thought(piece).await?;
            } else {
                self.ctx.log("info", piece).await?;
            }
            rest = after;
        }
        if !saying.is_thought {
            self.last = Some(saying.text);
        }
        Ok(())
    }

    /// The last message of the turn, which is over.
    pub(super) async fn end(&mut self) -> Result<Option<String>, AgentError> {
        self.pause().await?;
        Ok(self.last.take())
    }

    async fn tool(&mut self, update: Value) -> Result<(), AgentError> {
        let Some(id) = update["toolCallId"].as_str().map(str::to_owned) else {
            return self.keep(update).await;
        };
        let is_more = self.calls.contains_key(&id) || !update["content"].is_null();
        if is_more && !says_no_more(&update) {
            self.keep(update.clone()).await?;
        }
        let told = self.call(update);
        if let Some(call) = self.calls.get_mut(&id) {
            call.told = told;
        } else {
            if self.calls.len() >= CALLS {
                self.calls.retain(|_, call| call.is_open);
            }
            let tool = told["kind"].as_str().unwrap_or("other").to_owned();
            let args = json!({
                "title": told["title"], "locations": told["locations"], "input": told["rawInput"],
            });
            let call = Call {
                id: self.ctx.tool_call(tool, without_nulls(args)).await?,
                told,
                is_open: true,
            };
            self.calls.insert(id.clone(), call);
        }
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.is_open) else {
            return Ok(());
        };
        match call.told["status"].as_str() {
            Some("completed") => {
                call.is_open = false;
                for change in diffs(&call.told) {
                    self.ctx.artifact(change).await?;
                }
                let result =
                    json!({"content": texts(&call.told), "output": call.told["rawOutput"]});
                Ok(self
                    .ctx
                    .tool_result(&call.id, without_nulls(result))
                    .await?)
            }
            Some("failed") => {
                call.is_open = false;
                let said = texts(&call.told);
                let message = said.as_str().unwrap_or("the agent's tool failed");
                Ok(self.ctx.tool_failed(&call.id, broke(message)).await?)
            }
            _ => Ok(()),
        }
    }

    /// What was called and never answered fails with the turn.
    pub(super) async fn close_calls(&mut self) {
        for call in self.calls.values_mut().filter(|call| call.is_open) {
            call.is_open = false;
            let error = broke("the turn ended before the call did");
            // A job that has ended needs no record of it.
            drop(self.ctx.tool_failed(&call.id, error).await);
        }
    }

    /// A plan is progress; counting says nothing of its steps, so it is kept as well.
    async fn plan(&self, update: &Value) -> Result<(), AgentError> {
        let entries = update["entries"].as_array().cloned().unwrap_or_default();
        let count = |status: &str| {
            let those = entries.iter().filter(|entry| entry["status"] == status);
            u32::try_from(those.count()).unwrap_or(u32::MAX)
        };
        let total = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let progress = self
            .ctx
            .progress(count("completed"))
            .of(total)
            .units("steps");
        let current = entries
            .iter()
            .find(|entry| entry["status"] == "in_progress");
        let progress = match current.and_then(|entry| entry["content"].as_str()) {
            Some(step) => progress.message(step),
            None => progress,
        };
        progress.send().await?;
        self.keep(update.clone()).await
    }

    /// The growth of what the session costs is spent.
    async fn usage(&mut self, update: Value) -> Result<(), AgentError> {
        let cost = &update["cost"];
        let amount = cost["amount"].as_number().map(ToString::to_string);
        let amount = amount.and_then(|text| text.parse::<Amount>().ok());
        if let (Some(now), Some(currency)) = (amount, cost["currency"].as_str()) {
            let before = self.costs.get(currency).copied().unwrap_or(Amount::ZERO);
            if let Some(growth) = now
                .checked_sub(before)
                .filter(|growth| *growth > Amount::ZERO)
            {
                self.costs.insert(currency.to_owned(), now);
                self.ctx.metric("cost.acp", growth, Some(currency)).await?;
            }
        }
        self.keep(update).await
    }
}

/// An object with the members of another: what is told anew stands instead of what was told.
fn merged(known: Value, news: Value) -> Value {
    match (known, news) {
        (Value::Object(mut known), Value::Object(news)) => {
            known.extend(news.into_iter().filter(|(_, value)| !value.is_null()));
            Value::Object(known)
        }
        (_, news) => news,
    }
}

fn without_nulls(mut value: Value) -> Value {
    if let Some(members) = value.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    value
}

/// Whether the result of the call will say all that an update of it does: it is the last one, and brings nothing but texts.
fn says_no_more(update: &Value) -> bool {
    let is_last = update["status"] == "completed" || update["status"] == "failed";
    let content = update["content"].as_array().map_or(&[][..], Vec::as_slice);
    let is_text = |item: &Value| item["type"] == "content" && item["content"]["type"] == "text";
    is_last && content.iter().all(is_text)
}

/// The texts of what a call brought, one after the other.
fn texts(call: &Value) -> Value {
    let content = call["content"].as_array().cloned().unwrap_or_default();
    let texts = content.iter().filter(|item| item["type"] == "content");
    let texts: Vec<&str> = texts
        .filter_map(|item| item["content"]["text"].as_str())
        .collect();
    if texts.is_empty() {
        return Value::Null;
    }
    texts.join("\n").into()
}

/// What a call changed, a file each.
fn diffs(call: &Value) -> Vec<event::ArtifactRef> {
    let content = call["content"].as_array().cloned().unwrap_or_default();
    let changes = content.iter().filter(|item| item["type"] == "diff");
    let of = |change: &Value| {
        let text = change["newText"].as_str()?;
        let uri = url::Url::from_file_path(change["path"].as_str()?).ok()?;
        Some(event::ArtifactRef {
            uri: uri.to_string(),
            content_type: "text/plain; charset=utf-8".to_owned(),
            byte_size: Some(text.len() as u64),
            sha256: Some(hex::encode(Sha256::digest(text))),
        })
    };
    changes.filter_map(of).collect()
}

fn broke(message: &str) -> event::ToolError {
    event::ToolError {
        code: ErrorCode::INTERNAL_ERROR,
        message: message.to_owned(),
        retryable: false,
    }
}

/// The kind of what has no kind of its own.
pub(super) const OTHER: &str = "x-vendor.towline.acp";

/// A message may have so many bytes.
const MESSAGE: usize = 16 << 20;

/// A longer message becomes several events.
const EVENT: usize = 256 << 10;

/// So many tool calls are remembered that were answered.
const CALLS: usize = 4096;
