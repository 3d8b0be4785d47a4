use super::*;

fn full(kind: MessageType) -> Envelope {
    let mut envelope = Envelope::new(kind)
        .with_id(MessageId::parse("msg_1").unwrap())
        .with_session(SessionId::parse("sess_1").unwrap())
        .with_job(JobId::parse("job_1").unwrap())
        .with_trace(TraceId::parse(TRACE));
    envelope.event_seq = Some(EventSeq::new(7));
    envelope
}

/// [ARCP 11-3] A span for each envelope sent and received, named by its type, with its kind and its attributes.
#[tokio::test]
async fn a_span_says_what_the_envelope_is() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    link.out(full(MessageType::JOB_EVENT)).await;
    link.back(full(MessageType::JOB_CANCEL)).await;
    for (name, kind, direction) in [
        ("arcp.send job.event", SpanKind::Producer, "out"),
        ("arcp.recv job.cancel", SpanKind::Consumer, "in"),
    ] {
        let span = recorder.span(name);
        assert_eq!(span.span_kind, kind);
        assert_eq!(text(&span, key::DIRECTION).as_deref(), Some(direction));
        assert_eq!(text(&span, key::TYPE).as_deref(), name.split(' ').nth(1));
        assert_eq!(text(&span, key::ID).as_deref(), Some("msg_1"));
        assert_eq!(text(&span, key::SESSION_ID).as_deref(), Some("sess_1"));
        assert_eq!(text(&span, key::JOB_ID).as_deref(), Some("job_1"));
        assert_eq!(text(&span, key::TRACE_ID).as_deref(), Some(TRACE));
        assert_eq!(attribute(&span, key::EVENT_SEQ), Some(Value::I64(7)));
        assert_eq!(span.attributes.len(), 7, "{:?}", span.attributes);
    }
    assert_eq!(recorder.spans().len(), 2);
}

/// [ARCP 11-3] What an envelope does not have is no attribute.
#[tokio::test]
async fn absent_fields_are_no_attributes() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    link.out(envelope(MessageType::SESSION_PING)).await;
    assert_eq!(recorder.span("arcp.send session.ping").attributes.len(), 2);
}

/// The bounds of the job as they stand on the last span.
async fn bounds(
    recorder: &Recorder,
    link: &mut Link,
    kind: MessageType,
    payload: serde_json::Value,
) -> [Option<String>; 2] {
    let mut sent = full(kind);
    sent.payload = payload.into();
    link.out(sent).await;
    let spans = recorder.spans();
    let span = spans.last().unwrap();
    [key::LEASE_EXPIRES_AT, key::BUDGET_REMAINING].map(|key| text(span, key))
}

/// [ARCP 11-3] A job's lease end and what is left of its budget stand on its spans from its acceptance to its end.
#[tokio::test]
async fn a_jobs_bounds_are_remembered() {
    let recorder = Recorder::new();
    let link = &mut Link::near_traced(recorder.options());
    let log =
        || json!({"kind": "log", "body": {"level": "info", "message": "cost.budget.remaining"}});
    let metric = |name: &str, unit: &str| json!({"kind": "metric", "body": {"name": name, "value": 3.10, "unit": unit}});
    let expires = Some("2026-01-31T12:00:00Z".to_owned());

    assert_eq!(
        bounds(&recorder, link, MessageType::JOB_EVENT, log()).await,
        [None, None]
    );
    let accepted: RawJson = RawJson::parse(
        r#"{"lease_constraints":{"expires_at":"2026-01-31T12:00:00Z"},"budget":{"USD":5.00,"EUR":1},"credentials":[{"value":"hush"}]}"#,
    )
    .unwrap();
    let accepted = serde_json::from_str(accepted.as_str()).unwrap();
    let full_budget = Some(r#"{"EUR":1,"USD":5.00}"#.to_owned());
    let seen = bounds(&recorder, link, MessageType::JOB_ACCEPTED, accepted).await;
    assert_eq!(seen, [expires.clone(), full_budget.clone()]);
    for unrelated in [
        log(),
        metric("cost.search", "USD"),
        json!({"kind": "metric"}),
        json!([]),
    ] {
        let seen = bounds(&recorder, link, MessageType::JOB_EVENT, unrelated).await;
        assert_eq!(seen, [expires.clone(), full_budget.clone()]);
    }
    let less = Some(r#"{"EUR":1,"USD":3.1}"#.to_owned());
    let seen = bounds(
        &recorder,
        link,
        MessageType::JOB_EVENT,
        metric("cost.budget.remaining", "USD"),
    )
    .await;
    assert_eq!(seen, [expires.clone(), less.clone()]);
    let seen = bounds(&recorder, link, MessageType::JOB_RESULT, json!({})).await;
    assert_eq!(seen, [expires, less]);
    assert_eq!(
        bounds(&recorder, link, MessageType::JOB_EVENT, log()).await,
        [None, None]
    );
    assert!(!format!("{:?}", recorder.spans()).contains("hush"));
}

/// [ARCP 11-3] A subscriber learns the bounds too, and what is received counts for what is sent.
#[tokio::test]
async fn bounds_are_known_on_both_ways() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let mut subscribed = full(MessageType::JOB_SUBSCRIBED);
    subscribed.payload = json!({"budget": {"USD": 2}}).into();
    link.back(subscribed).await;
    link.out(full(MessageType::JOB_CANCEL)).await;
    let span = recorder.span("arcp.send job.cancel");
    assert_eq!(
        text(&span, key::BUDGET_REMAINING).as_deref(),
        Some(r#"{"USD":2}"#)
    );
}

/// [ARCP 14-4] A peer's type makes no endless names.
#[tokio::test]
async fn a_type_of_any_length_makes_a_short_name() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    link.back(envelope(MessageType::new(&"é".repeat(100_000))))
        .await;
    let spans = recorder.spans();
    assert_eq!(spans[0].name, format!("arcp.recv {}", "é".repeat(64)));
}

#[tokio::test]
async fn a_failed_send_is_an_error_on_its_span() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    link.near
        .sink
        .close(&towline_transport::CloseFrame::normal())
        .await
        .unwrap();
    assert!(
        link.near
            .sink
            .start_send(envelope(MessageType::SESSION_PING))
            .is_err()
    );
    let span = recorder.span("arcp.send session.ping");
    assert!(
        matches!(span.status, Status::Error { .. }),
        "{:?}",
        span.status
    );
}
