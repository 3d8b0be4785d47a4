//! What a program pays for that needs little: how many crates stand behind a set of features, and which do not.

use std::{collections::BTreeSet, process::Command};

/// The crates that `towline` with these features consists of, by name and version, itself included.
fn crates(features: &str) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--package", "towline"])
        .args(["--no-default-features", "--features", features])
        .args(["--edges", "normal", "--prefix", "none"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&tree.stderr);
    assert!(tree.status.success(), "{errors}");
    let text = String::from_utf8(tree.stdout).expect("it is text");
    // `name v1.2.3 (where from) (*)`
    text.lines()
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .filter(|name| !name.is_empty())
        .collect()
}

#[track_caller]
fn check(features: &str, at_most: usize, without: &[&str]) {
    let crates = crates(features);
    let count = crates.len();
    assert!(
        count <= at_most,
        "{count} crates for {features}: {crates:#?}"
    );
    for name in without {
        let found = crates.iter().any(|one| one.split(' ').next() == Some(name));
        assert!(!found, "{name} for {features}");
    }
}

/// A runtime with one agent over stdio needs no socket, no TLS, no database and no web.
#[test]
fn one_agent_over_stdio() {
    let without = [
        "axum",
        "cap-std",
        "hyper",
        "jsonwebtoken",
        "mio",
        "reqwest",
        "ring",
        "rusqlite",
        "rustls",
        "tokio-tungstenite",
    ];
    check("runtime,stdio", 100, &without);
}

#[test]
fn a_client_over_a_plain_websocket() {
    let without = ["axum", "hyper", "reqwest", "ring", "rusqlite", "rustls"];
    check("client,websocket", 111, &without);
}

/// One TLS library, which needs no more than a C compiler, and no gRPC. Checking answers by JSON Schema (`forms`) takes two dozen
/// crates, which only this has, and so does the Model Context Protocol: its library, and schemas of its messages; the client of
/// PostgreSQL takes three dozen.
#[test]
fn everything() {
    let without = ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "tonic"];
    check("full", 300, &without);
}
