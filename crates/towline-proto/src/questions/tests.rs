use serde_json::json;
use towline_wire::event::QuestionKind;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_micros(1_900_000_000_000_000 + seconds * 1_000_000)
}

fn id(number: u32) -> QuestionId {
    QuestionId::minted(&number.to_string())
}

fn asked(questions: &mut Questions, key: &str, question: Question, number: u32) -> InputRequest {
    match questions.ask(key, question, id(number), at(0), None) {
        Ok(Asked::New(request)) => request,
        other => panic!("{other:?}"),
    }
}

fn answer(number: u32, answer: serde_json::Value, by: &str) -> Answer {
    Answer {
        question: id(number),
        answer: answer.into(),
        note: None,
        remember: false,
        by: by.to_owned(),
    }
}

/// [ARCP 15-1, 15-3] what a request says: an hour by default, at most the lease's expiry, and an approval's default is no.
#[test]
fn a_request_is_bounded_in_time() {
    let mut questions = Questions::default();
    let request = asked(&mut questions, "a", Question::approval("May I?"), 1);
    assert_eq!(request.kind, QuestionKind::APPROVAL);
    assert_eq!(request.expires_at, at(3600));
    assert_eq!(request.default.unwrap().as_str(), "false");
    let lease = Some(at(60));
    let Ok(Asked::New(request)) = questions.ask("b", Question::text("Name?"), id(2), at(0), lease)
    else {
        panic!("a new question");
    };
    assert_eq!((request.expires_at, request.default), (at(60), None));
}

/// [ARCP 15-4] the same key is the same question, while it waits and when it is settled; also for whoever reads the state back.
#[test]
fn the_same_key_is_the_same_question() {
    let mut questions = Questions::default();
    asked(&mut questions, "k", Question::text("Name?"), 1);
    let again = questions.ask("k", Question::text("Name?"), id(2), at(1), None);
    assert_eq!(again, Ok(Asked::Waiting(id(1))));
    questions
        .answer(&answer(1, json!("Ada"), "alice"), false, at(2))
        .unwrap();
    let stored = RawJson::of(&questions).unwrap();
    let mut questions: Questions = stored.read().unwrap();
    let Ok(Asked::Settled(settled)) =
        questions.ask("k", Question::text("Name?"), id(3), at(3), None)
    else {
        panic!("it is settled");
    };
    assert_eq!(settled.resolved.answer.unwrap().as_str(), r#""Ada""#);
    assert_eq!(
        (settled.resolved.by.as_deref(), settled.at),
        (Some("alice"), at(2))
    );
}

/// [ARCP 15-2] the first answer counts; a later one is told who was first, and when. The same answer once more is no error to
/// those who may repeat themselves.
#[test]
fn the_first_answer_counts() {
    let mut questions = Questions::default();
    asked(&mut questions, "k", Question::approval("May I?"), 1);
    let first = questions
        .answer(&answer(1, json!(true), "alice"), false, at(5))
        .unwrap();
    assert_eq!(first.resolved.outcome, QuestionOutcome::ANSWERED);
    assert_eq!(first.grant, None);
    let late = questions
        .answer(&answer(1, json!(false), "bob"), true, at(6))
        .unwrap_err();
    let details: serde_json::Value = late.details.unwrap().read().unwrap();
    assert_eq!(
        (&details["by"], &details["at"]),
        (&json!("alice"), &json!(at(5)))
    );
    let same = answer(1, json!(true), "alice");
    assert!(questions.answer(&same, false, at(6)).is_err());
    assert!(questions.answer(&same, true, at(6)).unwrap().repeated);
    let unknown = questions.answer(&answer(9, json!(true), "alice"), true, at(6));
    assert!(unknown.unwrap_err().message.contains("q_9"));
}

/// [ARCP 15-1, 15-2] each kind has its answers, and nothing else is one.
#[test]
fn answers_fit_their_kind() {
    let schema =
        json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]});
    let table = [
        (Question::approval("a"), json!(true), json!("yes")),
        (Question::choice("c", [("x", "X")]), json!("x"), json!("X")),
        (Question::text("t"), json!("any"), json!(1)),
        (
            Question::form("f", schema),
            json!({"n": 1}),
            json!({"n": "1"}),
        ),
    ];
    for (question, good, bad) in table {
        let mut questions = Questions::default();
        asked(&mut questions, "k", question, 1);
        let refused = questions.answer(&answer(1, bad.clone(), "a"), false, at(1));
        let refused = refused.unwrap_err();
        assert!(
            refused.message.starts_with("`answer`: "),
            "{bad}: {refused}"
        );
        assert!(
            questions
                .answer(&answer(1, good.clone(), "a"), false, at(1))
                .is_ok(),
            "{good}"
        );
    }
}

/// [ARCP 15-1] a form's answer is an object, and no schema reads another one from somewhere.
#[test]
fn a_form_is_an_object() {
    let mut questions = Questions::default();
    asked(&mut questions, "k", Question::form("f", json!({})), 1);
    assert!(
        questions
            .answer(&answer(1, json!([1]), "a"), false, at(1))
            .is_err()
    );
    for schema in [
        json!({"type": "objekt"}),
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"pattern": "("}),
    ] {
        let bad = questions.ask("s", Question::form("f", schema.clone()), id(2), at(0), None);
        assert!(
            matches!(bad, Err(QuestionError::Invalid(_))),
            "{schema}: {bad:?}"
        );
    }
}

/// [ARCP 15-1, 15-3] what cannot be asked: an approval that is yes by default, a choice without options or with an id twice, a
/// default that is no answer.
#[test]
fn bad_questions_are_not_asked() {
    let none: [(&str, &str); 0] = [];
    let bad = [
        Question::approval("a").default_answer(true),
        Question::choice("c", none),
        Question::choice("c", [("x", "1"), ("x", "2")]),
        Question::choice("c", [("x", "1")]).default_answer("y"),
        Question::text("t").default_answer(5),
        Question::text("t".repeat(100_000)),
    ];
    for question in bad {
        let mut questions = Questions::default();
        let asked = questions.ask("k", question.clone(), id(1), at(0), None);
        assert!(
            matches!(asked, Err(QuestionError::Invalid(_))),
            "{question:?}"
        );
        assert!(questions.is_empty());
    }
}

/// [ARCP 15-3] when its time is over a question resolves to its default, which for an approval is no, and nothing for one
/// without; an answer that comes later is too late, and time that is over after an answer changes nothing.
#[test]
fn nobody_there() {
    let table = [
        (
            Question::text("t").default_answer("none"),
            Some(r#""none""#),
        ),
        (Question::text("t"), None),
        (Question::approval("a"), Some("false")),
    ];
    for (question, default) in table {
        let mut questions = Questions::default();
        asked(&mut questions, "k", question, 1);
        asked(&mut questions, "other", Question::approval("o"), 2);
        let expired = questions.expire(&id(1), at(10)).unwrap();
        assert_eq!(expired.outcome, QuestionOutcome::EXPIRED);
        assert_eq!(expired.answer.as_ref().map(RawJson::as_str), default);
        assert_eq!(expired.by, None);
        assert!(!questions.settled("k").unwrap().is_yes());
        assert_eq!(questions.open().len(), 1);
        assert_eq!(questions.expire(&id(1), at(11)), None);
        let late = questions.answer(&answer(1, json!("x"), "alice"), true, at(11));
        assert!(late.unwrap_err().message.contains("expired"));
        questions
            .answer(&answer(2, json!(true), "alice"), true, at(11))
            .unwrap();
        assert_eq!(questions.expire(&id(2), at(12)), None);
    }
}

/// [ARCP 15-4] what waits when the job ends is withdrawn, without an answer.
#[test]
fn the_end_withdraws() {
    let mut questions = Questions::default();
    asked(
        &mut questions,
        "a",
        Question::text("t").default_answer("x"),
        1,
    );
    let withdrawn = questions.withdraw(at(1));
    assert_eq!(withdrawn[0].outcome, QuestionOutcome::WITHDRAWN);
    assert_eq!(withdrawn[0].answer, None);
    assert_eq!(questions.withdraw(at(2)), []);
}

/// [ARCP 15-6, 15-8] a yes that is to be remembered grants the ask pattern, a yes to money the amount, a no nothing; and an
/// operation that was let through once is asked about once more.
#[test]
fn what_a_yes_grants() {
    let write = || {
        Question::approval("w")
            .about("fs.write", "/w/a")
            .granting(Some("/w/**".to_owned()))
    };
    let table = [
        (write(), true, true, Some(("fs.write", "/w/**"))),
        (write(), true, false, None),
        (write(), false, true, None),
        (
            Question::approval("m")
                .about("cost.budget", "USD:1.50")
                .granting(None),
            true,
            false,
            Some(("cost.budget", "USD:1.50")),
        ),
        (write().granting_nothing(), true, true, None),
        (
            Question::approval("m").about("cost.budget", "USD:1.50"),
            true,
            true,
            None,
        ),
    ];
    for (question, yes, remember, grants) in table {
        let mut questions = Questions::default();
        asked(&mut questions, "k", question, 1);
        let given = Answer {
            remember,
            ..answer(1, json!(yes), "alice")
        };
        let answered = questions.answer(&given, false, at(1)).unwrap();
        let grant = answered.grant.as_ref();
        assert_eq!(grant.map(|(of, what)| (of.as_str(), what.as_str())), grants);
        assert_eq!(questions.take("k").unwrap().is_yes(), yes);
        let again = questions.ask("k", write(), id(2), at(2), None);
        assert!(matches!(again, Ok(Asked::New(_))));
        let late = questions.answer(&answer(1, json!(true), "bob"), false, at(3));
        assert!(late.unwrap_err().details.is_some());
    }
}

/// [ARCP 14-6] what waits is bounded.
#[test]
fn open_questions_are_bounded() {
    let mut questions = Questions::default();
    for number in 0..MAX_OPEN {
        asked(
            &mut questions,
            &number.to_string(),
            Question::text("t"),
            number as u32,
        );
    }
    let more = questions.ask("more", Question::text("t"), id(999), at(0), None);
    assert_eq!(more, Err(QuestionError::TooManyOpen));
}

/// [ARCP 15-2] A note has a size, so that a long one does not use up what later answers need; the question stays open.
#[test]
fn a_note_has_a_size() {
    let mut questions = Questions::default();
    asked(&mut questions, "go", Question::approval("Go?"), 1);
    let with = |bytes: usize| Answer {
        note: Some("n".repeat(bytes)),
        ..answer(1, serde_json::json!(true), "alice")
    };
    let refusal = questions.answer(&with(4097), false, at(1)).unwrap_err();
    assert!(refusal.message.contains("`note`"), "{refusal:?}");
    questions.answer(&with(4096), false, at(1)).unwrap();
}
