//! Writing a frame: text put together by hand around values that are JSON already.

use super::Envelope;
use crate::{TraceId, digits};

/// What can write itself as a frame. A transport lets it write straight to where its bytes wait to be sent.
pub trait Encode {
    /// About how many bytes it takes; what is written may be a little more.
    fn size_hint(&self) -> usize;

    /// Writes the frame, one line of UTF-8 without a line break, onto `out`.
    fn encode_onto(&self, out: &mut Vec<u8>);
}

/// A buffer that text is written onto.
pub(crate) trait PushStr {
    fn push_str(&mut self, text: &str);
}

impl PushStr for Vec<u8> {
    fn push_str(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
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

/// Writes `intro` and a JSON string, whose text comes as bytes: an id need not prove again that it is text.
pub(crate) fn push_text(out: &mut Vec<u8>, intro: &str, text: &[u8]) {
    out.push_str(intro);
    match escaped(text) {
        Some(escaped) => out.push_str(&escaped),
        None => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
    }
}

/// Writes a JSON string. Text with nothing to escape in it, as most is, is copied in one go.
///
/// ```
/// let mut out = Vec::new();
/// towline_wire::write_string(&mut out, "a \"quoted\" one");
/// assert_eq!(out, br#""a \"quoted\" one""#);
/// ```
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    push_text(out, "", text.as_bytes());
}

/// [`push_text`] onto a text.
pub(crate) fn push_string(out: &mut String, text: &str) {
    match escaped(text.as_bytes()) {
        Some(escaped) => out.push_str(&escaped),
        None => {
            out.push('"');
            out.push_str(text);
            out.push('"');
        }
    }
}

/// The whole JSON string, where something in it has to be escaped; our ids have nothing of the kind.
fn escaped(text: &[u8]) -> Option<String> {
    // Not `any`: without an early end the loop runs over many bytes at once.
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let escapes = text
        .iter()
        .fold(false, |found, byte| found | special(*byte));
    escapes.then(|| serde_json::Value::from(String::from_utf8_lossy(text)).to_string())
}

/// Room for a header with our own ids.
const HEADER: usize = 288;
