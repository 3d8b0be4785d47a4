//! What a span says of its envelope.

use opentelemetry::KeyValue;
use towline_wire::Envelope;

use crate::memory::JobFacts;

/// The names of the attributes, the same in every ARCP SDK.
pub mod key {
    /// `out` for what is sent, `in` for what is received.
    pub const DIRECTION: &str = "arcp.direction";
    /// The envelope's type.
    pub const TYPE: &str = "arcp.type";
    /// The envelope's id.
    pub const ID: &str = "arcp.id";
    /// The session.
    pub const SESSION_ID: &str = "arcp.session_id";
    /// The job.
    pub const JOB_ID: &str = "arcp.job_id";
    /// The trace on the envelope, 32 hex digits.
    pub const TRACE_ID: &str = "arcp.trace_id";
    /// The envelope's number in the session.
    pub const EVENT_SEQ: &str = "arcp.event_seq";
    /// When the job's lease ends, as RFC 3339.
    pub const LEASE_EXPIRES_AT: &str = "arcp.lease.expires_at";
    /// What is left of the job's budget: a JSON object of currency → number.
    pub const BUDGET_REMAINING: &str = "arcp.budget.remaining";
}

/// What is known before a span exists, for samplers to decide by.
pub(crate) fn initial(direction: &'static str, envelope: &Envelope) -> Vec<KeyValue> {
    vec![
        KeyValue::new(key::DIRECTION, direction),
        KeyValue::new(key::TYPE, shown_type(envelope).to_owned()),
    ]
}

/// Everything else; worth collecting only for a span that is recorded.
pub(crate) fn further(envelope: &Envelope, job: Option<&JobFacts>) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(7);
    let mut text = |key: &'static str, value: Option<String>| {
        attributes.extend(value.map(|value| KeyValue::new(key, value)));
    };
    text(key::ID, envelope.id.as_ref().map(ToString::to_string));
    text(
        key::SESSION_ID,
        envelope.session_id.as_ref().map(ToString::to_string),
    );
    text(
        key::JOB_ID,
        envelope.job_id.as_ref().map(ToString::to_string),
    );
    text(
        key::TRACE_ID,
        envelope.trace_id.map(|trace| trace.to_string()),
    );
    text(
        key::LEASE_EXPIRES_AT,
        job.and_then(|job| job.expires_at.clone()),
    );
    text(key::BUDGET_REMAINING, job.and_then(JobFacts::budget_json));
    // At most 2^53 - 1, so it fits.
    let seq = envelope
        .event_seq
        .and_then(|seq| i64::try_from(seq.value()).ok());
    attributes.extend(seq.map(|seq| KeyValue::new(key::EVENT_SEQ, seq)));
    attributes
}

/// The type as it stands in names and attributes: a peer may send any text as one.
pub(crate) fn shown_type(envelope: &Envelope) -> &str {
    let kind = envelope.kind.as_str();
    let end = (0..=kind.len().min(MAX_TYPE_BYTES))
        .rev()
        .find(|end| kind.is_char_boundary(*end));
    &kind[..end.unwrap_or_default()]
}

const MAX_TYPE_BYTES: usize = 128;
