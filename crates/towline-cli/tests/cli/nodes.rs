//! Several servers on one database.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use towline_postgres::testing::Server as Database;

use crate::support::{Place, Ran, Server, TOKEN};

struct Nodes {
    store: String,
    place: Place,
}

impl Nodes {
    fn new() -> Option<Self> {
        let database = Database::get()?;
        Some(Self {
            store: database.url(&database.schema()),
            place: Place::new(),
        })
    }

    /// A node, each as if it had a machine of its own.
    fn serve(&self, place: &Place, name: &str) -> Server {
        let args = ["--token", TOKEN, "--store", &self.store, "--node", name];
        place.serve(&[&args[..], &["--drain", "200ms"]].concat())
    }

    fn at(&self, server: &Server, args: &[&str]) -> Ran {
        let flags = server.flags();
        let args = args.iter().copied().chain(flags.iter().map(String::as_str));
        self.place.run(args)
    }

    fn list(&self) -> Vec<Value> {
        let listed = self
            .place
            .run(["nodes", "-o", "json", "--store", &self.store]);
        serde_json::from_str(&listed.ok().stdout).unwrap()
    }

    /// Waits until a node is listed as is wanted.
    fn wait(&self, name: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let listed = self.list();
            let node = listed.iter().find(|node| node["name"] == name);
            if let Some(node) = node.filter(|node| is_wanted(node)) {
                return node.clone();
            }
            assert!(began.elapsed() < PATIENCE, "{name}: {listed:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Starts a job that asks whether to go on, and lets go of it.
    fn asks(&self, server: &Server) -> String {
        let asks = ["run", "ask", "--input", QUESTION, "--detach"];
        self.at(server, &asks).ok().stdout.trim().to_owned()
    }

    /// Approves what a job asks once it asks, and waits for its result.
    fn approves(&self, server: &Server, job: &str) -> Value {
        let began = Instant::now();
        while self.at(server, &["approve", job]).status != 0 {
            assert!(began.elapsed() < PATIENCE);
            std::thread::sleep(Duration::from_millis(100));
        }
        self.at(server, &["wait", job]).ok();
        let result = self.at(server, &["result", job]).ok();
        serde_json::from_str(&result.stdout).unwrap()
    }
}

const QUESTION: &str = r#"{"kind": "approval"}"#;
const PATIENCE: Duration = Duration::from_secs(60);

fn has_jobs(count: u64) -> impl Fn(&Value) -> bool {
    move |node| node["state"] == "live" && node["jobs"] == count
}

/// (a part of 21-7) Two nodes; one is killed, and its restartable job goes on on the other, where it is watched and answered and
/// its whole log is read.
#[test]
fn what_a_killed_node_ran_goes_on_on_another() {
    let Some(nodes) = Nodes::new() else { return };
    let (first, second) = (Place::new(), Place::new());
    let one = nodes.serve(&first, "one");
    let two = nodes.serve(&second, "two");
    nodes.at(&two, &["run", "echo", "--input", "1"]).ok();
    let job = nodes.asks(&one);
    let node = nodes.wait("one", has_jobs(1));
    assert_eq!(node["sessions"], 1);
    assert!(
        node["inc"].is_u64() && node["pulse_age_ms"].is_u64(),
        "{node}"
    );
    let agents = node["agents"].as_array().unwrap();
    assert!(agents.contains(&json!("ask")), "{node}");
    nodes.wait("two", has_jobs(0));

    drop(one);
    nodes.wait("two", has_jobs(1));
    let flags = two.flags();
    let watch = ["watch", job.as_str()].into_iter();
    let watch = watch.chain(flags.iter().map(String::as_str));
    let watching = nodes.place.command(watch).stdout(Stdio::piped()).spawn();
    let watching = watching.unwrap();
    assert_eq!(
        nodes.approves(&two, &job),
        json!({"outcome": "answered", "answer": true})
    );
    let watched = Ran::of(watching.wait_with_output().unwrap()).ok();
    assert!(watched.stdout.contains("answered"), "{watched:#?}");
    nodes.wait("two", has_jobs(0));
    let export = nodes.at(&two, &["export", &job]).ok();
    let seqs: Vec<u64> = export
        .lines()
        .iter()
        .filter_map(|line| line["job_seq"].as_u64())
        .collect();
    assert!(
        seqs.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{seqs:?}"
    );
    let verified = ["store", "verify", "--store", &nodes.store, "-o", "json"];
    assert_eq!(nodes.place.run(verified).ok().json()["ok"], true);
    // Who lives is counted anew each second.
    let began = Instant::now();
    let metrics = loop {
        let metrics = two.http("/metrics", &[]);
        if metrics.contains("towline_nodes 1") {
            break metrics;
        }
        assert!(began.elapsed() < PATIENCE, "{metrics}");
        std::thread::sleep(Duration::from_millis(100));
    };
    for line in [
        "towline_nodes_fenced_total 1",
        "towline_jobs_adopted_total 1",
    ] {
        assert!(metrics.contains(line), "no `{line}` in {metrics}");
    }

    // Again under its name: nobody has to wait for anything, and the other's is not touched.
    let one = nodes.serve(&first, "one");
    nodes.at(&one, &["run", "echo", "--input", "2"]).ok();
    assert_eq!(nodes.list().len(), 2);
}

/// A node that is asked to leave ends in order, and what it ran goes on on the others; when it is the last one, what it ran
/// waits for the next.
#[test]
fn a_node_is_drained() {
    let Some(nodes) = Nodes::new() else { return };
    let (first, second) = (Place::new(), Place::new());
    let one = nodes.serve(&first, "one");
    let two = nodes.serve(&second, "two");
    let job = nodes.asks(&one);
    let drain = |name: &str| {
        nodes
            .place
            .run(["nodes", "drain", name, "--store", &nodes.store])
    };
    drain("nobody").status(2).says(&["`nobody`", "one, two"]);
    drain("one").ok().says(&["`one` has left"]);
    assert_eq!(one.wait().0, 0);
    nodes.wait("two", has_jobs(1));
    drain("two")
        .ok()
        .says(&["there is no other", "1 jobs wait"]);
    assert_eq!(two.wait().0, 0);
    let third = Place::new();
    let three = nodes.serve(&third, "three");
    nodes.wait("three", has_jobs(1));
    assert_eq!(nodes.approves(&three, &job)["answer"], true);
}

/// Two processes of one name do not both get in; and one that was stopped and declared dead says so and ends with a status
/// of its own, for whoever is to start it again.
#[cfg(unix)]
#[test]
fn a_node_that_was_declared_dead_ends() {
    let Some(nodes) = Nodes::new() else { return };
    let (first, second) = (Place::new(), Place::new());
    let one = nodes.serve(&first, "one");
    let again = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--token",
        TOKEN,
        "--store",
        &nodes.store,
        "--node",
        "one",
    ];
    second.run(again).status(21).says(&["node `one`", "--node"]);
    let _two = nodes.serve(&second, "two");
    one.signal("-STOP");
    let began = Instant::now();
    while nodes.list().len() > 1 {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(100));
    }
    one.signal("-CONT");
    assert_eq!(one.wait().0, 75);
}
