//! What came of it: towline's client with the runtimes of the published SDKs, as it was recorded.
//!
//! `tests/data/runtimes/*.jsonl` has `{"scenario":…,"conn":…,"dir":"c2s"|"s2c","frame":{…}}` a line. What the client sent is
//! asked of its machine again, under the same ids; what the runtime sent is given to it; what the user of the client is told
//! is compared, one word for each answer and each end.

use std::{fs, path::Path, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;
use towline_proto::client::{
    ClientSession, Effect, HandshakeError, JobEnd, Moment, Over, Reply, RequestError, SessionConfig,
};
use towline_wire::{Envelope, MessageType, Timestamp};

use crate::recorded::{Recorded, request_of};

#[derive(Deserialize)]
struct Line<'a> {
    scenario: &'a str,
    conn: &'a str,
    dir: &'a str,
    #[serde(borrow)]
    frame: &'a RawValue,
}

/// One connection of a scenario.
struct Told {
    session: ClientSession,
    names: Recorded,
    effects: Vec<Effect>,
    words: Vec<String>,
    events: usize,
}

impl Told {
    fn new() -> Self {
        let config = SessionConfig {
            ack: None,
            ..SessionConfig::default()
        };
        Self {
            session: ClientSession::new(config, None, &[]).0,
            names: Recorded::default(),
            effects: Vec::new(),
            words: Vec::new(),
            events: 0,
        }
    }

    fn frame(&mut self, dir: &str, envelope: Envelope) {
        *self.names.next.borrow_mut() = envelope.id.clone();
        let at = Moment {
            now: Duration::ZERO,
            wall: Timestamp::from_unix_micros(0),
            names: &self.names,
        };
        if dir == "s2c" {
            self.session.receive(envelope, at, &mut self.effects);
        } else if envelope.kind == MessageType::SESSION_HELLO {
            self.session.connected(at, &mut self.effects);
        } else if let Some(request) = request_of(&envelope) {
            let asked = self.session.request(request, at, &mut self.effects);
            asked.expect("the recorded client asked for this");
        }
        for effect in std::mem::take(&mut self.effects) {
            self.note(effect);
        }
    }

    fn note(&mut self, effect: Effect) {
        let word = match effect {
            Effect::Event { .. } => {
                self.events += 1;
                return;
            }
            Effect::Reply { reply, .. } => match *reply {
                Reply::Accepted { .. } => "accepted".to_owned(),
                Reply::Cancelled(_) => "cancelling".to_owned(),
                Reply::Subscribed(_) => "subscribed".to_owned(),
                Reply::Jobs(jobs) => format!("{} jobs", jobs.jobs.len()),
                Reply::Failed(RequestError::Refused(refusal)) => format!("no: {}", refusal.code),
                other => format!("{other:?}"),
            },
            Effect::Ended { end, .. } => match *end {
                JobEnd::Result(result) => result.final_status.to_string(),
                JobEnd::Error(error) => error.code.to_string(),
                JobEnd::Unreadable(cause) => format!("unreadable: {cause}"),
            },
            Effect::Opened { .. } => "opened".to_owned(),
            Effect::Up(up) => up.dialect.to_string(),
            Effect::Over(Over::Handshake(HandshakeError::Refused(refusal))) => {
                format!("no session: {}", refusal.code)
            }
            Effect::Reported(refusal) => format!("reported: {}", refusal.code),
            Effect::Drop(loss) => format!("{loss:?}"),
            Effect::Over(_) | Effect::Send(_) | Effect::Released { .. } | Effect::Ceased { .. } => {
                return;
            }
        };
        self.words.push(word);
    }
}

/// `(scenario, what the user was told on each of its connections, events)`.
type Expected = &'static [(&'static str, &'static str, usize)];

fn check(sdk: &str, expected: Expected) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/runtimes");
    let text = fs::read_to_string(data.join(format!("{sdk}.jsonl"))).unwrap();
    let mut told = Vec::<(String, String, Told)>::new();
    for line in text.lines() {
        let line: Line<'_> = serde_json::from_str(line).unwrap();
        let at = told
            .iter()
            .position(|(scenario, conn, _)| scenario == line.scenario && conn == line.conn);
        let at = at.unwrap_or_else(|| {
            told.push((line.scenario.to_owned(), line.conn.to_owned(), Told::new()));
            told.len() - 1
        });
        let envelope = Envelope::decode_text(line.frame.get().to_owned()).unwrap();
        told[at].2.frame(line.dir, envelope);
    }
    let mut got: Vec<(String, String, usize)> = Vec::new();
    for (scenario, _, told) in told {
        let counters = told.session.counters();
        assert_eq!(
            (counters.gaps, counters.skipped),
            (0, 0),
            "{sdk} {scenario}"
        );
        let words = told.words.join(", ");
        match got.last_mut().filter(|(last, ..)| *last == scenario) {
            Some((_, all, events)) => {
                all.push_str(" | ");
                all.push_str(&words);
                *events += told.events;
            }
            None => got.push((scenario, words, told.events)),
        }
    }
    let shown: Vec<_> = got
        .iter()
        .map(|(scenario, words, events)| (scenario.as_str(), words.as_str(), *events))
        .collect();
    assert_eq!(shown, expected, "{sdk}: {shown:#?}");
}

#[test]
fn go() {
    let expected: Expected = &[
        ("hello", "go", 0),
        ("unauth", "no session: UNAUTHENTICATED", 0),
        ("submit_kinds", "go, accepted, success", 8),
        ("cancel", "go, accepted, cancelling, CANCELLED", 0),
        (
            "errors",
            "go, accepted, PERMISSION_DENIED | go, accepted, INTERNAL_ERROR",
            0,
        ),
        ("refused_submit", "go, no: AGENT_NOT_AVAILABLE", 0),
        (
            "dup_key",
            "go, accepted, success | go, no: DUPLICATE_KEY",
            0,
        ),
        ("timeout", "go, accepted, TIMEOUT", 0),
        (
            "versions",
            "go, accepted, success | go, accepted, success | go, no: AGENT_VERSION_NOT_AVAILABLE",
            0,
        ),
        ("delegate", "go, no: AGENT_NOT_AVAILABLE", 0),
        ("budget", "go, accepted, BUDGET_EXHAUSTED", 6),
        ("lease_expiry", "go, accepted, LEASE_EXPIRED", 0),
        (
            "get_finished",
            "go, accepted, success | go, no: JOB_NOT_FOUND",
            0,
        ),
    ];
    check("go", expected);
}

#[test]
fn java() {
    let expected: Expected = &[
        ("hello", "java", 0),
        ("unauth", "", 0),
        ("submit_kinds", "java, accepted, success", 8),
        ("cancel", "java, accepted, cancelling, CANCELLED", 0),
        (
            "errors",
            "java, accepted, PERMISSION_DENIED | java, accepted, INTERNAL_ERROR",
            0,
        ),
        ("refused_submit", "java, no: INVALID_REQUEST", 0),
        (
            "dup_key",
            "java, accepted, success | java, no: DUPLICATE_KEY",
            0,
        ),
        ("timeout", "java, accepted, TIMEOUT", 0),
        (
            "versions",
            "java, accepted, success | java, accepted, success",
            0,
        ),
        ("delegate", "java, no: AGENT_NOT_AVAILABLE", 0),
        ("budget", "java, accepted, BUDGET_EXHAUSTED", 3),
        ("lease_expiry", "java, accepted, LEASE_EXPIRED", 0),
        (
            "get_finished",
            "java, accepted, success | java, subscribed",
            0,
        ),
        ("idem", "java, accepted, success | java, accepted", 0),
        (
            "watch_running_other_session",
            "java, accepted | java, subscribed",
            4,
        ),
    ];
    check("java", expected);
}

#[test]
fn ruby() {
    let expected: Expected = &[
        ("hello", "ruby", 0),
        ("unauth", "no session: UNAUTHENTICATED", 0),
        ("cancel", "ruby, accepted, cancelling, CANCELLED", 0),
        ("refused_submit", "ruby, no: AGENT_NOT_AVAILABLE", 0),
        ("timeout", "ruby, accepted, TIMEOUT", 0),
        ("budget", "ruby, accepted, PERMISSION_DENIED", 0),
        ("lease_expiry", "ruby, accepted", 0),
        (
            "submit_kinds",
            "ruby, accepted, success, no: PERMISSION_DENIED",
            8,
        ),
        ("idem", "ruby, accepted, success, no: PERMISSION_DENIED", 0),
        (
            "dup_key",
            "ruby, accepted, success, no: PERMISSION_DENIED",
            0,
        ),
        (
            "errors",
            "ruby, accepted, PERMISSION_DENIED, no: PERMISSION_DENIED",
            0,
        ),
    ];
    check("ruby", expected);
}

#[test]
fn typescript() {
    let expected: Expected = &[
        ("hello", "typescript", 0),
        ("unauth", "no session: UNAUTHENTICATED", 0),
        ("submit_kinds", "typescript, accepted, success", 10),
        ("cancel", "typescript, accepted, cancelling, CANCELLED", 1),
        (
            "errors",
            "typescript, accepted, PERMISSION_DENIED | typescript, accepted, INTERNAL_ERROR",
            2,
        ),
        ("refused_submit", "typescript, no: AGENT_NOT_AVAILABLE", 0),
        (
            "dup_key",
            "typescript, accepted, success | typescript, no: DUPLICATE_KEY",
            1,
        ),
        ("timeout", "typescript, accepted, TIMEOUT", 1),
        (
            "versions",
            "typescript, accepted, success | typescript, accepted, success | typescript, no: AGENT_VERSION_NOT_AVAILABLE",
            2,
        ),
        (
            "delegate",
            "typescript, accepted, opened, success, success",
            3,
        ),
        ("budget", "typescript, accepted, success", 11),
        ("lease_expiry", "typescript, accepted, LEASE_EXPIRED", 1),
    ];
    check("typescript", expected);
}

#[test]
fn python() {
    let expected: Expected = &[
        ("hello", "python", 0),
        ("unauth", "no session: UNAUTHENTICATED", 0),
        ("submit_kinds", "python, accepted, success", 9),
        ("cancel", "python, accepted, cancelling, cancelled", 0),
        (
            "errors",
            "python, accepted, PERMISSION_DENIED | python, accepted, PERMISSION_DENIED",
            0,
        ),
        ("refused_submit", "python, no: AGENT_NOT_AVAILABLE", 0),
        (
            "dup_key",
            "python, accepted, success | python, no: DUPLICATE_KEY",
            0,
        ),
        ("timeout", "python, accepted, timed_out", 0),
        (
            "versions",
            "python, accepted, success | python, accepted, success | python, no: AGENT_VERSION_NOT_AVAILABLE",
            0,
        ),
        ("delegate", "python, accepted, success", 0),
        ("budget", "python, accepted, BUDGET_EXHAUSTED", 6),
        ("lease_expiry", "python, accepted, LEASE_EXPIRED", 0),
        (
            "idem",
            "python, accepted, success | python, accepted, success, subscribed",
            0,
        ),
    ];
    check("python", expected);
}
