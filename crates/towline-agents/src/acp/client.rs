//! What the agent asks of its client: permissions, and files [ARCP 17-4, 17-5].

use futures_util::{FutureExt as _, future::BoxFuture};
use serde::Deserialize;
use serde_json::{Value, json};
use towline_runtime::JobContext;
use towline_wire::{CallId, namespace};

use super::{calls::Call, rpc::Fault};

/// A request's answer.
pub(super) struct Answered {
    pub(super) id: Value,
    pub(super) answer: Result<Value, Fault>,
    /// A call that was refused.
    pub(super) refused: Option<CallId>,
}

/// What the lease lets a client offer.
pub(super) fn capabilities(ctx: &JobContext) -> Value {
    let has = |namespace: &str| !ctx.lease().patterns(namespace).is_empty();
    json!({
        "fs": {
            "readTextFile": has(namespace::FS_READ),
            "writeTextFile": has(namespace::FS_WRITE),
        },
        "terminal": false,
    })
}

/// Answers a permission by the lease, else by a person where an ask pattern covers what is asked, else with a no. Never
/// for longer than once.
pub(super) fn permission(
    ctx: JobContext,
    id: Value,
    call: Call,
    params: Value,
) -> BoxFuture<'static, Answered> {
    async move {
        let options = params["options"].as_array().map_or(&[][..], Vec::as_slice);
        let mut refused = None;
        let mut may = option(options, "allow_once").is_some();
        match call.needs() {
            Some(needs) => {
                for need in needs.iter().filter(|_| may) {
                    if ctx
                        .authorize_call(need.operation(), &call.id)
                        .await
                        .is_err()
                    {
                        refused = Some(call.id.clone());
                        may = false;
                        break;
                    }
                }
            }
            None => {
                may = false;
                let text = format!(
                    "the agent asked for leave to do `{}` without saying on what; it was rejected",
                    call.name()
                );
                // A job that has ended needs no record of it.
                drop(ctx.log("warn", text).await);
            }
        }
        let kind = if may { "allow_once" } else { "reject_once" };
        let outcome = match option(options, kind) {
            Some(option) if !ctx.is_cancelled() => {
                json!({"outcome": "selected", "optionId": option})
            }
            _ => json!({"outcome": "cancelled"}),
        };
        Answered {
            id,
            answer: Ok(json!({"outcome": outcome})),
            refused,
        }
    }
    .boxed()
}

fn option<'v>(options: &'v [Value], kind: &str) -> Option<&'v Value> {
    let found = options.iter().find(|option| option["kind"] == kind);
    found.map(|option| &option["optionId"])
}

/// Carries another request out.
pub(super) fn method(
    ctx: JobContext,
    id: Value,
    method: String,
    params: Value,
) -> BoxFuture<'static, Answered> {
    async move {
        let answer = match method.as_str() {
            "fs/read_text_file" => read(&ctx, params).await,
            "fs/write_text_file" => write(&ctx, params).await,
            _ => Err(Fault::no_method(&method)),
        };
        Answered {
            id,
            answer,
            refused: None,
        }
    }
    .boxed()
}

#[derive(Deserialize)]
struct Read {
    path: String,
    /// The first line, from 1.
    #[serde(default)]
    line: Option<usize>,
    #[serde(default)]
    limit: Option<usize>,
}

async fn read(ctx: &JobContext, params: Value) -> Result<Value, Fault> {
    let read: Read = serde_json::from_value(params).map_err(Fault::params)?;
    let files = ctx.files().read_limit(MOST);
    let text = files.read_to_string(&read.path).await;
    let text = text.map_err(Fault::failed)?;
    if read.line.is_none() && read.limit.is_none() {
        return Ok(json!({"content": text}));
    }
    let before = read.line.unwrap_or(1).saturating_sub(1);
    let lines = text.split_inclusive('\n').skip(before);
    let lines: String = lines.take(read.limit.unwrap_or(usize::MAX)).collect();
    Ok(json!({"content": lines}))
}

#[derive(Deserialize)]
struct Write {
    path: String,
    content: String,
}

async fn write(ctx: &JobContext, params: Value) -> Result<Value, Fault> {
    let write: Write = serde_json::from_value(params).map_err(Fault::params)?;
    let written = ctx.files().write(&write.path, write.content).await;
    written.map_err(Fault::failed)?;
    Ok(json!({}))
}

/// The longest file that is handed to an agent in one piece.
const MOST: u64 = 8 * 1024 * 1024;
