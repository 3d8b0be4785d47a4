//! Jobs in the runtime that the program embeds.

use serde_json::json;

use crate::support::{Place, Ran};

#[test]
fn echo_gives_back_what_it_was_given() {
    let place = Place::new();
    let ran = place
        .run(["run", "echo", "--input", r#"{"hi":1.50,"ü":[null]}"#])
        .ok();
    assert_eq!(ran.stdout, "{\"hi\":1.50,\"ü\":[null]}\n");
    let ran = place
        .run(["run", "echo", "--input", r#""plain""#, "--quiet"])
        .ok();
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("plain\n", ""));
    place.write("input.json", "[1,2]");
    assert_eq!(
        place
            .run(["run", "echo", "--input", "@input.json"])
            .ok()
            .stdout,
        "[1,2]\n"
    );
    assert_eq!(place.run(["run", "echo"]).ok().stdout, "null\n");
}

#[test]
fn input_comes_from_standard_input() {
    let place = Place::new();
    let mut command = place.command(["run", "echo", "--input", "-"]);
    let path = place.write("stdin.json", r#"{"from":"stdin"}"#);
    command.stdin(std::fs::File::open(path).unwrap());
    let ran = crate::support::Ran::of(command.output().unwrap()).ok();
    assert_eq!(ran.stdout, "{\"from\":\"stdin\"}\n");
}

#[test]
fn json_is_one_document() {
    let place = Place::new();
    let args = [
        "run",
        "echo",
        "--input",
        r#"{"a":1}"#,
        "--lease",
        "fs.read=/data/**",
        "--budget",
        "USD:5.00",
        "-o",
        "json",
    ];
    let document = place.run(args).ok().json();
    assert_eq!(document["status"], "success");
    assert_eq!(document["result"], json!({"a": 1}));
    assert_eq!(document["agent"], "echo");
    assert_eq!(document["lease"]["fs.read"], json!(["/data/**"]));
    assert_eq!(document["budget"]["USD"].to_string(), "5.00");
    assert_eq!(document["trace_id"].as_str().unwrap().len(), 32);
    for field in ["job_id", "completed_at", "accepted_at"] {
        assert!(document[field].is_string(), "{field} in {document}");
    }
}

#[test]
fn ndjson_is_one_line_for_each_event() {
    let place = Place::new();
    let lines = place
        .run(["run", "chatty", "--input", r#"{"n":2}"#, "-o", "ndjson"])
        .ok()
        .lines();
    let shown: Vec<String> = lines
        .iter()
        .map(|line| {
            let kind = line["kind"].as_str().unwrap_or_default();
            let what = line["body"]["message"]
                .as_str()
                .or(line["body"]["phase"].as_str())
                .unwrap_or_default();
            format!("{} {kind} {what}", line["type"].as_str().unwrap())
                .trim_end()
                .to_owned()
        })
        .collect();
    let expected = [
        "job.accepted",
        "job.event status running",
        "job.event log line 1",
        "job.event progress",
        "job.event log line 2",
        "job.event progress",
        "job.result",
    ];
    assert_eq!(shown, expected);
    let seqs: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["job_seq"].as_u64())
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5]);
    assert_eq!(lines[6]["result"], json!({"emitted": 2}));
    assert_eq!(lines[6]["status"], "success");
}

#[test]
fn events_go_to_standard_error_and_the_result_to_standard_output() {
    let ran = Place::new()
        .run(["run", "chatty", "--input", r#"{"n":2}"#])
        .ok()
        .says(&["line 1", "line 2", "1/2", "success"]);
    assert_eq!(ran.stdout, "{\"emitted\":2}\n");
    assert!(
        !ran.stderr.contains('\u{1b}'),
        "no colours where nobody looks: {ran:?}"
    );
}

#[test]
fn a_job_that_ends_otherwise_has_status_1_and_says_why() {
    let place = Place::new();
    let args = [
        "run",
        "fail",
        "--input",
        r#"{"code":"PERMISSION_DENIED","message":"no such luck"}"#,
    ];
    let ran = place
        .run(args)
        .status(1)
        .says(&["PERMISSION_DENIED", "no such luck"]);
    assert_eq!(ran.stdout, "");
    let document = place
        .run(args.iter().copied().chain(["-o", "json"]))
        .status(1)
        .json();
    assert_eq!(document["status"], "error");
    assert_eq!(document["error"]["code"], "PERMISSION_DENIED");
    assert_eq!(document["error"]["retryable"], false);
    let args = [
        "run",
        "sleep",
        "--input",
        r#"{"ms":60000}"#,
        "--max-runtime",
        "50ms",
        "-o",
        "json",
    ];
    assert_eq!(place.run(args).status(1).json()["status"], "timed_out");
    let args = [
        "run",
        "sleep",
        "--input",
        r#"{"ms":60000}"#,
        "--expires-in",
        "50ms",
        "-o",
        "json",
    ];
    assert_eq!(
        place.run(args).status(1).json()["error"]["code"],
        "LEASE_EXPIRED"
    );
}

/// Refusals have a status of their own for each code.
#[test]
fn a_request_that_is_refused_has_the_status_of_its_code() {
    let place = Place::new();
    place.run(["run", "nobody"]).status(7).says(&[
        "AGENT_NOT_AVAILABLE",
        "nobody",
        "towline agents",
    ]);
    place
        .run(["run", "versioned@9.9.9"])
        .status(8)
        .says(&["AGENT_VERSION_NOT_AVAILABLE"]);
    place
        .run(["run", "echo", "--lease", "fs.read=relative/**"])
        .status(15)
        .says(&["INVALID_REQUEST", "relative/**"]);
    place
        .run(["get", "job_01ARZ3NDEKTSV4RRFFQ69G5FAV"])
        .status(5)
        .says(&["JOB_NOT_FOUND", "towline jobs"]);
    let first = ["run", "echo", "--input", "1", "--key", "k"];
    let job = place
        .run(first.iter().copied().chain(["-o", "json"]))
        .ok()
        .json()["job_id"]
        .clone();
    let again = place
        .run(first.iter().copied().chain(["-o", "json"]))
        .ok()
        .json();
    assert_eq!(
        again["job_id"], job,
        "the same key finds the same job, also in a later run of the program"
    );
    place
        .run(["run", "echo", "--input", "2", "--key", "k"])
        .status(6)
        .says(&["DUPLICATE_KEY"]);
}

#[test]
fn earlier_runs_can_be_looked_at() {
    let place = Place::new();
    let echoed = place
        .run(["run", "echo", "--input", r#"{"a":1}"#, "-o", "json"])
        .ok()
        .json();
    let echoed = echoed["job_id"].as_str().unwrap();
    let streamed = place
        .run([
            "run",
            "stream",
            "--input",
            r#"{"chunks":3,"bytes":4}"#,
            "-o",
            "json",
        ])
        .ok()
        .json();
    assert_eq!(streamed["result"], "aaaaaaaaaaaa");
    let streamed = streamed["job_id"].as_str().unwrap();
    place.run(["run", "fail"]).status(1);

    let listed = place.run(["jobs", "-o", "json"]).ok().json();
    let agents: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["agent"].as_str().unwrap())
        .collect();
    assert_eq!(agents, ["echo", "stream", "fail"]);
    let failed = place
        .run(["jobs", "--status", "error", "-o", "ndjson"])
        .ok()
        .lines();
    assert_eq!((failed.len(), &failed[0]["agent"]), (1, &json!("fail")));
    assert_eq!(
        place.run(["jobs", "-n", "1", "-o", "ndjson"]).ok().lines()[0]["agent"],
        "fail"
    );
    assert!(
        place
            .run(["jobs", "--agent", "echo"])
            .ok()
            .stdout
            .contains(echoed)
    );

    let shown = place.run(["get", echoed, "-o", "json"]).ok().json();
    assert_eq!(
        (&shown["status"], &shown["result"]),
        (&json!("success"), &json!({"a": 1}))
    );
    assert!(
        place
            .run(["get", streamed])
            .ok()
            .stdout
            .contains("12 bytes")
    );

    assert_eq!(place.run(["result", echoed]).ok().stdout, "{\"a\":1}\n");
    place
        .run(["result", streamed, "-o", "out.txt"])
        .ok()
        .says(&["12 bytes", "out.txt"]);
    assert_eq!(
        std::fs::read(place.path().join("out.txt")).unwrap(),
        b"aaaaaaaaaaaa"
    );

    let watched = place.run(["watch", streamed, "-o", "ndjson"]).ok().lines();
    let chunks = watched
        .iter()
        .filter(|line| line["kind"] == "result_chunk")
        .count();
    assert!(chunks >= 3, "{watched:?}");
    let later = place
        .run(["watch", streamed, "--from", "3", "-o", "ndjson"])
        .ok()
        .lines();
    assert_eq!(
        later.iter().find_map(|line| line["job_seq"].as_u64()),
        Some(3)
    );
    place
        .run(["cancel", echoed])
        .status(15)
        .says(&["INVALID_REQUEST"]);
}

#[test]
fn binary_results_arrive_byte_for_byte() {
    let place = Place::new();
    let args = [
        "run",
        "stream",
        "--input",
        r#"{"chunks":2,"bytes":300,"binary":true}"#,
    ];
    let output = place.command(args).output().unwrap();
    let expected: Vec<u8> = (0..600_u32)
        .map(|at| u8::try_from(at % 256).unwrap())
        .collect();
    assert_eq!(output.stdout, expected);
    let document = place
        .run(args.iter().copied().chain(["-o", "json"]))
        .ok()
        .json();
    assert_eq!(document["result_encoding"], "base64");
}

#[test]
fn children_are_shown() {
    let place = Place::new();
    let input = r#"{"agent":"chatty","input":{"n":1}}"#;
    let args = [
        "run",
        "delegate",
        "--input",
        input,
        "--lease",
        "agent.delegate=chatty",
        "-o",
        "ndjson",
    ];
    let lines = place.run(args).ok().lines();
    let child = lines
        .iter()
        .find(|line| line["kind"] == "delegate")
        .unwrap()["body"]["child_job_id"]
        .clone();
    let last = lines.last().unwrap();
    assert_eq!(last["result"]["child"], child);
    assert_eq!(last["result"]["status"], "success");
    let said = lines
        .iter()
        .any(|line| line["job_id"] == child && line["body"]["message"] == "line 1");
    assert!(said, "{lines:#?}");
}

/// A second command waits until the first lets go of the store.
#[test]
fn commands_at_once_take_turns() {
    let place = Place::new();
    let running: Vec<_> = (0..3)
        .map(|n| {
            let mut command = place.command(["run", "echo", "--input", &n.to_string()]);
            command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in running {
        crate::support::Ran::of(child.wait_with_output().unwrap()).ok();
    }
    assert_eq!(place.run(["jobs", "-o", "ndjson"]).ok().lines().len(), 3);
}

#[test]
fn files_of_the_data_directory_are_the_owners_alone() {
    let place = Place::new();
    place.run(["run", "echo", "--data-dir", "deep/data"]).ok();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &str| {
            std::fs::metadata(place.path().join(path))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode("deep/data"), 0o700);
        assert_eq!(mode("deep/data/towline.db"), 0o600);
    }
    assert!(!place.data().exists());
}

#[test]
fn agents_are_listed() {
    let place = Place::new();
    let listed = place.run(["agents", "-o", "json"]).ok().json();
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|agent| agent["name"].as_str().unwrap())
        .collect();
    let built_in = [
        "access",
        "ask",
        "burst",
        "chatty",
        "delegate",
        "echo",
        "exec",
        "fail",
        "index",
        "kinds",
        "listen",
        "sleep",
        "spend",
        "stream",
        "versioned",
    ];
    assert_eq!(names, built_in);
    let versioned = &listed.as_array().unwrap()[14];
    assert_eq!(
        (&versioned["versions"], &versioned["default"]),
        (&json!(["1.0.0", "2.0.0"]), &json!("2.0.0"))
    );
}

#[test]
fn input_that_does_not_fit_is_told_in_plain_words() {
    let place = Place::new();
    for (input, says) in [
        (
            r#"{"n": "many"}"#,
            "expected a whole number that is not negative, found a string",
        ),
        (r#""many""#, "expected an object, found a string"),
        ("{}", "missing field `n`"),
    ] {
        let ran = place.run(["run", "burst", "--input", input]).status(1);
        assert!(ran.stderr.contains(says), "{ran:#?}");
        assert!(!ran.stderr.contains("at line"), "{ran:#?}");
    }
}

/// `TOWLINE_STORE` names the store of every command without a server.
#[test]
fn a_variable_names_the_store() {
    let place = Place::new();
    let with = |store: &str, args: &[&str]| {
        let mut command = place.command(args);
        crate::support::Ran::of(command.env("TOWLINE_STORE", store).output().unwrap())
    };
    with("sqlite:own.db", &["run", "echo"]).ok();
    assert!(place.path().join("own.db").exists());
    assert!(!place.data().join("towline.db").exists());
    with("memory", &["run", "echo"]).ok();
    let count = |ran: crate::support::Ran| ran.ok().json().as_array().unwrap().len();
    assert_eq!(count(with("sqlite:own.db", &["jobs", "-o", "json"])), 1);
    assert_eq!(count(with("memory", &["jobs", "-o", "json"])), 0);
    assert_eq!(
        count(with("", &["jobs", "-o", "json"])),
        0,
        "empty is unset"
    );
    let stats = with("sqlite:own.db", &["store", "stats", "-o", "json"]);
    assert_eq!(stats.ok().json()["jobs"], 1);
    with("own.db", &["run", "echo"])
        .status(2)
        .says(&["`own.db`", "sqlite:PATH"]);
}

/// Inputs are passed on as they are written: numbers that look like flags, or are too large for most, and doubled keys.
#[test]
fn inputs_are_passed_on_as_they_are_written() {
    let place = Place::new();
    for input in [
        "-5",
        "1E5",
        "1e400",
        "-0.0",
        r#"{"a":1,"a":2}"#,
        "1.50",
        "-1e-7",
        "12345678901234567890123",
    ] {
        let ran = place.run(["run", "echo", "--input", input]).ok();
        assert_eq!(ran.stdout.trim(), input);
    }
    let jobs = place.run(["jobs", "-o", "json"]).ok().json();
    let again = [
        "rerun",
        jobs[0]["job_id"].as_str().unwrap(),
        "--input",
        "-6",
    ];
    assert_eq!(place.run(again).ok().stdout, "-6\n");
}

/// A pattern of `fs.*` that begins with `./` is of the directory that the command is run in, one with `~/` of the home.
#[test]
fn leases_begin_in_this_directory() {
    let place = Place::new();
    let here = place.path().display().to_string();
    let ops = json!({"ops": [
        ["fs.read", format!("{here}/a")],
        ["fs.read", format!("{here}/b/c")],
        ["fs.read", format!("{here}x")],
        ["fs.write", format!("{here}/out/a")],
        ["fs.write", format!("{here}/a")],
    ]});
    let input = ops.to_string();
    let leases = ["--lease", "fs.read=./**", "--lease", "fs.write=./out/*"];
    let args = ["run", "access", "--input", &input, "-o", "json"];
    let document = place.run(args.iter().chain(&leases)).ok().json();
    assert_eq!(document["lease"]["fs.read"], json!([format!("{here}/**")]));
    let answers = document["result"].as_array().unwrap();
    let allowed: Vec<_> = answers
        .iter()
        .map(|answer| answer["allowed"].clone())
        .collect();
    assert_eq!(allowed, [true, true, false, true, false]);
    let mut at_home = place.command(["run", "echo", "-o", "json", "--lease", "fs.read=~/notes/*"]);
    let at_home = Ran::of(at_home.env("HOME", &here).output().unwrap()).ok();
    let read = &at_home.json()["lease"]["fs.read"];
    assert_eq!(*read, json!([format!("{here}/notes/*")]));
}

/// A job is found by its name in lower case, whole or in part, by every command.
#[test]
fn names_of_jobs_have_no_case() {
    let place = Place::new();
    let ran = place
        .run(["run", "echo", "--input", "3", "-o", "json"])
        .ok()
        .json();
    let job = ran["job_id"].as_str().unwrap();
    let lower = job.to_lowercase();
    for name in [&lower[..], &lower[..18], &lower[4..], &job[..20]] {
        assert_eq!(place.run(["result", name]).ok().stdout, "3\n", "{name}");
        assert_eq!(place.run(["rerun", name, "--quiet"]).status, 0, "{name}");
        place.run(["wait", job, name]).ok();
    }
}

/// What a job spent is listed, whether it had a budget or not.
#[test]
fn costs_are_listed_without_a_budget() {
    let place = Place::new();
    let costs = r#"{"costs":[["USD",0.4],["USD",0.35],["EUR",2]]}"#;
    let spend = [
        "run",
        "spend",
        "--input",
        costs,
        "--lease",
        "tool.call=search.*",
    ];
    place.run(spend).ok();
    place.run(spend.iter().chain(&["--budget", "USD:5"])).ok();
    let jobs = place.run(["jobs", "-o", "json"]).ok().json();
    for job in jobs.as_array().unwrap() {
        assert_eq!(job["spent"]["USD"].to_string(), "0.75", "{job}");
        assert_eq!(job["spent"]["EUR"].to_string(), "2", "{job}");
        let shown = place.run(["get", job["job_id"].as_str().unwrap(), "-o", "json"]);
        assert_eq!(shown.ok().json()["spent"], job["spent"]);
    }
    let table = place.run(["jobs"]).ok().stdout;
    assert_eq!(table.matches("2 EUR, 0.75 USD").count(), 2, "{table}");
}
