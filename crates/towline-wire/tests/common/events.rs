//! Events of every kind.

use super::*;

pub(super) fn events() -> Vec<(&'static str, Envelope)> {
    let call_id = CallId::parse("call_1").unwrap();
    let log = event::Log {
        level: "info".to_owned(),
        message: "line \"1\"\n".to_owned(),
        attributes: Some(raw(r#"{"file":null}"#)),
    };
    let tool_call = event::ToolCall {
        tool: "search.web".to_owned(),
        args: raw(r#"{"q":"x"}"#),
        call_id: call_id.clone(),
    };
    let given = event::ToolResult {
        call_id: call_id.clone(),
        result: Some(raw(r#"{"hits":3}"#)),
        error: None,
    };
    let refused = event::ToolResult {
        call_id,
        result: None,
        error: Some(event::ToolError {
            code: ErrorCode::PERMISSION_DENIED,
            message: "`search.web` is not covered by `tool.call`".to_owned(),
            retryable: false,
        }),
    };
    let metric = event::Metric {
        name: "cost.search".to_owned(),
        value: "0.40".parse().unwrap(),
        unit: Some("USD".to_owned()),
        dimensions: Some(raw(r#"{"model":"m"}"#)),
    };
    let artifact = event::ArtifactRef {
        uri: "https://example.com/a".to_owned(),
        content_type: "text/plain".to_owned(),
        byte_size: Some(3),
        sha256: Some("ab".repeat(32)),
    };
    let delegate = event::Delegate {
        child_job_id: job(),
        agent: "child@1.0.0".parse().unwrap(),
        input: Some(raw("[1]")),
        lease: Some(lease()),
        delegate_id: CallId::parse("call_2").ok(),
        lease_request: Some(lease()),
    };
    let progress = event::Progress {
        current: "2.5".parse().unwrap(),
        total: Some(Amount::from(10)),
        units: Some("files".to_owned()),
        message: Some("half".to_owned()),
    };
    let chunk = event::ResultChunk {
        result_id: ResultId::parse("res_1").unwrap(),
        chunk_seq: 0,
        data: "hello".to_owned(),
        encoding: ChunkEncoding::Utf8,
        more: true,
    };
    let status = event::Status {
        phase: "running".to_owned(),
        message: Some("begun".to_owned()),
    };
    let rotation = event::Rotation {
        id: CredentialId::parse("cred_1").unwrap(),
        value: Some(Secret::new("sk-2")),
    };
    vec![
        ("event log", of_kind(EventKind::LOG, RawJson::of(&log))),
        (
            "event thought",
            of_kind(
                EventKind::THOUGHT,
                RawJson::of(&event::Thought {
                    text: "hm".to_owned(),
                }),
            ),
        ),
        (
            "event tool_call",
            of_kind(EventKind::TOOL_CALL, RawJson::of(&tool_call)),
        ),
        (
            "event tool_result",
            of_kind(EventKind::TOOL_RESULT, RawJson::of(&given)),
        ),
        (
            "event tool_result refused",
            of_kind(EventKind::TOOL_RESULT, RawJson::of(&refused)),
        ),
        (
            "event status",
            of_kind(EventKind::STATUS, RawJson::of(&status)),
        ),
        (
            "event status rotation",
            of_kind(EventKind::STATUS, RawJson::of(&rotation)),
        ),
        (
            "event metric",
            of_kind(EventKind::METRIC, RawJson::of(&metric)),
        ),
        (
            "event artifact_ref",
            of_kind(EventKind::ARTIFACT_REF, RawJson::of(&artifact)),
        ),
        (
            "event delegate",
            of_kind(EventKind::DELEGATE, RawJson::of(&delegate)),
        ),
        (
            "event progress",
            of_kind(EventKind::PROGRESS, RawJson::of(&progress)),
        ),
        (
            "event result_chunk",
            of_kind(EventKind::RESULT_CHUNK, RawJson::of(&chunk)),
        ),
        (
            "event x-vendor",
            of_kind(
                EventKind::new("x-vendor.acme.beat"),
                Ok(raw(r#"{"n":1,"none":null}"#)),
            ),
        ),
    ]
}
