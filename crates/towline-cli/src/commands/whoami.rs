//! `towline whoami`: who one is to a runtime, and what holds there [ARCP 20-2].

use serde_json::{Value, json};

use crate::{
    args::{ConnectArgs, OutputFormat},
    asking::{self, Question},
    context::Context,
    exit,
    failure::Outcome,
    output, owner,
};

/// Asks, and answers: vendor types of ours, which another runtime passes over.
const WHOAMI: &str = "x-vendor.towline.whoami";
const IDENTITY: &str = "x-vendor.towline.identity";

pub(super) async fn run(context: &Context, args: &ConnectArgs, format: OutputFormat) -> Outcome {
    let identity = match &args.url {
        Some(url) => asking::ask(url, args, &question(&json!({}))).await?,
        None => match asking::ask_beside(context, args, &question(&json!({}))).await? {
            Some(identity) => identity,
            // Whoever embeds a runtime asks for leases on their own behalf.
            None => json!({
                "principal": owner::PRINCIPAL,
                "role": null,
                "lease_ceiling_text": "anything",
            }),
        },
    };
    output::one(format, &identity, in_words)?;
    Ok(exit::SUCCESS)
}

fn question(payload: &Value) -> Question<'_> {
    Question {
        kind: WHOAMI,
        answer: IDENTITY,
        payload,
    }
}

/// Who this is to a server; nothing where that does not say.
pub(super) async fn principal(url: &str, args: &ConnectArgs) -> Option<String> {
    let identity = asking::ask(url, args, &question(&json!({}))).await.ok()?;
    identity["principal"].as_str().map(str::to_owned)
}

fn in_words(identity: &Value) -> String {
    let mut lines = Vec::new();
    for (key, name) in [
        ("principal", "principal"),
        ("role", "role"),
        ("agents", "agents"),
        ("lease_ceiling_text", "lease"),
        ("budget_per_job", "budget a job"),
        ("budget_per_day", "budget a day"),
        ("jobs", "jobs at once"),
        ("may_watch", "watches"),
        ("may_cancel", "cancels"),
        ("may_answer", "answers"),
        ("admin", "admin"),
    ] {
        let value = match &identity[key] {
            Value::Null if key == "role" => "none".to_owned(),
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Array(texts) if texts.is_empty() && key.starts_with("budget") => continue,
            Value::Array(texts) => {
                let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
                texts.join(" ")
            }
            other => other.to_string(),
        };
        lines.push(format!("{name:<13} {value}"));
    }
    output::clean_lines(lines.join("\n")).trim_end().to_owned()
}
