//! A job of the host, and what is said of it.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use towline_proto::{job::JobMachine, span::RecordKind};
use towline_wire::{
    Envelope, FeatureSet, JobId, JobSeq, JobStatus, Lease, MessageId, MessageType, Payload,
    RawJson, Secret, SessionId, TraceId, payload,
};

pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) owner: SessionId,
    pub(crate) trace: TraceId,
    pub(crate) machine: JobMachine,
    pub(crate) log: Vec<(RecordKind, RawJson)>,
    pub(crate) observers: BTreeSet<SessionId>,
}

impl Job {
    pub(crate) fn accepted(&self, request: Option<MessageId>) -> Envelope {
        let accepted = payload::Accepted {
            request_id: request,
            job_id: Some(self.id.clone()),
            agent: "model@1.0.0".to_owned(),
            lease: Lease::default(),
            lease_constraints: None,
            budget: None,
            credentials: None,
            accepted_at: None,
            trace_id: Some(self.trace),
            parent_job_id: None,
            delegate_id: None,
        };
        envelope(&accepted)
            .with_job(self.id.clone())
            .with_trace(Some(self.trace))
    }

    pub(crate) fn subscribed(
        &self,
        request: Option<MessageId>,
        last: JobSeq,
        replayed: bool,
    ) -> Envelope {
        let subscribed = payload::Subscribed {
            request_id: request,
            job_id: Some(self.id.clone()),
            current_status: self.machine.status(),
            agent: "model@1.0.0".to_owned(),
            lease: Lease::default(),
            lease_constraints: None,
            budget: None,
            parent_job_id: None,
            rerun_of: None,
            trace_id: Some(self.trace),
            subscribed_from: last,
            replayed,
            credentials: None,
            input: None,
        };
        envelope(&subscribed).with_job(self.id.clone())
    }

    /// Whether its log has the terminal its machine says it has, once, at the end.
    pub(crate) fn ends_once(&self) -> bool {
        let ends = self
            .log
            .iter()
            .filter(|(kind, _)| kind.is_terminal())
            .count();
        let last_ends = self.log.last().is_some_and(|(kind, _)| kind.is_terminal());
        match self.machine.status() {
            JobStatus::Pending | JobStatus::Running => ends == 0,
            _ => ends == 1 && last_ends,
        }
    }
}

pub(crate) fn welcome(session: &SessionId, token: String, features: FeatureSet) -> Envelope {
    let welcome = payload::Welcome {
        runtime: payload::PeerInfo {
            name: "model".to_owned(),
            version: "1".to_owned(),
        },
        session_id: Some(session.clone()),
        resume_token: Some(Secret::new(token)),
        resume_window_sec: Some(600.0),
        heartbeat_interval_sec: Some(BEAT.as_secs_f64()),
        capabilities: payload::RuntimeCapabilities {
            encodings: vec!["json".to_owned()],
            features,
            agents: Vec::new(),
        },
        accepted_at: None,
    };
    envelope(&welcome)
}

pub(crate) fn message_type(kind: RecordKind) -> MessageType {
    match kind {
        RecordKind::Result => MessageType::JOB_RESULT,
        RecordKind::Error => MessageType::JOB_ERROR,
        _ => MessageType::JOB_EVENT,
    }
}

pub(crate) fn event(kind: &str) -> RawJson {
    json!({ "kind": kind, "ts": "2026-01-01T00:00:00.000Z", "body": {} }).into()
}

pub(crate) fn envelope<P: Payload>(payload: &P) -> Envelope {
    Envelope::of(payload).unwrap()
}

/// How often silence is noticed.
pub(crate) const BEAT: Duration = Duration::from_secs(30);
