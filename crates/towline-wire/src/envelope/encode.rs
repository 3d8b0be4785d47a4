//! Writing a frame: text put together by hand around values that are JSON already.

use super::Envelope;
use crate::{
    TraceId, digits,
    quote::{PushStr as _, push_text},
};

/// What can write itself as a frame. A transport lets it write straight to where its bytes wait to be sent.
pub trait Encode {
    /// About how many bytes it takes; what is written may be a little more.
    fn size_hint(&self) -> usize;

    /// Writes the frame, one line of UTF-8 without a line break, onto `out`.
    fn encode_onto(&self, out: &mut Vec<u8>);
}

impl Encode for Envelope {
    fn size_hint(&self) -> usize {
        let kept: usize = self
            .unknown
            .iter()
            .map(|field| field.name.len() + field.value.as_str().len() + 8)
            .sum();
        let extensions = self
            .extensions
            .as_ref()
            .map_or(0, |extensions| extensions.as_str().len());
        HEADER + kept + extensions + self.payload.as_str().len()
    }

    /// The payload is copied from [`Envelope::payload`] as it is.
    fn encode_onto(&self, out: &mut Vec<u8>) {
        out.push_str(r#"{"arcp":"1.1""#);
        if let Some(id) = &self.id {
            push_text(out, r#","id":"#, id.as_bytes());
        }
        push_text(out, r#","type":"#, self.kind.as_str().as_bytes());
        if let Some(session) = &self.session_id {
            push_text(out, r#","session_id":"#, session.as_bytes());
        }
        if let Some(job) = &self.job_id {
            push_text(out, r#","job_id":"#, job.as_bytes());
        }
        if let Some(seq) = self.event_seq {
            out.push_str(r#","event_seq":"#);
            digits::push_decimal(out, seq.value());
        }
        if let Some(seq) = self.job_seq {
            out.push_str(r#","job_seq":"#);
            digits::push_decimal(out, seq.value());
        }
        if let Some(trace) = self.trace_id {
            push_trace(out, trace);
        }
        if let Some(extensions) = &self.extensions {
            out.push_str(r#","extensions":"#);
            out.push_str(extensions.as_str());
        }
        for field in &self.unknown {
            push_text(out, ",", field.name.as_bytes());
            out.push(b':');
            out.push_str(field.value.as_str());
        }
        out.push_str(r#","payload":"#);
        out.push_str(self.payload.as_str());
        out.push(b'}');
    }
}

impl Envelope {
    /// The frame as text.
    pub fn encode(&self) -> String {
        let mut out = Vec::with_capacity(self.size_hint());
        self.encode_onto(&mut out);
        // Only text was written, so nothing is lost.
        String::from_utf8(out)
            .unwrap_or_else(|mixed| String::from_utf8_lossy(mixed.as_bytes()).into_owned())
    }
}

pub(super) fn push_trace(out: &mut Vec<u8>, trace: TraceId) {
    out.push_str(r#","trace_id":""#);
    out.push_str(digits::ascii(&trace.to_hex()));
    out.push(b'"');
}

/// Room for a header with our own ids.
const HEADER: usize = 288;
