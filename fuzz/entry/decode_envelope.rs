//! What the fuzz target `decode_envelope` does with its input. The ordinary tests include this file too and
//! run every seed through it, so the seeds are exercised by a stable compiler and without libFuzzer.

use bytes::Bytes;
use towline_wire::{Envelope, Event, Message};

/// Reads a frame as a transport does, writes it again as a relay does, and reads its payload as the
/// layers above do. Nothing may panic, and what was read must survive the round trip.
pub(crate) fn decode_envelope(frame: &[u8]) {
    let Ok(envelope) = Envelope::decode_bytes(Bytes::copy_from_slice(frame)) else {
        return;
    };
    check_round_trip(&envelope);
    if let Ok(Message::EventPayload(payload)) = Message::of(&envelope)
        && let Ok(event) = payload.event()
    {
        let body = event.body().expect("an event that was read can be written");
        let again = Event::read(&payload.kind, &body).expect("what was written can be read");
        assert_eq!(again, event, "an event changes when it is written");
    }
}

fn check_round_trip(envelope: &Envelope) {
    let text = envelope.encode();
    assert!(
        !text.contains('\n'),
        "a frame with a line break is two lines on stdio: {text}"
    );
    let again = Envelope::decode_text(text.as_str()).expect("what was written can be read");
    assert_eq!(
        again.encode(),
        text,
        "a frame changes when it is written twice"
    );
    assert_eq!(again.id, envelope.id);
    assert_eq!(again.kind, envelope.kind);
    assert_eq!(again.session_id, envelope.session_id);
    assert_eq!(again.job_id, envelope.job_id);
    assert_eq!(again.event_seq, envelope.event_seq);
    assert_eq!(again.job_seq, envelope.job_seq);
    assert_eq!(again.trace_id, envelope.trace_id);
    assert_eq!(again.unknown.len(), envelope.unknown.len());
}
