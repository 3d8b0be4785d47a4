//! Who may do what, as the page on authentication has it: each line of its tables is tried, by every way in that has the verb.

mod scene;
mod tries;

use serde_json::{Value, json};

use scene::{Scene, text};
use tries::{Try, Way};

/// The lines of the tables of a section: its cells, the first one what is wanted.
fn lines_of(heading: &str) -> Vec<Vec<String>> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/authentication.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    let cells = |row: &str| {
        row.trim_end_matches(" |")
            .split(" | ")
            .map(str::to_owned)
            .collect()
    };
    rows.filter(|row| !row.starts_with("---"))
        .map(cells)
        .collect()
}

/// Who has a column of the first table.
fn named(column: &str) -> &'static str {
    match column {
        "ann" => "ann",
        "bob" => "bob",
        "`may_watch`" => "wendy",
        "`may_answer`" => "hank",
        "`may_cancel`" => "carl",
        "`admin`" => "olga",
        other => panic!("who is {other}?"),
    }
}

fn try_the_table(way: Way) {
    let scene = Scene::with("");
    let mut lines = lines_of("Who may do what");
    let columns = lines.remove(0);
    assert!(lines.len() > 9, "the table is there");
    let mut wrong = Vec::new();
    for line in &lines {
        for (column, cell) in columns.iter().zip(line).skip(1) {
            let who = named(column);
            let tries = Try {
                scene: &scene,
                way,
                who,
            };
            let Some(may) = tries.may(&line[0]) else {
                continue;
            };
            if may != (cell == "yes") {
                wrong.push(format!(
                    "{way:?}: {who} may {}: {may}, the page says {cell}",
                    line[0]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// [ARCP 7.4-2, 14-10, 15-5, 20-1] By the program, over a WebSocket.
#[test]
fn by_the_program() {
    try_the_table(Way::Program);
}

/// [ARCP 16-4, 16-5, 20-1] Over HTTP.
#[test]
fn over_http() {
    try_the_table(Way::Http);
}

/// [ARCP 19-1, 20-1] By the tools of the Model Context Protocol.
#[test]
fn by_tools() {
    try_the_table(Way::Mcp);
}

/// Schedules of whom a role bounds, and of somebody without one.
const SCHEDULES: &str = r#"
[schedules.agent]
cron = "0 0 29 2 *"
agent = "echo"
principal = "dan"
[schedules.lease]
cron = "0 0 29 2 *"
agent = "sleep"
lease = { "fs.read" = ["/etc/**"] }
principal = "dan"
[schedules.budget]
cron = "0 0 29 2 *"
agent = "sleep"
budget = "USD:2.01"
principal = "dan"
[schedules.more]
cron = "0 0 29 2 *"
agent = "sleep"
input = { ms = 3600000 }
principal = "dan"
[schedules.machine]
cron = "0 0 29 2 *"
agent = "access"
lease = { "fs.read" = ["/tmp/**"] }
principal = "bob"
"#;

/// What somebody asks for who is bounded: the schedule's name, who it is, and the submit.
fn asked(what: &str) -> (&'static str, &'static str, Value) {
    match what {
        "an agent that is not among `agents`" => ("agent", "dan", json!({"agent": "echo"})),
        "a lease above `lease_ceiling`" => (
            "lease",
            "dan",
            json!({"agent": "sleep", "input": {"ms": 1}, "lease_request": {"fs.read": ["/etc/**"]}}),
        ),
        "a budget above `budget_per_job`" => (
            "budget",
            "dan",
            json!({"agent": "sleep", "input": {"ms": 1}, "lease_request": {"cost.budget": ["USD:2.01"]}}),
        ),
        "one more than `jobs` at once" => (
            "more",
            "dan",
            json!({"agent": "sleep", "input": {"ms": 3_600_000}}),
        ),
        "without a role: `fs.*`, `net.fetch` or `exec:`" => (
            "machine",
            "bob",
            json!({"agent": "access", "input": {"ops": []}, "lease_request": {"fs.read": ["/tmp/**"]}}),
        ),
        other => panic!("nothing tries `{other}`"),
    }
}

/// What becomes of it: the code of the refusal, or the status of the job.
fn became(scene: &Scene, way: &str, what: &str) -> Option<String> {
    let (schedule, who, submit) = asked(what);
    let lease = submit["lease_request"].as_object();
    let answer = match way {
        "by the program" => {
            let mut args = vec![
                "run".to_owned(),
                text(&submit["agent"]),
                "--detach".to_owned(),
            ];
            args.extend(["-o".to_owned(), "json".to_owned()]);
            if let Some(input) = submit.get("input") {
                args.extend(["--input".to_owned(), input.to_string()]);
            }
            for (namespace, patterns) in lease.into_iter().flatten() {
                let pattern = text(&patterns[0]);
                args.extend(["--lease".to_owned(), format!("{namespace}={pattern}")]);
            }
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let answer = scene.program(who, &args).json();
            answer.get("error").cloned().unwrap_or(answer)
        }
        "over HTTP" => scene.http(who, "POST", "/v1/jobs", Some(submit)).1,
        "by a schedule" => {
            let path = format!("/v1/schedules/{schedule}/run");
            scene.http(who, "POST", &path, None).1
        }
        // A call of a tool has no lease of its own.
        "by a tool" if lease.is_some() => return None,
        // One that waits would be waited for.
        "by a tool" if schedule == "more" => return Some(called(scene, who, &submit)),
        "by a tool" => {
            let called = scene.tool(who, &text(&submit["agent"]), json!({}));
            called["structuredContent"].clone()
        }
        other => panic!("how is {other}?"),
    };
    if let Some(code) = answer["code"].as_str() {
        return Some(code.to_owned());
    }
    Some(status(scene, who, &text(&answer["job_id"])))
}

/// The status of a job, which is ended.
fn status(scene: &Scene, who: &str, job: &str) -> String {
    let (_, shown) = scene.http(who, "GET", &format!("/v1/jobs/{job}"), None);
    scene.http(who, "POST", &format!("/v1/jobs/{job}/cancel"), None);
    text(&shown["status"])
}

/// Calls a tool, whose job is looked at by somebody else.
fn called(scene: &Scene, who: &str, submit: &Value) -> String {
    std::thread::scope(|scope| {
        let calling = scope.spawn(|| {
            let tool = text(&submit["agent"]);
            scene.tool(who, &tool, submit["input"].clone())
        });
        let job = loop {
            let (_, listed) = scene.http(who, "GET", "/v1/jobs?status=pending", None);
            if let Some(job) = listed["jobs"].as_array().unwrap().first() {
                break text(&job["job_id"]);
            }
            assert!(!calling.is_finished(), "{:?}", calling.join());
        };
        status(scene, who, &job)
    })
}

/// [ARCP 14-10, 20-1, 22-2] What a role bounds, it bounds whichever way a job comes.
#[test]
fn a_role_bounds_every_way_in() {
    let scene = Scene::with(SCHEDULES);
    let busy = json!({"agent": "sleep", "input": {"ms": 3_600_000}});
    let (status, busy) = scene.http("dan", "POST", "/v1/jobs", Some(busy));
    assert_eq!(
        (status, &busy["status"]),
        (202, &json!("running")),
        "{busy}"
    );
    let mut lines = lines_of("What a role bounds");
    let ways = lines.remove(0);
    assert!(lines.len() > 4, "the table is there");
    for line in &lines {
        for (way, cell) in ways.iter().zip(line).skip(1) {
            let became = became(&scene, way, &line[0]);
            let became = became.map_or_else(|| "–".to_owned(), |code| format!("`{code}`"));
            assert_eq!(became, *cell, "{} {way}", line[0]);
        }
    }
}
