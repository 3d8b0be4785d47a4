//! SIGKILL at random moments under load, then a restart on the same data.
//!
//! `TOWLINE_CRASH_KILLS=200 cargo test -p towline-tests --test endurance crash -- --nocapture` kills 200 times instead of 6;
//! `TOWLINE_CRASH_SEED=N` throws the same dice again (what the scheduler does differs, of course).

mod actor;
mod model;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::sync::watch;
use towline_tests::{dice::Dice, peer::Peer, server::Serve, soon};

use crate::{
    audit::{Digest, history, listed, said},
    work::Work,
};
use actor::{Actor, Known};
use model::Model;

const ACTORS: usize = 4;

/// [ARCP 6.3-9, 6.3-3, 7.2-1, 7.3-2, 8-3] Through every crash: no gap and no duplicate in any session's stream, no terminal
/// lost or told twice, nothing heard that is not kept, and no second run of an idempotent submit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost() {
    let mut dice = Dice::from_env("TOWLINE_CRASH_SEED");
    let kills = std::env::var("TOWLINE_CRASH_KILLS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6);
    let mut server = Serve::demo().start().await;
    let (address, addresses) = watch::channel(server.url.clone());
    let (stop, stopped) = watch::channel(false);
    let known = Known::default();
    let actors = (0..ACTORS).map(|number| {
        Actor::new(
            number,
            dice.split(),
            addresses.clone(),
            stopped.clone(),
            known.clone(),
        )
        .run()
    });
    let actors: Vec<_> = actors.map(tokio::spawn).collect();
    for kill in 1..=kills {
        // Seldom so early that it is still recovering from the last one.
        let moment = if dice.once_in(5) {
            dice.below(30)
        } else {
            100 + dice.below(1500)
        };
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server = server.crash_and_restart().await;
        address.send_replace(server.url.clone());
        if kill % 20 == 0 {
            eprintln!("{kill} kills");
        }
    }
    // A while without trouble, so that there is something to end.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.send_replace(true);
    let mut models = Vec::new();
    for actor in actors {
        models.push(
            soon("an actor's end", actor)
                .await
                .expect("the actor found no fault"),
        );
    }
    audit(&mut Peer::open(&server).await, &models).await;

    let jobs: BTreeMap<&str, &str> = models.iter().flat_map(|model| model.keys()).collect();
    let ids: BTreeSet<String> = listed(&server)
        .await
        .iter()
        .map(|job| job["job_id"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ids.len(), jobs.len(), "one job for each key");
    assert!(
        jobs.values().all(|job| ids.contains(*job)),
        "every acknowledged job is kept"
    );
    let sum = |count: fn(&Model) -> usize| -> usize { models.iter().map(count).sum() };
    eprintln!(
        "{kills} kills, {} jobs, {} events heard, {} resumes",
        jobs.len(),
        sum(Model::heard),
        sum(|model| model.resumes),
    );
}

/// What the actors heard is what is kept, word for word.
async fn audit(auditor: &mut Peer, models: &[Model]) {
    let mut work: BTreeMap<&str, &Work> = models.iter().flat_map(Model::work).collect();
    let mut heard: BTreeMap<&str, Vec<&BTreeMap<u64, Digest>>> = BTreeMap::new();
    for (job, said) in models.iter().flat_map(Model::all_heard) {
        heard.entry(job).or_default().push(said);
    }
    let jobs: BTreeSet<&str> = work.keys().chain(heard.keys()).copied().collect();
    for job in jobs {
        let (events, terminal) = history(auditor, job).await;
        if let Some(work) = work.remove(job) {
            work.check(&events, &terminal["payload"]);
        }
        let kept: BTreeMap<u64, Digest> = events.iter().chain([&terminal]).map(said).collect();
        for (seq, digest) in heard.get(job).into_iter().flatten().copied().flatten() {
            assert_eq!(kept.get(seq), Some(digest), "{job} at {seq}");
        }
    }
}
