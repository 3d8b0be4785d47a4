//! Questions of jobs: asked by `run`, shown by `inbox`, answered by `approve`, `deny`, `answer`; and `say`.

use serde_json::{Value, json};

use crate::support::{Place, Ran, Server, TOKEN};

fn at(place: &Place, server: &Server, args: &[&str]) -> Ran {
    let flags = server.flags();
    let args = args.iter().copied().chain(flags.iter().map(String::as_str));
    place.run(args)
}

/// Starts a job and lets go of it; gives its name.
fn detached(place: &Place, server: &Server, args: &[&str]) -> String {
    let args: Vec<&str> = ["run"]
        .iter()
        .chain(args)
        .chain(&["--detach"])
        .copied()
        .collect();
    at(place, server, &args).ok().stdout.trim().to_owned()
}

/// The open questions, once there are so many.
fn inbox(place: &Place, server: &Server, count: usize) -> Vec<Value> {
    loop {
        let ran = at(place, server, &["inbox", "-o", "json"]).ok();
        let open: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
        if open.len() == count {
            return open;
        }
    }
}

fn result(place: &Place, server: &Server, job: &str) -> Value {
    let ran = at(place, server, &["result", job]).ok();
    serde_json::from_str(&ran.stdout).unwrap()
}

/// [ARCP 15-2, 15-9] each kind of question is shown in the inbox and answered by its command; what does not fit is refused, and
/// so is a question that is not there or of which there are several.
#[test]
fn every_kind_is_answered() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let table: [(Value, &[&str], Value); 5] = [
        (
            json!({"kind": "approval", "title": "Go?"}),
            &["approve"],
            json!(true),
        ),
        (json!({"kind": "approval"}), &["deny"], json!(false)),
        (
            json!({"kind": "choice", "options": [{"id": "a", "label": "A"}]}),
            &["answer", "--choice", "a"],
            json!("a"),
        ),
        (
            json!({"kind": "text"}),
            &["answer", "--text", "so"],
            json!("so"),
        ),
        (
            json!({"kind": "form", "schema": {"required": ["n"]}}),
            &["answer", "--json", "{\"n\":1}"],
            json!({"n": 1}),
        ),
    ];
    for (input, says, expected) in table {
        let job = detached(&place, &server, &["ask", "--input", &input.to_string()]);
        let open = inbox(&place, &server, 1);
        assert_eq!(open[0]["job_id"], job);
        assert_eq!(open[0]["kind"], input["kind"]);
        assert_eq!(open[0]["agent"], "ask");
        let mut args = vec![says[0], &job];
        args.extend(&says[1..]);
        at(&place, &server, &args).ok();
        let given = result(&place, &server, &job);
        assert_eq!(given, json!({"outcome": "answered", "answer": expected}));
        assert_eq!(at(&place, &server, &args).status, 2, "{args:?}");
    }
    let table = at(&place, &server, &["inbox"]).ok().stdout;
    assert_eq!(table, "nobody asks anything\n");
}

/// [ARCP 15-6] `run --ask` has an operation asked about; approved it is done, and with `--remember` nothing more is asked.
#[test]
fn run_asks_before_operations() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let ops = json!({"ops": [["tool.call", "a.one"], ["tool.call", "a.two"], ["tool.call", "b"]]});
    let input = ops.to_string();
    let args = ["access", "--input", &input, "--ask", "tool.call=a.*"];
    let job = detached(&place, &server, &args);
    let open = inbox(&place, &server, 1);
    assert_eq!(
        open[0]["operation"],
        json!({"namespace": "tool.call", "value": "a.one"})
    );
    at(&place, &server, &["approve", &job, "--remember"]).ok();
    let answers = result(&place, &server, &job);
    let allowed: Vec<_> = answers
        .as_array()
        .unwrap()
        .iter()
        .map(|answer| answer["allowed"].clone())
        .collect();
    assert_eq!(allowed, [true, true, false]);
}

/// [ARCP 15-7, 15-9] `say` speaks to a job that listens, and to none that does not.
#[test]
fn a_job_is_told() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let job = detached(&place, &server, &["listen", "--input", "{\"n\":2}"]);
    // It is told what was said before it began to listen, but it has to run.
    while at(&place, &server, &["say", &job, "hello"]).status != 0 {}
    at(&place, &server, &["say", &job, "{\"a\":1}", "--json"]).ok();
    assert_eq!(result(&place, &server, &job), json!(["hello", {"a": 1}]));
    let deaf = detached(&place, &server, &["ask", "--input", "{\"kind\":\"text\"}"]);
    let open = inbox(&place, &server, 1);
    let refused = at(&place, &server, &["say", &deaf, "hello"]);
    assert_ne!(refused.status, 0);
    let question = open[0]["question_id"].as_str().unwrap();
    let args = ["answer", &deaf, "--text", "x", "--question", question];
    at(&place, &server, &args).ok();
}

/// [ARCP 15-4, 15-9] a question that was asked before the program was killed is answered after its next start, and the job ends
/// with the answer.
#[cfg(unix)]
#[test]
fn a_question_survives_kill_9() {
    let place = Place::new();
    let job;
    {
        let server = place.serve(&["--token", TOKEN]);
        job = detached(&place, &server, &["ask", "--input", "{\"kind\":\"text\"}"]);
        inbox(&place, &server, 1);
        // What is dropped here is killed.
    }
    let server = place.serve(&["--token", TOKEN]);
    let open = inbox(&place, &server, 1);
    assert_eq!(open[0]["job_id"], job);
    at(&place, &server, &["answer", &job, "--text", "late"]).ok();
    let given = result(&place, &server, &job);
    assert_eq!(given, json!({"outcome": "answered", "answer": "late"}));
}

/// A job that is not there has the status that it has everywhere.
#[test]
fn a_job_that_is_not_there_is_not_answered() {
    let place = Place::new();
    let server = place.serve(&["--token", TOKEN]);
    let nobody = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for args in [
        &["approve", nobody][..],
        &["deny", nobody],
        &["answer", nobody, "--text", "x"],
        &[
            "approve",
            nobody,
            "--question",
            "q_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        ],
        &["say", nobody, "x"],
        &["cancel", nobody],
        &["watch", nobody],
    ] {
        at(&place, &server, args).status(5).says(&["JOB_NOT_FOUND"]);
        place.run(args).status(5).says(&["JOB_NOT_FOUND"]);
    }
}
