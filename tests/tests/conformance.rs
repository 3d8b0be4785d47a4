//! CONFORMANCE.md is true: every rule of the protocol has a test, or is openly listed as missing one.

use std::env;
use std::fs;
use std::path::Path;

use towline_tests::traceability::{Evidence, Ledger, NotYet, Requirements};

/// Fails with everything that is wrong at once; `UPDATE_CONFORMANCE=1` rewrites what can be derived.
#[test]
fn every_rule_is_proved_or_listed_as_missing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = root.canonicalize().expect("the workspace directory exists");
    let is_update = env::var_os("UPDATE_CONFORMANCE").is_some_and(|value| value == "1");
    let evidence = Evidence::gather(&root).expect("every source file can be read");

    let requirements = Requirements::parse(&read(&root.join("docs/requirements.txt")))
        .unwrap_or_else(|bad| panic!("docs/requirements.txt, {bad}"));
    let not_yet_file = root.join("docs/not-yet.txt");
    let mut not_yet = read(&not_yet_file);
    if is_update {
        not_yet = NotYet::without_proved(&not_yet, &evidence);
        write(&not_yet_file, &not_yet);
    }
    let not_yet = NotYet::parse(&not_yet).unwrap_or_else(|bad| panic!("docs/not-yet.txt, {bad}"));

    let ledger = Ledger {
        requirements: &requirements,
        not_yet: &not_yet,
        evidence: &evidence,
    };
    let table_file = root.join("CONFORMANCE.md");
    if is_update {
        write(&table_file, &ledger.table());
    }
    let mut findings: Vec<_> = ledger.findings().iter().map(ToString::to_string).collect();
    if read(&table_file) != ledger.table() {
        findings.push(
            "CONFORMANCE.md is out of date: run this test with UPDATE_CONFORMANCE=1".to_owned(),
        );
    }
    assert!(
        findings.is_empty(),
        "rules and tests disagree:\n{}",
        findings.join("\n")
    );
}

fn read(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
        .replace("\r\n", "\n")
}

fn write(path: &Path, text: &str) {
    fs::write(path, text)
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
}
