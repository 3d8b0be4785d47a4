//! The kit, run against a runtime that keeps the rules, and against the same runtime with a fault planted in its frames.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod demo;
mod faults;

use std::time::Duration;

use serde_json::json;
use towline_conformance::{Options, Origin, Report, Target, Verdict, run};
use towline_transport::MemoryTransport;

use demo::{SECOND, TOKEN, runtime};
use faults::{Fault, Faulty, FirstJob};

fn options() -> Options {
    let options = Options::bearer(TOKEN).second_token(SECOND);
    options.patience(Duration::from_secs(10))
}

/// Runs the kit against the demo runtime, whose frames go through `fault`.
async fn report(fault: Option<Fault>) -> Report {
    let runtime = runtime().await;
    let first_job = FirstJob::default();
    let target = Target::new(move || {
        let (near, far) = MemoryTransport::pair();
        runtime.accept(far);
        let first_job = FirstJob::clone(&first_job);
        async move { Ok(Faulty::new(near, fault, first_job)) }
    });
    run(&target, &options()).await
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_keeps_the_rules_passes() {
    let report = report(None).await;
    let failed: Vec<_> = report.failures().map(ToString::to_string).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let skipped: Vec<_> = report
        .findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Skipped)
        .map(|finding| finding.check)
        .collect();
    assert_eq!(skipped, Vec::<&str>::new());
    let document = report.to_json();
    assert_eq!(document["conforms"], true);
    assert_eq!(document["summary"]["pass"], report.findings.len());
    assert_eq!(document["runtime"]["name"], "demo");
}

/// Each planted fault is found by the check that is named, and the frames that show it are kept.
#[tokio::test(start_paused = true)]
async fn planted_faults_are_found() {
    for (fault, check) in faults::ALL {
        let report = report(Some(*fault)).await;
        let found = report.failures().find(|finding| finding.check == *check);
        let failed: Vec<_> = report.failures().map(|finding| finding.check).collect();
        let Some(found) = found else {
            panic!("{fault:?} should fail `{check}`, failed: {failed:?}");
        };
        assert!(found.reason.is_some(), "{fault:?}");
        assert!(!found.frames.is_empty(), "{fault:?} without its frames");
        assert_eq!(report.to_json()["conforms"], json!(false));
    }
}

/// A welcome that breaks a rule does not keep the kit from asking for the others.
#[tokio::test(start_paused = true)]
async fn a_faulty_welcome_is_one_finding_of_many() {
    let whole = report(None).await;
    let report = report(Some(Fault::NoVersions)).await;
    assert_eq!(report.findings.len(), whole.findings.len(), "{report}");
    let failed: Vec<_> = report.failures().map(|finding| finding.check).collect();
    assert_eq!(failed, ["hello-welcome"], "{report}");
}

/// The rules that the draft does not have are marked, and can be left out.
#[tokio::test(start_paused = true)]
async fn our_rules_are_apart() {
    let runtime = runtime().await;
    let target = Target::new(move || {
        let (near, far) = MemoryTransport::pair();
        runtime.accept(far);
        async move {
            Ok(Faulty::new(
                near,
                Some(Fault::NoRequestId),
                FirstJob::default(),
            ))
        }
    });
    let report = run(&target, &options().draft_only(true)).await;
    let ours = report.findings.iter().find(|f| f.origin == Origin::Ours);
    assert!(ours.is_none(), "{ours:?}");
    assert!(report.conforms(), "request_id is ours: {report}");
}

/// What cannot be looked at says why.
#[tokio::test(start_paused = true)]
async fn missing_agents_and_single_connections_are_skipped() {
    let runtime = runtime().await;
    let target = Target::new(move || {
        let (near, far) = MemoryTransport::pair();
        runtime.accept(far);
        async move { Ok(near) }
    });
    let report = run(&target.alone(), &options().agent("echo", "nobody")).await;
    let of = |check: &str| {
        let finding = report.findings.iter().find(|f| f.check == check);
        finding.unwrap_or_else(|| panic!("{check}"))
    };
    let echo = of("submit");
    assert_eq!(echo.verdict, Verdict::Skipped);
    assert!(echo.reason.as_ref().unwrap().contains("nobody"));
    assert_eq!(of("resume-running").verdict, Verdict::Skipped);
    assert!(report.conforms(), "{report}");
}

/// A report shows no token, and nothing that a terminal would obey.
#[tokio::test(start_paused = true)]
async fn reports_are_safe_to_show() {
    let report = report(Some(Fault::ControlCharacters)).await;
    let shown = report.to_string();
    assert!(shown.contains("FAIL"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "an escape sequence is shown");
    let json = report.to_json().to_string();
    for text in [shown, json] {
        assert!(
            !text.contains(TOKEN) && !text.contains(SECOND) && !text.contains("\"rt_"),
            "{text}"
        );
    }
}

/// A runtime that cannot be reached is one finding, which failed.
#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_not_there_fails() {
    let target = Target::new(|| async { Err::<MemoryTransport, _>("refused".to_owned()) });
    let report = run(&target, &options()).await;
    assert_eq!(report.failures().count(), 1, "{report}");
    assert!(!report.conforms());
}

/// Without a second principal there is nothing to tell apart, and nothing is said to hold.
#[tokio::test(start_paused = true)]
async fn a_second_principal_is_looked_at_where_there_is_one() {
    let runtime = runtime().await;
    let target = Target::new(move || {
        let (near, far) = MemoryTransport::pair();
        runtime.accept(far);
        async move { Ok(near) }
    });
    let report = run(&target, &Options::bearer(TOKEN)).await;
    let of_two = report
        .findings
        .iter()
        .filter(|f| f.check.starts_with("principals-"));
    let verdicts: Vec<_> = of_two.map(|finding| finding.verdict).collect();
    assert_eq!(verdicts, [Verdict::NotApplicable; 5]);
    assert!(report.conforms(), "{report}");
}
