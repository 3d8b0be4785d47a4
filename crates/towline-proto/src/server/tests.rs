use towline_wire::{ErrorCode, Feature};

use super::*;

const HELLO: &str = r#"{"id":"m1","type":"session.hello","payload":{"auth":{"scheme":"bearer","token":"t"},"capabilities":{"features":["heartbeat","ack","subscribe","list_jobs"]}}}"#;

fn frame(text: &str) -> Envelope {
    Envelope::decode_text(text.to_owned()).unwrap()
}

fn live(features: FeatureSet) -> ServerSession {
    let mut session = ServerSession::new(FeatureSet::ALL);
    assert!(matches!(
        session.on_frame(frame(HELLO)),
        Effect::Authenticate(_)
    ));
    assert!(matches!(session.on_principal(), Effect::Attach(_)));
    session.on_attached(SessionId::parse("sess_1").unwrap(), features);
    session
}

fn refusal(effect: Effect) -> (ErrorCode, String) {
    match effect {
        Effect::Refuse { refusal, .. } => (refusal.code, refusal.message),
        other => panic!("not a refusal: {other:?}"),
    }
}

fn rejection(effect: Effect) -> (ErrorCode, Goodbye) {
    match effect {
        Effect::Reject {
            refusal, goodbye, ..
        } => (refusal.code, goodbye),
        other => panic!("not a rejection: {other:?}"),
    }
}

/// [ARCP 6.1-2] nothing but a hello or a resume is accepted before the welcome.
#[test]
fn early_frames_are_unauthenticated() {
    for kind in [
        "session.ping",
        "job.submit",
        "session.close",
        "x-vendor.a.b",
        "nonsense",
    ] {
        let mut session = ServerSession::new(FeatureSet::ALL);
        let effect = session.on_frame(frame(&format!(r#"{{"type":"{kind}"}}"#)));
        assert_eq!(
            rejection(effect),
            (ErrorCode::UNAUTHENTICATED, Goodbye::Policy),
            "{kind}"
        );
        assert!(
            matches!(session.on_frame(frame(HELLO)), Effect::None),
            "the session is over"
        );
    }
}

/// [ARCP 4-5] a malformed frame closes before the welcome, and is only answered after it.
#[test]
fn malformed_frames() {
    let error = Envelope::decode_text("{").unwrap_err();
    let mut early = ServerSession::new(FeatureSet::ALL);
    assert_eq!(
        rejection(early.on_malformed(&error)),
        (ErrorCode::INVALID_REQUEST, Goodbye::Protocol)
    );
    let mut later = live(FeatureSet::ALL);
    assert_eq!(
        refusal(later.on_malformed(&error)).0,
        ErrorCode::INVALID_REQUEST
    );
    assert!(later.is_live());
}

/// [ARCP 6.2-1] the features in effect are those both sides want; no common encoding is refused.
#[test]
fn negotiation() {
    let mut session =
        ServerSession::new(FeatureSet::NONE.with(Feature::Ack).with(Feature::Progress));
    session.on_frame(frame(HELLO));
    let Effect::Attach(attach) = session.on_principal() else {
        panic!()
    };
    assert_eq!(attach.wanted, Some(FeatureSet::NONE.with(Feature::Ack)));

    let mut session = ServerSession::new(FeatureSet::ALL);
    let effect = session.on_frame(frame(
        r#"{"type":"session.hello","payload":{"capabilities":{"encodings":["cbor"]}}}"#,
    ));
    assert_eq!(rejection(effect).0, ErrorCode::INVALID_REQUEST);
}

/// [ARCP 6.3-2] three ways to resume, one meaning; the `resume` object beats the flat fields.
#[test]
fn the_ways_to_resume() {
    let table = [
        (
            r#"{"type":"session.resume","payload":{"resume_token":"rt","last_event_seq":7}}"#,
            false,
        ),
        (
            r#"{"type":"session.resume","payload":{"token":"rt","last_event_seq":7}}"#,
            false,
        ),
        (
            r#"{"type":"session.hello","payload":{"resume":{"resume_token":"rt","last_event_seq":7,"session_id":"s"}}}"#,
            true,
        ),
        (
            r#"{"type":"session.hello","payload":{"resume_token":"rt","last_event_seq":7}}"#,
            true,
        ),
        (
            r#"{"type":"session.hello","payload":{"resume":{"resume_token":"rt","last_event_seq":7},"resume_token":"x","last_event_seq":1}}"#,
            true,
        ),
    ];
    for (text, proves) in table {
        let mut session = ServerSession::new(FeatureSet::ALL);
        let mut effect = session.on_frame(frame(text));
        if proves {
            assert!(matches!(effect, Effect::Authenticate(_)), "{text}");
            effect = session.on_principal();
        }
        let Effect::Attach(attach) = effect else {
            panic!("{text}: {effect:?}")
        };
        let target = attach.resume.unwrap();
        assert_eq!(
            (target.token.expose(), target.last_event_seq.value()),
            ("rt", 7),
            "{text}"
        );
        assert_eq!(
            attach.wanted.is_some(),
            proves,
            "a bare resume keeps its features: {text}"
        );
    }
}

/// [ARCP 6.2-6] a second hello is refused, and the session goes on.
#[test]
fn a_second_hello() {
    let mut session = live(FeatureSet::ALL);
    assert_eq!(
        refusal(session.on_frame(frame(HELLO))).0,
        ErrorCode::INVALID_REQUEST
    );
    assert!(session.is_live());
}

/// [ARCP 5-5] another session's id is refused, a missing one means this session.
#[test]
fn foreign_session_ids() {
    let mut session = live(FeatureSet::ALL);
    let foreign = frame(r#"{"type":"session.ping","session_id":"sess_2","payload":{"nonce":"n"}}"#);
    assert_eq!(
        refusal(session.on_frame(foreign)).0,
        ErrorCode::INVALID_REQUEST
    );
    for own in [
        r#"{"type":"session.ping","session_id":"sess_1","payload":{"nonce":"n"}}"#,
        r#"{"type":"session.ping","payload":{"nonce":"n"}}"#,
    ] {
        assert!(matches!(session.on_frame(frame(own)), Effect::Pong { nonce } if nonce == "n"));
    }
}

/// [ARCP 5-4] unknown types are refused by name, vendor types are ignored.
#[test]
fn unknown_types() {
    let mut session = live(FeatureSet::ALL);
    let (code, message) = refusal(session.on_frame(frame(r#"{"type":"session.dance"}"#)));
    assert_eq!(code, ErrorCode::INVALID_REQUEST);
    assert!(message.contains("session.dance"));
    assert!(matches!(
        session.on_frame(frame(r#"{"type":"x-vendor.acme.dance"}"#)),
        Effect::None
    ));
}

/// [ARCP 6.2-3] a request that needs a feature names it when it is missing.
#[test]
fn missing_features_are_named() {
    let table = [
        (
            r#"{"type":"session.ping","payload":{"nonce":"n"}}"#,
            "heartbeat",
        ),
        (
            r#"{"type":"session.ack","payload":{"last_processed_seq":1}}"#,
            "ack",
        ),
        (r#"{"type":"session.list_jobs"}"#, "list_jobs"),
        (
            r#"{"type":"job.subscribe","payload":{"job_id":"j"}}"#,
            "subscribe",
        ),
        (
            r#"{"type":"job.unsubscribe","payload":{"job_id":"j"}}"#,
            "subscribe",
        ),
        (
            r#"{"type":"job.submit","payload":{"agent":"a@1"}}"#,
            "agent_versions",
        ),
        (
            r#"{"type":"job.submit","payload":{"agent":"a","lease_constraints":{"expires_at":"2030-01-01T00:00:00Z"}}}"#,
            "lease_expires_at",
        ),
        (
            r#"{"type":"job.submit","payload":{"agent":"a","lease_request":{"cost.budget":["USD:1"]}}}"#,
            "cost.budget",
        ),
        (
            r#"{"type":"job.submit","payload":{"agent":"a","lease_request":{"model.use":["m"]}}}"#,
            "model.use",
        ),
    ];
    for (text, feature) in table {
        let (code, message) = refusal(live(FeatureSet::NONE).on_frame(frame(text)));
        assert_eq!(code, ErrorCode::INVALID_REQUEST);
        assert!(message.contains(&format!("`{feature}`")), "{message}");
        assert!(
            !matches!(
                live(FeatureSet::ALL).on_frame(frame(text)),
                Effect::Refuse { .. }
            ),
            "{text}"
        );
    }
}

/// [ARCP 7.4-1] the job may stand in the payload or on the envelope, in both only if they agree.
#[test]
fn where_the_job_stands() {
    let mut session = live(FeatureSet::ALL);
    for text in [
        r#"{"type":"job.cancel","job_id":"j"}"#,
        r#"{"type":"job.cancel","payload":{"job_id":"j"}}"#,
        r#"{"type":"job.cancel","job_id":"j","payload":{"job_id":"j"}}"#,
    ] {
        let Effect::Request(request) = session.on_frame(frame(text)) else {
            panic!("{text}")
        };
        assert!(matches!(request.kind, RequestKind::Cancel { job, .. } if job.as_str() == "j"));
    }
    for text in [
        r#"{"type":"job.cancel"}"#,
        r#"{"type":"job.cancel","job_id":"i","payload":{"job_id":"j"}}"#,
    ] {
        assert_eq!(
            refusal(session.on_frame(frame(text))).0,
            ErrorCode::INVALID_REQUEST,
            "{text}"
        );
    }
}

/// [ARCP 7.1-1] a submit's form is checked field by field.
#[test]
fn submits_are_checked() {
    let table = [
        (r#"{}"#, "agent"),
        (r#"{"agent":"Bad Name"}"#, "agent"),
        (r#"{"agent":7}"#, "job.submit"),
        (r#"{"agent":"a","max_runtime_sec":0}"#, "max_runtime_sec"),
        (r#"{"agent":"a","max_runtime_sec":-1}"#, "max_runtime_sec"),
        (r#"{"agent":"a","idempotency_key":""}"#, "idempotency_key"),
        (r#"{"agent":"a","lease_request":[]}"#, "job.submit"),
    ];
    for (payload, named) in table {
        let text = format!(r#"{{"type":"job.submit","payload":{payload}}}"#);
        let (code, message) = refusal(live(FeatureSet::ALL).on_frame(frame(&text)));
        assert_eq!(code, ErrorCode::INVALID_REQUEST);
        assert!(message.contains(named), "{payload}: {message}");
    }
}

/// [ARCP 6.7-1] both names of close end the session; what follows is ignored.
#[test]
fn close_and_bye() {
    for kind in ["session.close", "session.bye"] {
        let mut session = live(FeatureSet::ALL);
        let effect = session.on_frame(frame(&format!(
            r#"{{"type":"{kind}","payload":{{"reason":"done"}}}}"#
        )));
        assert!(matches!(effect, Effect::Close { reason } if reason.as_deref() == Some("done")));
        assert!(matches!(
            session.on_frame(frame(r#"{"type":"job.submit","payload":{"agent":"a"}}"#)),
            Effect::None
        ));
    }
}

/// The session does what is drawn above it: every event in every phase.
#[test]
fn the_session_is_as_drawn() {
    crate::drawing::walk(include_str!("../server.rs"), |phase, event| {
        let mut session = ServerSession::new(FeatureSet::ALL);
        let way: &[&str] = match phase {
            "AwaitHello" => &[],
            "Proving" => &["hello"],
            "Attaching" => &["hello", "principal"],
            "Live" => &["hello", "principal", "attached"],
            "Ended" => &["late"],
            other => panic!("{other} is no phase"),
        };
        for event in way {
            happen(&mut session, event);
        }
        assert_eq!(phase_of(&session), phase, "the way to the phase");
        happen(&mut session, event);
        phase_of(&session).to_owned()
    });
}

fn phase_of(session: &ServerSession) -> &'static str {
    match session.phase {
        Phase::AwaitHello => "AwaitHello",
        Phase::Proving(_) => "Proving",
        Phase::Attaching => "Attaching",
        Phase::Live { .. } => "Live",
        Phase::Ended => "Ended",
    }
}

fn happen(session: &mut ServerSession, event: &str) {
    let resume = r#"{"type":"session.resume","payload":{"resume_token":"rt","last_event_seq":1}}"#;
    let broken = Envelope::decode_text("{".to_owned()).unwrap_err();
    match event {
        "hello" => drop(session.on_frame(frame(HELLO))),
        "resume" => drop(session.on_frame(frame(resume))),
        "request" => {
            drop(session.on_frame(frame(r#"{"type":"job.submit","payload":{"agent":"a"}}"#)))
        }
        "close" => drop(session.on_frame(frame(r#"{"type":"session.close"}"#))),
        "malformed" => drop(session.on_malformed(&broken)),
        "too_big" => drop(session.on_too_big(9, false)),
        "flood" => drop(session.on_too_big(9, true)),
        "late" => drop(session.on_hello_timeout()),
        "principal" => drop(session.on_principal()),
        "attached" => session.on_attached(SessionId::parse("sess_1").unwrap(), FeatureSet::ALL),
        "reject" => drop(session.reject(None, Refusal::internal("no"), Goodbye::Internal)),
        other => panic!("{other} is no event"),
    }
}
