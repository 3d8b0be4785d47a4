//! Frames that are too large for the client's SDK.

use serde_json::{Map, Value, json};
use towline_proto::Dialect;
use towline_transport::TransportKind;
use towline_wire::{Envelope, ErrorCode, MessageType, RawJson};

/// The largest payload a client reads on this kind of transport; `None` when it reads any.
pub(super) fn limit_of(dialect: Dialect, kind: TransportKind) -> Option<usize> {
    let frame = match kind {
        TransportKind::Stdio => dialect.line_limit(),
        _ => dialect.frame_limit(),
    };
    frame.map(|frame| frame - ENVELOPE)
}

/// Puts something shorter in the place of an envelope that is over the client's limit. Sent as it is, it would cost the
/// client its connection, and once more after each resume; left out, it would leave a gap where its number was.
pub(super) fn within(mut envelope: Envelope, limit: Option<usize>) -> Envelope {
    let size = envelope.payload.as_str().len();
    let Some(limit) = limit.filter(|limit| size > *limit) else {
        return envelope;
    };
    let what =
        format!("{size} bytes are more than the {limit} that this client's SDK reads at once");
    let payload: Map<String, Value> = envelope.payload.read().unwrap_or_default();
    let kept = |name: &str| payload.get(name).cloned().unwrap_or_default();
    let (kind, short) = if envelope.kind == MessageType::JOB_RESULT {
        let message = format!(
            "the job succeeded, but its result cannot be delivered: {what}; have the agent stream it"
        );
        let mut short = error(ErrorCode::INTERNAL_ERROR, &message);
        short["final_status"] = json!("error");
        short["completed_at"] = kept("completed_at");
        (MessageType::JOB_ERROR, short)
    } else if envelope.kind == MessageType::JOB_EVENT {
        let body =
            json!({"level": "warn", "message": format!("an event was left out: its {what}")});
        (
            MessageType::JOB_EVENT,
            json!({"kind": "log", "ts": kept("ts"), "body": body}),
        )
    } else if envelope.kind == MessageType::SESSION_JOBS {
        let message = format!("`limit`: the listing's {what}; ask for fewer jobs at once");
        let mut short = error(ErrorCode::INVALID_REQUEST, &message);
        short["request_id"] = kept("request_id");
        (MessageType::SESSION_ERROR, short)
    } else {
        return envelope;
    };
    envelope.kind = kind;
    envelope.payload = RawJson::from(short);
    envelope
}

fn error(code: ErrorCode, message: &str) -> Value {
    json!({"code": code.as_str(), "message": message, "retryable": code.is_retryable()})
}

/// What an envelope adds to its payload, at the most.
const ENVELOPE: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(kind: MessageType, payload: Value, limit: Option<usize>) -> (MessageType, Value) {
        let envelope = within(
            Envelope {
                payload: payload.into(),
                ..Envelope::new(kind)
            },
            limit,
        );
        (envelope.kind, envelope.payload.read().unwrap())
    }

    #[test]
    fn nothing_changes_below_the_limit_or_without_one() {
        let payload = json!({"final_status": "success", "result": "x".repeat(500)});
        for limit in [None, Some(1000)] {
            assert_eq!(
                sent(MessageType::JOB_RESULT, payload.clone(), limit),
                (MessageType::JOB_RESULT, payload.clone())
            );
        }
        assert_eq!(limit_of(Dialect::Draft, TransportKind::Stdio), None);
        assert!(
            limit_of(Dialect::Python, TransportKind::Stdio)
                < limit_of(Dialect::Python, TransportKind::WebSocket)
        );
    }

    #[test]
    fn too_large_a_result_is_an_error_that_says_what_to_do() {
        let payload =
            json!({"final_status": "success", "result": "x".repeat(500), "completed_at": "t"});
        let (kind, payload) = sent(MessageType::JOB_RESULT, payload, Some(400));
        assert_eq!(kind, MessageType::JOB_ERROR);
        assert_eq!(payload["code"], "INTERNAL_ERROR");
        assert_eq!(payload["retryable"], true);
        assert_eq!(payload["completed_at"], "t");
        assert!(
            payload["message"].as_str().unwrap().contains("stream it"),
            "{payload}"
        );
    }

    #[test]
    fn too_large_an_event_keeps_its_place() {
        let event = json!({"kind": "thought", "ts": "t", "body": {"text": "x".repeat(500)}});
        let (kind, payload) = sent(MessageType::JOB_EVENT, event, Some(400));
        assert_eq!(kind, MessageType::JOB_EVENT);
        assert_eq!(
            (&payload["kind"], &payload["ts"], &payload["body"]["level"]),
            (&json!("log"), &json!("t"), &json!("warn"))
        );
    }

    #[test]
    fn too_large_a_listing_is_refused_by_name() {
        let listing = json!({"request_id": "r", "jobs": ["x".repeat(500)]});
        let (kind, payload) = sent(MessageType::SESSION_JOBS, listing, Some(400));
        assert_eq!(kind, MessageType::SESSION_ERROR);
        assert_eq!(
            (&payload["request_id"], &payload["code"]),
            (&json!("r"), &json!("INVALID_REQUEST"))
        );
    }
}
