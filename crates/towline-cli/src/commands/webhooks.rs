//! `towline webhooks`: what was to be told over HTTP, and whether it was [ARCP 16-6].

use serde_json::{Value, json};

use crate::{
    args::{ConnectArgs, WebhooksArgs, WebhooksCommand},
    asking::{self, Question},
    context::Context,
    embedded::Purpose,
    exit,
    failure::{Failure, Outcome},
    output,
};

/// Vendor types of ours, which another runtime passes over.
const WEBHOOK: &str = "x-vendor.towline.webhook";
const WEBHOOKS: &str = "x-vendor.towline.webhooks";

pub(super) async fn run(context: &Context, args: WebhooksArgs) -> Outcome {
    match args.command {
        None => {
            let asked = json!({"action": "list", "limit": args.limit});
            let mut answer = ask(context, &args.connect, Purpose::Look, &asked).await?;
            let Value::Array(messages) = answer["webhooks"].take() else {
                return Err(Failure::connection("the server's answer lists no webhooks"));
            };
            output::list(args.format.output, &messages, |messages| match messages {
                [] => "nobody was to be told of anything".to_owned(),
                _ => output::table(
                    &["MESSAGE", "TYPE", "STATUS", "TRIES", "URL", "LAST ERROR"],
                    messages.iter().map(row),
                ),
            })?;
        }
        Some(WebhooksCommand::Redeliver {
            id,
            format,
            connect,
        }) => {
            let asked = json!({"action": "redeliver", "id": id});
            // Without a server this program tries itself, once, before it ends.
            let mut answer = ask(context, &connect, Purpose::Work, &asked).await?;
            output::one(format.output, &answer["webhook"].take(), |again| {
                let id = again["id"].as_str().unwrap_or_default();
                format!("{} is delivered once more", output::clean(id))
            })?;
        }
    }
    Ok(exit::SUCCESS)
}

async fn ask(
    context: &Context,
    connect: &ConnectArgs,
    purpose: Purpose,
    asked: &Value,
) -> Outcome<Value> {
    let question = Question {
        kind: WEBHOOK,
        answer: WEBHOOKS,
        payload: asked,
    };
    match &connect.url {
        Some(url) => asking::ask(url, connect, &question).await,
        None => asking::ask_here(context, purpose, &question).await,
    }
}

fn row(message: &Value) -> Vec<String> {
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
    vec![
        text("id"),
        text("type"),
        text("status"),
        message["tries"].to_string(),
        text("url"),
        text("last_error"),
    ]
}
