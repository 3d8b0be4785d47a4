//! Reading a frame: one pass over the header, values kept as the text they are. This is the careful reader, which has the
//! last word on every frame; [`quick`] spares the usual ones the way through serde.

use std::{borrow::Cow, fmt};

use bytestring::ByteString;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{DecodeError, Envelope, PROTOCOL_VERSION, UnknownField};
use crate::{
    EventSeq, JobId, JobSeq, MessageId, MessageType, RawJson, SessionId, TraceId,
    read::{Informative, Text, at, excerpt, given_twice, strip_position},
};

mod quick;

impl Envelope {
    /// Reads a frame. The payload shares the frame's memory.
    ///
    /// ```
    /// use towline_wire::Envelope;
    ///
    /// let refused = Envelope::decode_text(r#"{"arcp":"1.1","id":"msg_1","type":"session.ack","event_seq":"7"}"#);
    /// let error = refused.unwrap_err();
    /// assert_eq!(error.message, "`event_seq`: expected a whole number up to 2^53-1, found a string");
    /// assert_eq!(error.id.unwrap().as_str(), "msg_1");
    /// ```
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is not JSON, not an object, has no `type`, speaks another version, gives a header
    /// field twice, or gives it with the wrong type.
    pub fn decode_text(frame: impl Into<ByteString>) -> Result<Self, DecodeError> {
        decode(&frame.into())
    }

    /// [`Envelope::decode_text`] for bytes that still have to be UTF-8.
    ///
    /// # Errors
    /// As `decode_text`, and when the bytes are not UTF-8.
    pub fn decode_bytes(frame: bytes::Bytes) -> Result<Self, DecodeError> {
        Self::decode_text(utf8(frame)?)
    }
}

/// Bytes of a frame as text.
pub(crate) fn utf8(frame: bytes::Bytes) -> Result<ByteString, DecodeError> {
    ByteString::try_from(frame).map_err(|cause| DecodeError {
        message: format!("the frame is not UTF-8: {cause}"),
        id: None,
    })
}

/// Reads a frame.
pub(crate) fn decode(frame: &ByteString) -> Result<Envelope, DecodeError> {
    // The type stands in for the one that is read.
    let mut envelope = Envelope::new(MessageType::JOB_EVENT);
    match quick::read(frame, &mut envelope) {
        Some(()) => Ok(envelope),
        None => decode_carefully(frame),
    }
}

/// Apart, and cold, so that the short way keeps to itself what it needs of registers and stack.
#[cold]
fn decode_carefully(frame: &ByteString) -> Result<Envelope, DecodeError> {
    let refuse = |message: String| DecodeError {
        message,
        id: salvage_id(frame),
    };
    let header: Header<'_> =
        serde_json::from_str(frame).map_err(|cause| refuse(describe(frame, &cause)))?;
    header.into_envelope(frame).map_err(refuse)
}

/// The header as it stands in the frame. The outer `Option` of a field says whether it was there, the inner one whether
/// it was more than `null`, which is read as absent [ARCP 5-6].
#[derive(Default)]
struct Header<'a> {
    arcp: Option<Option<Text<'a>>>,
    id: Option<Option<Text<'a>>>,
    kind: Option<Option<Text<'a>>>,
    session_id: Option<Option<Text<'a>>>,
    job_id: Option<Option<Text<'a>>>,
    event_seq: Option<Option<EventSeq>>,
    job_seq: Option<Option<JobSeq>>,
    trace_id: Option<Option<Trace>>,
    extensions: Option<Option<&'a RawValue>>,
    unknown: Vec<(Cow<'a, str>, &'a RawValue)>,
    payload: Option<Option<&'a RawValue>>,
}

impl Header<'_> {
    fn into_envelope(self, frame: &ByteString) -> Result<Envelope, String> {
        if let Some(Text(version)) = self
            .arcp
            .flatten()
            .filter(|Text(version)| version != PROTOCOL_VERSION)
        {
            return Err(format!(
                "`arcp` is `{}`, this peer speaks `{PROTOCOL_VERSION}`",
                excerpt(&version)
            ));
        }
        let Text(kind) = self
            .kind
            .flatten()
            .filter(|Text(kind)| !kind.is_empty())
            .ok_or("`type` is missing")?;
        let share = |value: &RawValue| RawJson::on_one_line(frame.slice_ref(value.get()));
        let Trace(trace) = self.trace_id.flatten().unwrap_or(Trace(None));
        let unknown = self.unknown.into_iter();
        let unknown = unknown.map(|(name, value)| UnknownField {
            name: name.into_owned(),
            value: share(value),
        });
        Ok(Envelope {
            id: checked(self.id, "id", MessageId::parse)?,
            kind: MessageType::new(&kind),
            session_id: checked(self.session_id, "session_id", SessionId::parse)?,
            job_id: checked(self.job_id, "job_id", JobId::parse)?,
            event_seq: counted(self.event_seq, "event_seq", EventSeq::FIRST)?,
            job_seq: counted(self.job_seq, "job_seq", JobSeq::FIRST)?,
            trace_id: trace.map(|(trace, _)| trace),
            parent_span: trace.and_then(|(_, span)| span),
            extensions: object(self.extensions, "extensions")?.map(share),
            unknown: unknown.collect(),
            payload: object(self.payload, "payload")?.map_or(RawJson::EMPTY_OBJECT, share),
        })
    }
}

fn checked<T, E: fmt::Display>(
    text: Option<Option<Text<'_>>>,
    field: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, String> {
    text.flatten()
        .map(|Text(text)| parse(&text).map_err(|cause| format!("`{field}`: {cause}")))
        .transpose()
}

/// Zero is no place in a stream [ARCP 5-9].
fn counted<T: Copy + PartialOrd>(
    seq: Option<Option<T>>,
    field: &str,
    first: T,
) -> Result<Option<T>, String> {
    match seq.flatten() {
        Some(seq) if seq < first => Err(format!("`{field}`: the first number is 1, found 0")),
        seq => Ok(seq),
    }
}

fn object<'a>(
    value: Option<Option<&'a RawValue>>,
    field: &str,
) -> Result<Option<&'a RawValue>, String> {
    match value.flatten() {
        Some(value) if !value.get().starts_with('{') => Err(format!("`{field}` is not an object")),
        value => Ok(value),
    }
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
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header<'de>, A::Error> {
        let mut header = Header::default();
        while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
            let map = &mut map;
            match &*name {
                "arcp" => once(map, "arcp", &mut header.arcp)?,
                "id" => once(map, "id", &mut header.id)?,
                "type" => once(map, "type", &mut header.kind)?,
                "session_id" => once(map, "session_id", &mut header.session_id)?,
                "job_id" => once(map, "job_id", &mut header.job_id)?,
                "event_seq" => once(map, "event_seq", &mut header.event_seq)?,
                "job_seq" => once(map, "job_seq", &mut header.job_seq)?,
                "trace_id" => once(map, "trace_id", &mut header.trace_id)?,
                "extensions" => raw(map, "extensions", &mut header.extensions)?,
                "payload" => raw(map, "payload", &mut header.payload)?,
                _ => header.unknown.push((name, map.next_value()?)),
            }
        }
        Ok(header)
    }
}

/// Reads a field that may stand in the header once; the peers of a relay would not agree on which one of two holds.
fn once<'de, A, T>(map: &mut A, name: &str, slot: &mut Option<Option<T>>) -> Result<(), A::Error>
where
    A: MapAccess<'de>,
    T: Deserialize<'de>,
{
    let value = map
        .next_value::<Option<T>>()
        .map_err(|cause| at(name, &cause))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(given_twice(name)),
    }
}

/// `Option<&RawValue>` would read `null` as itself.
fn raw<'de, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
    slot: &mut Option<Option<&'de RawValue>>,
) -> Result<(), A::Error> {
    let value: &RawValue = map.next_value()?;
    match slot.replace((value.get() != "null").then_some(value)) {
        None => Ok(()),
        Some(_) => Err(given_twice(name)),
    }
}

/// A trace id, or nothing when it is none: it is replaced then, never fatal [ARCP 11-1].
struct Trace(Option<super::TraceParts>);

impl<'de> Deserialize<'de> for Trace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Informative::deserialize(deserializer).map(|Informative(trace)| Self(trace))
    }
}

impl crate::read::FromText for super::TraceParts {
    fn from_text(text: &str) -> Option<Self> {
        TraceId::parse_lenient(text)
    }
}

/// What went wrong, in words that do not quote the frame.
fn describe(frame: &str, cause: &serde_json::Error) -> String {
    use serde_json::error::Category;
    match cause.classify() {
        _ if frame.starts_with('\u{feff}') => {
            "the frame begins with a byte order mark; leave it out".to_owned()
        }
        _ if frame.trim_ascii().is_empty() => "the frame is empty".to_owned(),
        Category::Data if !frame.trim_ascii_start().starts_with('{') => {
            "the frame is not a JSON object".to_owned()
        }
        Category::Data => strip_position(&cause.to_string()).to_owned(),
        _ => format!("the frame is not JSON: {cause}"),
    }
}

/// The id of a frame that is JSON but no envelope. This path is only taken for bad frames.
fn salvage_id(frame: &str) -> Option<MessageId> {
    #[derive(Deserialize)]
    struct OnlyId {
        #[serde(default)]
        id: Option<MessageId>,
    }
    serde_json::from_str::<OnlyId>(frame).ok()?.id
}
