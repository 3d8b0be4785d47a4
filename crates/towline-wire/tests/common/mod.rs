//! One of each message and event body we send, with every field set or with none that may be left out.

mod events;
mod input;

use std::collections::BTreeMap;

use towline_wire::{
    Amount, CallId, CredentialId, Envelope, ErrorCode, EventKind, EventPayload, EventSeq,
    FeatureSet, JobId, JobSeq, JobStatus, Lease, LeaseConstraints, MessageId, MessageType, Payload,
    RawJson, ResultId, Secret, SessionId, Timestamp, TraceId,
    event::{self, ChunkEncoding},
    namespace,
    payload::{
        Accepted, Ack, AgentListing, Auth, Cancel, Cancelled, ClientCapabilities, Close, Closed,
        Credential, Hello, JobError, JobFilter, JobListing, JobResult, Jobs, ListJobs, PeerInfo,
        Ping, Pong, Resume, ResumeRequest, RuntimeCapabilities, SessionError, Submit, Subscribe,
        Subscribed, Unsubscribe, Welcome,
    },
};

/// Every message with all its fields, by name.
pub(crate) fn full() -> Vec<(&'static str, Envelope)> {
    [
        session_messages(),
        job_messages(),
        input::input_messages(),
        events::events(),
        input::input_events(),
    ]
    .concat()
}

/// Every message that has fields to leave out, with all of them left out.
pub(crate) fn bare() -> Vec<(&'static str, Envelope)> {
    let result = |result| JobResult {
        final_status: JobStatus::Success,
        result,
        result_encoding: None,
        result_id: None,
        result_size: None,
        summary: None,
        completed_at: None,
    };
    vec![
        ("bare session.hello", plain(&Hello::default())),
        ("bare session.close", plain(&Close::default())),
        ("bare session.list_jobs", plain(&ListJobs::default())),
        (
            "bare session.jobs",
            plain(&Jobs {
                request_id: None,
                jobs: vec![bare_listing()],
                next_cursor: None,
            }),
        ),
        ("bare job.submit", plain(&bare_submit())),
        ("bare job.accepted", plain(&bare_accepted())),
        ("bare job.result", plain(&result(None))),
        (
            "bare job.result of null",
            plain(&result(Some(RawJson::NULL))),
        ),
        ("bare job.subscribe", plain(&Subscribe::default())),
        ("bare job.subscribed", plain(&bare_subscribed())),
        ("bare job.cancel", plain(&Cancel::default())),
    ]
}

fn session_messages() -> Vec<(&'static str, Envelope)> {
    let auth = Auth {
        scheme: Some("bearer".to_owned()),
        token: Some(Secret::new("sk-0")),
    };
    let resume_token = Secret::new("rt_0123456789abcdef");
    let hello = Hello {
        client: Some(PeerInfo {
            name: "acme".to_owned(),
            version: "1.2.3".to_owned(),
        }),
        auth: Some(auth.clone()),
        capabilities: Some(ClientCapabilities {
            encodings: Some(vec!["json".to_owned()]),
            features: FeatureSet::ALL,
            agents: None,
        }),
        resume: Some(ResumeRequest {
            session_id: Some(session()),
            resume_token: resume_token.clone(),
            last_event_seq: Some(EventSeq::new(7)),
        }),
        ..Hello::default()
    };
    let listing = AgentListing {
        name: "echo".to_owned(),
        versions: vec!["1.0.0".to_owned(), "2.0.0".to_owned()],
        default: Some("2.0.0".to_owned()),
        description: Some("says it again".to_owned()),
        input_schema: RawJson::parse(r#"{"type":"object"}"#).ok(),
    };
    let welcome = Welcome {
        runtime: PeerInfo {
            name: "towline".to_owned(),
            version: "0.1.0".to_owned(),
        },
        session_id: Some(session()),
        resume_token: Some(resume_token.clone()),
        resume_window_sec: Some(600.0),
        heartbeat_interval_sec: Some(0.5),
        capabilities: RuntimeCapabilities {
            encodings: vec!["json".to_owned()],
            features: FeatureSet::ALL,
            agents: vec![
                listing,
                AgentListing {
                    name: "bare".to_owned(),
                    ..AgentListing::default()
                },
            ],
        },
        accepted_at: Some(time()),
    };
    let resume = Resume {
        resume_token,
        last_event_seq: Some(EventSeq::new(7)),
        auth: Some(auth),
        session_id: Some(session()),
    };
    let filter = JobFilter {
        status: Some(vec![JobStatus::Running, JobStatus::TimedOut]),
        agent: Some("echo@1.0.0".to_owned()),
        created_after: Some(time()),
        created_before: Some(time()),
    };
    let error = SessionError {
        code: ErrorCode::INVALID_REQUEST,
        message: "`limit` is above 1000".to_owned(),
        retryable: false,
        request_id: Some(request()),
        job_id: Some(job()),
        details: Some(raw(r#"{"limit":1001}"#)),
    };
    let cursor = Some("Y3Vyc29y".to_owned());
    let reason = Some("done".to_owned());
    vec![
        ("session.hello", plain(&hello)),
        ("session.welcome", addressed(&welcome)),
        ("session.resume", plain(&resume)),
        (
            "session.ping",
            addressed(&Ping {
                nonce: "p_1".to_owned(),
                sent_at: Some(time()),
            }),
        ),
        (
            "session.pong",
            addressed(&Pong {
                ping_nonce: "p_1".to_owned(),
                received_at: Some(time()),
            }),
        ),
        (
            "session.ack",
            addressed(&Ack {
                last_processed_seq: EventSeq::new(41),
            }),
        ),
        (
            "session.list_jobs",
            addressed(&ListJobs {
                filter: Some(filter),
                limit: Some(50),
                cursor: cursor.clone(),
                ..ListJobs::default()
            }),
        ),
        (
            "session.jobs",
            addressed(&Jobs {
                request_id: Some(request()),
                jobs: vec![full_listing(), bare_listing()],
                next_cursor: cursor,
            }),
        ),
        (
            "session.close",
            addressed(&Close {
                reason: reason.clone(),
            }),
        ),
        ("session.closed", addressed(&Closed { reason })),
        ("session.error", addressed(&error)),
    ]
}

fn job_messages() -> Vec<(&'static str, Envelope)> {
    let submit = Submit {
        input: Some(raw(r#"{"n":1.50,"deep":{"list":[null,"é"]}}"#)),
        lease_request: Some(lease()),
        lease_constraints: Some(constraints()),
        idempotency_key: Some("key-1".to_owned()),
        max_runtime_sec: Some(2.5),
        parent_job_id: Some(parent()),
        rerun_of: Some(parent()),
        not_before: None,
        queue: None,
        priority: None,
        notify: None,
        checkpoint: Some(raw(r#"{"step":3}"#)),
        ..bare_submit()
    };
    let accepted = Accepted {
        request_id: Some(request()),
        job_id: Some(job()),
        lease: lease(),
        lease_constraints: Some(constraints()),
        budget: Some(budget()),
        credentials: Some(vec![credential()]),
        accepted_at: Some(time()),
        trace_id: Some(trace()),
        parent_job_id: Some(parent()),
        delegate_id: CallId::parse("call_2").ok(),
        ..bare_accepted()
    };
    let streamed = JobResult {
        final_status: JobStatus::Success,
        result: None,
        result_encoding: None,
        result_id: ResultId::parse("res_1").ok(),
        result_size: Some(11),
        summary: Some("two chunks".to_owned()),
        completed_at: Some(time()),
    };
    let inline = JobResult {
        result: Some(raw(r#""aGVsbG8=""#)),
        result_encoding: Some("base64".to_owned()),
        result_id: None,
        result_size: None,
        ..streamed.clone()
    };
    let error = JobError {
        final_status: JobStatus::TimedOut,
        code: ErrorCode::TIMEOUT,
        message: "the job ran longer than 2.5 s".to_owned(),
        retryable: true,
        details: Some(raw(r#"{"max_runtime_sec":2.5}"#)),
        request_id: None,
        completed_at: Some(time()),
    };
    let subscribed = Subscribed {
        request_id: Some(request()),
        job_id: Some(job()),
        lease: lease(),
        lease_constraints: Some(constraints()),
        budget: Some(budget()),
        parent_job_id: Some(parent()),
        rerun_of: Some(parent()),
        trace_id: Some(trace()),
        subscribed_from: JobSeq::new(3),
        replayed: true,
        credentials: Some(vec![credential()]),
        input: Some(raw("[1]")),
        ..bare_subscribed()
    };
    let subscribe = Subscribe {
        job_id: Some(job()),
        from_event_seq: Some(JobSeq::new(2)),
        history: Some(true),
        input: true,
    };
    let reason = Some("not needed".to_owned());
    vec![
        ("job.submit", addressed(&submit)),
        ("job.accepted", addressed(&accepted)),
        ("job.result", addressed(&streamed)),
        ("job.result inline", addressed(&inline)),
        ("job.error", addressed(&error)),
        (
            "job.cancel",
            addressed(&Cancel {
                job_id: Some(job()),
                reason: reason.clone(),
            }),
        ),
        (
            "job.cancelled",
            addressed(&Cancelled {
                request_id: Some(request()),
                job_id: Some(job()),
                reason,
            }),
        ),
        ("job.subscribe", addressed(&subscribe)),
        ("job.subscribed", addressed(&subscribed)),
        (
            "job.unsubscribe",
            addressed(&Unsubscribe {
                job_id: Some(job()),
            }),
        ),
    ]
}

fn bare_submit() -> Submit {
    Submit {
        agent: "echo".to_owned(),
        input: None,
        lease_request: None,
        lease_constraints: None,
        idempotency_key: None,
        max_runtime_sec: None,
        parent_job_id: None,
        rerun_of: None,
        not_before: None,
        queue: None,
        priority: None,
        notify: None,
        checkpoint: None,
    }
}

fn bare_accepted() -> Accepted {
    Accepted {
        request_id: None,
        job_id: None,
        agent: "echo@2.0.0".to_owned(),
        lease: Lease::new(),
        lease_constraints: None,
        budget: None,
        credentials: None,
        accepted_at: None,
        trace_id: None,
        parent_job_id: None,
        delegate_id: None,
    }
}

fn bare_subscribed() -> Subscribed {
    Subscribed {
        request_id: None,
        job_id: None,
        current_status: JobStatus::Pending,
        agent: "echo@2.0.0".to_owned(),
        lease: Lease::new(),
        lease_constraints: None,
        budget: None,
        parent_job_id: None,
        rerun_of: None,
        trace_id: None,
        subscribed_from: JobSeq::ZERO,
        replayed: false,
        credentials: None,
        input: None,
    }
}

fn bare_listing() -> JobListing {
    JobListing {
        job_id: job(),
        agent: "echo@2.0.0".to_owned(),
        status: JobStatus::Success,
        lease: Lease::new(),
        lease_constraints: None,
        budget: None,
        parent_job_id: None,
        rerun_of: None,
        created_at: None,
        submitted_at: None,
        trace_id: None,
        last_event_seq: JobSeq::new(4),
        credentials: None,
        principal: None,
        started_at: None,
        completed_at: None,
        spent: None,
        open_questions: None,
        schedule: None,
        waiting_for: None,
    }
}

fn full_listing() -> JobListing {
    JobListing {
        status: JobStatus::Running,
        lease: lease(),
        lease_constraints: Some(constraints()),
        budget: Some(budget()),
        parent_job_id: Some(parent()),
        rerun_of: Some(parent()),
        created_at: Some(time()),
        submitted_at: Some(time()),
        trace_id: Some(trace()),
        credentials: Some(vec![Credential {
            value: None,
            ..credential()
        }]),
        principal: Some("alice".to_owned()),
        started_at: Some(time()),
        completed_at: Some(time()),
        spent: Some(budget()),
        open_questions: Some(1),
        schedule: None,
        waiting_for: None,
        ..bare_listing()
    }
}

fn credential() -> Credential {
    Credential {
        id: CredentialId::parse("cred_1").unwrap(),
        scheme: "bearer".to_owned(),
        value: Some(Secret::new("sk-1")),
        endpoint: "https://models.example.com/v1".to_owned(),
        profile: Some("chat".to_owned()),
        constraints: Some(raw(r#"{"cost.budget":["USD:5.00"]}"#)),
    }
}

fn lease() -> Lease {
    Lease::new()
        .with(namespace::TOOL_CALL, "search.*")
        .with(namespace::COST_BUDGET, "USD:5.00")
}

fn constraints() -> LeaseConstraints {
    LeaseConstraints {
        expires_at: Some("2026-12-31T00:00:00Z".to_owned()),
    }
}

fn budget() -> BTreeMap<String, Amount> {
    BTreeMap::from([("USD".to_owned(), "5.00".parse().unwrap())])
}

fn plain<P: Payload>(payload: &P) -> Envelope {
    Envelope::of(payload).unwrap().with_id(request())
}

/// With everything a header can have.
fn addressed<P: Payload>(payload: &P) -> Envelope {
    let envelope = plain(payload)
        .with_session(session())
        .with_job(job())
        .with_trace(Some(trace()));
    Envelope {
        event_seq: Some(EventSeq::new(41)),
        job_seq: Some(JobSeq::new(3)),
        extensions: Some(raw(r#"{"x-vendor.acme.k":1}"#)),
        ..envelope
    }
}

fn of_kind(kind: EventKind, body: Result<RawJson, serde_json::Error>) -> Envelope {
    let payload = EventPayload {
        kind,
        ts: Some(time()),
        body: body.unwrap(),
    };
    Envelope {
        payload: payload.to_json(),
        ..addressed(&payload)
    }
}

pub(crate) fn raw(text: &'static str) -> RawJson {
    RawJson::parse(text).unwrap()
}

fn time() -> Timestamp {
    "2026-01-31T12:00:00.250Z".parse().unwrap()
}

fn trace() -> TraceId {
    TraceId::parse("4bf92f3577b34da6a3ce929d0e0e4736").unwrap()
}

fn request() -> MessageId {
    MessageId::parse("msg_01K0T8Z6W3N5B7Q9R1S3T5V7X9").unwrap()
}

fn session() -> SessionId {
    SessionId::parse("sess_01K0T8Z6W3N5B7Q9R1S3T5V7XA").unwrap()
}

fn job() -> JobId {
    JobId::parse("job_01K0T8Z6W3N5B7Q9R1S3T5V7XB").unwrap()
}

fn parent() -> JobId {
    JobId::parse("job_01K0T8Z6W3N5B7Q9R1S3T5V7X0").unwrap()
}

/// The types of every message, so that a test can see that none is missing.
pub(crate) fn types() -> impl Iterator<Item = &'static MessageType> {
    // `session.bye` is the other name of `session.close` and shares its payload.
    MessageType::KNOWN
        .iter()
        .filter(|kind| **kind != MessageType::SESSION_BYE)
}
