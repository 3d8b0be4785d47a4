//! The frames of one job's events: a header that is written once, with a few places to fill in for each.

use super::{Encode, Envelope, encode::push_trace};
use crate::{
    EventSeq, JobId, JobSeq, MessageId, MessageType, RawJson, SessionId, TraceId, digits,
    quote::{PushStr as _, push_text},
};

/// What the `job.event` frames of one job share for one session.
#[derive(Debug, Clone)]
pub struct EventHeader {
    session: SessionId,
    job: JobId,
    trace: Option<TraceId>,
    /// From behind the id up to the number in the session's stream.
    after_id: Vec<u8>,
    /// From behind the number in the job's log up to the payload.
    before_payload: Vec<u8>,
}

/// One `job.event` with a shared header, not yet put together.
#[derive(Debug, Clone)]
pub struct EventFrame<'a> {
    /// The header it shares.
    pub header: &'a EventHeader,
    /// Names the envelope.
    pub id: MessageId,
    /// Its place in the session's stream.
    pub event_seq: EventSeq,
    /// Its place in the job's own log.
    pub job_seq: JobSeq,
    /// The event: an object, on one line.
    pub payload: RawJson,
}

impl EventHeader {
    /// Writes the header.
    pub fn new(session: SessionId, job: JobId, trace: Option<TraceId>) -> Self {
        let mut after_id = Vec::new();
        push_text(
            &mut after_id,
            r#","type":"#,
            MessageType::JOB_EVENT.as_str().as_bytes(),
        );
        push_text(&mut after_id, r#","session_id":"#, session.as_bytes());
        push_text(&mut after_id, r#","job_id":"#, job.as_bytes());
        after_id.push_str(r#","event_seq":"#);
        let mut before_payload = Vec::new();
        if let Some(trace) = trace {
            push_trace(&mut before_payload, trace);
        }
        before_payload.push_str(r#","payload":"#);
        Self {
            session,
            job,
            trace,
            after_id,
            before_payload,
        }
    }

    /// An envelope of any type about the job, with nothing in it that is one event's own.
    pub fn envelope(&self, kind: MessageType) -> Envelope {
        Envelope::new(kind)
            .with_session(self.session.clone())
            .with_job(self.job.clone())
            .with_trace(self.trace)
    }
}

impl EventFrame<'_> {
    /// The same as an envelope of its own.
    pub fn to_envelope(&self) -> Envelope {
        Envelope {
            id: Some(self.id.clone()),
            event_seq: Some(self.event_seq),
            job_seq: Some(self.job_seq),
            payload: self.payload.clone(),
            ..self.header.envelope(MessageType::JOB_EVENT)
        }
    }
}

/// Writes what [`EventFrame::to_envelope`] would.
impl Encode for EventFrame<'_> {
    fn size_hint(&self) -> usize {
        let header = self.header.after_id.len() + self.header.before_payload.len();
        NAMES_AND_NUMBERS + self.id.as_str().len() + header + self.payload.as_str().len()
    }

    fn encode_onto(&self, out: &mut Vec<u8>) {
        push_text(out, r#"{"arcp":"1.1","id":"#, self.id.as_bytes());
        out.extend_from_slice(&self.header.after_id);
        digits::push_decimal(out, self.event_seq.value());
        out.push_str(r#","job_seq":"#);
        digits::push_decimal(out, self.job_seq.value());
        out.extend_from_slice(&self.header.before_payload);
        out.push_str(self.payload.as_str());
        out.push(b'}');
    }
}

/// What is neither shared nor the id or the payload: the first field, the names around the numbers, and the numbers.
const NAMES_AND_NUMBERS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 5-9] Both numbers stand in the frame, whoever puts it together.
    #[test]
    fn a_spliced_frame_is_the_envelope_s_frame() {
        let ids = [
            ("sess_1", "job_1", "msg_1"),
            ("a \"quoted\" one", "back\\slash", "line\nbreak"),
        ];
        for (session, job, id) in ids {
            for trace in [None, TraceId::from_bytes([7; 16])] {
                let session = SessionId::parse(session).unwrap();
                let header = EventHeader::new(session, JobId::parse(job).unwrap(), trace);
                for number in [1, 10, (1 << 53) - 1] {
                    let frame = EventFrame {
                        header: &header,
                        id: MessageId::parse(id).unwrap(),
                        event_seq: EventSeq::new(number),
                        job_seq: JobSeq::new(number),
                        payload: RawJson::parse(r#"{"kind":"log","body":{"x":[1]}}"#).unwrap(),
                    };
                    let mut spliced = Vec::new();
                    frame.encode_onto(&mut spliced);
                    let envelope = frame.to_envelope();
                    assert_eq!(String::from_utf8(spliced).unwrap(), envelope.encode());
                    assert_eq!(Envelope::decode_text(envelope.encode()).unwrap(), envelope);
                }
            }
        }
    }
}
