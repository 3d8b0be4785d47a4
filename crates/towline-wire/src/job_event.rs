//! Job events (§8): `{kind, ts, body}`, the body raw until asked for.

use std::fmt;

use serde::{Serialize, de::IgnoredAny};

use crate::{
    RawJson, Timestamp, digits,
    open_enum::open_enum,
    payload::PayloadFault,
    quote::push_string,
    read::{Informative, readable},
    scan::{Cursor, fill},
};

pub mod event;
mod input;

open_enum! {
    /// What an event tells. Vendor kinds and kinds of later versions pass through [ARCP 8-1].
    EventKind {
        /// A line of log.
        LOG = "log",
        /// A step of reasoning.
        THOUGHT = "thought",
        /// A tool is called.
        TOOL_CALL = "tool_call",
        /// A tool answered, or the call was refused.
        TOOL_RESULT = "tool_result",
        /// The job entered a phase.
        STATUS = "status",
        /// A measurement; `cost.*` ones are spent from the budget.
        METRIC = "metric",
        /// Something was made and can be fetched.
        ARTIFACT_REF = "artifact_ref",
        /// A child job was started.
        DELEGATE = "delegate",
        /// How far the job is.
        PROGRESS = "progress",
        /// A piece of a streamed result.
        RESULT_CHUNK = "result_chunk",
        /// The job asks a person.
        INPUT_REQUEST = "x-vendor.towline.input_request",
        /// A question is settled.
        INPUT_RESOLVED = "x-vendor.towline.input_resolved",
        /// A person let the job do more for the rest of its life.
        GRANT = "x-vendor.towline.grant",
        /// A person spoke to the job.
        MESSAGE = "x-vendor.towline.message",
    }
}

impl EventKind {
    /// Whether only the runtime says this of a job, so that an agent cannot: what a person was asked and what came of it.
    pub fn is_of_questions(&self) -> bool {
        [
            Self::INPUT_REQUEST,
            Self::INPUT_RESOLVED,
            Self::GRANT,
            Self::MESSAGE,
        ]
        .contains(self)
    }

    /// Whether the kind is a vendor's own: `x-vendor.<vendor>.<name>`.
    pub fn is_vendor(&self) -> bool {
        self.as_str().strip_prefix("x-vendor.").is_some_and(|rest| {
            rest.split_once('.')
                .is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty())
        })
    }
}

/// Whether a `delegate` names no child yet, only the request for one.
fn asks_for_child(body: &RawJson) -> bool {
    struct Names {
        child_job_id: Option<IgnoredAny>,
        delegate_id: Option<IgnoredAny>,
    }
    readable!(Names {
        child_job_id: opt,
        delegate_id: opt
    });
    body.read::<Names>()
        .is_ok_and(|names| names.child_job_id.is_none() && names.delegate_id.is_some())
}

/// The payload of a `job.event`.
#[derive(Clone, PartialEq, Serialize)]
pub struct EventPayload {
    /// What the event tells.
    pub kind: EventKind,
    /// When it happened; some runtimes leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// The kind's own fields.
    pub body: RawJson,
}

readable!(EventPayload {
    kind: req,
    ts: opt as Informative<Timestamp>,
    body: or(RawJson::empty_object),
});

impl fmt::Debug for EventPayload {
    /// Leaves the body out where a credential may stand in it [ARCP 9.8-5].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("EventPayload");
        out.field("kind", &self.kind).field("ts", &self.ts);
        if may_hold_credential(&self.body) {
            out.finish_non_exhaustive()
        } else {
            out.field("body", &self.body).finish()
        }
    }
}

/// Whether a body, or the payload around it, may be a rotation's; with escapes in it nobody can tell at a glance.
pub(crate) fn may_hold_credential(json: &RawJson) -> bool {
    json.as_str().contains("credential") || json.as_str().contains("\\u")
}

impl EventPayload {
    /// The payload as JSON. Writes what serialising it writes, without checking the body a second time.
    ///
    /// ```
    /// use towline_wire::{EventKind, EventPayload, RawJson};
    ///
    /// let body = RawJson::parse(r#"{"text":"hm"}"#)?;
    /// let payload = EventPayload { kind: EventKind::THOUGHT, ts: None, body };
    /// assert_eq!(payload.to_json().as_str(), r#"{"kind":"thought","body":{"text":"hm"}}"#);
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_json(&self) -> RawJson {
        let mut out =
            String::with_capacity(64 + self.kind.as_str().len() + self.body.as_str().len());
        out.push_str(r#"{"kind":"#);
        push_string(&mut out, self.kind.as_str());
        if let Some(ts) = self.ts {
            out.push_str(r#","ts":""#);
            out.push_str(digits::ascii(&ts.to_ascii()));
            out.push('"');
        }
        out.push_str(r#","body":"#);
        out.push_str(self.body.as_str());
        out.push('}');
        RawJson::from_checked(out.into())
    }

    /// Reads a payload; the body shares its memory.
    pub(crate) fn read_sharing(text: &RawJson) -> Result<Self, serde_json::Error> {
        match Self::scan(text) {
            Some(payload) => Ok(payload),
            None => text.read(),
        }
    }

    /// The short way for payloads as peers write them; `None` leaves the payload to the careful reader.
    fn scan(text: &RawJson) -> Option<Self> {
        let (mut kind, mut ts, mut body) = (None, None, None);
        let mut cursor = Cursor::new(text.as_str());
        cursor.eat("{").then_some(())?;
        loop {
            match cursor.initial()? {
                b'k' if cursor.eat("\"kind\":") => fill(&mut kind, cursor.string())?,
                b't' if cursor.eat("\"ts\":") => fill(&mut ts, cursor.string())?,
                b'b' if cursor.eat("\"body\":") && !cursor.is_null() => {
                    fill(&mut body, cursor.value(text.text()))?;
                }
                _ => return None,
            }
            if !cursor.more()? {
                break;
            }
        }
        cursor.end()?;
        Some(Self {
            kind: EventKind::new(kind?),
            ts: ts.and_then(|ts| ts.parse().ok()),
            body: body.unwrap_or(RawJson::EMPTY_OBJECT),
        })
    }

    /// What a rotation of a credential carries; `None` for every other event.
    ///
    /// # Errors
    /// [`PayloadFault`] when the event is a rotation and names no credential.
    pub fn rotation(&self) -> Result<Option<event::Rotation>, PayloadFault> {
        let Event::Status(status) = self.event()? else {
            return Ok(None);
        };
        if status.phase == event::Rotation::PHASE {
            self.body
                .read()
                .map(Some)
                .map_err(|cause| PayloadFault::new(self.kind.as_str(), &cause))
        } else {
            Ok(None)
        }
    }

    /// Reads the body as its kind says.
    ///
    /// # Errors
    /// [`PayloadFault`] when the body lacks a field of its kind or has one of another type.
    pub fn event(&self) -> Result<Event, PayloadFault> {
        Event::read(&self.kind, &self.body)
    }
}

macro_rules! events {
    ($( $(#[$doc:meta])* $variant:ident($body:ident) = $kind:ident ),+ $(,)?) => {
        /// An event with its body read.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $( $(#[$doc])* $variant(event::$body), )+
            /// A kind this version does not know, or a `delegate` that only asks for a child, as one SDK emits it;
            /// untouched.
            Other {
                /// The kind.
                kind: EventKind,
                /// The body as it came.
                body: RawJson,
            },
        }

        impl Event {
            /// The kind of the event.
            pub fn kind(&self) -> EventKind {
                match self {
                    $( Self::$variant(_) => EventKind::$kind, )+
                    Self::Other { kind, .. } => kind.clone(),
                }
            }

            /// The body as JSON.
            ///
            /// # Errors
            /// When the body has no JSON form; bodies read from JSON always have one.
            pub fn body(&self) -> Result<RawJson, serde_json::Error> {
                match self {
                    $( Self::$variant(body) => RawJson::of(body), )+
                    Self::Other { body, .. } => Ok(body.clone()),
                }
            }

            /// Reads a body as its kind says.
            ///
            /// # Errors
            /// [`PayloadFault`] when the body lacks a field of its kind or has one of another type.
            pub fn read(kind: &EventKind, body: &RawJson) -> Result<Self, PayloadFault> {
                if *kind == EventKind::DELEGATE && asks_for_child(body) {
                    return Ok(Self::Other { kind: kind.clone(), body: body.clone() });
                }
                $( if *kind == EventKind::$kind {
                    return body.read().map(Self::$variant).map_err(|cause| PayloadFault::new(kind.as_str(), &cause));
                } )+
                Ok(Self::Other { kind: kind.clone(), body: body.clone() })
            }
        }

        $( impl From<event::$body> for Event {
            fn from(body: event::$body) -> Self {
                Self::$variant(body)
            }
        } )+
    };
}

events! {
    /// A line of log.
    Log(Log) = LOG,
    /// A step of reasoning.
    Thought(Thought) = THOUGHT,
    /// A tool is called.
    ToolCall(ToolCall) = TOOL_CALL,
    /// A tool answered, or the call was refused.
    ToolResult(ToolResult) = TOOL_RESULT,
    /// The job entered a phase.
    Status(Status) = STATUS,
    /// A measurement.
    Metric(Metric) = METRIC,
    /// Something was made.
    ArtifactRef(ArtifactRef) = ARTIFACT_REF,
    /// A child job was started.
    Delegate(Delegate) = DELEGATE,
    /// How far the job is.
    Progress(Progress) = PROGRESS,
    /// A piece of a streamed result.
    ResultChunk(ResultChunk) = RESULT_CHUNK,
    /// The job asks a person.
    InputRequest(InputRequest) = INPUT_REQUEST,
    /// A question is settled.
    InputResolved(InputResolved) = INPUT_RESOLVED,
    /// A person let the job do more.
    Grant(Grant) = GRANT,
    /// A person spoke to the job.
    Message(Message) = MESSAGE,
}
