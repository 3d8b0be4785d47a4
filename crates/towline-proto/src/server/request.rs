//! What a client may ask of a session that stands.

use serde::Deserialize;
use towline_wire::{
    AgentRef, Envelope, FeatureSet, JobId, MessageId, MessageType, RawJson, SpanId, Timestamp,
    TraceId, payload, payload::Message,
};

use super::Effect;
use crate::{
    dialect::{is_old_vocabulary, old_vocabulary},
    limits, needs,
    refusal::Refusal,
};

/// A request, read and checked as far as its form goes.
#[derive(Debug)]
pub struct Request {
    /// Its envelope's id, for the reply.
    pub id: Option<MessageId>,
    /// The trace it belongs to.
    pub trace: Option<TraceId>,
    /// The sender's span.
    pub parent_span: Option<SpanId>,
    /// What is asked.
    pub kind: RequestKind,
}

/// What is asked.
#[derive(Debug)]
pub enum RequestKind {
    /// Run a job.
    Submit(Box<Submission>),
    /// End a job.
    Cancel {
        /// The job.
        job: JobId,
        /// Why.
        reason: Option<String>,
    },
    /// Watch a job.
    Subscribe {
        /// The job.
        job: JobId,
        /// Replay what came after this one; `None` means only what comes.
        history: Option<towline_wire::JobSeq>,
        /// Whether what it was given is wanted too.
        input: bool,
    },
    /// Stop watching a job.
    Unsubscribe {
        /// The job.
        job: JobId,
    },
    /// List jobs.
    List(payload::ListJobs),
    /// Say who asks, and what holds for them [ARCP 20-2].
    WhoAmI,
    /// Take the answer to a question [ARCP 15-2].
    Answer {
        /// The job that asked.
        job: JobId,
        /// The answer.
        answer: payload::Answer,
    },
    /// Tell a running job something [ARCP 15-7].
    Speak {
        /// The job.
        job: JobId,
        /// What to tell it.
        body: RawJson,
    },
    /// Show the open questions that the asker may answer.
    Inbox {
        /// Only those of this job.
        job: Option<JobId>,
    },
    /// Look at schedules, or say what becomes of one [ARCP 22-3].
    Schedule(ScheduleRequest),
    /// Look at messages to receivers, or have one delivered once more [ARCP 16-6].
    Webhook(WebhookRequest),
    /// End the sessions of a principal [ARCP 14-7].
    RevokeSessions {
        /// Whose.
        principal: String,
    },
}

/// Asks who one is; a vendor's type of ours.
pub const WHOAMI: &str = "x-vendor.towline.whoami";
/// Answers [`WHOAMI`].
pub const IDENTITY: &str = "x-vendor.towline.identity";

/// Asks to end the sessions of a principal; a vendor's type of ours.
pub const REVOKE_SESSIONS: &str = "x-vendor.towline.sessions.revoke";
/// Answers [`REVOKE_SESSIONS`] with how many there were.
pub const SESSIONS_REVOKED: &str = "x-vendor.towline.sessions.revoked";

/// Asks about schedules; a vendor's type of ours.
pub const SCHEDULE: &str = "x-vendor.towline.schedule";
/// Answers [`SCHEDULE`].
pub const SCHEDULES: &str = "x-vendor.towline.schedules";

/// Asks about messages to receivers; a vendor's type of ours.
pub const WEBHOOK: &str = "x-vendor.towline.webhook";
/// Answers [`WEBHOOK`].
pub const WEBHOOKS: &str = "x-vendor.towline.webhooks";

/// What is asked about messages to receivers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum WebhookRequest {
    /// Which there are, the latest first.
    List {
        /// At most so many.
        #[serde(default = "default_webhooks")]
        limit: usize,
    },
    /// Deliver one once more, whatever became of it.
    Redeliver {
        /// Which.
        id: String,
    },
}

/// What is asked about schedules.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum ScheduleRequest {
    /// Which there are, and when they fire next.
    List {
        /// So many times of each.
        #[serde(default)]
        next: usize,
        /// Those after this moment; now when nobody says.
        #[serde(default)]
        from: Option<Timestamp>,
    },
    /// Have one run now.
    Run {
        /// Which.
        name: String,
    },
    /// Let one fire no more.
    Pause {
        /// Which.
        name: String,
    },
    /// Let one fire again.
    Resume {
        /// Which.
        name: String,
    },
}

/// A submit whose form is right.
#[derive(Debug)]
pub struct Submission {
    /// The agent asked for.
    pub agent: AgentRef,
    /// The payload, read.
    pub payload: payload::Submit,
    /// The payload as it came, for comparing repeats.
    pub raw: RawJson,
}

/// Reads a request that comes by itself rather than as a frame of a connection, for an adapter that translates into what
/// there is.
///
/// # Errors
/// A refusal, as a session with these features would be given.
pub fn read_alone(envelope: Envelope, features: FeatureSet) -> Result<Request, Refusal> {
    let kind = envelope.kind.clone();
    match read(envelope, features)? {
        Effect::Request(request) => Ok(*request),
        _ => Err(Refusal::invalid(format!("`{kind}` asks for nothing"))),
    }
}

/// Reads a frame of a live session.
pub(super) fn read(envelope: Envelope, features: FeatureSet) -> Result<Effect, Refusal> {
    let message = Message::of(&envelope)?;
    needs::check_type(&envelope.kind, features)?;
    match message {
        Message::Ping(ping) => Ok(Effect::Pong { nonce: ping.nonce }),
        Message::Ack(ack) => Ok(Effect::Acknowledged(ack.last_processed_seq)),
        Message::Close(close) => Ok(Effect::Close {
            reason: close.reason,
        }),
        // A pong has done its work by being heard; an error from a client is for its own log.
        Message::Pong(_) | Message::SessionError(_) => Ok(Effect::None),
        Message::Hello(_) | Message::Resume(_) => Err(Refusal::invalid(format!(
            "`{}` on a session that is already open",
            envelope.kind
        ))),
        Message::Other(kind) if kind.as_str() == WHOAMI => Ok(asked(envelope, RequestKind::WhoAmI)),
        Message::Other(kind) if kind.as_str() == REVOKE_SESSIONS => {
            let principal = revoked_principal(&envelope)?;
            Ok(asked(envelope, RequestKind::RevokeSessions { principal }))
        }
        Message::Other(kind) if kind.as_str() == SCHEDULE => {
            let request = schedule_request(&envelope)?;
            Ok(asked(envelope, RequestKind::Schedule(request)))
        }
        Message::Other(kind) if kind.as_str() == WEBHOOK => {
            let request = webhook_request(&envelope)?;
            Ok(asked(envelope, RequestKind::Webhook(request)))
        }
        Message::Other(kind) if kind.is_vendor() => Ok(Effect::None),
        Message::Other(kind) => Err(unknown_type(&kind)),
        message => {
            let kind = read_request(message, &envelope, features)?;
            Ok(asked(envelope, kind))
        }
    }
}

/// A request of an envelope.
fn asked(envelope: Envelope, kind: RequestKind) -> Effect {
    Effect::Request(Box::new(Request {
        id: envelope.id,
        trace: envelope.trace_id,
        parent_span: envelope.parent_span,
        kind,
    }))
}

/// What a message asks for, if it is one that a client sends.
fn read_request(
    message: Message,
    envelope: &Envelope,
    features: FeatureSet,
) -> Result<RequestKind, Refusal> {
    match message {
        Message::Submit(payload) => read_submit(payload, envelope, features),
        Message::Cancel(cancel) => Ok(RequestKind::Cancel {
            job: job_of(envelope, cancel.job_id)?,
            reason: cancel.reason,
        }),
        Message::Subscribe(subscribe) => read_subscribe(subscribe, envelope),
        Message::Unsubscribe(unsubscribe) => Ok(RequestKind::Unsubscribe {
            job: job_of(envelope, unsubscribe.job_id)?,
        }),
        Message::Answer(answer) => Ok(RequestKind::Answer {
            job: job_of(envelope, answer.job_id.clone())?,
            answer,
        }),
        Message::Speak(speak) => Ok(RequestKind::Speak {
            job: job_of(envelope, speak.job_id)?,
            body: speak.body,
        }),
        Message::Inbox(inbox) => Ok(RequestKind::Inbox { job: inbox.job_id }),
        Message::ListJobs(list) => {
            limits::page_jobs(list.limit)?;
            needs::check_list(&list, features)?;
            Ok(RequestKind::List(list))
        }
        _ => Err(Refusal::invalid(format!(
            "`{}` is sent by a runtime, not by a client",
            envelope.kind
        ))),
    }
}

fn schedule_request(envelope: &Envelope) -> Result<ScheduleRequest, Refusal> {
    let asked: Result<ScheduleRequest, _> = envelope.payload.read();
    let asked = asked.map_err(|cause| {
        Refusal::invalid(format!(
            "the payload asks nothing about schedules: {cause}; its `action` is list, run, pause or resume"
        ))
    })?;
    match asked {
        ScheduleRequest::List { next, .. } if next > MOST_TIMES => Err(Refusal::invalid(format!(
            "`next` is {next}; at most {MOST_TIMES} times are told"
        ))),
        asked => Ok(asked),
    }
}

fn webhook_request(envelope: &Envelope) -> Result<WebhookRequest, Refusal> {
    let asked: Result<WebhookRequest, _> = envelope.payload.read();
    let asked = asked.map_err(|cause| {
        Refusal::invalid(format!(
            "the payload asks nothing about webhooks: {cause}; its `action` is list or redeliver"
        ))
    })?;
    if let WebhookRequest::List { limit } = asked {
        limits::page_webhooks(limit)?;
    }
    Ok(asked)
}

const fn default_webhooks() -> usize {
    limits::DEFAULT_PAGE_WEBHOOKS
}

/// How many times of a schedule are told at once.
const MOST_TIMES: usize = 1000;

fn revoked_principal(envelope: &Envelope) -> Result<String, Refusal> {
    let payload: Result<serde_json::Value, _> = envelope.payload.read();
    let principal = payload.ok().and_then(|payload| {
        let principal = payload.get("principal")?.as_str()?;
        (!principal.is_empty()).then(|| principal.to_owned())
    });
    principal
        .ok_or_else(|| Refusal::invalid("`principal` is missing; name whose sessions are to end"))
}

fn unknown_type(kind: &MessageType) -> Refusal {
    if is_old_vocabulary(kind.as_str()) {
        return Refusal::invalid(old_vocabulary(kind.as_str()));
    }
    let shown: String = kind.as_str().chars().take(64).collect();
    Refusal::invalid(format!(
        "`type` is `{shown}`, which this runtime does not know"
    ))
}

fn read_submit(
    payload: payload::Submit,
    envelope: &Envelope,
    features: FeatureSet,
) -> Result<RequestKind, Refusal> {
    let agent = AgentRef::parse(&payload.agent)
        .map_err(|cause| Refusal::invalid(format!("`agent`: {cause}")))?;
    needs::check_submit(&payload, features)?;
    limits::check_submit(&payload)?;
    Ok(RequestKind::Submit(Box::new(Submission {
        agent,
        payload,
        raw: envelope.payload.clone(),
    })))
}

fn read_subscribe(
    subscribe: payload::Subscribe,
    envelope: &Envelope,
) -> Result<RequestKind, Refusal> {
    let wanted = subscribe.history.unwrap_or(false);
    Ok(RequestKind::Subscribe {
        job: job_of(envelope, subscribe.job_id)?,
        history: wanted.then(|| subscribe.from_event_seq.unwrap_or_default()),
        input: subscribe.input,
    })
}

/// The job may stand in the payload or on the envelope; in both only if they agree.
fn job_of(envelope: &Envelope, in_payload: Option<JobId>) -> Result<JobId, Refusal> {
    match (in_payload, &envelope.job_id) {
        (Some(inner), Some(outer)) if inner != *outer => Err(Refusal::invalid(format!(
            "`job_id` is `{inner}` in the payload and `{outer}` on the envelope; they have to agree"
        ))),
        (Some(job), _) => Ok(job),
        (None, Some(job)) => Ok(job.clone()),
        (None, None) => Err(Refusal::invalid(format!(
            "`{}` needs a `job_id`",
            envelope.kind
        ))),
    }
}
