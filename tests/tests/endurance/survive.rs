//! SIGKILL and SIGTERM at random moments while programs do the work, then a restart on the same data.
//!
//! `TOWLINE_SURVIVE_ROUNDS=200 cargo test -p towline-tests --test endurance survive -- --nocapture` ends the server 200 times
//! instead of 4; `TOWLINE_SURVIVE_SEED=N` throws the same dice again (what the scheduler does differs, of course).

use std::{collections::BTreeMap, path::Path, time::Duration};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use towline_tests::{
    dice::Dice,
    peer::Peer,
    program::Place,
    server::{Serve, Server},
};

use crate::audit::{history, listed};

/// How many jobs each round begins.
const JOBS: u64 = 3;

/// How often a failure is tried again, as the file says.
const RETRIES: usize = 2;

/// How often a job runs without a checkpoint before the runtime's death ends it.
const STARTS: usize = 3;

/// Steps that are kept one by one. No two runs of a job may be there at once: each holds the job's lock. Some jobs fail in
/// their first run.
const STEPS: &str = r#"
read -r input
n=${input#*:}; n=${n%%,*}
exec 9> "$HOME/$ARCP_JOB_ID.lock"
flock -n 9 || { echo '{"kind":"log","body":{"level":"error","message":"two at once"}}' >&$TOWLINE_EVENTS; exit 7; }
i=${TOWLINE_CHECKPOINT:-0}
while [ "$i" -lt "$n" ]; do
  i=$((i+1))
  echo '{"kind":"progress","body":{"current":'$i',"total":'$n'}}' >&$TOWLINE_EVENTS
  echo '{"id":'$i',"kind":"checkpoint","body":{"value":'$i'}}' >&$TOWLINE_EVENTS
  read -r ack <&$TOWLINE_EVENTS || exit 8
  case "$input" in *fails*) [ "$TOWLINE_ATTEMPT" = 1 ] && exit 3;; esac
  sleep 0.02
done
echo "$n"
"#;

/// The same work, said in ARCP.
const TALKS: &str = r#"
say() { echo '{"arcp":"1.1","id":"m","type":"'$1'","session_id":"s"'$2',"payload":'$3'}'; }
read -r hello
say session.welcome '' '{"runtime":{"name":"sh","version":"1"},"capabilities":{"encodings":["json"],"features":[]}}'
read -r submit
say job.accepted ',"job_id":"j"' '{"job_id":"j","agent":"talks","lease":{}}'
exec 9> "$HOME/$ARCP_JOB_ID.lock"
flock -n 9 || exit 7
n=${submit#*\"steps\":}; n=${n%%[,\}]*}
i=${TOWLINE_CHECKPOINT:-0}
s=0
while [ "$i" -lt "$n" ]; do
  i=$((i+1)); s=$((s+1))
  say job.event ',"job_id":"j","event_seq":'$s '{"kind":"progress","ts":"2026-01-01T00:00:00Z","body":{"current":'$i'}}'
  s=$((s+1))
  say job.event ',"job_id":"j","event_seq":'$s '{"kind":"checkpoint","ts":"2026-01-01T00:00:00Z","body":{"value":'$i'}}'
  case "$submit" in *fails*) [ "$TOWLINE_ATTEMPT" = 1 ] && exit 3;; esac
  sleep 0.02
done
say job.result ',"job_id":"j","event_seq":'$((s+1)) '{"final_status":"success","result":'$n'}'
"#;

/// Never gets anywhere.
const VAIN: &str = "sleep 1000";

fn serve(place: &std::sync::Arc<Place>) -> Serve {
    let script = |name: &str, text: &str| place.write(name, text).display().to_string();
    let table = |name: &str, protocol: &str, script: &str| {
        format!(
            "[agents.{name}]\ncommand = [\"sh\", \"{script}\"]\nprotocol = \"{protocol}\"\nstate = \"state/{name}\"\n\
             restartable = true\nretries = {RETRIES}\nbackoff = \"50ms\"\n"
        )
    };
    let config = [
        table("steps", "exec", &script("steps.sh", STEPS)),
        table("talks", "arcp", &script("talks.sh", TALKS)),
        table("vain", "exec", &script("vain.sh", VAIN)),
    ];
    place.write("towline.toml", config.concat());
    let file = place.path().join("towline.toml");
    let args = [
        "--config",
        &file.display().to_string(),
        "--listen",
        "127.0.0.1:0",
        "--drain",
        "200ms",
        "--token",
        "alice:alice-token",
    ];
    Serve::bare(&args).at(place)
}

/// What a job was given.
struct Given {
    agent: &'static str,
    steps: u64,
}

/// Begins some jobs, and is gone before they end.
async fn begin(server: &Server, dice: &mut Dice, given: &mut BTreeMap<String, Given>) {
    let mut peer = Peer::open(server).await;
    for _ in 0..JOBS {
        let agent = ["steps", "talks", "vain"]
            [usize::from(!dice.once_in(2)) + usize::from(dice.once_in(12))];
        let steps = 3 + dice.below(40);
        let mood = if dice.once_in(4) { "fails" } else { "works" };
        let submit = json!({"agent": agent, "input": {"steps": steps, "x": mood}});
        let job = peer.submit(submit).await;
        given.insert(job, Given { agent, steps });
    }
}

/// Processes whose command line names something in a directory.
fn processes_of(place: &Path) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc");
    let lines = entries.flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let ours = line.contains(&format!("{}/", place.display()));
        (ours && line.trim_end().ends_with(".sh")).then_some(line)
    });
    lines.collect()
}

/// The end of the runtime is the end of its programs, as soon as the kernel has told whoever keeps them.
async fn none_is_left(place: &Path) {
    let mut left = processes_of(place);
    for _ in 0..1000 {
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        left = processes_of(place);
    }
    panic!("processes are left: {left:?}");
}

/// [ARCP 7.3-4, 7.3-2, 18-4, 18-5] Through every end of the runtime: jobs of restartable programs end once, with their result; none
/// runs twice at once, none more often than it may; no process is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_survive_the_runtime() {
    let mut dice = Dice::from_env("TOWLINE_SURVIVE_SEED");
    let rounds = std::env::var("TOWLINE_SURVIVE_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(4);
    let place = std::sync::Arc::<Place>::default();
    let serve = serve(&place);
    let mut server = serve.start().await;
    let (mut given, mut released, mut seen) = (BTreeMap::new(), 0, 0);
    for round in 1..=rounds {
        begin(&server, &mut dice, &mut given).await;
        tokio::time::sleep(Duration::from_millis(50 + dice.below(900))).await;
        seen += processes_of(place.path()).len();
        if dice.once_in(3) {
            released += 1;
            server.signal(Signal::SIGTERM);
            assert_eq!(server.ended().await.0, Some(0), "{}", server.log());
            server = serve.start().await;
        } else {
            server = server.crash_and_restart().await;
        }
        if round % 20 == 0 {
            eprintln!("{round} rounds, {} jobs", given.len());
        }
    }
    assert!(seen > 0, "no program was ever seen to run");
    end_the_vain(&server, &given).await;
    let listed = listed(&server).await;
    assert_eq!(listed.len(), given.len(), "every acknowledged job is kept");
    let mut auditor = Peer::open(&server).await;
    let mut count = Count::default();
    for (job, given) in &given {
        let (events, end) = history(&mut auditor, job).await;
        count.check(job, given, &events, &end["payload"], released);
    }
    drop(auditor);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.ended().await.0, Some(0), "{}", server.log());
    none_is_left(place.path()).await;
    eprintln!(
        "{rounds} rounds ({released} by SIGTERM), {} jobs, {count:?}",
        given.len()
    );
}

/// Jobs that get nowhere go on as long as nobody stops them.
async fn end_the_vain(server: &Server, given: &BTreeMap<String, Given>) {
    let mut peer = Peer::open(server).await;
    for (job, _) in given.iter().filter(|(_, given)| given.agent == "vain") {
        let answer = peer.ask("job.cancel", json!({"job_id": job})).await;
        let over = answer["payload"]["code"] == "INVALID_REQUEST";
        assert!(answer["type"] == "job.cancelled" || over, "{answer}");
    }
}

/// What was seen.
#[derive(Debug, Default)]
struct Count {
    runs: usize,
    retries: usize,
    too_often: usize,
}

impl Count {
    fn check(&mut self, job: &str, given: &Given, events: &[Value], end: &Value, released: usize) {
        let bodies = || events.iter().map(|event| &event["payload"]["body"]);
        let phases = |phase: &str| bodies().filter(|body| body["phase"] == phase).count();
        let (runs, retries) = (phases("running"), phases("retrying"));
        self.runs += runs;
        self.retries += retries;
        assert!(retries <= RETRIES, "{job}: {retries} retries");
        assert!(
            bodies().all(|body| body["message"] != "two at once"),
            "{job}: two runs at once: {events:?}"
        );
        let fruitless = longest_fruitless(events);
        assert!(
            fruitless <= STARTS + RETRIES + released,
            "{job}: {fruitless} runs in a row that led nowhere"
        );
        if end["details"]["reason"] == "restarted_too_often" {
            self.too_often += 1;
            assert!(fruitless >= STARTS, "{job}: {fruitless} runs");
        } else if given.agent == "vain" {
            assert_eq!(end["code"], "CANCELLED", "{job}: {end}");
        } else {
            assert_eq!(end["result"], given.steps, "{job}: {end} after {events:?}");
        }
    }
}

/// The most runs in a row without a step.
fn longest_fruitless(events: &[Value]) -> usize {
    let (mut longest, mut now) = (0, 0);
    for event in events {
        let payload = &event["payload"];
        if payload["kind"] == "progress" {
            now = 0;
        } else if payload["body"]["phase"] == "running" {
            now += 1;
            longest = longest.max(now);
        }
    }
    longest
}
