//! The face of the program: help, usage errors, what needs no runtime.
use crate::support::Place;

#[test]
fn help_teaches() {
    let place = Place::new();
    let help = place.run(["--help"]).ok().stdout;
    for part in [
        "Examples:",
        "TOWLINE_URL",
        "Exit status:",
        "  3  the request was refused with PERMISSION_DENIED",
        "serve",
        "towline.toml",
    ] {
        assert!(help.contains(part), "no {part} in {help}");
    }
    assert!(!help.contains("__confine"), "{help}");
    let help = place.run(["serve", "--help"]).ok().stdout;
    for part in [
        "--heartbeat",
        "[default: 127.0.0.1:7777]",
        "TOWLINE_LISTEN",
        "listening on",
        "--dangerously-allow-anonymous",
    ] {
        assert!(help.contains(part), "no {part} in {help}");
    }
    for command in [
        "run",
        "jobs",
        "get",
        "watch",
        "result",
        "cancel",
        "agents",
        "sessions",
        "store",
        "lease",
        "credentials",
    ] {
        let help = place.run([command, "--help"]).ok().stdout;
        assert!(help.contains("Usage:"), "{help}");
    }
}

#[test]
fn wrong_usage_names_the_value_and_the_remedy() {
    let place = Place::new();
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["serve", "--heartbeat", "0"],
            &["--heartbeat", "`0`", "at least 1"],
        ),
        (
            &["serve", "--listen", "nowhere"],
            &["`nowhere`", "127.0.0.1:7777"],
        ),
        (&["serve", "--token", "nocolon"], &["PRINCIPAL:TOKEN"]),
        (
            &["serve", "--store", "postgres:x"],
            &["`postgres:x`", "sqlite:PATH"],
        ),
        (&["serve", "--path", "arcp"], &["`arcp`", "/arcp"]),
        (&["serve", "--tls-cert", "c.pem"], &["--tls-key"]),
        (
            &["serve", "--stdio", "--store", "memory"],
            &["--stdio", "--token PRINCIPAL:TOKEN"],
        ),
        (
            &["serve", "--stdio", "--listen", "127.0.0.1:0"],
            &["--stdio", "--listen"],
        ),
        (
            &[
                "serve",
                "--dangerously-allow-anonymous",
                "--listen",
                "0.0.0.0:0",
            ],
            &["0.0.0.0", "--dangerously-allow-anonymous-from-anywhere"],
        ),
        (&["run"], &["AGENT"]),
        (
            &["run", "echo", "--input", "hello"],
            &["--input", "not JSON", "quotes"],
        ),
        (
            &["run", "echo", "--input", "@missing.json"],
            &["missing.json"],
        ),
        (
            &["run", "echo", "--lease", "fs.raed=/x"],
            &["`fs.raed`", "did you mean `fs.read`"],
        ),
        (&["run", "echo", "--budget", "USD"], &["`USD`", "USD:1.00"]),
        (&["run", "echo", "--expires-in", "soon"], &["`soon`", "10s"]),
        (
            &["run", "echo", "--url", "ftp://x"],
            &["`ftp://x`", "ws://"],
        ),
        (&["run", "echo", "--detach"], &["--detach", "--url"]),
        (&["jobs", "--status", "done"], &["'done'", "running"]),
        (
            &[
                "lease",
                "explain",
                "--lease",
                "fs.read=data/**",
                "--op",
                "fs.read=/x",
            ],
            &["data/**"],
        ),
        (&["frobnicate"], &["frobnicate"]),
        (
            &["run", "echo", "--config", "missing.toml"],
            &["missing.toml"],
        ),
    ];
    for (args, parts) in cases {
        place.run(*args).status(2).says(parts);
    }
    assert_eq!(place.run([] as [&str; 0]).status, 2);
    assert!(!place.data().exists(), "wrong usage leaves nothing behind");
}

#[test]
fn secrets_are_not_repeated() {
    let ran = Place::new()
        .run(["serve", "--token", "only-a-secret"])
        .status(2);
    assert!(!ran.stderr.contains("only-a-secret"), "{ran:?}");
}

#[test]
fn a_wrong_configuration_names_file_key_value_and_remedy() {
    let place = Place::new();
    for (text, parts) in [
        (
            "[server]\nlsten = \"x\"",
            ["towline.toml", "`server.lsten`", "did you mean `listen`"],
        ),
        (
            "[server]\nheartbeat = 0",
            ["towline.toml", "`server.heartbeat`", "at least 1"],
        ),
        (
            "[store]\ndurability = \"disk\"",
            ["towline.toml", "`disk`", "power"],
        ),
    ] {
        place.write("towline.toml", text);
        place.run(["run", "echo"]).status(2).says(&parts);
        place.run(["serve"]).status(2).says(&parts);
    }
}

#[test]
fn lease_explain_says_what_and_why() {
    let place = Place::new();
    let ran = place
        .run([
            "lease",
            "explain",
            "--lease",
            "fs.read=/data/**",
            "--op",
            "fs.read=/data/./a.txt",
        ])
        .ok();
    assert!(
        ran.stdout.contains("allowed") && ran.stdout.contains("matched as `/data/a.txt`"),
        "{ran:?}"
    );
    let args = [
        "lease",
        "explain",
        "--lease",
        "fs.read=/data/**",
        "--op",
        "fs.read=/data/../etc/passwd",
        "--op",
        "tool.call=x",
    ];
    let ran = place.run(args).status(1);
    assert!(
        ran.stdout.contains("matched as `/etc/passwd`")
            && ran.stdout.contains("grants nothing of tool.call"),
        "{ran:?}"
    );
}

#[test]
fn completions_manual_and_version() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(["completions", shell]).ok().stdout;
        assert!(
            script.contains("towline") && script.contains("detach"),
            "{shell}"
        );
    }
    let page = place.run(["man"]).ok().stdout;
    assert!(
        page.starts_with(".ie") || page.contains(".TH towline"),
        "{page}"
    );
    assert!(page.contains("TOWLINE SERVE") && !page.contains("__confine"));
    let version = place.run(["version", "-o", "json"]).ok().json();
    assert_eq!(version["arcp"], "1.1");
    assert_eq!(version["towline"], env!("CARGO_PKG_VERSION"));
    assert!(place.run(["--version"]).ok().stdout.starts_with("towline "));
}
