//! The shape of every message and event we send, and that it is read back as it was.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeSet;

use serde_json::Value;
use towline_wire::{Envelope, EventKind, Message, MessageType, Payload, RawJson, payload};

mod common;

/// [ARCP 5-1] Every message carries `arcp`, `id`, `type` and `payload`, and nothing in it is null but what may be.
#[test]
fn messages_carry_the_required_fields_and_no_null() {
    for (name, envelope) in [common::full(), common::bare()].concat() {
        let frame: Value = serde_json::from_str(&envelope.encode()).unwrap();
        assert_eq!(frame["arcp"], "1.1", "{name}");
        assert_eq!(
            frame["id"],
            envelope.id.as_ref().unwrap().as_str(),
            "{name}"
        );
        assert_eq!(frame["type"], envelope.kind.as_str(), "{name}");
        assert!(frame["payload"].is_object(), "{name}");
        if name == "event x-vendor" {
            continue; // What a vendor put into its own body is not ours to drop.
        }
        let null = null_field(&frame);
        assert_eq!(null, None, "{name}");
    }
}

/// The first field that is null and must not be.
fn null_field(value: &Value) -> Option<String> {
    let excused = |field: &str| MAY_BE_NULL.contains(&field) || GIVEN_BY_OTHERS.contains(&field);
    match value {
        Value::Object(fields) => fields.iter().filter(|(field, _)| !excused(field)).find_map(
            |(field, value)| match value {
                Value::Null => Some(field.clone()),
                value => null_field(value),
            },
        ),
        Value::Array(items) => items.iter().find_map(null_field),
        _ => None,
    }
}

const MAY_BE_NULL: [&str; 3] = ["parent_job_id", "next_cursor", "result"];
/// Values that are passed on as they came.
const GIVEN_BY_OTHERS: [&str; 2] = ["input", "attributes"];

#[test]
fn messages_have_the_shape_they_always_had() {
    let messages = [common::full(), common::bare()]
        .concat()
        .into_iter()
        .map(|(name, envelope)| {
            let frame: Value = serde_json::from_str(&envelope.encode()).unwrap();
            format!(
                "{name}\n{}\n",
                serde_json::to_string_pretty(&frame).unwrap()
            )
        });
    insta::assert_snapshot!(messages.collect::<Vec<_>>().join("\n"));
}

#[test]
fn no_message_is_forgotten() {
    let there: BTreeSet<_> = common::full()
        .into_iter()
        .map(|(_, envelope)| envelope.kind)
        .collect();
    let known: BTreeSet<_> = common::types().cloned().collect();
    assert_eq!(there, known);
}

/// What is read from a message we sent writes the same message again.
#[test]
fn messages_survive_being_read() {
    for (name, envelope) in [common::full(), common::bare()].concat() {
        let again = Envelope::decode_text(envelope.encode()).unwrap();
        assert_eq!(again, envelope, "{name}");
        let payload = rewritten(&again).unwrap_or_else(|cause| panic!("{name}: {cause}"));
        assert_eq!(payload, envelope.payload, "{name}");
    }
}

/// Reads the payload as its type and writes it again.
fn rewritten(envelope: &Envelope) -> Result<RawJson, Box<dyn std::error::Error>> {
    fn again<P: Payload>(payload: P) -> Result<RawJson, serde_json::Error> {
        Envelope::of(&payload).map(|envelope| envelope.payload)
    }
    Ok(match Message::of(envelope)? {
        Message::Hello(message) => again(message)?,
        Message::Welcome(message) => again(message)?,
        Message::Resume(message) => again(message)?,
        Message::Ping(message) => again(message)?,
        Message::Pong(message) => again(message)?,
        Message::Ack(message) => again(message)?,
        Message::ListJobs(message) => again(message)?,
        Message::Jobs(message) => again(message)?,
        Message::Close(message) => again(message)?,
        Message::Closed(message) => again(message)?,
        Message::SessionError(message) => again(message)?,
        Message::Submit(message) => again(message)?,
        Message::Accepted(message) => again(message)?,
        Message::JobResult(message) => again(message)?,
        Message::JobError(message) => again(message)?,
        Message::Cancel(message) => again(message)?,
        Message::Cancelled(message) => again(message)?,
        Message::Subscribe(message) => again(message)?,
        Message::Subscribed(message) => again(message)?,
        Message::Unsubscribe(message) => again(message)?,
        Message::Answer(message) => again(message)?,
        Message::Answered(message) => again(message)?,
        Message::Speak(message) => again(message)?,
        Message::MessageAccepted(message) => again(message)?,
        Message::Inbox(message) => again(message)?,
        Message::Questions(message) => again(message)?,
        Message::EventPayload(message) => {
            let body = match message.rotation()? {
                Some(rotation) => RawJson::of(&rotation)?,
                None => message.event()?.body()?,
            };
            assert_eq!(body, message.body);
            assert_eq!(message.to_json(), again(message.clone())?);
            message.to_json()
        }
        Message::Other(kind) => panic!("{kind} is not known"),
    })
}

/// [ARCP 8-1] The reserved kinds are read with their bodies, a vendor's kind passes through untouched.
#[test]
fn event_kinds_have_their_bodies() {
    let mut kinds = BTreeSet::new();
    for (name, envelope) in common::full() {
        if envelope.kind != MessageType::JOB_EVENT {
            continue;
        }
        let payload: towline_wire::EventPayload = envelope.decode().unwrap();
        let event = payload.event().unwrap();
        assert_eq!(event.kind(), payload.kind, "{name}");
        match event {
            towline_wire::Event::Other { kind, body } => {
                assert!(kind.is_vendor(), "{name}");
                assert_eq!(body, payload.body);
            }
            _ => _ = kinds.insert(payload.kind),
        }
    }
    assert_eq!(kinds, EventKind::KNOWN.iter().cloned().collect());
}

#[test]
fn vendor_kinds_have_a_vendor_and_a_name() {
    for (kind, expected) in [
        ("x-vendor.acme.beat", true),
        ("x-vendor.acme", false),
        ("x-vendor..beat", false),
        ("log", false),
    ] {
        assert_eq!(EventKind::new(kind).is_vendor(), expected, "{kind}");
    }
}

/// `session.bye` is `session.close` by another name.
#[test]
fn bye_is_read_as_close() {
    let frame = r#"{"type":"session.bye","payload":{"reason":"client.close"}}"#;
    let message = Message::of(&Envelope::decode_text(frame).unwrap()).unwrap();
    let Message::Close(payload::Close { reason }) = message else {
        panic!("{message:?}")
    };
    assert_eq!(reason.as_deref(), Some("client.close"));
}

/// Tokens and credentials do not reach a log by way of `Debug`, before or after the payload is read.
#[test]
fn debug_shows_no_secret() {
    for (name, envelope) in common::full() {
        let shown = format!("{envelope:?} {:?}", Message::of(&envelope).unwrap());
        for secret in ["rt_0123456789abcdef", "sk-0", "sk-1", "sk-2"] {
            assert!(!shown.contains(secret), "{name} shows {secret}: {shown}");
        }
    }
}
