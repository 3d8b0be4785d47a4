//! `url` in `[agents.NAME]`: agents of another server.

use serde_json::Value;

use crate::support::{Place, Server, TOKEN};

/// A server that hosts the built-in agents.
fn far(place: &Place) -> Server {
    place.serve(&["--token", "towline:far"])
}

/// A server whose agents are the other one's.
fn near(place: &Place, far: &Server, more: &str) -> Server {
    place.write("far.token", "far\n");
    let url = &far.url;
    let section = |name: &str, more: &str| {
        format!("[agents.{name}]\nurl = \"{url}\"\ntoken_file = \"far.token\"\n{more}\n")
    };
    let file = [
        section("ask", "restartable = true"),
        section("count", "agent = \"stream\""),
        section("gone", "agent = \"nobody\""),
        section("spend", ""),
        more.to_owned(),
    ];
    let file = place.write("near.toml", file.concat());
    let file = file.to_str().unwrap();
    let args = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--config",
        file,
        "--token",
        TOKEN,
    ];
    Server::start(place.command(args))
}

/// The open questions, once there is one.
fn inbox(place: &Place, server: &Server) -> Vec<Value> {
    loop {
        let ran = place.run(
            ["inbox", "-o", "json"]
                .map(str::to_owned)
                .iter()
                .chain(&server.flags()),
        );
        let open = ran.ok().json();
        let open = open.as_array().cloned().unwrap_or_default();
        if !open.is_empty() {
            return open;
        }
    }
}

/// A job of an agent elsewhere runs there, and says and gives here what it says and gives there; what it spends counts here.
#[test]
fn a_job_runs_at_another_server() {
    let (there, here) = (Place::new(), Place::new());
    let far = far(&there);
    let near = near(&here, &far, "");
    let run = |args: &[&str]| here.run(args.iter().copied().map(str::to_owned).chain(near.flags()));
    let counted = run(&["run", "count", "--input", r#"{"chunks":3,"bytes":4}"#]).ok();
    assert!(!counted.stdout.is_empty(), "{counted:?}");
    run(&["run", "gone"]).says(&["AGENT_NOT_AVAILABLE", "nobody"]);
    run(&[
        "run",
        "spend",
        "--lease",
        "tool.call=search.*",
        "--budget",
        "USD:0.01",
        "--input",
        r#"{"costs":[["USD",0.02],["USD",0.02]]}"#,
    ])
    .says(&["BUDGET_EXHAUSTED"]);
    let jobs = there.run(
        ["jobs".to_owned(), "-o".to_owned(), "json".to_owned()]
            .into_iter()
            .chain([
                "--url".to_owned(),
                far.url.clone(),
                "--token".to_owned(),
                "far".to_owned(),
            ]),
    );
    assert!(jobs.ok().stdout.contains("stream"));
}

/// [ARCP 10-1, 15-1] `kill -9` of the server here while the agent there asks: the job goes on with the one that is there, and the
/// answer reaches it.
#[test]
fn a_job_elsewhere_survives_a_kill() {
    let (there, here) = (Place::new(), Place::new());
    let far = far(&there);
    let first = near(&here, &far, "");
    let input = r#"{"kind":"text","title":"Which?"}"#;
    let args = ["run", "ask", "--detach", "--input", input].map(str::to_owned);
    here.run(args.iter().chain(&first.flags())).ok();
    let before = inbox(&here, &first);
    first.signal("-KILL");
    drop(first);
    let second = near(&here, &far, "");
    let open = inbox(&here, &second);
    assert_eq!(open[0]["question_id"], before[0]["question_id"]);
    let job = open[0]["job_id"].as_str().unwrap().to_owned();
    let run = |args: &[&str]| {
        here.run(
            args.iter()
                .copied()
                .map(str::to_owned)
                .chain(second.flags()),
        )
    };
    run(&["answer", &job, "--text", "this one"]).ok();
    let gave = run(&["wait", &job]);
    assert_eq!(gave.status, 0, "{gave:?}");
    let result = run(&["result", &job]).ok();
    assert!(result.stdout.contains("this one"), "{result:?}");
    let jobs = there
        .run(["jobs", "-o", "json", "--url", &far.url, "--token", "far"])
        .ok();
    assert_eq!(jobs.json().as_array().map_or(1, Vec::len), 1, "{jobs:?}");
}
