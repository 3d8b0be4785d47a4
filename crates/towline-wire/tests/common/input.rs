//! Questions to people: the messages and the events.

use towline_wire::{
    QuestionId,
    event::{
        ChoiceOption, Grant, InputOperation, InputRequest, InputResolved, Message, QuestionKind,
        QuestionOutcome,
    },
    payload::{Answer, Answered, Inbox, MessageAccepted, OpenQuestion, Questions, Speak},
};

use super::*;

pub(super) fn input_messages() -> Vec<(&'static str, Envelope)> {
    let answer = Answer {
        job_id: Some(job()),
        question_id: question(),
        answer: raw("true"),
        note: Some("for today".to_owned()),
        remember: Some(true),
    };
    let answered = Answered {
        request_id: Some(request()),
        job_id: job(),
        question_id: question(),
    };
    let speak = Speak {
        job_id: Some(job()),
        body: raw(r#"{"say":"go on"}"#),
    };
    let accepted = MessageAccepted {
        request_id: Some(request()),
        job_id: job(),
        job_seq: JobSeq::new(7),
    };
    let open = OpenQuestion {
        job_id: job(),
        agent: "coder@1.0.0".to_owned(),
        request: asked(),
    };
    let questions = Questions {
        request_id: Some(request()),
        questions: vec![open],
    };
    let inbox = Inbox {
        job_id: Some(job()),
    };
    vec![
        ("answer", plain(&answer)),
        ("answered", plain(&answered)),
        ("message", plain(&speak)),
        ("message_accepted", plain(&accepted)),
        ("inbox", plain(&inbox)),
        ("questions", plain(&questions)),
    ]
}

pub(super) fn input_events() -> Vec<(&'static str, Envelope)> {
    let resolved = InputResolved {
        question_id: question(),
        outcome: QuestionOutcome::ANSWERED,
        answer: Some(raw("true")),
        note: Some("for today".to_owned()),
        by: Some("alice".to_owned()),
    };
    let grant = Grant {
        namespace: "fs.write".to_owned(),
        pattern: "/srv/**".to_owned(),
        question_id: question(),
        by: "alice".to_owned(),
    };
    let message = Message {
        body: raw(r#"{"say":"go on"}"#),
        by: Some("alice".to_owned()),
    };
    vec![
        (
            "event input_request",
            of_kind(EventKind::INPUT_REQUEST, RawJson::of(&asked())),
        ),
        (
            "event input_resolved",
            of_kind(EventKind::INPUT_RESOLVED, RawJson::of(&resolved)),
        ),
        (
            "event grant",
            of_kind(EventKind::GRANT, RawJson::of(&grant)),
        ),
        (
            "event message",
            of_kind(EventKind::MESSAGE, RawJson::of(&message)),
        ),
    ]
}

fn question() -> QuestionId {
    QuestionId::parse("q_1").unwrap()
}

fn asked() -> InputRequest {
    InputRequest {
        question_id: question(),
        kind: QuestionKind::APPROVAL,
        title: "Write README?".to_owned(),
        message: Some("It is not covered by the lease.".to_owned()),
        operation: Some(InputOperation {
            namespace: "fs.write".to_owned(),
            value: "/srv/README".to_owned(),
        }),
        call_id: CallId::parse("call_1").ok(),
        options: Some(vec![ChoiceOption {
            id: "a".to_owned(),
            label: "One".to_owned(),
        }]),
        schema: Some(raw(r#"{"type":"object"}"#)),
        expires_at: time(),
        default: Some(raw("false")),
        may_answer: Some(false),
    }
}
