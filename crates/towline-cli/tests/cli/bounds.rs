//! What a server bears and takes: bounds of the file, marks of editors, what kits of others expect.

use crate::support::{Place, TOKEN};

/// What the conformance kit of the Java SDK expects of a runtime's agents: `tck-echo@1.0.0` is resolved to a version, gives back
/// its input and ends well; one key is one job, and with other parameters a conflict; a version that is not there is refused;
/// `tck-log-emitter@1.0.0` writes a log event for an empty object.
#[test]
fn agents_are_there_for_the_java_kit() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let run = |agent: &str, more: &[&str]| {
        let args = [&["run", agent], more].concat();
        let flags = server.flags();
        place.run(args.into_iter().chain(flags.iter().map(String::as_str)))
    };
    let echo = "tck-echo@1.0.0";
    let ran = run(echo, &["--input", r#"{"x":1}"#, "-o", "json"])
        .ok()
        .json();
    assert_eq!(ran["result"], serde_json::json!({"x": 1}), "{ran}");
    assert_eq!(
        (&ran["status"], &ran["agent"]),
        (&"success".into(), &echo.into()),
        "{ran}"
    );
    let keyed = |input: &str| {
        run(
            echo,
            &["--input", input, "--key", "tck-idem-1", "-o", "json"],
        )
    };
    let job = |ran: &str| keyed(ran).ok().json()["job_id"].clone();
    assert_eq!(job(r#"{"x":1}"#), job(r#"{"x":1}"#));
    keyed(r#"{"x":2}"#).status(6).says(&["DUPLICATE_KEY"]);
    run("tck-echo@9.99.99", &["--input", "{}"])
        .status(8)
        .says(&["AGENT_VERSION_NOT_AVAILABLE"]);
    let lines = run("tck-log-emitter@1.0.0", &["--input", "{}", "-o", "ndjson"])
        .ok()
        .lines();
    assert!(lines.iter().any(|line| line["kind"] == "log"), "{lines:?}");
    assert_eq!(lines.last().unwrap()["status"], "success", "{lines:?}");
}

/// Editors of some systems begin a file with a mark: inputs, certificates and keys are read all the same.
#[test]
fn marks_of_editors_are_passed_over() {
    let place = Place::new();
    let mark = "\u{feff}";
    place.write("input.json", format!("{mark}{{\"a\":1}}"));
    assert_eq!(
        place
            .run(["run", "echo", "--input", "@input.json"])
            .ok()
            .json()["a"],
        1
    );
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let cert = place.write("cert.pem", format!("{mark}{}", made.cert.pem()));
    place.write(
        "key.pem",
        format!("{mark}{}", made.signing_key.serialize_pem()),
    );
    let server = place.serve(&[
        "--token",
        TOKEN,
        "--tls-cert",
        "cert.pem",
        "--tls-key",
        "key.pem",
    ]);
    let url = server.url.replace("127.0.0.1", "localhost");
    let ca = cert.to_str().unwrap();
    place
        .run([
            "run",
            "echo",
            "--url",
            &url,
            "--token",
            "s3cret",
            "--ca-cert",
            ca,
        ])
        .ok();
}

/// [ARCP 14-1, 14-6] Each bound of a server is a key of its file, and holds.
#[test]
fn bounds_are_set_in_the_file() {
    let place = Place::new();
    let keys = [
        "connections",
        "connections_per_address",
        "known_connections_per_address",
        "long_requests_per_principal",
        "failed_tokens_per_address",
        "hello_bytes",
        "message_bytes",
        "sessions_per_principal",
        "detached_sessions",
        "detached_sessions_per_principal",
        "subscriptions_per_session",
        "jobs",
        "jobs_per_principal",
        "waiting",
        "waiting_per_principal",
        "waiting_bytes",
        "waiting_bytes_per_principal",
        "children",
        "children_per_principal",
        "descendants",
        "depth",
        "log_bytes",
        "log_events",
        "log_bytes_per_principal",
        "result_bytes",
    ];
    let all: String = keys.iter().map(|key| format!("{key} = 5000\n")).collect();
    place.write("all.toml", format!("[server.limits]\n{all}"));
    place.run(["jobs", "--config", "all.toml"]).ok();
    for (key, value) in [
        ("jobs", 0),
        ("sessions_per_principal", 0),
        ("long_requests_per_principal", 0),
        ("known_connections_per_address", 0),
        ("hello_bytes", 100),
    ] {
        place.write("bad.toml", format!("[server.limits]\n{key} = {value}\n"));
        let key = format!("server.limits.{key}");
        place
            .run(["jobs", "--config", "bad.toml"])
            .status(2)
            .says(&[&key, "at least"]);
    }
    let run = |limits: &str, args: &[&str]| {
        place.write("few.toml", format!("[server.limits]\n{limits}\n"));
        place.run(
            ["run", "--config", "few.toml", "-o", "json"]
                .iter()
                .chain(args),
        )
    };
    let ran = run(
        "result_bytes = 1000",
        &["stream", "--input", r#"{"chunks":3,"bytes":400}"#],
    )
    .status(1);
    assert_eq!(ran.json()["error"]["code"], "INTERNAL_ERROR", "{ran:?}");
    let ran = run(
        "log_events = 20",
        &["chatty", "--input", r#"{"n":50,"delay_ms":5}"#],
    )
    .status(1);
    assert_eq!(
        ran.json()["error"]["details"]["reason"],
        "log_full",
        "{ran:?}"
    );
    let nested = r#"{"agent":"delegate","input":{"agent":"echo","input":1}}"#;
    let lease = ["--lease", "agent.delegate=*"];
    run(
        "depth = 2",
        &[&["delegate", "--input", nested], &lease[..]].concat(),
    )
    .ok();
    let ran = run(
        "depth = 1",
        &[&["delegate", "--input", nested], &lease[..]].concat(),
    );
    assert!(
        ran.stdout.contains("depth") || ran.stdout.contains("deep"),
        "{ran:?}"
    );
}
