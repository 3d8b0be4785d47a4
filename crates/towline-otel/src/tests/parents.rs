use tracing_subscriber::prelude::*;

use super::*;

/// [ARCP 11-3] With a plain OpenTelemetry SDK, the current context is the parent of what is sent.
#[tokio::test]
async fn the_current_context_is_the_parent() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let span = recorder.provider.tracer("app").start("handler");
    let context = Context::current_with_span(span);
    let entered = context.clone().attach();
    link.near
        .sink
        .start_send(envelope(MessageType::JOB_SUBMIT))
        .unwrap();
    drop(entered);
    let sent = recorder.span("arcp.send job.submit");
    assert_eq!(sent.parent_span_id, context.span().span_context().span_id());
}

/// [ARCP 11-3] With a `tracing-opentelemetry` subscriber, the entered `tracing` span is the parent, whether the layer
/// keeps OpenTelemetry's current context in step or not.
#[tokio::test]
async fn the_entered_tracing_span_is_the_parent() {
    for in_step in [true, false] {
        let recorder = Recorder::new();
        let mut link = Link::near_traced(recorder.options());
        let layer = tracing_opentelemetry::layer()
            .with_tracer(recorder.provider.tracer("app"))
            .with_context_activation(in_step);
        let subscriber = tracing_subscriber::registry().with(layer);
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("handler");
            let _entered = span.enter();
            link.near
                .sink
                .start_send(envelope(MessageType::JOB_SUBMIT))
                .unwrap();
        });
        let (sent, handler) = (
            recorder.span("arcp.send job.submit"),
            recorder.span("handler"),
        );
        assert_eq!(
            sent.parent_span_id,
            handler.span_context.span_id(),
            "in step: {in_step}"
        );
        assert_eq!(
            sent.span_context.trace_id(),
            handler.span_context.trace_id()
        );
    }
}

/// [ARCP 11-3] What a runtime sends for a job belongs to the span that received the submit, though a writer sends it.
#[tokio::test]
async fn a_jobs_messages_belong_to_its_submit() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let submit =
        with_context(envelope(MessageType::JOB_SUBMIT), REMOTE).with_trace(TraceId::parse(TRACE));
    link.back(submit).await;
    let writer = Context::current_with_span(recorder.provider.tracer("app").start("writer"));
    for (kind, current) in [
        (MessageType::JOB_ACCEPTED, Context::new()),
        (MessageType::JOB_EVENT, writer),
    ] {
        let entered = current.attach();
        link.near
            .sink
            .start_send(envelope(kind).with_trace(TraceId::parse(TRACE)))
            .unwrap();
        drop(entered);
    }
    let received = recorder.span("arcp.recv job.submit");
    assert_eq!(received.parent_span_id.to_string(), "00f067aa0ba902b7");
    for name in ["arcp.send job.accepted", "arcp.send job.event"] {
        let sent = recorder.span(name);
        assert_eq!(sent.span_context.trace_id().to_string(), TRACE);
        assert_eq!(sent.parent_span_id, received.span_context.span_id());
    }
}

/// [ARCP 11-3] A relay's span stands between the two it relays for.
#[tokio::test]
async fn a_relayed_context_is_the_parent() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let relayed = link
        .out(with_context(envelope(MessageType::SESSION_PING), REMOTE))
        .await;
    let span = recorder.span("arcp.send session.ping");
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(carried(&relayed), Some(ids(&span)));
}

/// [ARCP 11-3] A whole `traceparent` as `trace_id` is the remote parent.
#[tokio::test]
async fn a_traceparent_in_the_trace_id_is_the_parent() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let frame = format!(r#"{{"type":"job.submit","trace_id":"{REMOTE}","payload":{{}}}}"#);
    let received = link.back(Envelope::decode_text(frame).unwrap()).await;
    let span = recorder.span("arcp.recv job.submit");
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert_eq!(
        received.parent_span.unwrap().to_string(),
        span.span_context.span_id().to_string()
    );
}

/// [ARCP 11-3] A submit without a trace joins its span's, at either end, so that the job's trace is the collector's.
#[tokio::test]
async fn a_submit_joins_its_spans_trace() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let sent = link.out(envelope(MessageType::JOB_SUBMIT)).await;
    let trace = recorder
        .span("arcp.send job.submit")
        .span_context
        .trace_id()
        .to_string();
    assert_eq!(sent.trace_id.unwrap().to_string(), trace);

    let received = link
        .back(with_context(envelope(MessageType::JOB_SUBMIT), REMOTE))
        .await;
    assert_eq!(received.trace_id, TraceId::parse(TRACE));
    let own = link
        .out(envelope(MessageType::JOB_SUBMIT).with_trace(TraceId::parse(TRACE)))
        .await;
    assert_eq!(own.trace_id, TraceId::parse(TRACE));
    assert_eq!(
        link.out(envelope(MessageType::JOB_CANCEL)).await.trace_id,
        None
    );

    let mut apart = Link::near_traced(recorder.options().join_traces(false));
    assert_eq!(
        apart.out(envelope(MessageType::JOB_SUBMIT)).await.trace_id,
        None
    );
}

/// [ARCP 11-3] Two jobs of one connection do not share a trace because the connection has a span of its own.
#[tokio::test]
async fn a_received_submit_without_context_begins_a_trace() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let connection =
        Context::current_with_span(recorder.provider.tracer("app").start("connection"));
    for kind in [MessageType::JOB_SUBMIT, MessageType::SESSION_PING] {
        link.far.send(envelope(kind)).await;
        let entered = connection.clone().attach();
        let received = futures_util::FutureExt::now_or_never(link.near.source.receive());
        drop(entered);
        assert!(received.is_some());
    }
    assert_eq!(
        recorder.span("arcp.recv job.submit").parent_span_id,
        SpanId::INVALID
    );
    let ping = recorder.span("arcp.recv session.ping");
    assert_eq!(
        ping.parent_span_id,
        connection.span().span_context().span_id()
    );
}

/// [ARCP 11-2] An envelope that names its trace and nothing else gets a span in that trace, on both ways: below one nobody
/// recorded, the same for all.
#[tokio::test]
async fn a_trace_without_a_span_is_kept() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let trace = TraceId::parse(TRACE).unwrap();
    let submit = || envelope(MessageType::JOB_SUBMIT).with_trace(Some(trace));
    link.out(submit()).await;
    let mut back = Link::near_traced(recorder.options());
    back.back(submit()).await;
    for name in ["arcp.send job.submit", "arcp.recv job.submit"] {
        let span = recorder.span(name);
        assert_eq!(span.span_context.trace_id().to_string(), TRACE);
        assert_eq!(
            span.parent_span_id.to_string(),
            trace.unrecorded_root().to_string()
        );
    }
}

/// [ARCP 11-2] What is submitted in a span belongs below it, although another task sends it.
#[tokio::test]
async fn the_span_a_submit_names_is_its_parent() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let span = Context::current_with_span(recorder.provider.tracer("app").start("work"));
    let entered = span.clone().attach();
    let (trace, parent) = crate::current_ids().unwrap();
    drop(entered);
    let mut submit = envelope(MessageType::JOB_SUBMIT).with_trace(Some(trace));
    submit.parent_span = Some(parent);
    link.out(submit).await;
    let sent = recorder.span("arcp.send job.submit");
    assert_eq!(sent.parent_span_id, span.span().span_context().span_id());
    assert_eq!(crate::current_ids(), None);
}
