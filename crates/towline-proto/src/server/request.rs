//! What a client may ask of a session that stands.

use towline_wire::{
    AgentRef, Envelope, Feature, FeatureSet, JobId, MessageId, MessageType, RawJson, SpanId,
    TraceId, namespace, payload, payload::Message,
};

use super::{Effect, need};
use crate::{
    dialect::{is_old_vocabulary, old_vocabulary},
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
    },
    /// Stop watching a job.
    Unsubscribe {
        /// The job.
        job: JobId,
    },
    /// List jobs.
    List(payload::ListJobs),
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

/// Reads a frame of a live session.
pub(super) fn read(envelope: Envelope, features: FeatureSet) -> Result<Effect, Refusal> {
    let kind = match Message::of(&envelope)? {
        Message::Ping(ping) => {
            need(features, Feature::Heartbeat, "session.ping")?;
            return Ok(Effect::Pong { nonce: ping.nonce });
        }
        Message::Ack(ack) => {
            need(features, Feature::Ack, "session.ack")?;
            return Ok(Effect::Acknowledged(ack.last_processed_seq));
        }
        Message::Close(close) => {
            return Ok(Effect::Close {
                reason: close.reason,
            });
        }
        // A pong has done its work by being heard; an error from a client is for its own log.
        Message::Pong(_) | Message::SessionError(_) => return Ok(Effect::None),
        Message::Submit(payload) => read_submit(payload, &envelope, features)?,
        Message::Cancel(cancel) => RequestKind::Cancel {
            job: job_of(&envelope, cancel.job_id)?,
            reason: cancel.reason,
        },
        Message::Subscribe(subscribe) => read_subscribe(subscribe, &envelope, features)?,
        Message::Unsubscribe(unsubscribe) => {
            need(features, Feature::Subscribe, "job.unsubscribe")?;
            RequestKind::Unsubscribe {
                job: job_of(&envelope, unsubscribe.job_id)?,
            }
        }
        Message::ListJobs(list) => {
            need(features, Feature::ListJobs, "session.list_jobs")?;
            RequestKind::List(list)
        }
        Message::Hello(_) | Message::Resume(_) => {
            return Err(Refusal::invalid(format!(
                "`{}` on a session that is already open",
                envelope.kind
            )));
        }
        Message::Other(kind) if kind.is_vendor() => return Ok(Effect::None),
        Message::Other(kind) => return Err(unknown_type(&kind)),
        _ => {
            return Err(Refusal::invalid(format!(
                "`{}` is sent by a runtime, not by a client",
                envelope.kind
            )));
        }
    };
    let Envelope {
        id,
        trace_id: trace,
        parent_span,
        ..
    } = envelope;
    Ok(Effect::Request(Box::new(Request {
        id,
        trace,
        parent_span,
        kind,
    })))
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
    if agent.version().is_some() {
        need(features, Feature::AgentVersions, "`agent` with a version")?;
    }
    if payload
        .lease_constraints
        .as_ref()
        .is_some_and(|constraints| constraints.expires_at.is_some())
    {
        need(
            features,
            Feature::LeaseExpiresAt,
            "`lease_constraints.expires_at`",
        )?;
    }
    for (namespace, feature) in [
        (namespace::COST_BUDGET, Feature::CostBudget),
        (namespace::MODEL_USE, Feature::ModelUse),
    ] {
        let asked = payload
            .lease_request
            .as_ref()
            .is_some_and(|lease| lease.iter().any(|(name, _)| name == namespace));
        if asked {
            need(features, feature, &format!("`lease_request.{namespace}`"))?;
        }
    }
    if let Some(key) = &payload.idempotency_key
        && !(1..=256).contains(&key.len())
    {
        return Err(Refusal::invalid(format!(
            "`idempotency_key` has 1 to 256 bytes, this one has {}",
            key.len()
        )));
    }
    if let Some(seconds) = payload.max_runtime_sec
        && !(seconds.is_finite() && seconds > 0.0)
    {
        return Err(Refusal::invalid(format!(
            "`max_runtime_sec` is {seconds}; it has to be a positive number of seconds"
        )));
    }
    Ok(RequestKind::Submit(Box::new(Submission {
        agent,
        payload,
        raw: envelope.payload.clone(),
    })))
}

fn read_subscribe(
    subscribe: payload::Subscribe,
    envelope: &Envelope,
    features: FeatureSet,
) -> Result<RequestKind, Refusal> {
    need(features, Feature::Subscribe, "job.subscribe")?;
    let wanted = subscribe.history.unwrap_or(false);
    Ok(RequestKind::Subscribe {
        job: job_of(envelope, subscribe.job_id)?,
        history: wanted.then(|| subscribe.from_event_seq.unwrap_or_default()),
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
