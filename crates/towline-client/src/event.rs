//! One event of a job, decoded when asked for.

use std::fmt;

use towline_proto::client::Lane;
use towline_wire::{
    Envelope, Event, EventKind, EventPayload, EventSeq, JobId, JobSeq, MessageId, PayloadError,
    RawJson, TraceId,
};

/// Something that happened in a job.
///
/// It keeps the payload as it came; [`JobEvent::kind`] looks at its first bytes, [`JobEvent::payload`] and
/// [`JobEvent::event`] decode it each time they are called.
///
/// ```
/// # fn show(event: &towline_client::JobEvent) -> Result<(), Box<dyn std::error::Error>> {
/// use towline_wire::Event;
///
/// if let Event::Log(log) = event.event()? {
///     assert!(!log.message.is_empty());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq)]
pub struct JobEvent {
    id: Option<MessageId>,
    job_id: Option<JobId>,
    event_seq: Option<EventSeq>,
    job_seq: Option<JobSeq>,
    trace_id: Option<TraceId>,
    payload: RawJson,
}

impl JobEvent {
    pub(crate) fn new(envelope: Envelope, lane: Lane) -> Self {
        Self {
            id: envelope.id,
            job_id: envelope.job_id,
            // A number of another stream must not be taken for one of the session's.
            event_seq: envelope.event_seq.filter(|_| lane == Lane::Session),
            job_seq: envelope.job_seq,
            trace_id: envelope.trace_id,
            payload: envelope.payload,
        }
    }

    /// What the event tells. Cheap.
    pub fn kind(&self) -> EventKind {
        match kind_text(self.payload.as_str()) {
            Some(kind) => EventKind::new(kind),
            None => self
                .payload()
                .map_or_else(|_| EventKind::new(""), |payload| payload.kind),
        }
    }

    /// The event, its body read as its kind says. Kinds this version does not know are [`Event::Other`].
    ///
    /// # Errors
    /// [`PayloadError`] when the body lacks a field of its kind, or has one of another type.
    pub fn event(&self) -> Result<Event, PayloadError> {
        self.payload()?.event().map_err(|fault| PayloadError {
            id: self.id.clone(),
            fault,
        })
    }

    /// Kind, time and raw body.
    ///
    /// # Errors
    /// [`PayloadError`] when the payload is not that of a `job.event`.
    pub fn payload(&self) -> Result<EventPayload, PayloadError> {
        let envelope = Envelope {
            id: self.id.clone(),
            payload: self.payload.clone(),
            ..Envelope::new(towline_wire::MessageType::JOB_EVENT)
        };
        envelope.decode()
    }

    /// The payload as it came.
    pub const fn raw(&self) -> &RawJson {
        &self.payload
    }

    /// The job, where the runtime named it.
    pub const fn job_id(&self) -> Option<&JobId> {
        self.job_id.as_ref()
    }

    /// Its place in the session's stream. `None` where a runtime numbers what subscriptions show in another stream.
    pub const fn event_seq(&self) -> Option<EventSeq> {
        self.event_seq
    }

    /// Its place in the job's own log, where the runtime says so. This is what [`crate::SubscribeBuilder::from`] takes.
    pub const fn job_seq(&self) -> Option<JobSeq> {
        self.job_seq
    }

    /// The trace it is part of.
    pub const fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    pub(crate) fn is_chunk(&self) -> bool {
        let payload = self.payload.as_str();
        kind_text(payload).map_or_else(
            || self.kind() == EventKind::RESULT_CHUNK,
            |kind| kind == EventKind::RESULT_CHUNK.as_str(),
        )
    }

    /// About what it holds in memory.
    pub(crate) fn weight(&self) -> usize {
        self.payload.as_str().len() + size_of::<Self>()
    }
}

impl fmt::Debug for JobEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobEvent")
            .field("job_id", &self.job_id)
            .field("event_seq", &self.event_seq)
            .field("payload", &self.payload)
            .finish()
    }
}

/// The kind, where it stands first and needs no unescaping, as every runtime we know writes it.
fn kind_text(payload: &str) -> Option<&str> {
    let rest = payload
        .strip_prefix("{\"kind\":")?
        .trim_start_matches(' ')
        .strip_prefix('"')?;
    let kind = &rest[..rest.find('"')?];
    (!kind.contains('\\')).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(payload: &str) -> JobEvent {
        let envelope = Envelope {
            payload: RawJson::parse(payload.to_owned()).unwrap(),
            ..Envelope::new(towline_wire::MessageType::JOB_EVENT)
        };
        JobEvent::new(envelope, Lane::Session)
    }

    #[test]
    fn the_kind_is_found_wherever_it_stands() {
        let table = [
            (r#"{"kind":"log","body":{}}"#, "log"),
            (r#"{ "kind" : "log" }"#, "log"),
            (r#"{"body":{"kind":"x"},"kind":"status"}"#, "status"),
            (r#"{"kind":"l\u006fg"}"#, "log"),
            (r#"{"kind": "x-vendor.acme.beat"}"#, "x-vendor.acme.beat"),
            (r#"{"body":{}}"#, ""),
        ];
        for (payload, kind) in table {
            assert_eq!(event(payload).kind().as_str(), kind, "{payload}");
        }
        assert!(event(r#"{"ts":null,"kind":"result_chunk"}"#).is_chunk());
    }
}
