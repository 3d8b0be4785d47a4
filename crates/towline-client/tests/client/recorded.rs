//! Conversations recorded from the published SDKs' runtimes, through the client's machine: nothing lost, nothing misread.
//!
//! `tests/data/*.jsonl` has one conversation a file: `{"conn":…,"dir":"c2s"|"s2c","frame":{…}}` a line. What the recorded
//! client sent is asked of the machine, under the same ids; what the runtime sent is given to it.

use std::{cell::RefCell, collections::BTreeMap, fs, path::Path, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use towline_proto::client::{
    ClientSession, Effect, JobEnd, Moment, Names, Reply, Request, RequestError, ResumePoint,
    SessionConfig,
};
use towline_wire::{
    Envelope, Event, EventPayload, MessageId, MessageType, Timestamp, TraceId, payload,
};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(default)]
    conn: serde_json::Value,
    dir: String,
    #[serde(borrow)]
    frame: Option<&'a RawValue>,
}

/// Gives the recorded ids.
#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) next: RefCell<Option<MessageId>>,
    nonce: RefCell<Option<String>>,
}

impl Names for Recorded {
    fn message(&self) -> MessageId {
        self.next
            .take()
            .unwrap_or_else(|| MessageId::parse("of-our-own").unwrap())
    }

    fn nonce(&self) -> String {
        self.nonce.take().unwrap_or_else(|| "of-our-own".to_owned())
    }

    fn trace(&self) -> TraceId {
        TraceId::from_bytes([7; 16]).unwrap()
    }
}

/// One recorded connection.
struct Conversation {
    session: Option<ClientSession>,
    names: Recorded,
    effects: Vec<Effect>,
    /// Numbered frames the runtime sent.
    numbered: usize,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    events: usize,
    ends: usize,
    /// Submits refused by a numbered `job.error`.
    refused: usize,
    replies: usize,
    unreadable: Vec<String>,
}

impl Conversation {
    fn new() -> Self {
        Self {
            session: None,
            names: Recorded::default(),
            effects: Vec::new(),
            numbered: 0,
            tally: Tally::default(),
        }
    }

    fn client_sent(&mut self, envelope: &Envelope) {
        *self.names.next.borrow_mut() = envelope.id.clone();
        let at = Moment {
            now: Duration::ZERO,
            wall: Timestamp::from_unix_micros(0),
            names: &self.names,
        };
        if envelope.kind == MessageType::SESSION_HELLO {
            let Ok(hello) = envelope.decode::<payload::Hello>() else {
                return;
            };
            let point = hello.resume_request().map(|resume| ResumePoint {
                session_id: resume.session_id.expect("the recorded clients name it"),
                token: resume.resume_token,
                last_event_seq: resume.last_event_seq.unwrap_or_default(),
            });
            let config = SessionConfig {
                ack: None,
                ..SessionConfig::default()
            };
            let mut session = ClientSession::new(config, point, &[]).0;
            session.connected(at, &mut self.effects);
            self.session = Some(session);
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        if envelope.kind == MessageType::SESSION_PING {
            *self.names.nonce.borrow_mut() = envelope
                .decode::<payload::Ping>()
                .ok()
                .map(|ping| ping.nonce);
        }
        if let Some(request) = request_of(envelope) {
            // What a careful client would not send is not asked; its refusal then answers nothing.
            let _ = session.request(request, at, &mut self.effects);
        }
    }

    fn runtime_sent(&mut self, envelope: Envelope) {
        let Some(session) = self.session.as_mut().filter(|session| !session.is_over()) else {
            return;
        };
        self.numbered += usize::from(envelope.event_seq.is_some());
        let refusal = envelope.kind == MessageType::JOB_ERROR;
        let at = Moment {
            now: Duration::ZERO,
            wall: Timestamp::from_unix_micros(0),
            names: &self.names,
        };
        session.receive(envelope, at, &mut self.effects);
        self.tally.note(self.effects.drain(..), refusal);
    }
}

impl Tally {
    fn note(&mut self, effects: impl Iterator<Item = Effect>, refusal: bool) {
        for effect in effects {
            match effect {
                Effect::Event { envelope, .. } => {
                    self.events += 1;
                    self.read(&envelope);
                }
                Effect::Ended { end, .. } => {
                    self.ends += 1;
                    if let JobEnd::Unreadable(cause) = *end {
                        self.unreadable.push(cause.to_string());
                    }
                }
                Effect::Reply { reply, .. } => {
                    self.replies += 1;
                    match *reply {
                        Reply::Failed(RequestError::Unreadable(cause)) => {
                            self.unreadable.push(cause.to_string())
                        }
                        Reply::Failed(RequestError::Refused(_)) => {
                            self.refused += usize::from(refusal)
                        }
                        _ => {}
                    }
                }
                Effect::Drop(loss) => self
                    .unreadable
                    .push(format!("the connection was left: {loss:?}")),
                _ => {}
            }
        }
    }

    /// The body has to be what its kind says. (The TypeScript SDK's `delegate` names no child; it is not the draft's.)
    fn read(&mut self, envelope: &Envelope) {
        let read = envelope
            .decode::<EventPayload>()
            .map_err(|cause| cause.to_string());
        let event = read.and_then(|payload| match payload.kind.as_str() {
            "delegate" => Ok(Event::Other {
                kind: payload.kind,
                body: payload.body,
            }),
            _ => payload.event().map_err(|cause| cause.to_string()),
        });
        self.unreadable.extend(event.err());
    }
}

pub(crate) fn request_of(envelope: &Envelope) -> Option<Request> {
    let kind = &envelope.kind;
    if *kind == MessageType::JOB_SUBMIT {
        let submit = Box::new(envelope.decode().ok()?);
        return Some(Request::Submit {
            submit,
            trace: envelope.trace_id,
            span: None,
        });
    }
    if *kind == MessageType::JOB_CANCEL {
        let cancel: payload::Cancel = envelope.decode().ok()?;
        let job = cancel.job_id.or_else(|| envelope.job_id.clone())?;
        return Some(Request::Cancel {
            job,
            reason: cancel.reason.unwrap_or_default(),
        });
    }
    if *kind == MessageType::JOB_SUBSCRIBE {
        let subscribe: payload::Subscribe = envelope.decode().ok()?;
        let job = subscribe.job_id.or_else(|| envelope.job_id.clone())?;
        return Some(Request::Subscribe {
            job,
            from: subscribe.from_event_seq,
            history: subscribe.history == Some(true),
            input: subscribe.input,
        });
    }
    if *kind == MessageType::JOB_UNSUBSCRIBE {
        let unsubscribe: payload::Unsubscribe = envelope.decode().ok()?;
        return Some(Request::Unsubscribe {
            job: unsubscribe.job_id.or_else(|| envelope.job_id.clone())?,
        });
    }
    if *kind == MessageType::SESSION_LIST_JOBS {
        return Some(Request::List(envelope.decode().ok()?));
    }
    (*kind == MessageType::SESSION_PING).then_some(Request::Ping)
}

fn check(path: &Path) {
    let text = fs::read_to_string(path).unwrap();
    let mut conversations = BTreeMap::<String, Conversation>::new();
    for line in text.lines() {
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        let Some(frame) = line.frame else { continue };
        let Ok(envelope) = Envelope::decode_text(frame.get().to_owned()) else {
            assert_eq!(
                line.dir,
                "c2s",
                "{}: what the runtimes sent are envelopes: {frame}",
                path.display()
            );
            continue;
        };
        let conversation = conversations
            .entry(line.conn.to_string())
            .or_insert_with(Conversation::new);
        match line.dir.as_str() {
            "c2s" => conversation.client_sent(&envelope),
            _ => conversation.runtime_sent(envelope),
        }
    }
    for (
        conn,
        Conversation {
            session,
            numbered,
            tally,
            ..
        },
    ) in conversations
    {
        let Some(session) = session else { continue };
        let place = format!(
            "{} connection {conn}: {tally:?} {:?}",
            path.display(),
            session.counters()
        );
        assert_eq!(tally.unreadable, Vec::<String>::new(), "{place}");
        let counters = session.counters();
        assert_eq!((counters.gaps, counters.skipped), (0, 0), "{place}");
        let seen = tally.events + tally.ends + tally.refused;
        assert_eq!(
            seen as u64 + counters.duplicates + counters.ignored,
            numbered as u64,
            "{place}"
        );
    }
}

/// Every numbered frame the SDKs' runtimes were recorded to send is delivered once, in order.
#[test]
fn recorded_runtimes_are_understood() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut files: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    assert!(files.len() >= 10, "the recordings are there");
    files.iter().for_each(|path| check(path));
}
