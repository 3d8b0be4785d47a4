//! What the tools that every job has do [ARCP 17-7].

use std::sync::Arc;

use rmcp::model::JsonObject;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use towline_runtime::{AgentError, EventError, JobContext};
use towline_wire::{Amount, ErrorCode, EventKind, Lease, LeaseConstraints, RawJson, explain_json};

use crate::{
    ask::AskInput,
    keeping::Keeping,
    said::{self, IN_MESSAGE, Said},
};

/// Why a call came to nothing: what the model is told.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) code: ErrorCode,
    pub(super) message: String,
}

impl Failed {
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::INVALID_REQUEST, message)
    }
}

impl From<AgentError> for Failed {
    fn from(error: AgentError) -> Self {
        Self::new(error.code().clone(), error.message())
    }
}

impl From<EventError> for Failed {
    fn from(error: EventError) -> Self {
        AgentError::from(error).into()
    }
}

/// Calls one of them; gives what it answers.
pub(super) async fn own(
    ctx: &JobContext,
    keeping: &Arc<Keeping>,
    name: &str,
    arguments: Option<JsonObject>,
) -> Result<Value, Failed> {
    let arguments = arguments.unwrap_or_default();
    match name {
        "delegate" => delegate(ctx, read(arguments)?).await,
        "ask_human" => ask_human(ctx, arguments).await,
        "checkpoint" => checkpoint(keeping, read(arguments)?).await,
        "progress" => {
            let body = RawJson::from(Value::Object(arguments));
            said(said::say(ctx, &EventKind::PROGRESS, &body, IN_MESSAGE).await?)
        }
        _ => spend(ctx, read(arguments)?).await,
    }
}

fn read<T: serde::de::DeserializeOwned>(arguments: JsonObject) -> Result<T, Failed> {
    let read = RawJson::from(Value::Object(arguments)).read();
    read.map_err(|cause| Failed::invalid(explain_json(&cause)))
}

fn said(said: Said) -> Result<Value, Failed> {
    match said {
        Said::Done => Ok(json!({"ok": true})),
        Said::Refused(code, message) => Err(Failed::new(code, message)),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    agent: String,
    #[serde(default)]
    input: Option<RawJson>,
    #[serde(default)]
    lease: Option<Lease>,
    #[serde(default)]
    constraints: Option<LeaseConstraints>,
}

/// A child is bounded, listed and cancelled like any other [ARCP 10-1]. Whoever stops waiting for it leaves it running.
async fn delegate(ctx: &JobContext, order: Order) -> Result<Value, Failed> {
    let delegation = ctx
        .delegate(&order.agent)
        .input(order.input)
        .lease(order.lease.unwrap_or_default())
        .constraints(order.constraints.unwrap_or_default());
    let child = delegation
        .send()
        .await
        .map_err(|denied| Failed::new(denied.code().clone(), denied.message()))?;
    let outcome = child.outcome().await;
    let mut told = json!({"child": child.job_id(), "status": outcome.status});
    match (outcome.error, outcome.result) {
        (Some(error), _) => {
            told["error"] = json!({"code": error.code, "message": error.message});
        }
        (None, result) => {
            let terminal = outcome.terminal.to_value();
            told["result"] = result.map_or(Value::Null, |result| result.to_value());
            // One that was streamed stands in the child's log.
            if !terminal["result_id"].is_null() {
                told["result_id"] = terminal["result_id"].clone();
            }
        }
    }
    Ok(told)
}

/// What a person says tells the model something, and lets it do nothing.
async fn ask_human(ctx: &JobContext, mut arguments: JsonObject) -> Result<Value, Failed> {
    if !arguments.contains_key("key") {
        // Another question is not answered with the answer to this one.
        let words = Sha256::digest(Value::Object(arguments.clone()).to_string());
        arguments.insert("key".to_owned(), json!(hex::encode(&words[..8])));
    }
    let input: AskInput = read(arguments)?;
    let answer = input.ask(ctx).await?;
    let mut told = json!({"outcome": answer.outcome(), "answer": answer.value()});
    if let Some(note) = answer.note() {
        told["note"] = json!(note);
    }
    Ok(told)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    #[serde(default)]
    value: Option<RawJson>,
}

async fn checkpoint(keeping: &Arc<Keeping>, asked: Checkpoint) -> Result<Value, Failed> {
    let Some(value) = asked.value else {
        return Ok(json!({"value": keeping.kept().await.value}));
    };
    let size = value.as_str().len();
    if size > IN_MESSAGE {
        return Err(Failed::invalid(format!(
            "the checkpoint has {size} bytes, more than {IN_MESSAGE}; keep large state in files and their names in checkpoints"
        )));
    }
    keeping.keep_value(value).await?;
    Ok(json!({"ok": true}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spent {
    currency: String,
    amount: Value,
}

async fn spend(ctx: &JobContext, spent: Spent) -> Result<Value, Failed> {
    let text = match &spent.amount {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let amount: Amount = text
        .parse()
        .map_err(|_| Failed::invalid(format!("`amount` is {text}; write it as \"0.25\"")))?;
    match ctx
        .metric("cost.spend", amount, Some(&spent.currency))
        .await
    {
        Err(refused @ EventError::Metric(_)) => return Err(Failed::invalid(refused.to_string())),
        booked => booked?,
    }
    let remaining: serde_json::Map<String, Value> = ctx
        .budget()
        .into_iter()
        .map(|(currency, left)| (currency, json!(left.to_string())))
        .collect();
    Ok(json!({"remaining": remaining}))
}
