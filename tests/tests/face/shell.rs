//! The program in a shell: status, output, a job that is let go of and found again.

use serde_json::json;
use towline_tests::{
    program::{Place, Ran},
    server::{Serve, Server},
};

struct Shell {
    server: Server,
    place: Place,
}

impl Shell {
    async fn new() -> Self {
        Self {
            server: Serve::demo().start().await,
            place: Place::new(),
        }
    }

    async fn run(&self, args: &[&str]) -> Ran {
        self.run_as("alice", args).await
    }

    async fn run_as(&self, principal: &str, args: &[&str]) -> Ran {
        let flags = self.server.flags(principal);
        self.place
            .run(args.iter().map(|&arg| arg.to_owned()).chain(flags))
            .await
    }
}

/// Status 0 for success, 1 for a job that ended otherwise, and a number of its own for each refusal.
#[tokio::test]
async fn the_exit_status_tells() {
    let shell = Shell::new().await;
    shell.run(&["run", "echo", "--input", "{}"]).await.status(0);
    shell
        .run(&["run", "fail"])
        .await
        .status(1)
        .says(&["INTERNAL_ERROR"]);
    shell
        .run(&["run", "fail", "--input", "{\"code\":\"PERMISSION_DENIED\"}"])
        .await
        .status(1)
        .says(&["PERMISSION_DENIED"]);
    shell
        .run(&[
            "run",
            "sleep",
            "--input",
            "{\"ms\":60000}",
            "--max-runtime",
            "200ms",
        ])
        .await
        .status(1)
        .says(&["TIMEOUT"]);
    shell
        .run(&[
            "run",
            "sleep",
            "--input",
            "{\"ms\":60000}",
            "--expires-in",
            "1s",
        ])
        .await
        .status(1)
        .says(&["LEASE_EXPIRED"]);
    shell
        .run(&["run", "nobody"])
        .await
        .status(7)
        .says(&["AGENT_NOT_AVAILABLE", "nobody"]);
    shell.run(&["run", "versioned@9"]).await.status(8);
    shell
        .run(&["run", "echo", "--key", "k", "--input", "1"])
        .await
        .status(0);
    shell
        .run(&["run", "echo", "--key", "k", "--input", "2"])
        .await
        .status(6)
        .says(&["DUPLICATE_KEY"]);
    shell.run(&["get", "job_none"]).await.status(5);
    shell.run(&["cancel", "job_none"]).await.status(5);
    let flags = ["--url", &shell.server.url, "--token", "wrong"];
    shell
        .place
        .run(["run", "echo"].iter().chain(&flags))
        .await
        .status(16)
        .says(&["UNAUTHENTICATED"]);
}

/// Wrong usage is status 2, and says what is wrong.
#[tokio::test]
async fn wrong_usage_is_status_2() {
    let place = Place::new();
    for (args, says) in [
        (&["run"][..], "AGENT"),
        (&["nonsense"], "nonsense"),
        (&["run", "echo", "--input", "{"], "--input"),
        (&["run", "echo", "--input", "@missing.json"], "missing.json"),
        (&["run", "echo", "--lease", "fs.read"], "fs.read"),
        (&["run", "echo", "--budget", "1.00"], "1.00"),
        (&["run", "echo", "--expires-in", "soon"], "soon"),
        (&["run", "echo", "--max-runtime", "0"], "0"),
        (&["run", "echo", "--url", "ftp://x"], "ftp://x"),
        (&["run", "echo", "-o", "yaml"], "yaml"),
        (&["serve", "--heartbeat", "0"], "0"),
        (&["serve", "--listen", "nowhere"], "nowhere"),
        (&["serve", "--token", "nocolon"], "PRINCIPAL:TOKEN"),
        (&["serve", "--tls-cert", "a.pem"], "tls-key"),
        (&["serve", "--store", "redis"], "redis"),
        (&["serve", "--stdio", "--demo"], "--token"),
        (&["serve", "--config", "missing.toml"], "missing.toml"),
    ] {
        place.run(args).await.status(2).says(&[says]);
    }
    place.write("towline.toml", "[server]\nlisten_on = \"x\"\n");
    place
        .run(["serve"])
        .await
        .status(2)
        .says(&["listen_on", "listen", "towline.toml"]);
}

/// `-o human` prints the result alone on standard output, `-o json` one document, `-o ndjson` a line for each message.
#[tokio::test]
async fn output_has_three_forms() {
    let shell = Shell::new().await;
    let human = shell
        .run(&["run", "chatty", "--input", "{\"n\":2}"])
        .await
        .status(0)
        .says(&["line 1", "line 2"]);
    assert_eq!(human.stdout, "{\"emitted\":2}\n");
    let document = shell
        .run(&["run", "chatty", "--input", "{\"n\":2}", "-o", "json"])
        .await
        .status(0)
        .json();
    assert_eq!(
        (&document["status"], &document["result"]),
        (&json!("success"), &json!({"emitted": 2}))
    );
    let lines = shell
        .run(&["run", "chatty", "--input", "{\"n\":2}", "-o", "ndjson"])
        .await
        .status(0)
        .lines();
    let types: Vec<&str> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        types,
        [
            "job.accepted",
            "job.event",
            "job.event",
            "job.event",
            "job.event",
            "job.event",
            "job.result"
        ]
    );
    let failed = shell
        .run(&[
            "run",
            "fail",
            "--input",
            "{\"message\":\"no\"}",
            "-o",
            "json",
        ])
        .await
        .status(1)
        .json();
    assert_eq!(
        (
            &failed["status"],
            &failed["error"]["code"],
            &failed["error"]["message"]
        ),
        (&json!("error"), &json!("INTERNAL_ERROR"), &json!("no"))
    );
    let input = shell.server.flags("alice");
    let from_stdin = shell
        .place
        .run_with_input(
            ["run", "echo", "--input", "-"]
                .iter()
                .map(|&arg| arg.to_owned())
                .chain(input),
            b" [1,2] ",
        )
        .await;
    assert_eq!(from_stdin.status(0).json(), json!([1, 2]));
    shell.place.write("in.json", "{\"from\":\"file\"}");
    assert_eq!(
        shell
            .run(&["run", "echo", "--input", "@in.json"])
            .await
            .status(0)
            .stdout,
        "{\"from\":\"file\"}\n"
    );
}

/// A job that was let go of is found again: listed, watched, asked for its result, cancelled with its session's authority.
#[tokio::test]
async fn a_detached_job_is_found_again() {
    let shell = Shell::new().await;
    let accepted = shell
        .run(&[
            "run",
            "sleep",
            "--input",
            "{\"ms\":60000}",
            "--detach",
            "-o",
            "json",
        ])
        .await
        .status(0)
        .json();
    let job = accepted["job_id"].as_str().unwrap().to_owned();
    let saved = shell
        .place
        .data()
        .join("sessions")
        .join(format!("{job}.json"));
    assert!(towline_tests::server::is_private(&saved));
    let sessions = shell.place.run(["sessions", "-o", "json"]).await.status(0);
    assert!(
        sessions.stdout.contains(&job) && !sessions.stdout.contains("rt_"),
        "{sessions:?}"
    );
    let listed = shell
        .run(&["jobs", "-o", "ndjson", "--status", "running"])
        .await
        .status(0)
        .lines();
    assert_eq!(
        listed
            .iter()
            .map(|line| &line["job_id"])
            .collect::<Vec<_>>(),
        [job.as_str()]
    );
    let got = shell
        .run(&["get", &job, "-o", "json"])
        .await
        .status(0)
        .json();
    assert_eq!(
        (&got["status"], &got["agent"]),
        (&json!("running"), &json!("sleep"))
    );
    // The saved session alone knows server and authority.
    shell
        .place
        .run(["cancel", &job, "--reason", "enough"])
        .await
        .status(0);
    let watched = shell
        .place
        .run(["watch", &job, "-o", "ndjson"])
        .await
        .status(1)
        .lines();
    assert_eq!(
        watched.last().unwrap()["status"],
        "cancelled",
        "{watched:?}"
    );
    // Somebody else's session has no authority, somebody else no sight.
    let other = shell
        .run(&[
            "run",
            "sleep",
            "--input",
            "{\"ms\":60000}",
            "--detach",
            "-o",
            "json",
        ])
        .await
        .status(0)
        .json();
    let other = other["job_id"].as_str().unwrap();
    std::fs::remove_file(
        shell
            .place
            .data()
            .join("sessions")
            .join(format!("{other}.json")),
    )
    .unwrap();
    shell.run_as("bob", &["get", other]).await.status(5);
    shell.run_as("bob", &["cancel", other]).await.status(5);
    // [ARCP 7.4-2] In the program every session of the principal may cancel.
    shell.run(&["cancel", other]).await.status(0);
}

/// `result` waits for the end and writes bytes as they were.
#[tokio::test]
async fn result_writes_the_bytes() {
    let shell = Shell::new().await;
    let input = "{\"chunks\":3,\"bytes\":1000,\"binary\":true}";
    let accepted = shell
        .run(&["run", "stream", "--input", input, "--detach", "-o", "json"])
        .await
        .status(0)
        .json();
    let job = accepted["job_id"].as_str().unwrap();
    shell.run(&["result", job, "-o", "out.bin"]).await.status(0);
    let expected: Vec<u8> = (0..3000).map(|at| (at % 256) as u8).collect();
    assert_eq!(
        std::fs::read(shell.place.path().join("out.bin")).unwrap(),
        expected
    );
}

/// `agents` lists what is hosted.
#[tokio::test]
async fn agents_are_listed() {
    let shell = Shell::new().await;
    let lines = shell
        .run(&["agents", "-o", "ndjson"])
        .await
        .status(0)
        .lines();
    let names: Vec<&str> = lines
        .iter()
        .map(|line| line["name"].as_str().unwrap())
        .collect();
    for name in [
        "echo",
        "chatty",
        "burst",
        "sleep",
        "stream",
        "kinds",
        "spend",
        "access",
        "delegate",
        "fail",
        "versioned",
        "index",
        "exec",
    ] {
        assert!(names.contains(&name), "no {name} in {names:?}");
    }
}

/// Without `--url` the runtime is inside, and remembers earlier runs.
#[tokio::test]
async fn the_embedded_runtime_remembers() {
    let place = Place::new();
    let document = place
        .run(["run", "versioned", "-o", "json"])
        .await
        .status(0)
        .json();
    assert_eq!(
        (&document["agent"], &document["result"]),
        (&json!("versioned@2.0.0"), &json!({"version": "2.0.0"}))
    );
    let job = document["job_id"].as_str().unwrap();
    assert_eq!(
        place.run(["result", job]).await.status(0).stdout,
        "{\"version\":\"2.0.0\"}\n"
    );
    assert!(place.run(["jobs"]).await.status(0).stdout.contains(job));
    assert_eq!(
        place
            .run(["watch", job, "-o", "ndjson"])
            .await
            .status(0)
            .lines()
            .last()
            .unwrap()["type"],
        "job.result"
    );
}
