//! The words in which a payload is refused: they name the message and the field, and quote no secret.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use towline_wire::{Envelope, EventPayload, Message};

#[track_caller]
fn fault(kind: &str, payload: &str) -> String {
    let frame = format!(r#"{{"id":"m","type":"{kind}","payload":{payload}}}"#);
    let envelope = Envelope::decode_text(frame).unwrap();
    match Message::of(&envelope) {
        Ok(message) => panic!("read as {message:?}"),
        Err(error) => {
            assert_eq!(error.id, envelope.id);
            error.to_string()
        }
    }
}

#[test]
fn faults_name_the_field() {
    let table = [
        ("job.submit", "{}", "missing field `agent`"),
        ("job.submit", r#"{"agent":null}"#, "missing field `agent`"),
        (
            "job.submit",
            r#"{"agent":["a"]}"#,
            "`agent`: expected a string, found an array",
        ),
        (
            "job.submit",
            r#"{"agent":"a","agent":"b"}"#,
            "`agent`: given twice",
        ),
        (
            "job.submit",
            r#"{"agent":"a","max_runtime_sec":"5"}"#,
            "`max_runtime_sec`: expected a number, found a string",
        ),
        (
            "job.submit",
            r#"{"agent":"a","max_runtime_sec":1e999}"#,
            "`max_runtime_sec`: number out of range",
        ),
        (
            "job.submit",
            r#"{"agent":"a","lease_request":[]}"#,
            "`lease_request`: expected an object, found an array",
        ),
        (
            "job.submit",
            r#"{"agent":"a","lease_request":{"fs.read":"/a"}}"#,
            "`lease_request.fs.read`: expected an array, found a string",
        ),
        (
            "job.submit",
            r#"{"agent":"a","lease_request":{"fs.read":[],"fs.read":[]}}"#,
            "`lease_request.fs.read`: given twice",
        ),
        (
            "job.submit",
            r#"{"agent":"a","lease_constraints":{"expires_at":5}}"#,
            "`lease_constraints.expires_at`: expected a string, found a number",
        ),
        (
            "job.submit",
            r#"{"agent":"a","parent_job_id":""}"#,
            "`parent_job_id`: an id must not be empty",
        ),
        ("session.ack", "{}", "missing field `last_processed_seq`"),
        (
            "session.ack",
            r#"{"last_processed_seq":-1}"#,
            "`last_processed_seq`: expected a whole number up to 2^53-1, found -1",
        ),
        (
            "session.ack",
            r#"{"last_processed_seq":"7"}"#,
            "`last_processed_seq`: expected a whole number up to 2^53-1, found a string",
        ),
        (
            "session.list_jobs",
            r#"{"limit":-5}"#,
            "`limit`: expected a whole number that is not negative, found -5",
        ),
        (
            "session.list_jobs",
            r#"{"limit":2.5}"#,
            "`limit`: expected a whole number that is not negative, found 2.5",
        ),
        (
            "session.list_jobs",
            r#"{"filter":[]}"#,
            "`filter`: expected an object, found an array",
        ),
        (
            "session.list_jobs",
            r#"{"filter":{"status":"running"}}"#,
            "`filter.status`: expected an array, found a string",
        ),
        (
            "session.list_jobs",
            r#"{"filter":{"status":["bogus"]}}"#,
            "`filter.status`: `bogus` is not a job status (pending, running, success, error, cancelled, timed_out)",
        ),
        (
            "session.list_jobs",
            r#"{"filter":{"created_after":"2026-01-01"}}"#,
            "`filter.created_after`: `2026-01-01` is not an RFC 3339 time such as 2026-01-31T12:00:00.000Z",
        ),
        (
            "session.list_jobs",
            r#"{"cursor":5}"#,
            "`cursor`: expected a string, found a number",
        ),
        (
            "job.subscribe",
            r#"{"job_id":"j","history":"yes"}"#,
            "`history`: expected true or false, found a string",
        ),
        (
            "job.subscribe",
            r#"{"job_id":"j","from_event_seq":1.5}"#,
            "`from_event_seq`: expected a whole number up to 2^53-1, found 1.5",
        ),
        (
            "job.cancel",
            r#"{"reason":{}}"#,
            "`reason`: expected a string, found an object",
        ),
        (
            "session.hello",
            r#"{"capabilities":{"features":[1]}}"#,
            "`capabilities.features`: expected a string, found a number",
        ),
        (
            "session.hello",
            r#"{"resume":{}}"#,
            "`resume`: missing field `resume_token`",
        ),
        (
            "session.hello",
            r#"{"last_event_seq":"3"}"#,
            "`last_event_seq`: expected a whole number up to 2^53-1, found a string",
        ),
        (
            "job.accepted",
            r#"{"budget":{"USD":"EUR:5"}}"#,
            "`budget.USD`: `EUR:5` is not a decimal number of at most 28 significant digits",
        ),
        (
            "job.subscribed",
            r#"{"current_status":"running","replayed":[]}"#,
            "`replayed`: expected a whole number that is not negative, found an array",
        ),
        ("job.event", "{}", "missing field `kind`"),
    ];
    for (kind, payload, expected) in table {
        assert_eq!(
            fault(kind, payload),
            format!("`{kind}`: {expected}"),
            "{payload}"
        );
    }
}

#[test]
fn faults_of_bodies_name_the_kind_and_the_field() {
    for (kind, body, expected) in [
        ("log", r#"{"level":"info"}"#, "missing field `message`"),
        (
            "tool_result",
            r#"{"call_id":"c","error":{"message":"m"}}"#,
            "`error`: missing field `code`",
        ),
        (
            "metric",
            r#"{"name":"n","value":"NaN"}"#,
            "`value`: `NaN` is not a decimal number of at most 28 significant digits",
        ),
        (
            "metric",
            r#"{"name":"n","value":[]}"#,
            "`value`: expected a number",
        ),
        (
            "progress",
            r#"{"current":-0.5}"#,
            "`current`: must not be negative, found -0.5",
        ),
        ("status", "[]", "expected an object, found an array"),
        (
            "result_chunk",
            r#"{"result_id":"r","chunk_seq":0,"data":"","encoding":"hex","more":true}"#,
            "`encoding`: unknown variant `hex`, expected `utf8` or `base64`",
        ),
    ] {
        let frame =
            format!(r#"{{"type":"job.event","payload":{{"kind":"{kind}","body":{body}}}}}"#);
        let payload: EventPayload = Envelope::decode_text(frame).unwrap().decode().unwrap();
        assert_eq!(
            payload.event().unwrap_err().to_string(),
            format!("`{kind}`: {expected}"),
            "{body}"
        );
    }
}

/// A secret in the wrong place, or of the wrong type, does not come back in the refusal, and so not in a log.
#[test]
fn faults_quote_no_secret() {
    for (kind, payload) in [
        ("session.hello", r#"{"auth":"hunter2"}"#),
        ("session.hello", r#"{"auth":{"token":{"value":"hunter2"}}}"#),
        ("session.hello", r#"{"auth":["bearer","hunter2"]}"#),
        ("session.hello", r#"{"client":"hunter2"}"#),
        ("session.hello", r#"{"resume":"hunter2"}"#),
        ("session.resume", r#"{"resume_token":["hunter2"]}"#),
        ("session.welcome", r#"{"capabilities":"hunter2"}"#),
        ("job.accepted", r#"{"credentials":"hunter2"}"#),
        (
            "job.accepted",
            r#"{"credentials":[{"id":"c","scheme":"s","endpoint":"e","value":{"v":"hunter2"}}]}"#,
        ),
    ] {
        let fault = fault(kind, payload);
        assert!(!fault.contains("hunter2"), "{fault}");
    }
    let fault = fault("session.resume", r#"{"resume_token":1234567}"#);
    assert_eq!(
        fault,
        "`session.resume`: `resume_token`: expected a string, found a number"
    );
}

/// [ARCP 8-2] `current` is any number that is not negative, and may pass `total`.
#[test]
fn progress_may_pass_its_total() {
    for current in ["0", "0.5", "11", "1e3"] {
        let body = format!(r#"{{"current":{current},"total":10}}"#);
        let frame =
            format!(r#"{{"type":"job.event","payload":{{"kind":"progress","body":{body}}}}}"#);
        let payload: EventPayload = Envelope::decode_text(frame).unwrap().decode().unwrap();
        let towline_wire::Event::Progress(progress) = payload.event().unwrap() else {
            panic!("{body}")
        };
        assert_eq!(progress.current, current.parse().unwrap());
    }
    let negative = r#"{"type":"job.event","payload":{"kind":"progress","body":{"current":-1}}}"#;
    let payload: EventPayload = Envelope::decode_text(negative).unwrap().decode().unwrap();
    assert!(payload.event().is_err());
}
