use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, layer::Context, prelude::*};

use super::*;

const AT: &str = "2026-01-31T12:00:00.000Z";

fn audit() -> Audit {
    Audit::at(AT.parse().unwrap())
}

fn names() -> (Principal, SessionId, JobId) {
    (
        Principal::new("alice"),
        SessionId::parse("sess_1").unwrap(),
        JobId::parse("job_1").unwrap(),
    )
}

/// What reached the audit target, a line an event, fields in their order.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn of(emit: impl FnOnce()) -> Vec<String> {
        let lines = Self::default();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), emit);
        lines.0.lock().unwrap().clone()
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!(" {}={value:?}", field.name()));
            }
        }
        let mut line = Line(format!("{}:", event.metadata().target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
}

/// [ARCP 14-3] Each audited action has its entry: who, whom, verdict.
#[test]
fn every_action_has_its_entry() {
    let (alice, session, job) = names();
    let actor = Actor {
        principal: &alice,
        session: &session,
        role: None,
    };
    let (bob, credential) = (
        Principal::new("bob"),
        CredentialId::parse("cred_1").unwrap(),
    );
    let peer = Some("192.0.2.1:9".parse().unwrap());
    let refused = Verdict::Refused(&ErrorCode::PERMISSION_DENIED);
    let audit = audit();
    let child = JobId::parse("job_2").unwrap();
    for (row, expected) in [
        (
            audit.auth_accepted(actor, peer),
            r#"auth {"verdict":"allowed","principal":"alice","session":"sess_1","peer":"192.0.2.1:9"}"#,
        ),
        (
            audit.auth_refused(None, "the token is not known here", 0),
            r#"auth {"verdict":"refused","code":"UNAUTHENTICATED","reason":"the token is not known here"}"#,
        ),
        (
            audit.submit(actor, "echo", Some(&job), Verdict::Allowed),
            r#"submit {"verdict":"allowed","principal":"alice","session":"sess_1","job":"job_1","agent":"echo"}"#,
        ),
        (
            audit.submit(
                actor,
                "echo@9",
                None,
                Verdict::Refused(&ErrorCode::AGENT_VERSION_NOT_AVAILABLE),
            ),
            r#"submit {"verdict":"refused","code":"AGENT_VERSION_NOT_AVAILABLE","principal":"alice","session":"sess_1","agent":"echo@9"}"#,
        ),
        (
            audit.delegate(actor, &job, &"echo@1".parse().unwrap(), &child),
            r#"submit {"verdict":"allowed","principal":"alice","session":"sess_1","job":"job_2","agent":"echo@1","parent":"job_1"}"#,
        ),
        (
            audit.cancel(actor, &job, refused),
            r#"cancel {"verdict":"refused","code":"PERMISSION_DENIED","principal":"alice","session":"sess_1","job":"job_1"}"#,
        ),
        (
            audit.subscribe(actor, &job, Some(&bob), refused),
            r#"subscribe {"verdict":"refused","code":"PERMISSION_DENIED","principal":"alice","session":"sess_1","job":"job_1","owner":"bob"}"#,
        ),
        (
            audit.lease_expired(&alice, &job, AT),
            r#"lease.expired {"job":"job_1","owner":"alice","expires_at":"2026-01-31T12:00:00.000Z"}"#,
        ),
        (
            audit.credential_issued(&alice, &job, &credential, Verdict::Allowed),
            r#"credential.issue {"verdict":"allowed","job":"job_1","owner":"alice","credential":"cred_1"}"#,
        ),
        (
            audit.credential_rotated(&alice, &job, &credential, Verdict::Allowed),
            r#"credential.rotate {"verdict":"allowed","job":"job_1","owner":"alice","credential":"cred_1"}"#,
        ),
        (
            audit.credential_revoked(
                &alice,
                &job,
                &credential,
                Verdict::Failed("the upstream is down"),
            ),
            r#"credential.revoke {"verdict":"failed","reason":"the upstream is down","job":"job_1","owner":"alice","credential":"cred_1"}"#,
        ),
    ] {
        assert_eq!(format!("{} {}", row.action, row.data), expected);
        assert_eq!(row.at.to_string(), AT);
    }
}

/// [ARCP 14-3] An entry reaches a target of its own, with a field for each of its own fields and no others.
#[test]
fn entries_reach_their_own_target() {
    let (alice, session, job) = names();
    let actor = Actor {
        principal: &alice,
        session: &session,
        role: None,
    };
    let row = audit().subscribe(
        actor,
        &job,
        None,
        Verdict::Refused(&ErrorCode::JOB_NOT_FOUND),
    );
    let lines = Lines::of(|| record(&row));
    assert_eq!(
        lines,
        [
            "towline::audit: message=audit action=\"subscribe\" at=2026-01-31T12:00:00.000Z verdict=\"refused\" \
          code=\"JOB_NOT_FOUND\" principal=\"alice\" session=\"sess_1\" job=\"job_1\""
        ]
    );
}

/// [ARCP 14-4] What peers write is cut, on a character, and cannot forge lines.
#[test]
fn texts_are_bounded() {
    let row = audit().auth_refused(None, &format!("x{}", "é\n".repeat(100_000)), 0);
    assert!(row.data.as_str().len() < 600 && !row.data.as_str().contains('\n'));
    assert_eq!(shown(&"é".repeat(128)).len(), 256);
    let cut = shown(&"é".repeat(129));
    assert!(cut.len() == 256 + "…".len() && cut.ends_with("é…"), "{cut}");
    // [ARCP 14-8]
    assert_eq!(
        shown("a\u{1b}]0;x\u{7}\nINFO b"),
        r"a\u{1b}]0;x\u{7}\nINFO b"
    );
}

#[test]
fn an_unreadable_entry_is_still_recorded() {
    let row = AuditRow {
        at: AT.parse().unwrap(),
        action: "future".into(),
        data: RawJson::NULL,
    };
    assert_eq!(Lines::of(|| record(&row)).len(), 1);
}
