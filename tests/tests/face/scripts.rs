//! Scripts as agents: the examples, run as their page says, and jobs that are run once more.

use std::path::PathBuf;

use serde_json::{Value, json};
use towline_tests::program::{Place, Ran};

fn example(name: &str) -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.join("../examples/scripts").join(name)
}

/// The examples in a directory of their own.
fn scripts() -> Place {
    let place = Place::new();
    for name in ["steps.py", "steps.mjs", "steps.sh", "towline.toml"] {
        place.write(name, std::fs::read(example(name)).unwrap());
    }
    place
}

/// Runs the program there, with the system's own interpreters.
async fn towline(place: &Place, args: &[&str]) -> Ran {
    let mut command = place.command(["--config", "towline.toml"].iter().chain(args));
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    Ran::of(command).await
}

fn has(program: &str) -> bool {
    let places = ["/usr/local/bin", "/usr/bin", "/bin"];
    let found = places
        .iter()
        .any(|place| PathBuf::from(place).join(program).exists());
    if !found {
        eprintln!("skipped: there is no `{program}`");
    }
    found
}

fn bodies(lines: &[Value], kind: &str) -> Vec<Value> {
    let of_kind = lines.iter().filter(|line| line["kind"] == kind);
    of_kind.map(|line| line["body"].clone()).collect()
}

/// [ARCP 18-5] ten lines in Python, Node or shell are an agent that says where it is, what it costs, and what it wants back.
#[tokio::test]
async fn scripts_are_agents() {
    let place = scripts();
    for (agent, interpreter) in [
        ("steps-py", "python3"),
        ("steps-js", "node"),
        ("steps-sh", "sh"),
    ] {
        if !has(interpreter) {
            continue;
        }
        let args = [
            "run",
            agent,
            "--input",
            r#"{"steps":3}"#,
            "--budget",
            "USD:1.00",
            "-o",
            "ndjson",
        ];
        let ran = towline(&place, &args).await.status(0);
        let lines = ran.lines();
        let progress = bodies(&lines, "progress");
        assert_eq!(progress.len(), 3, "{agent}: {lines:?}");
        assert_eq!(progress[2], json!({"current": 3, "total": 3}));
        let costs = bodies(&lines, "metric");
        assert_eq!(
            costs
                .iter()
                .filter(|cost| cost["name"] == "cost.steps")
                .count(),
            3
        );
        assert_eq!(
            lines.last().unwrap()["result"],
            json!({"steps": 3}),
            "{agent}"
        );
        assert!(
            bodies(&lines, "log")
                .iter()
                .all(|log| log["level"] != "warn"),
            "{lines:?}"
        );
    }
}

/// A job that spends more than it has ends, and its program with it.
#[tokio::test]
async fn a_script_that_spends_too_much() {
    let place = scripts();
    let args = [
        "run",
        "steps-sh",
        "--input",
        r#"{"steps":300}"#,
        "--budget",
        "USD:0.05",
        "-o",
        "ndjson",
    ];
    let ran = towline(&place, &args).await;
    let lines = ran.lines();
    assert_eq!(
        lines.last().unwrap()["error"]["code"],
        "BUDGET_EXHAUSTED",
        "{lines:?}"
    );
}

/// `rerun` makes a new job of an old one, with what is given changed; `get` shows of which.
#[tokio::test]
async fn a_job_is_run_once_more() {
    let place = scripts();
    let run = ["run", "steps-sh", "--input", r#"{"steps":2}"#, "-o", "json"];
    let first = towline(&place, &run).await.status(0).json();
    let id = first["job_id"].as_str().unwrap().to_owned();
    for (more, steps) in [(&[][..], 2), (&["--input", r#"{"steps":4}"#][..], 4)] {
        let args = [&["rerun", &id, "-o", "json"][..], more].concat();
        let again = towline(&place, &args).await.status(0).json();
        assert_eq!(again["result"], json!({"steps": steps}));
        assert_ne!(again["job_id"], first["job_id"]);
        let shown = ["get", again["job_id"].as_str().unwrap(), "-o", "json"];
        let shown = towline(&place, &shown).await.status(0).json();
        assert_eq!(shown["rerun_of"], id);
    }
    let missing = towline(&place, &["rerun", "job_nothing"]).await;
    missing.says(&["job_nothing"]);
}

/// What the file says wrongly is named, with what it may say.
#[tokio::test]
async fn wrong_keys_are_named() {
    let place = Place::new();
    for (line, parts) in [
        (
            "result = \"xml\"",
            ["agents.a.result", "auto, json, text or bytes"],
        ),
        ("live = \"bytes\"", ["agents.a.live", "lines"]),
        ("backoff = \"soon\"", ["agents.a.backoff", "soon"]),
        ("retry = 2", ["agents.a.retry", "retries"]),
        (
            "limits = { output = \"much\" }",
            ["agents.a.limits.output", "much"],
        ),
        (
            "protocol = \"arcp\"\nresult = \"json\"",
            ["agents.a.result", "exec"],
        ),
    ] {
        let protocol = if line.contains("arcp") {
            ""
        } else {
            "protocol = \"exec\"\n"
        };
        let file = format!("[agents.a]\ncommand = [\"true\"]\n{protocol}{line}\n");
        place.write("towline.toml", file);
        towline(&place, &["agents"]).await.status(2).says(&parts);
    }
}
