//! Reading a frame the short way: frames as peers write them, straight into an envelope.

use bytestring::ByteString;

use crate::{
    Envelope, EventSeq, JobId, JobSeq, MessageId, MessageType, PROTOCOL_VERSION, SessionId,
    TraceId, UnknownField,
    scan::{Cursor, fill},
};

/// Reads a frame that is written as usual into an empty envelope. `None` leaves the frame to the careful reader, which
/// knows what to make of it or what to say against it; the envelope is of no use then.
pub(super) fn read(frame: &ByteString, envelope: &mut Envelope) -> Option<()> {
    let mut cursor = Cursor::new(frame);
    let mut seen = Seen::default();
    cursor.eat("{").then_some(())?;
    loop {
        field(&mut cursor, frame, envelope, &mut seen)?;
        if !cursor.more()? {
            break;
        }
    }
    cursor.end()?;
    seen.kind
}

/// The fields that were there, where the envelope does not tell.
#[derive(Default)]
struct Seen {
    version: Option<()>,
    kind: Option<()>,
    trace: Option<()>,
    payload: Option<()>,
}

/// Reads one field. `null` is none of what is looked for here.
#[inline(always)]
fn field(
    cursor: &mut Cursor<'_>,
    frame: &ByteString,
    envelope: &mut Envelope,
    seen: &mut Seen,
) -> Option<()> {
    match cursor.initial()? {
        b'a' if cursor.eat("\"arcp\":") => fill(&mut seen.version, version(cursor)),
        b'i' if cursor.eat("\"id\":") => {
            let id = MessageId::parse(cursor.string()?);
            fill(&mut envelope.id, id.ok())
        }
        b't' if cursor.eat("\"type\":") => {
            let kind = cursor.string().filter(|kind| !kind.is_empty())?;
            envelope.kind = MessageType::new(kind);
            fill(&mut seen.kind, Some(()))
        }
        b's' if cursor.eat("\"session_id\":") => {
            let id = SessionId::parse(cursor.string()?);
            fill(&mut envelope.session_id, id.ok())
        }
        b'j' if cursor.eat("\"job_id\":") => {
            let id = JobId::parse(cursor.string()?);
            fill(&mut envelope.job_id, id.ok())
        }
        b'e' if cursor.eat("\"event_seq\":") => {
            fill(&mut envelope.event_seq, cursor.number().map(EventSeq::new))
        }
        b'j' if cursor.eat("\"job_seq\":") => {
            fill(&mut envelope.job_seq, cursor.number().map(JobSeq::new))
        }
        b't' if cursor.eat("\"trace_id\":") => {
            // What is no trace id only informs, and is read as absent [ARCP 11-1].
            if let Some((trace, span)) = TraceId::parse_lenient(cursor.string()?) {
                envelope.trace_id = Some(trace);
                envelope.parent_span = span;
            }
            fill(&mut seen.trace, Some(()))
        }
        b'e' if cursor.eat("\"extensions\":") => {
            fill(&mut envelope.extensions, cursor.object(frame))
        }
        b'p' if cursor.eat("\"payload\":") => {
            envelope.payload = cursor.object(frame)?;
            fill(&mut seen.payload, Some(()))
        }
        _ => {
            let name = cursor.name()?.to_owned();
            let value = cursor.value(frame)?;
            envelope.unknown.push(UnknownField { name, value });
            Some(())
        }
    }
}

/// [`PROTOCOL_VERSION`], which is short enough to be looked for at once.
#[inline]
fn version(cursor: &mut Cursor<'_>) -> Option<()> {
    (cursor.eat("\"1.1\"") || cursor.string()? == PROTOCOL_VERSION).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_read(frame: &str) -> bool {
        let mut envelope = Envelope::new(MessageType::SESSION_PING);
        read(&frame.into(), &mut envelope).is_some()
    }

    #[test]
    fn frames_as_peers_write_them_take_the_short_way() {
        let usual = [
            // Ours, whole.
            r#"{"arcp":"1.1","id":"msg_1","type":"job.event","session_id":"sess_1","job_id":"job_1","event_seq":9,"job_seq":8,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","extensions":{},"payload":{"kind":"log","body":{"message":"\"é\"\n"}}}"#,
            // Others put the sequence number first, leave the rest out, or set white space.
            r#"{"arcp":"1.1","id":"01M0","type":"job.event","event_seq":3,"session_id":"sess_1","job_id":"job_1","payload":{"a":[1.5,null]}}"#,
            r#"{"type": "job.event", "payload": {"a": 1}, "trace_id": "none", "later": [true]}"#,
            "{\n  \"type\": \"session.ping\",\n  \"payload\": {}\n}\n",
        ];
        for frame in usual {
            assert!(is_read(frame), "{frame}");
        }
    }

    #[test]
    fn anything_odd_is_left_to_the_careful_reader() {
        let odd = [
            "",
            "{}",
            r#" {"type":"a"}"#,
            r#"{"type":""}"#,
            r#"{"type":"\u0061"}"#,
            r#"{"type":"a","type":"a"}"#,
            r#"{"type":"a","id":null}"#,
            r#"{"type":"a","id":""}"#,
            r#"{"type":"a","arcp":"1.0"}"#,
            r#"{"type":"a","event_seq":0}"#,
            r#"{"type":"a","event_seq":1.0}"#,
            r#"{"type":"a","trace_id":"x","trace_id":"x"}"#,
            r#"{"type":"a","payload":[]}"#,
            r#"{"type":"a","payload":{},"payload":{}}"#,
            r#"{"type":"a","\u0069d":"msg_1"}"#,
            r#"{"type":"a" "id":"msg_1"}"#,
            r#"{"type":"a",}"#,
            r#"{"type":"a"}}"#,
        ];
        for frame in odd {
            assert!(!is_read(frame), "{frame}");
        }
    }
}
