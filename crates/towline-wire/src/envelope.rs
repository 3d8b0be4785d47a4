//! The envelope (§5): decoded in two steps, the header now, the payload when somebody asks.

use std::{borrow::Cow, fmt, fmt::Write as _};

use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    EventSeq, JobId, JobSeq, MessageId, MessageType, Payload, RawJson, SessionId, SpanId, TraceId, payload::PayloadFault,
    raw::string_or_none,
};

/// The version we speak.
pub const PROTOCOL_VERSION: &str = "1.1";

/// One message as every transport carries it.
///
/// Reading: [`Envelope::decode_text`] takes the header apart and leaves the payload as text shared with the frame;
/// [`Envelope::decode`] reads the payload as one type. Writing: [`Envelope::of`] and the `with_*` setters, then
/// [`Envelope::encode`]. Absent optionals are omitted, never `null` [ARCP 5-1]; fields we do not know are kept and
/// written again [ARCP 5-2].
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Names this envelope. `None` only on received ones whose sender left it out.
    pub id: Option<MessageId>,
    /// What the envelope is.
    pub kind: MessageType,
    /// The session it belongs to.
    pub session_id: Option<SessionId>,
    /// The job it is about.
    pub job_id: Option<JobId>,
    /// Its place in the session's stream.
    pub event_seq: Option<EventSeq>,
    /// Its place in the job's own log.
    pub job_seq: Option<JobSeq>,
    /// The trace it is part of.
    pub trace_id: Option<TraceId>,
    /// The sender's span, when `trace_id` came as a whole `traceparent`. Never written.
    pub parent_span: Option<SpanId>,
    /// Vendor extensions: an object, untouched.
    pub extensions: Option<RawJson>,
    /// Top-level fields this version does not know, in their order.
    pub unknown: Vec<UnknownField>,
    /// The message's own fields: an object, untouched.
    pub payload: RawJson,
}

/// A top-level field this version does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct UnknownField {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: RawJson,
}

/// Why a frame is not an envelope [ARCP 4-5].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// For a person, naming the field at fault.
    pub message: String,
    /// The frame's own id, where it could be read, so that a refusal can name it.
    pub id: Option<MessageId>,
}

/// Why a payload is not what the envelope's type says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{fault}")]
pub struct PayloadError {
    /// The envelope's id, so that a refusal can name it.
    pub id: Option<MessageId>,
    /// What does not fit.
    pub fault: PayloadFault,
}

impl Envelope {
    /// An envelope of a type, with an empty payload and nothing else.
    pub fn new(kind: MessageType) -> Self {
        Self {
            id: None,
            kind,
            session_id: None,
            job_id: None,
            event_seq: None,
            job_seq: None,
            trace_id: None,
            parent_span: None,
            extensions: None,
            unknown: Vec::new(),
            payload: RawJson::EMPTY_OBJECT,
        }
    }

    /// An envelope around a payload.
    ///
    /// # Errors
    /// When the payload has no JSON form; ours always have one.
    pub fn of<P: Payload>(payload: &P) -> Result<Self, serde_json::Error> {
        Ok(Self { payload: RawJson::of(payload)?, ..Self::new(P::TYPE) })
    }

    /// Names the envelope.
    #[must_use]
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.id = Some(id);
        self
    }

    /// Names the session.
    #[must_use]
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.session_id = Some(session);
        self
    }

    /// Names the job.
    #[must_use]
    pub fn with_job(mut self, job: JobId) -> Self {
        self.job_id = Some(job);
        self
    }

    /// Names the trace.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<TraceId>) -> Self {
        self.trace_id = trace;
        self
    }

    /// Reads a frame. The payload shares the frame's memory.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is not JSON, not an object, has no `type`, speaks another version, or a header
    /// field has the wrong type.
    pub fn decode_text(frame: impl Into<ByteString>) -> Result<Self, DecodeError> {
        let frame = frame.into();
        let refuse = |message: String| DecodeError { message, id: salvage_id(&frame) };
        let header: Header<'_> = serde_json::from_str(&frame).map_err(|cause| refuse(describe(&frame, &cause)))?;
        header.into_envelope(&frame).map_err(refuse)
    }

    /// [`Envelope::decode_text`] for bytes that still have to be UTF-8.
    ///
    /// # Errors
    /// As `decode_text`, and when the bytes are not UTF-8.
    pub fn decode_bytes(frame: bytes::Bytes) -> Result<Self, DecodeError> {
        let text = ByteString::try_from(frame)
            .map_err(|cause| DecodeError { message: format!("the frame is not UTF-8: {cause}"), id: None })?;
        Self::decode_text(text)
    }

    /// Reads the payload as a type, whatever `kind` says.
    ///
    /// # Errors
    /// [`PayloadError`] naming what does not fit.
    pub fn decode<P: Payload>(&self) -> Result<P, PayloadError> {
        self.payload.read().map_err(|cause| PayloadError {
            id: self.id.clone(),
            fault: PayloadFault::new(self.kind.as_str(), &cause),
        })
    }

    /// Writes the frame, one line without a line break, onto `out`.
    pub fn encode_onto(&self, out: &mut String) {
        out.push_str(r#"{"arcp":"1.1""#);
        if let Some(id) = &self.id {
            push_text(out, "id", id.as_str());
        }
        push_text(out, "type", self.kind.as_str());
        if let Some(session) = &self.session_id {
            push_text(out, "session_id", session.as_str());
        }
        if let Some(job) = &self.job_id {
            push_text(out, "job_id", job.as_str());
        }
        if let Some(seq) = self.event_seq {
            push_number(out, "event_seq", seq.value());
        }
        if let Some(seq) = self.job_seq {
            push_number(out, "job_seq", seq.value());
        }
        if let Some(trace) = self.trace_id {
            // Writing to a `String` cannot fail.
            let _ = write!(out, r#","trace_id":"{trace}""#);
        }
        if let Some(extensions) = &self.extensions {
            out.push_str(r#","extensions":"#);
            out.push_str(extensions.as_str());
        }
        for field in &self.unknown {
            out.push(',');
            push_string(out, &field.name);
            out.push(':');
            out.push_str(field.value.as_str());
        }
        out.push_str(r#","payload":"#);
        out.push_str(self.payload.as_str());
        out.push('}');
    }

    /// The frame as text.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(256 + self.payload.as_str().len());
        self.encode_onto(&mut out);
        out
    }
}

fn push_text(out: &mut String, name: &str, value: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    push_string(out, value);
}

/// Writes a JSON string; text without anything to escape, as our ids are, is copied in one go.
fn push_string(out: &mut String, value: &str) {
    let plain = value.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    if plain {
        out.push('"');
        out.push_str(value);
        out.push('"');
    } else {
        out.push_str(&serde_json::Value::from(value).to_string());
    }
}

fn push_number(out: &mut String, name: &str, value: u64) {
    let _ = write!(out, ",\"{name}\":{value}");
}

/// The header as it stands in the frame.
#[derive(Default)]
struct Header<'a> {
    arcp: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    session_id: Option<Cow<'a, str>>,
    job_id: Option<Cow<'a, str>>,
    event_seq: Option<EventSeq>,
    job_seq: Option<JobSeq>,
    trace_id: Option<Cow<'a, str>>,
    extensions: Option<&'a RawValue>,
    unknown: Vec<(Cow<'a, str>, &'a RawValue)>,
    payload: Option<&'a RawValue>,
}

impl Header<'_> {
    fn into_envelope(self, frame: &ByteString) -> Result<Envelope, String> {
        if let Some(version) = self.arcp.as_deref().filter(|version| *version != PROTOCOL_VERSION) {
            let version: String = version.chars().take(32).collect();
            return Err(format!("`arcp` is `{version}`, this peer speaks `{PROTOCOL_VERSION}`"));
        }
        let kind = self.kind.filter(|kind| !kind.is_empty()).ok_or("`type` is missing")?;
        let share = |value: &RawValue| RawJson::on_one_line(frame.slice_ref(value.get()));
        let payload = self.payload.map_or(RawJson::EMPTY_OBJECT, share);
        if !payload.is_object() {
            return Err("`payload` is not an object".to_owned());
        }
        let extensions = self.extensions.map(share);
        if extensions.as_ref().is_some_and(|extensions| !extensions.is_object()) {
            return Err("`extensions` is not an object".to_owned());
        }
        let (trace_id, parent_span) = match self.trace_id.as_deref().and_then(TraceId::parse_lenient) {
            Some((trace, span)) => (Some(trace), span),
            None => (None, None),
        };
        let unknown = self.unknown.into_iter();
        let unknown = unknown.map(|(name, value)| UnknownField { name: name.into_owned(), value: share(value) });
        Ok(Envelope {
            id: checked(self.id, "id", MessageId::parse)?,
            kind: MessageType::new(&kind),
            session_id: checked(self.session_id, "session_id", SessionId::parse)?,
            job_id: checked(self.job_id, "job_id", JobId::parse)?,
            event_seq: self.event_seq,
            job_seq: self.job_seq,
            trace_id,
            parent_span,
            extensions,
            unknown: unknown.collect(),
            payload,
        })
    }
}

fn checked<T, E: fmt::Display>(
    text: Option<Cow<'_, str>>,
    field: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    text.map(|text| parse(&text).map_err(|cause| format!("`{field}`: {cause}"))).transpose()
}

impl<'de: 'a, 'a> Deserialize<'de> for Header<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
        let mut header = Header::default();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let fault = |cause: A::Error| A::Error::custom(format_args!("`{name}`: {cause}"));
            match &*name {
                "arcp" => header.arcp = text(&mut map).map_err(fault)?,
                "id" => header.id = text(&mut map).map_err(fault)?,
                "type" => header.kind = text(&mut map).map_err(fault)?,
                "session_id" => header.session_id = text(&mut map).map_err(fault)?,
                "job_id" => header.job_id = text(&mut map).map_err(fault)?,
                "event_seq" => header.event_seq = map.next_value().map_err(fault)?,
                "job_seq" => header.job_seq = map.next_value().map_err(fault)?,
                "trace_id" => header.trace_id = map.next_value::<Lenient<'de>>()?.0,
                "extensions" => header.extensions = present(map.next_value()?),
                "payload" => header.payload = present(map.next_value()?),
                _ => header.unknown.push((name, map.next_value()?)),
            }
        }
        Ok(header)
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<Option<Text<'de>>>()?.map(|Text(text)| text))
}

/// `null` is read as absent [ARCP 5-6].
fn present(value: &RawValue) -> Option<&RawValue> {
    (value.get() != "null").then_some(value)
}

/// A string, borrowed from the frame when it has no escapes. (`Cow` itself always allocates when deserialised.)
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

struct Lenient<'a>(Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Lenient<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        string_or_none(deserializer).map(Lenient)
    }
}

/// What went wrong, in words that do not quote the frame.
fn describe(frame: &str, cause: &serde_json::Error) -> String {
    use serde_json::error::Category;
    match cause.classify() {
        Category::Data if !frame.trim_start().starts_with('{') => "the frame is not a JSON object".to_owned(),
        Category::Data => strip_position(&cause.to_string()),
        _ => format!("the frame is not JSON: {cause}"),
    }
}

/// Drops serde_json's " at line 1 column 2": a frame is one line, and the field's name says more.
pub(crate) fn strip_position(message: &str) -> String {
    let end = message.rfind(" at line ").unwrap_or(message.len());
    message[..end].to_owned()
}

/// The id of a frame that is JSON but no envelope. This path is only taken for bad frames.
fn salvage_id(frame: &str) -> Option<MessageId> {
    #[derive(Deserialize)]
    struct OnlyId {
        #[serde(default)]
        id: Option<MessageId>,
        #[serde(default, rename = "payload")]
        _payload: Option<IgnoredAny>,
    }
    serde_json::from_str::<OnlyId>(frame).ok()?.id
}
