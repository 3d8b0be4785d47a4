//! `towline whoami`: who one is to a runtime, and what holds there [ARCP 20-2].

use serde_json::{Value, json};
use towline::{
    transport::{FrameSink, FrameSource, Inbound},
    wire::{Envelope, MessageId, MessageType, Payload, payload},
};

use crate::{
    args::{ConnectArgs, OutputFormat},
    connect, embedded, exit,
    failure::{Failure, Outcome, chain},
    output,
};

/// Asks, and answers: vendor types of ours, which another runtime passes over.
const WHOAMI: &str = "x-vendor.towline.whoami";
const IDENTITY: &str = "x-vendor.towline.identity";

pub(super) async fn run(args: &ConnectArgs, format: OutputFormat) -> Outcome {
    let identity = match &args.url {
        Some(url) => {
            let limit = connect::timeout(args);
            let answer = tokio::time::timeout(limit, ask(url, args)).await;
            answer.map_err(|_| {
                Failure::connection(format!("`{url}` did not answer within {limit:?}"))
                    .help("a runtime other than towline does not know this question")
            })??
        }
        // Whoever embeds a runtime asks for leases on their own behalf.
        None => json!({
            "principal": embedded::PRINCIPAL,
            "role": null,
            "lease_ceiling_text": "anything",
        }),
    };
    output::one(format, &identity, in_words)?;
    Ok(exit::SUCCESS)
}

async fn ask(url: &str, args: &ConnectArgs) -> Outcome<Value> {
    let token = connect::token(args)?;
    let options = connect::socket_options(args)?;
    let transport = connect::target(url)?.connect(&options).await;
    let transport = transport.map_err(|error| Failure::connection(chain(&error)))?;
    let (mut sink, mut source) = transport.split();
    let hello = payload::Hello {
        client: Some(payload::PeerInfo {
            name: "towline".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }),
        auth: token.map(|token| payload::Auth {
            scheme: Some("bearer".to_owned()),
            token: Some(token),
        }),
        capabilities: None,
        resume: None,
        resume_token: None,
        last_event_seq: None,
    };
    send(&mut *sink, "hello", of(&hello)?).await?;
    receive(&mut *source, payload::Welcome::TYPE).await?;
    send(
        &mut *sink,
        "whoami",
        Envelope::new(MessageType::new(WHOAMI)),
    )
    .await?;
    let answer = receive(&mut *source, MessageType::new(IDENTITY)).await?;
    let close = payload::Close {
        reason: Some("done".to_owned()),
    };
    // The answer is here; how the connection ends changes nothing.
    drop(send(&mut *sink, "close", of(&close)?).await);
    let mut identity: Value = answer.payload.read().map_err(Failure::connection)?;
    if let Some(fields) = identity.as_object_mut() {
        fields.remove("request_id");
    }
    Ok(identity)
}

fn of<P: Payload>(payload: &P) -> Outcome<Envelope> {
    Envelope::of(payload).map_err(Failure::local)
}

async fn send(sink: &mut dyn FrameSink, id: &str, envelope: Envelope) -> Outcome<()> {
    let id = MessageId::parse(id).map_err(Failure::local)?;
    let sent = sink.send(envelope.with_id(id)).await;
    sent.map_err(|error| Failure::connection(chain(&error)))
}

/// The next frame of a type; a refusal is the end.
async fn receive(source: &mut dyn FrameSource, kind: MessageType) -> Outcome<Envelope> {
    loop {
        match source.receive().await {
            Some(Inbound::Envelope(envelope)) if envelope.kind == kind => return Ok(envelope),
            Some(Inbound::Envelope(envelope)) if envelope.kind == MessageType::SESSION_ERROR => {
                let error: payload::SessionError =
                    envelope.decode().map_err(Failure::connection)?;
                return Err(Failure::refused(
                    error.code,
                    output::clean_lines(&error.message),
                ));
            }
            Some(Inbound::Closed(_)) | None => {
                return Err(Failure::connection("the server closed the connection"));
            }
            Some(_) => {}
        }
    }
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
