//! SIGKILL around the moments at which a schedule fires, then a restart on the same data.
//!
//! `TOWLINE_FIRING_KILLS=200 cargo test -p towline-tests --test endurance schedules -- --nocapture` kills 200 times instead of 12;
//! `TOWLINE_FIRING_SEED=N` throws the same dice again (what the scheduler does differs, of course).

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use towline_tests::{
    dice::Dice,
    program::Place,
    server::{Serve, Server, token_of},
    soon,
};

/// Fires every second, and makes up for each second that it was killed in. A firing waits for the one before, so that none is
/// passed over.
const EVERY_SECOND: &str = r#"
[schedules.each]
cron = "* * * * * *"
agent = "echo"
principal = "alice"
overlap = "queue"
missed = "all"
"#;

/// [ARCP 22-2] Through every kill in the milliseconds around a firing's commit, each second has fired exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_time_fires_once() {
    let mut dice = Dice::from_env("TOWLINE_FIRING_SEED");
    let kills = std::env::var("TOWLINE_FIRING_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(12);
    let place = std::sync::Arc::new(Place::new());
    let config = place.write("each.toml", EVERY_SECOND);
    let config = config.to_str().expect("the path is text");
    let serve = Serve::demo().at(&place).with(&["--config", config]);
    let mut server = serve.start().await;
    for _ in 0..kills {
        // From a little before the second to a little after the commit.
        let into = Duration::from_millis(990 + dice.below(40));
        tokio::time::sleep(until_next(into)).await;
        server = server.crash_and_restart().await;
    }
    let enough = usize::try_from(kills).expect("a few");
    let fired = async {
        loop {
            let fired = firings(&jobs(&server).await);
            if fired.len() > enough {
                return fired;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let fired = soon("as many firings as kills", fired).await;
    let times: Vec<i64> = fired.keys().copied().collect();
    for pair in times.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "no second is left out: {times:?}");
    }
    for (at, jobs) in &fired {
        assert_eq!(jobs, &1, "the second {at} fired once");
    }
    eprintln!("{kills} kills, {} firings", fired.len());
}

/// How long until the clock is that far into a second.
fn until_next(into: Duration) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is right");
    let passed = Duration::from_nanos(now.subsec_nanos().into());
    into.saturating_sub(passed)
}

/// All jobs there are.
async fn jobs(server: &Server) -> Vec<Value> {
    let bearer = format!("Authorization: Bearer {}", token_of("alice"));
    let (mut jobs, mut cursor) = (Vec::new(), String::new());
    loop {
        let line = format!("GET /v1/jobs?limit=100{cursor}");
        let answer = server.http(&line, &[&bearer]).await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let page: Value = serde_json::from_str(body).expect("a page");
        jobs.extend(page["jobs"].as_array().expect("jobs").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return jobs,
        }
    }
}

/// How many jobs there are for a second.
fn firings(jobs: &[Value]) -> BTreeMap<i64, usize> {
    let mut fired = BTreeMap::new();
    for job in jobs {
        let at = job["schedule"]["at"].as_str().expect("a firing has a time");
        let at: towline::wire::Timestamp = at.parse().expect("its time can be read");
        *fired.entry(at.unix_micros() / 1_000_000).or_default() += 1;
    }
    fired
}
