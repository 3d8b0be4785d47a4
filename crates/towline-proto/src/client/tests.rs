//! The machine as a whole, a frame and a moment at a time.

use std::{cell::Cell, time::Duration};

use serde_json::{Value, json};
use towline_wire::{Envelope, EventSeq, JobId, MessageId, Secret, SessionId, Timestamp, TraceId};

use super::*;

#[derive(Default)]
struct Counted(Cell<u32>);

impl Counted {
    fn next(&self, prefix: &str) -> String {
        self.0.set(self.0.get() + 1);
        format!("{prefix}{}", self.0.get())
    }
}

impl Names for Counted {
    fn message(&self) -> MessageId {
        MessageId::parse(&self.next("m")).unwrap()
    }

    fn nonce(&self) -> String {
        self.next("n")
    }

    fn trace(&self) -> TraceId {
        TraceId::from_bytes([1; 16]).unwrap()
    }
}

fn config(reconnects: bool) -> SessionConfig {
    let auth = payload::Auth {
        scheme: None,
        token: Some(Secret::new("secret")),
    };
    SessionConfig {
        auth: Some(auth),
        reconnects,
        ..SessionConfig::default()
    }
}

/// A session, and what it decided.
struct Table {
    session: ClientSession,
    names: Counted,
    now: Duration,
    out: Vec<Effect>,
}

impl Table {
    fn new(config: SessionConfig, resume: Option<ResumePoint>) -> Self {
        let session = ClientSession::new(config, resume, &[]).0;
        Self {
            session,
            names: Counted::default(),
            now: Duration::ZERO,
            out: Vec::new(),
        }
    }

    /// A session that stands, of a client that reconnects.
    fn live() -> Self {
        let mut table = Self::new(config(true), None);
        table.connect();
        table
    }

    fn connect(&mut self) {
        let (session, at, out) = self.parts();
        session.connected(at, out);
        self.welcome();
    }

    fn welcome(&mut self) {
        self.receive(
            json!({"type": "session.welcome", "session_id": "s", "payload": {"resume_token": "t",
            "heartbeat_interval_sec": 30,
            "capabilities": {"features": ["heartbeat", "ack", "subscribe", "list_jobs"]}}}),
        );
    }

    fn parts(&mut self) -> (&mut ClientSession, Moment<'_>, &mut Vec<Effect>) {
        let at = Moment {
            now: self.now,
            wall: Timestamp::from_unix_micros(0),
            names: &self.names,
        };
        (&mut self.session, at, &mut self.out)
    }

    fn receive(&mut self, frame: Value) {
        let envelope = Envelope::decode_text(frame.to_string()).unwrap();
        let (session, at, out) = self.parts();
        session.receive(envelope, at, out);
    }

    fn ask(&mut self, request: Request) -> Result<RequestKey, RequestError> {
        let (session, at, out) = self.parts();
        session.request(request, at, out).map(|(key, _)| key)
    }

    fn submit(&mut self, json: &str) -> RequestKey {
        let submit = serde_json::from_str(json).unwrap();
        self.ask(Request::Submit {
            submit,
            trace: None,
            span: None,
        })
        .unwrap()
    }

    /// Lets time pass until there is something to do, and does it.
    fn wait(&mut self) -> Duration {
        self.now = self.session.deadline().expect("something is due");
        let (session, at, out) = self.parts();
        session.tick(at, |last| last, out);
        self.now
    }

    /// What was decided since the last look, in short.
    fn decided(&mut self) -> Vec<String> {
        self.out.drain(..).map(|effect| short(&effect)).collect()
    }
}

fn short(effect: &Effect) -> String {
    match effect {
        Effect::Send(envelope) => format!("send {}", envelope.kind),
        Effect::Up(established) => format!(
            "up {}",
            if established.resumed {
                "resumed"
            } else {
                "new"
            }
        ),
        Effect::Opened { id, .. } => format!("opened {id}"),
        Effect::Event { envelope, .. } => {
            format!("event {}", envelope.event_seq.unwrap_or_default())
        }
        Effect::Ended { .. } => "ended".to_owned(),
        Effect::Ceased { .. } => "ceased".to_owned(),
        Effect::Released { .. } => "released".to_owned(),
        Effect::Reply { reply, .. } => match &**reply {
            Reply::Accepted { id, .. } => format!("accepted {id}"),
            Reply::Failed(error) => format!("failed {error:?}"),
            Reply::Cancelled(_) => "cancelled".to_owned(),
            Reply::Done => "done".to_owned(),
            other => format!("{other:?}"),
        },
        Effect::Reported(refusal) => format!("reported {}", refusal.code),
        Effect::Drop(loss) => format!("drop {loss:?}"),
        Effect::Over(over) => format!("over {over:?}"),
    }
}

fn event(seq: u64) -> Value {
    json!({"type": "job.event", "job_id": "j", "event_seq": seq, "payload": {"kind": "log", "body": {}}})
}

fn accepted(request: &str) -> Value {
    json!({"type": "job.accepted", "job_id": "j", "payload": {"request_id": request, "agent": "a@1"}})
}

#[test]
fn a_session_begins_with_a_hello_and_stands_with_a_welcome() {
    let mut table = Table::live();
    assert_eq!(table.decided(), ["send session.hello", "up new"]);
    assert!(table.session.is_live());
}

/// A resume asks for the session, by its latest token, from the last event.
#[test]
fn a_resume_is_a_hello_that_says_where_it_was() {
    let mut table = Table::live();
    table.submit(r#"{"agent":"a"}"#);
    table.receive(accepted("m2"));
    table.receive(event(1));
    table.out.clear();
    let (session, _, out) = table.parts();
    session.lost(out);
    let (session, at, out) = table.parts();
    session.connected(at, out);
    let Some(Effect::Send(hello)) = table.out.pop() else {
        panic!()
    };
    let resume: Value = hello.payload.read::<Value>().unwrap()["resume"].clone();
    assert_eq!(
        resume,
        json!({"session_id": "s", "resume_token": "t", "token": "t", "last_event_seq": 1})
    );
}

/// [ARCP 6.4-4] The watchdog pings after one silent interval, and leaves after two.
#[test]
fn silence_is_answered_with_a_ping_and_then_with_leaving() {
    let mut table = Table::live();
    table.out.clear();
    assert_eq!(table.wait(), Duration::from_secs(30));
    assert_eq!(table.decided(), ["send session.ping"]);
    assert_eq!(table.wait(), Duration::from_secs(60));
    assert_eq!(table.decided(), ["drop HeartbeatLost"]);
    assert!(table.session.resume_point().is_some());
}

/// A driver that does not read hears nothing, and must not take that for the runtime's silence.
#[test]
fn a_pause_is_not_silence() {
    let mut table = Table::live();
    table.out.clear();
    table.session.set_paused(true, Duration::ZERO);
    (0..10).for_each(|_| {
        table.wait();
    });
    assert!(
        table
            .decided()
            .iter()
            .all(|effect| effect == "send session.ping")
    );
    table.session.set_paused(false, table.now);
    let resumed = table.now;
    while !table.decided().contains(&"drop HeartbeatLost".to_owned()) {
        table.wait();
    }
    assert_eq!(table.now - resumed, Duration::from_secs(60));
}

/// [ARCP 8-4] Nothing behind a gap is delivered; a resume brings it.
#[test]
fn what_comes_after_a_gap_waits_for_the_resume() {
    let mut table = Table::live();
    table.submit(r#"{"agent":"a"}"#);
    table.receive(accepted("m2"));
    table.out.clear();
    [1, 3, 4]
        .into_iter()
        .for_each(|seq| table.receive(event(seq)));
    assert_eq!(
        table.decided(),
        ["event 1", "drop Gap { expected: #2, got: #3 }"]
    );
    table.connect();
    [2, 3, 3, 4]
        .into_iter()
        .for_each(|seq| table.receive(event(seq)));
    assert_eq!(
        table.decided()[2..],
        ["send session.ping", "event 2", "event 3", "event 4"]
    );
    assert_eq!(
        table.session.counters(),
        Counters {
            duplicates: 1,
            gaps: 1,
            ..Counters::default()
        }
    );
}

/// A submit that was lost is made again by its key, once; then its time is over.
#[test]
fn a_lost_submit_is_made_again_once() {
    let mut table = Table::live();
    table.submit(r#"{"agent":"a","idempotency_key":"k"}"#);
    let (session, _, out) = table.parts();
    session.lost(out);
    table.connect();
    table.out.clear();
    // The runtime stays awake, and says nothing of the job.
    let mut sent = Vec::new();
    while table.session.waiting() > 0 {
        table.wait();
        table.receive(json!({"type": "session.ping", "payload": {"nonce": "x"}}));
        sent.extend(table.decided());
    }
    assert_eq!(
        sent.iter()
            .filter(|effect| *effect == "send job.submit")
            .count(),
        1,
        "{sent:?}"
    );
    assert!(
        sent.contains(&"failed Timeout { after: 30s }".to_owned()),
        "{sent:?}"
    );
    assert_eq!(table.now, Duration::from_secs(60));
}

#[test]
fn an_end_fails_everything_that_waits_and_nothing_follows() {
    let mut table = Table::live();
    table.submit(r#"{"agent":"a"}"#);
    table.ask(Request::Ping).unwrap();
    table.out.clear();
    table.receive(json!({"type": "session.closed", "payload": {"reason": "superseded"}}));
    assert_eq!(
        table.decided(),
        [
            "over ByRuntime { reason: Some(\"superseded\") }",
            "failed SessionOver",
            "failed SessionOver"
        ]
    );
    table.receive(event(1));
    assert_eq!(table.ask(Request::Ping), Err(RequestError::SessionOver));
    assert!(table.decided().is_empty() && table.session.deadline().is_none());
}

#[test]
fn a_request_without_a_connection_waits_only_if_one_may_come() {
    for reconnects in [true, false] {
        let mut table = Table::new(config(reconnects), None);
        table.connect();
        let (session, _, out) = table.parts();
        session.lost(out);
        table.out.clear();
        let asked = table.ask(Request::List(payload::ListJobs::default()));
        assert_eq!(asked.is_ok(), reconnects);
        assert!(table.decided().is_empty());
        if reconnects {
            table.connect();
            assert_eq!(
                table.decided(),
                ["send session.hello", "up resumed", "send session.list_jobs"]
            );
        }
    }
}

/// A first resume that is refused is an error; so is a session other than the one asked for.
#[test]
fn a_resume_needs_the_same_session() {
    let session_id = SessionId::parse("old").unwrap();
    let point = ResumePoint {
        session_id,
        token: Secret::new("t"),
        last_event_seq: EventSeq::new(4),
    };
    let mut table = Table::new(config(false), Some(point));
    table.connect();
    let decided = table.decided();
    assert!(
        decided[1].starts_with("over Handshake(OtherSession"),
        "{decided:?}"
    );
}

#[test]
fn a_job_is_watched_until_the_last_subscription_ends() {
    let mut table = Table::live();
    let job = JobId::parse("j").unwrap();
    let subscribe = || Request::Subscribe {
        job: job.clone(),
        from: None,
        history: false,
        input: false,
    };
    let unsubscribe = || Request::Unsubscribe { job: job.clone() };
    table.ask(subscribe()).unwrap();
    table.ask(subscribe()).unwrap();
    table.out.clear();
    table.ask(unsubscribe()).unwrap();
    assert_eq!(table.decided(), ["done"]);
    table.ask(unsubscribe()).unwrap();
    assert_eq!(
        table.decided(),
        ["released", "send job.unsubscribe", "done"]
    );
    table.receive(event(1));
    assert!(
        table.decided().is_empty(),
        "what was under way opens no job"
    );
}

/// The session does what is drawn above it: every event in every phase.
#[test]
fn the_session_is_as_drawn() {
    crate::drawing::walk(include_str!("session.rs"), |phase, event| {
        let mut table = Table::new(config(true), None);
        let way: &[&str] = match phase {
            "Idle" => &[],
            "Greeting" => &["connected"],
            "Live" => &["connected", "welcome"],
            "Closing" => &["connected", "welcome", "close"],
            "Lost" => &["connected", "welcome", "lost"],
            "Resuming" => &["connected", "welcome", "lost", "connected"],
            "Over" => &["abandon"],
            other => panic!("{other} is no phase"),
        };
        for event in way {
            table.happen(event);
        }
        assert_eq!(table.phase(), phase, "the way to the phase");
        table.happen(event);
        table.phase().to_owned()
    });
}

impl Table {
    fn phase(&self) -> &'static str {
        use super::session::Phase;

        let stood = self.session.settled.is_some();
        match self.session.phase {
            Phase::Idle if stood => "Lost",
            Phase::Idle => "Idle",
            Phase::AwaitWelcome { .. } if stood => "Resuming",
            Phase::AwaitWelcome { .. } => "Greeting",
            Phase::Live { .. } => "Live",
            Phase::Closing { .. } => "Closing",
            Phase::Over => "Over",
        }
    }

    fn happen(&mut self, event: &str) {
        let error = |code: &str, retryable: bool| json!({"type": "session.error", "payload": {"code": code, "message": "no", "retryable": retryable}});
        let tick = |table: &mut Self, by: Duration| {
            table.now += by;
            let (session, at, out) = table.parts();
            session.tick(at, |last| last, out);
        };
        match event {
            "welcome" => self.welcome(),
            "refused" => self.receive(error("PERMISSION_DENIED", false)),
            "busy" => self.receive(error("INTERNAL_ERROR", true)),
            "closed" => {
                self.receive(json!({"type": "session.closed", "payload": {"reason": "superseded"}}))
            }
            "shutdown" => {
                self.receive(json!({"type": "session.closed", "payload": {"reason": "shutdown"}}));
            }
            "gap" => self.receive(
                json!({"type": "job.event", "session_id": "s", "job_id": "j", "event_seq": 9,
                "payload": {"kind": "log", "ts": "2026-01-01T00:00:00Z", "body": {}}}),
            ),
            "time" => {
                let due = self.session.deadline().unwrap_or(self.now);
                tick(self, due - self.now);
            }
            "silence" => tick(self, Duration::from_secs(60)),
            _ => {
                let (session, at, out) = self.parts();
                match event {
                    "connected" => session.connected(at, out),
                    "lost" => session.lost(out),
                    "close" => session.close(None, EventSeq::ZERO, at, out),
                    "abandon" => session.abandon(out),
                    "too_big" => session.too_big(9, at, out),
                    other => panic!("{other} is no event"),
                }
            }
        }
    }
}

/// [ARCP 6.3-1] after a resume the client says something at once, so that the runtime knows that the welcome came.
#[test]
fn a_resumed_session_speaks_at_once() {
    let mut table = Table::live();
    table.decided();
    for _ in 0..2 {
        table.happen("lost");
        table.decided();
        table.connect();
        let decided = table.decided();
        assert_eq!(decided[0], "send session.hello");
        assert_eq!(
            decided.last().map(String::as_str),
            Some("send session.ping"),
            "{decided:?}"
        );
    }
}

/// [ARCP 14-1] a session that was disconnected for doing nothing is taken up again.
#[test]
fn an_idle_disconnect_is_no_end() {
    let mut table = Table::live();
    table.receive(json!({"type": "session.closed", "payload": {"reason": "idle"}}));
    assert_eq!(table.phase(), "Lost");
}
