//! The built-in agents that do real work, and those of `towline.toml`.

#[cfg(unix)]
mod acp;
#[cfg(unix)]
mod elsewhere;
#[cfg(unix)]
mod exec;
#[cfg(target_os = "linux")]
mod tools;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Place, Ran, repository};

fn run_agent(place: &Place, agent: &str, input: Value, flags: &[&str]) -> Ran {
    let input = input.to_string();
    let args = ["run", agent, "--input", &input];
    place.run(args.iter().chain(flags))
}

fn index(place: &Place, input: Value, lease: &str) -> BTreeMap<String, Value> {
    let ran = run_agent(place, "index", input, &["--lease", lease, "--quiet"]).ok();
    ran.lines()
        .into_iter()
        .map(|line| (line["path"].as_str().unwrap().to_owned(), line))
        .collect()
}

fn tree() -> Place {
    let place = Place::new();
    place.write("tree/src/main.rs", "fn main() {}\n");
    place.write("tree/README", "one\ntwo");
    place.write("tree/data.bin", [0_u8, 1, 2]);
    place.write("tree/empty.txt", "");
    place.write("tree/.git/config", "x");
    place.write(
        "tree/cache/CACHEDIR.TAG",
        "Signature: 8a477f597d28d172789f06886806bc55",
    );
    place.write("tree/cache/deep/object", "x");
    place.write("secret.txt", "x");
    #[cfg(unix)]
    std::os::unix::fs::symlink(
        place.path().join("secret.txt"),
        place.path().join("tree/link"),
    )
    .unwrap();
    place
}

#[test]
fn index_describes_a_tree() {
    let place = tree();
    let lease = format!("fs.read={}/tree/**", place.path().display());
    let lines = index(&place, json!({"root": "tree"}), &lease);
    assert_eq!(
        lines.keys().collect::<Vec<_>>(),
        ["README", "data.bin", "empty.txt", "src/main.rs"]
    );
    let main = json!({
        "path": "src/main.rs", "bytes": 13, "lines": 1, "language": "rust",
        "sha256": "536e506bb90914c243a12b397b9a998f85ae2cbd9ba02dfd03a9e155ca5ca0f4",
    });
    assert_eq!(lines["src/main.rs"], main);
    assert_eq!(
        (&lines["README"]["lines"], &lines["README"]["language"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(
        (&lines["data.bin"]["lines"], &lines["data.bin"]["bytes"]),
        (&Value::Null, &json!(3))
    );
    assert_eq!(lines["empty.txt"]["lines"], 0);

    let rust = index(&place, json!({"root": "tree", "glob": "*.rs"}), &lease);
    assert_eq!(rust.keys().collect::<Vec<_>>(), ["src/main.rs"]);
    let all = index(&place, json!({"root": "tree", "all": true}), &lease);
    assert!(
        all.contains_key(".git/config")
            && all.contains_key("cache/deep/object")
            && !all.contains_key("link"),
        "{all:?}"
    );
}

#[test]
fn index_reports_progress_and_a_summary() {
    let place = tree();
    let lease = format!("fs.read={}/tree/**", place.path().display());
    let ran = run_agent(
        &place,
        "index",
        json!({"root": "tree"}),
        &["--lease", &lease, "-o", "ndjson"],
    )
    .ok();
    let lines = ran.lines();
    let last = lines
        .iter()
        .rfind(|line| line["kind"] == "progress")
        .unwrap();
    assert_eq!(
        (&last["body"]["current"], &last["body"]["total"]),
        (&json!(4), &json!(4))
    );
    assert!(
        lines.last().unwrap()["summary"]
            .as_str()
            .unwrap()
            .starts_with("4 files")
    );
}

#[test]
fn index_without_a_lease_says_which_one_to_pass() {
    let place = tree();
    let root = place.path().join("tree");
    let remedy = format!("--lease \"fs.read={}/**\"", root.display());
    run_agent(&place, "index", json!({"root": "tree"}), &[])
        .status(1)
        .says(&["PERMISSION_DENIED", &remedy]);
    run_agent(
        &place,
        "index",
        json!({"root": "missing"}),
        &["--lease", "fs.read=/**"],
    )
    .status(1)
    .says(&["INVALID_REQUEST", "missing"]);
}

/// What the README begins with.
#[test]
fn index_reads_this_repository() {
    let place = Place::new();
    let root = repository();
    let lease = format!("fs.read={}/**", root.display());
    let lines = index(
        &place,
        json!({"root": root.to_str().unwrap(), "glob": "*.toml"}),
        &lease,
    );
    assert!(
        lines.contains_key("Cargo.toml") && lines.contains_key("crates/towline-cli/Cargo.toml"),
        "{:?}",
        lines.keys()
    );
    assert_eq!(lines["Cargo.toml"]["language"], "toml");
    assert!(
        !lines
            .keys()
            .any(|path| path.starts_with("target/") || path.starts_with(".git/")),
        "{:?}",
        lines.keys()
    );
}

#[cfg(unix)]
#[test]
fn a_plain_command_is_an_agent() {
    let place = Place::new();
    place.trusted("[agents.shout]\ncommand = [\"tr\", \"a-z\", \"A-Z\"]\nprotocol = \"exec\"\n[agents.odd]\ncommand = [\"sh\", \"-c\", \"echo $MODE; exit 4\"]\nprotocol = \"exec\"\nversion = \"1.2.0\"\nenv = { MODE = \"x\" }\n",
    );
    let ran = run_agent(&place, "shout", json!({"text": "hi"}), &["-o", "json"]).ok();
    assert_eq!(ran.json()["result"], json!({"TEXT": "HI"}));
    let ran = run_agent(&place, "odd@1.2.0", json!(null), &["-o", "json"]).status(1);
    assert_eq!(ran.json()["error"]["details"]["exit_code"], 4);
}

/// A program sees nothing of the environment of the server but what it is meant to see.
#[cfg(unix)]
#[test]
fn programs_see_a_clean_environment() {
    let place = Place::new();
    place.trusted("[agents.show]\ncommand = [\"sh\", \"-c\", \"env | cut -d= -f1 | sort\"]\nprotocol = \"exec\"\nenv = { MODE = \"x\" }\nenv_pass = [\"PASSED\"]\n",
    );
    let mut command = place.command(["run", "show"]);
    for name in [
        "TOWLINE_TOKENS",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "PASSED",
        "AWS_SECRET",
        "HOME",
    ] {
        command.env(name, "a:secret=1");
    }
    command.env("LANG", "C").env("TZ", "UTC");
    let ran = Ran::of(command.output().unwrap()).ok();
    let names: Vec<&str> = ran
        .stdout
        .lines()
        .filter(|name| !matches!(*name, "_" | "OLDPWD" | "PWD" | "SHLVL"))
        .collect();
    let seen = [
        "ARCP_JOB_ID",
        "HOME",
        "LANG",
        "MODE",
        "PASSED",
        "PATH",
        "TMPDIR",
        "TOWLINE_ATTEMPT",
        "TOWLINE_EVENTS",
        "TRACEPARENT",
        "TZ",
    ];
    assert_eq!(names, seen);
}

/// [ARCP 18-1] What runs with all rights of the runtime is told of in the log of its job.
#[cfg(target_os = "linux")]
#[test]
fn a_job_says_that_its_program_is_not_confined() {
    let place = Place::new();
    place.trusted("[agents.free]\ncommand = [\"true\"]\nprotocol = \"exec\"\nconfine = \"off\"\n");
    let free = [
        "run",
        "free",
        "-o",
        "ndjson",
        "--dangerously-unconfined-as-root",
    ];
    let said = place.run(free).ok().lines();
    let warns = said.iter().any(|line| {
        let body = &line["body"];
        body["level"] == "warn"
            && body["message"]
                .as_str()
                .is_some_and(|text| text.contains("not confined"))
    });
    assert!(warns, "{said:#?}");
}

/// [ARCP 18-4] A server that is killed takes the programs of its jobs with it.
#[cfg(target_os = "linux")]
#[test]
fn programs_do_not_outlive_a_server_that_is_killed() {
    let place = Place::new();
    let script = "trap '' TERM HUP; (setsid sh -c 'trap \"\" HUP; echo $$ > daemon; while :; do sleep 1000; done' &); echo $$ > main; while :; do sleep 1000; done";
    let command = json!(["sh", "-c", script]);
    place.trusted(format!(
        "[agents.stays]\ncommand = {command}\nprotocol = \"exec\"\nconfine = \"off\"\n"
    ));
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--token",
        crate::support::TOKEN,
        "--dangerously-unconfined-as-root",
        "--dangerously-grant-any-lease",
    ];
    let server = crate::support::Server::start(place.command(args));
    let flags = server.flags();
    let detached = ["run", "stays", "--detach"]
        .into_iter()
        .chain(flags.iter().map(String::as_str));
    place.run(detached).ok();
    let pids: Vec<u32> = ["main", "daemon"]
        .iter()
        .map(|file| wait_for_pid(&place, file))
        .collect();
    assert!(pids.iter().all(|pid| runs(*pid)));
    server.signal("-KILL");
    until("the end of both", || {
        (!pids.iter().any(|pid| runs(*pid))).then_some(())
    });
}

#[cfg(target_os = "linux")]
fn wait_for_pid(place: &Place, file: &str) -> u32 {
    let path = place.path().join(file);
    until("a number in the file", || {
        std::fs::read_to_string(&path).ok()?.trim().parse().ok()
    })
}

#[cfg(target_os = "linux")]
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
}

/// Looks until there is something to see.
#[cfg(target_os = "linux")]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(seen) = look() {
            return seen;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("never seen: {what}")
}

/// A child that speaks ARCP over stdio: here the program itself.
#[test]
fn a_process_that_speaks_arcp_is_an_agent() {
    let place = Place::new();
    place.write("child.token", "t0ken");
    let program = env!("CARGO_BIN_EXE_towline");
    let names = ["chatty", "stream", "spend", "sleep", "fail"];
    let agents: String = names
        .iter()
        .map(|name| {
            let command = json!([
                program,
                "serve",
                "--stdio",
                "--demo",
                "--dangerously-grant-any-lease",
                "--store",
                "memory",
                "--token",
                "parent:t0ken",
                "--config",
                "child.toml"
            ]);
            format!("[agents.{name}]\ncommand = {command}\ntoken_file = \"child.token\"\n")
        })
        .collect();
    place.write("child.toml", "");
    place.trusted(agents);
    // Without --demo, so that the names mean these.
    let server = crate::support::Server::start(place.command([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--token",
        crate::support::TOKEN,
        "--dangerously-grant-any-lease",
    ]));
    let flags = server.flags();
    let run = |agent: &str, input: Value, more: &[&str]| {
        let input = input.to_string();
        let args = ["run", agent, "--input", &input, "-o", "ndjson"];
        place.run(
            args.iter()
                .copied()
                .chain(more.iter().copied())
                .chain(flags.iter().map(String::as_str)),
        )
    };
    let lines = run("chatty", json!({"n": 2}), &[]).ok().lines();
    let said: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["body"]["message"].as_str())
        .collect();
    assert!(
        said.contains(&"line 1") && said.contains(&"line 2"),
        "{lines:#?}"
    );
    assert_eq!(lines.last().unwrap()["result"], json!({"emitted": 2}));
    let running = lines
        .iter()
        .filter(|line| line["body"]["phase"] == "running")
        .count();
    assert_eq!(running, 1, "the child's own life is not the job's");

    let lines = run("stream", json!({"chunks": 2, "bytes": 3}), &[])
        .ok()
        .lines();
    assert_eq!(lines.last().unwrap()["result"], "aaaaaa");
    let lines = run(
        "spend",
        json!({"costs": [["USD", 0.6], ["USD", 0.6], ["USD", 0.6]]}),
        &["--lease", "tool.call=*", "--budget", "USD:1.00"],
    );
    let lines = lines.status(1).lines();
    let end = &lines.last().unwrap()["error"];
    assert_eq!(
        end["code"], "BUDGET_EXHAUSTED",
        "it ends with its budget, asked or not: {end}"
    );
    let lines = run(
        "fail",
        json!({"code": "PERMISSION_DENIED", "message": "m"}),
        &[],
    )
    .status(1)
    .lines();
    assert_eq!(lines.last().unwrap()["error"]["code"], "PERMISSION_DENIED");
    let lines = run("sleep", json!({"ms": 600_000}), &["--max-runtime", "300ms"])
        .status(1)
        .lines();
    assert_eq!(lines.last().unwrap()["status"], "timed_out");
}

/// An agent of the file takes the place of the built-in one of its name, with all its versions; the others stay.
#[cfg(unix)]
#[test]
fn an_agent_of_the_file_stands_above_a_built_in_one() {
    let place = Place::new();
    place.trusted(
        "[server]\nallow_unconfined_root = true\n\
         [agents.echo]\ncommand = [\"wc\", \"-w\"]\nprotocol = \"exec\"\nconfine = \"off\"\n\
         [agents.versioned]\ncommand = [\"cat\"]\nprotocol = \"exec\"\nconfine = \"off\"\nversion = \"1.5.0\"\n\
         [agents.index]\nbuiltin = \"index\"\n",
    );
    let ran = run_agent(&place, "echo", json!("a b c"), &[]).ok();
    assert_eq!(ran.stdout.trim(), "3");
    let listed = place.run(["agents", "-o", "json"]).ok().json();
    let listed = listed.as_array().unwrap();
    let named = |name: &str| {
        let found: Vec<_> = listed
            .iter()
            .filter(|agent| agent["name"] == name)
            .collect();
        assert_eq!(found.len(), 1, "{name} in {listed:#?}");
        found[0]["versions"].clone()
    };
    assert_eq!(named("versioned"), json!(["1.5.0"]));
    for name in ["echo", "index", "exec", "sleep"] {
        named(name);
    }
    place.run(["jobs"]).ok();
    let server = place.serve(&["--token", "a:b"]);
    let flags = ["--url", &server.url, "--token", "b"];
    let ran = run_agent(&place, "echo", json!("a b"), &flags).ok();
    assert_eq!(ran.stdout.trim(), "2");
}
