use super::*;

/// [ARCP 11-3] A sent envelope carries its span's context, and a receiver's span is that span's child.
#[tokio::test]
async fn a_trace_goes_on_across_the_connection() {
    let (here, there) = (Recorder::new(), Recorder::new());
    let (near, far) = MemoryTransport::pair();
    let mut near = Ends::of(near.with_tracing_options(here.options()));
    let mut far = Ends::of(far.with_tracing_options(there.options()));
    near.send(envelope(MessageType::SESSION_HELLO)).await;
    let received = far.receive().await;
    let (sent, got) = (
        here.span("arcp.send session.hello"),
        there.span("arcp.recv session.hello"),
    );
    assert_eq!(carried(&received), Some(ids(&sent)));
    assert_eq!(got.parent_span_id, sent.span_context.span_id());
    assert_eq!(got.span_context.trace_id(), sent.span_context.trace_id());
    assert!(got.parent_span_is_remote);
}

/// [ARCP 11-3] The context is `{traceparent}` in W3C form; other extensions stay, in their order and to the digit.
#[tokio::test]
async fn other_extensions_are_preserved() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let mut sent = envelope(MessageType::SESSION_PING);
    let before = r#"{"x-vendor.b.n":1.10,"x-vendor.a.deep":{"z":[null,"é"]}}"#;
    sent.extensions = Some(RawJson::parse(before).unwrap());
    let received = link.out(sent).await;
    let (trace, span) = ids(&recorder.span("arcp.send session.ping"));
    let context = format!(r#""{EXTENSION}":{{"traceparent":"00-{trace}-{span}-01"}}"#);
    let expected = format!("{},{context}}}", before.strip_suffix('}').unwrap());
    assert_eq!(received.extensions.unwrap().as_str(), expected);
    assert!(received.unknown.is_empty());
}

/// [ARCP 11-3] `tracestate` is passed on with the trace.
#[tokio::test]
async fn the_state_travels_with_the_trace() {
    let recorder = Recorder::new();
    let (mut first, mut second) = (
        Link::near_traced(recorder.options()),
        Link::near_traced(recorder.options()),
    );
    let mut incoming = envelope(MessageType::JOB_SUBMIT).with_trace(TraceId::parse(TRACE));
    let context = json!({"traceparent": REMOTE, "tracestate": "vendor=opaque,other=1"});
    incoming.extensions = Some(json!({ EXTENSION: context }).into());
    let relayed = second.out(first.back(incoming).await).await;
    let state = crate::extract(&relayed).unwrap().trace_state().header();
    assert_eq!(state, "vendor=opaque,other=1");
    assert_eq!(carried(&relayed).unwrap().0, TRACE);
}

/// [ARCP 11-3] The context is read from a top-level field too; the extension beats it.
#[tokio::test]
async fn the_top_level_field_is_read() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let frame = |extensions: &str| {
        format!(
            r#"{{"type":"session.ping","{EXTENSION}":{{"traceparent":"{REMOTE}"}}{extensions},"payload":{{}}}}"#
        )
    };
    link.back(Envelope::decode_text(frame("")).unwrap()).await;
    let span = recorder.span("arcp.recv session.ping");
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");

    let other = REMOTE.replace("4bf9", "aaaa");
    let extensions = format!(r#","extensions":{{"{EXTENSION}":{{"traceparent":"{other}"}}}}"#);
    link.back(Envelope::decode_text(frame(&extensions)).unwrap())
        .await;
    assert!(
        recorder.spans()[1]
            .span_context
            .trace_id()
            .to_string()
            .starts_with("aaaa")
    );
}

/// [ARCP 11-3] The top-level field is written when asked for, once, and kept true where it stands already.
#[tokio::test]
async fn the_top_level_field_can_be_written() {
    let recorder = Recorder::new();
    let mut asked = Link::near_traced(recorder.options().write_top_level(true));
    let mut not_asked = Link::near_traced(recorder.options());
    let stale = || {
        Envelope::decode_text(format!(
            r#"{{"type":"x","{EXTENSION}":{{"traceparent":"{REMOTE}"}}}}"#
        ))
        .unwrap()
    };
    for received in [
        asked.out(envelope(MessageType::SESSION_PING)).await,
        asked.out(stale()).await,
        not_asked.out(stale()).await,
    ] {
        let [field] = received.unknown.as_slice() else {
            panic!("{:?}", received.unknown)
        };
        let extension: serde_json::Value = received.extensions.as_ref().unwrap().read().unwrap();
        assert_eq!(
            field.value.read::<serde_json::Value>().unwrap(),
            extension[EXTENSION]
        );
        assert!(!field.value.as_str().contains("00f067aa0ba902b7"));
    }
}

/// [ARCP 11-3] A malformed context is ignored: the envelope arrives as it is, and its span begins a trace.
#[tokio::test]
async fn a_malformed_context_is_ignored() {
    let recorder = Recorder::new();
    let mut link = Link::near_traced(recorder.options());
    let bad = [
        json!(null),
        json!("text"),
        json!([REMOTE]),
        json!({}),
        json!({"traceparent": null}),
        json!({"traceparent": 7}),
        json!({"traceparent": ""}),
        json!({"traceparent": TRACE}),
        json!({"traceparent": REMOTE.to_uppercase()}),
        json!({"traceparent": REMOTE.replace("4736", "473")}),
        json!({"traceparent": REMOTE.replace("00f067aa0ba902b7", "0000000000000000")}),
        json!({"traceparent": format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32))}),
        json!({"traceparent": format!("{REMOTE}-more")}),
        json!({"traceparent": REMOTE.replacen("00", "ff", 1)}),
        json!({"traceparent": "x".repeat(100_000)}),
    ];
    for (index, context) in bad.iter().enumerate() {
        let mut sent = envelope(MessageType::SESSION_PING);
        sent.extensions = Some(json!({ EXTENSION: context, "x-vendor.a.b": 1 }).into());
        assert_eq!(link.back(sent.clone()).await, sent, "{context}");
        let span = recorder.spans().swap_remove(index);
        assert_eq!(span.parent_span_id, SpanId::INVALID, "{context}");
    }
}

/// [ARCP 11-3] A bad `tracestate` costs itself, not the trace; a later version of `traceparent` is read as far as known.
#[tokio::test]
async fn what_can_be_read_is_read() {
    for context in [
        json!({"traceparent": REMOTE, "tracestate": 7}),
        json!({"traceparent": REMOTE, "tracestate": "no equals sign"}),
        json!({"traceparent": REMOTE, "tracestate": format!("a={}", "x".repeat(100_000))}),
        json!({"traceparent": format!("{}-later", REMOTE.replacen("00", "01", 1)), "more": true}),
    ] {
        let mut received = envelope(MessageType::SESSION_PING);
        received.extensions = Some(json!({ EXTENSION: context }).into());
        let extracted = crate::extract(&received).unwrap();
        assert_eq!(extracted.trace_id().to_string(), TRACE);
        assert_eq!(extracted.trace_state().header(), "");
        assert!(extracted.is_sampled() && extracted.is_remote());
    }
    let unsampled = with_context(
        envelope(MessageType::SESSION_PING),
        &REMOTE.replace("-01", "-02"),
    );
    assert!(!crate::extract(&unsampled).unwrap().is_sampled());
}

/// [ARCP 11-3] Without a provider there are no spans, nothing is injected, and what is there is passed on untouched.
#[tokio::test]
async fn without_a_provider_nothing_changes() {
    let (near, far) = MemoryTransport::pair();
    let mut link = Link {
        near: Ends::of(near.with_tracing()),
        far: Ends::of(far),
    };
    let plain = envelope(MessageType::JOB_SUBMIT);
    assert_eq!(link.out(plain.clone()).await, plain);
    assert_eq!(link.back(plain.clone()).await, plain);
    let traced = with_context(envelope(MessageType::SESSION_PING), REMOTE);
    assert_eq!(
        carried(&link.out(traced).await).unwrap(),
        (TRACE.to_owned(), "00f067aa0ba902b7".to_owned())
    );
}
