//! `towline conformance` against `towline serve`.

use serde_json::Value;

use crate::support::{Place, TOKEN};

fn verdicts(report: &Value, verdict: &str) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    let of_verdict = findings.iter().filter(|f| f["verdict"] == verdict);
    of_verdict
        .map(|finding| format!("{} {}", finding["check"], finding["reason"]))
        .collect()
}

/// Our own runtime keeps the rules, and has every agent the kit asks for.
#[test]
fn the_demo_server_conforms() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN, "--dangerously-grant-any-lease"]);
    let flags = server.flags();
    let args = ["conformance", "-o", "json"];
    let args = args.into_iter().chain(flags.iter().map(String::as_str));
    let ran = place.run(args);
    let report = ran.json();
    assert_eq!(verdicts(&report, "fail"), Vec::<String>::new());
    assert_eq!(verdicts(&report, "skipped"), Vec::<String>::new());
    assert_eq!(report["conforms"], true);
    assert_eq!(ran.status, 0);
}

/// With a second principal's token it is looked at that the two are apart.
#[test]
fn two_principals_are_apart() {
    let place = Place::new();
    let server = place.serve(&[
        "--token",
        TOKEN,
        "--token",
        "bob:other",
        "--dangerously-grant-any-lease",
    ]);
    let flags = server.flags();
    let args = ["conformance", "-o", "json", "--second-token", "other"];
    let args = args.into_iter().chain(flags.iter().map(String::as_str));
    let report = place.run(args).ok().json();
    let passed = verdicts(&report, "pass");
    let apart = passed
        .iter()
        .filter(|check| check.starts_with("\"principals-"));
    assert_eq!(apart.count(), 5, "{passed:?}");
    assert_eq!(verdicts(&report, "not_applicable"), Vec::<String>::new());
}

/// Over stdio each connection is a runtime of its own: what needs two is skipped, and says so.
#[test]
fn a_child_process_conforms() {
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_towline");
    let url = format!(
        "stdio:{program} serve --stdio --demo --dangerously-grant-any-lease --store memory --token kit:{TOKEN}"
    );
    let args = ["conformance", "-o", "json", "--url", &url, "--token", TOKEN];
    let ran = place.run(args);
    let report = ran.json();
    assert_eq!(verdicts(&report, "fail"), Vec::<String>::new());
    let skipped = verdicts(&report, "skipped");
    assert!(
        skipped
            .iter()
            .any(|reason| reason.contains("a runtime of its own")),
        "{skipped:?}"
    );
    assert_eq!(ran.status, 0);
}

/// What fails is told with its frames, and is status 1; a wrong token is such a failure.
#[test]
fn a_failure_is_status_1() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let args = ["conformance", "--url", &server.url, "--token", "wrong"];
    let ran = place.run(args).status(1);
    for part in ["FAIL", "hello-welcome", "UNAUTHENTICATED", "1 failed"] {
        assert!(ran.stdout.contains(part), "no `{part}` in {ran:#?}");
    }
    assert!(!ran.stdout.contains("\"wrong\""), "the token is not shown");
}

/// The roles are listed, and a wrong one is a usage error that names those there are.
#[test]
fn roles_are_listed() {
    let place = Place::new();
    let args = ["conformance", "--url", "ws://127.0.0.1:1/arcp", "--agents"];
    let ran = place.run(args).ok();
    for role in ["echo", "chatty", "delegate", "versioned"] {
        assert!(ran.stdout.contains(role), "{ran:#?}");
    }
    let args = [
        "conformance",
        "--url",
        "ws://127.0.0.1:1/arcp",
        "--agents",
        "singer=x",
    ];
    place.run(args).status(2).says(&["singer", "echo"]);
}
