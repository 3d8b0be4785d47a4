//! Frames as the other SDKs write them (`data/foreign.jsonl`, recorded or put together from their sources and made
//! small): all of them are read, and passed on with everything they held.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use towline_wire::{Envelope, Event, JobStatus, Message, RawJson, event, payload};

/// Each frame with the name of who writes it so.
fn frames() -> Vec<(String, Envelope)> {
    let read = |line: &str| {
        let line: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        let from = line["from"].as_str().unwrap().to_owned();
        let frame = line["frame"].to_string();
        let envelope = Envelope::decode_text(frame.as_str())
            .unwrap_or_else(|cause| panic!("{from}: {cause}: {frame}"));
        (from, envelope)
    };
    include_str!("data/foreign.jsonl")
        .lines()
        .map(read)
        .collect()
}

/// The messages of one SDK that `pick` knows.
fn messages<T>(from: &str, pick: impl Fn(Message) -> Option<T>) -> Vec<T> {
    let frames = frames().into_iter().filter(|(sdk, _)| sdk == from);
    frames
        .filter_map(|(_, envelope)| pick(Message::of(&envelope).unwrap()))
        .collect()
}

fn events(from: &str) -> Vec<Event> {
    messages(from, |message| match message {
        Message::EventPayload(payload) => Some(payload.event().unwrap()),
        _ => None,
    })
}

fn hellos(from: &str) -> Vec<payload::Hello> {
    messages(from, |message| match message {
        Message::Hello(hello) => Some(hello),
        _ => None,
    })
}

#[test]
fn every_message_and_event_is_read() {
    for (from, envelope) in frames() {
        let message =
            Message::of(&envelope).unwrap_or_else(|cause| panic!("{from}: {cause}: {envelope:?}"));
        if let Message::EventPayload(payload) = message {
            payload
                .event()
                .unwrap_or_else(|cause| panic!("{from}: {cause}: {envelope:?}"));
            payload
                .rotation()
                .unwrap_or_else(|cause| panic!("{from}: {cause}: {envelope:?}"));
        }
    }
}

/// [ARCP 5-2] Fields we do not know, on the envelope and in the payload, are passed on as they came.
#[test]
fn frames_are_passed_on_whole() {
    for line in include_str!("data/foreign.jsonl").lines() {
        let mut sent: Value = serde_json::from_str(line).unwrap();
        let mut sent = sent["frame"].take();
        let again = Envelope::decode_text(sent.to_string()).unwrap().encode();
        // What is null on the envelope is absent [ARCP 5-6].
        sent.as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        assert_eq!(serde_json::from_str::<Value>(&again).unwrap(), sent);
    }
}

#[test]
fn hellos_of_all_sdks_name_token_and_features() {
    for sdk in [
        "python client",
        "typescript client",
        "go client",
        "c# client",
        "ruby client",
    ] {
        let hello = hellos(sdk).remove(0);
        let auth = hello.auth.unwrap();
        assert_eq!(auth.token.unwrap().expose(), "t", "{sdk}");
        assert_eq!(auth.scheme.unwrap().to_lowercase(), "bearer", "{sdk}");
        let features = hello.capabilities.unwrap().features;
        assert!(features.has(towline_wire::Feature::Ack), "{sdk}");
    }
}

#[test]
fn resumes_in_every_spelling_ask_for_the_same() {
    let resumes: Vec<_> = hellos("any client")
        .iter()
        .filter_map(payload::Hello::resume_request)
        .collect();
    assert_eq!(resumes.len(), 2);
    for resume in resumes {
        assert_eq!(resume.resume_token.expose(), "rt_1");
        assert_eq!(resume.last_event_seq.unwrap().value(), 4);
    }
    let ruby = hellos("ruby client").remove(0).resume_request().unwrap();
    assert_eq!(
        (
            ruby.resume_token.expose(),
            ruby.last_event_seq.unwrap().value()
        ),
        ("rt_1", 9)
    );
}

#[test]
fn budgets_are_read_in_every_spelling() {
    for (budget, expected) in [
        (r#"{"USD":5}"#, "5"),
        (r#"{"USD":5.00}"#, "5.00"),
        (r#"{"USD":"5.00"}"#, "5.00"),
        (r#"{"USD":"USD:5.00"}"#, "5.00"),
    ] {
        let frame =
            format!(r#"{{"type":"job.accepted","payload":{{"job_id":"j","budget":{budget}}}}}"#);
        let accepted: payload::Accepted = Envelope::decode_text(frame).unwrap().decode().unwrap();
        assert_eq!(
            accepted.budget.unwrap()["USD"].to_string(),
            expected,
            "{budget}"
        );
    }
}

#[test]
fn agents_are_read_as_strings_and_as_objects() {
    for runtime in ["python runtime", "go runtime", "ruby runtime"] {
        let welcomes = messages(runtime, |message| match message {
            Message::Welcome(welcome) => Some(welcome),
            _ => None,
        });
        let agents = &welcomes[0].capabilities.agents;
        assert_eq!(agents[0].name, "echo", "{runtime}");
        assert!(agents[0].versions.is_empty(), "{runtime}");
    }
}

/// `result` and `output` beside each other are one result, `output` alone is one too.
#[test]
fn inline_results_are_read_by_either_name() {
    let results = messages("go runtime", |message| match message {
        Message::JobResult(result) => Some(result),
        _ => None,
    });
    assert_eq!(results.len(), 2);
    for result in results {
        assert_eq!(result.result.unwrap().as_str(), r#"{"a":1}"#);
    }
}

#[test]
fn details_and_request_ids_are_read_by_either_name() {
    let details = messages("c# runtime", |message| match message {
        Message::SessionError(error) => error.details,
        _ => None,
    });
    assert_eq!(details.len(), 1);
    let late = messages("any runtime", |message| match message {
        Message::JobError(error) => Some(error),
        _ => None,
    });
    assert_eq!(late[0].final_status, JobStatus::TimedOut);
    assert_eq!(
        late[0].details.as_ref().map(RawJson::as_str),
        Some(r#"{"after":5}"#)
    );
    let requests = messages("go runtime", |message| match message {
        Message::Jobs(jobs) => jobs.request_id,
        _ => None,
    });
    assert_eq!(requests[0].as_str(), "01M0");
}

#[test]
fn dimensions_are_read_by_either_name() {
    for sdk in ["python runtime", "typescript runtime"] {
        let metric = events(sdk).into_iter().find_map(|event| match event {
            Event::Metric(metric) => Some(metric),
            _ => None,
        });
        assert!(metric.unwrap().dimensions.is_some(), "{sdk}");
    }
}

/// One SDK emits the request for a child under the kind that elsewhere reports one.
#[test]
fn a_delegate_without_a_child_is_left_as_it_is() {
    let asks = events("typescript runtime")
        .into_iter()
        .any(|event| matches!(event, Event::Other { .. }));
    let tells = events("python runtime")
        .into_iter()
        .any(|event| matches!(event, Event::Delegate(_)));
    assert!(asks && tells);
}

#[test]
fn rotations_are_read_by_either_name() {
    let rotations = messages("typescript runtime", |message| match message {
        Message::EventPayload(payload) => payload.rotation().unwrap(),
        _ => None,
    });
    let [
        event::Rotation {
            id,
            value: Some(value),
        },
    ] = rotations.as_slice()
    else {
        panic!("{rotations:?}")
    };
    assert_eq!((id.as_str(), value.expose()), ("cred_1", "v"));
}

#[test]
fn events_may_lack_time_and_job() {
    let (_, envelope) = frames()
        .into_iter()
        .find(|(from, _)| from == "java runtime")
        .unwrap();
    assert!(envelope.job_id.is_none());
    let Message::EventPayload(payload) = Message::of(&envelope).unwrap() else {
        panic!("{envelope:?}")
    };
    assert!(payload.ts.is_none());
    assert!(matches!(payload.event(), Ok(Event::Log(event::Log { level, .. })) if level == "WARN"));
}

/// Times that only inform and trace ids that are none do not cost the message.
#[test]
fn what_only_informs_is_never_fatal() {
    let frame = r#"{"type":"job.accepted","payload":{"job_id":"j","accepted_at":1700000000,"trace_id":"4bf92f"}}"#;
    let accepted: payload::Accepted = Envelope::decode_text(frame).unwrap().decode().unwrap();
    assert_eq!((accepted.accepted_at, accepted.trace_id), (None, None));
    for sent_at in [
        "5",
        "1.5",
        "true",
        "null",
        "[1,[2]]",
        r#"{"a":{"b":1}}"#,
        r#""soon""#,
    ] {
        let frame =
            format!(r#"{{"type":"session.ping","payload":{{"sent_at":{sent_at},"nonce":"n"}}}}"#);
        let ping: payload::Ping = Envelope::decode_text(frame).unwrap().decode().unwrap();
        assert_eq!(
            (ping.nonce.as_str(), ping.sent_at),
            ("n", None),
            "{sent_at}"
        );
    }
}

/// `replayed` is a flag for some and a count for others.
#[test]
fn replayed_is_a_flag_or_a_count() {
    for (replayed, expected) in [
        ("true", true),
        ("false", false),
        ("3", true),
        ("0", false),
        ("null", false),
    ] {
        let frame = format!(
            r#"{{"type":"job.subscribed","payload":{{"current_status":"running","replayed":{replayed}}}}}"#
        );
        let subscribed: payload::Subscribed =
            Envelope::decode_text(frame).unwrap().decode().unwrap();
        assert_eq!(subscribed.replayed, expected, "{replayed}");
    }
}
