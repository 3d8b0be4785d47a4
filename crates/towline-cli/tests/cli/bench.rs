//! The load program: that each scenario runs and reports, not what it measures.

use crate::support::Place;

#[test]
fn every_scenario_reports_its_figures() {
    let scenarios = [
        ("events", "40", 4),
        ("roundtrips", "40", 4),
        ("latency", "5", 3),
        ("idle", "3", 1),
        ("replay", "40", 3),
        ("fanout", "20", 1),
        ("churn", "3", 1),
        ("sessions", "100", 6),
        ("history", "100", 9),
        ("watchers", "5", 4),
        ("sizes", "3", 8),
        ("bursts", "400", 4),
        ("http", "40", 5),
    ];
    let place = Place::new();
    for (scenario, count, figures) in scenarios {
        let args = ["bench", scenario, "--runs", "1", "--count", count, "--json"];
        let report = place.run(args).ok().json();
        let reported = report["figures"].as_array().unwrap();
        assert_eq!(reported.len(), figures, "{scenario}: {report}");
        for figure in reported {
            assert!(figure["median"].is_number(), "{figure}");
            assert_eq!(figure["median"], figure["least"], "one run has no spread");
        }
    }
}

/// A job costs two commits, one that accepts and begins it and one that ends it; with others in flight it shares them. Fsyncs
/// are counted where there is something to count them with.
#[test]
fn commits_and_fsyncs_a_job_are_counted() {
    let place = Place::new();
    let args = ["bench", "disk", "--runs", "1", "--count", "64"];
    let report = place
        .run([&args[..], &["--store", "sqlite-power", "--json"]].concat())
        .ok()
        .json();
    let figures = report["figures"].as_array().unwrap();
    let of = |name: &str| {
        let mut found = figures.iter().filter(|figure| figure["name"] == name);
        found.next().and_then(|figure| figure["median"].as_f64())
    };
    let alone = of("disk: commits a job, one at a time").unwrap();
    assert!((1.9..2.2).contains(&alone), "{report}");
    let together = of("disk: commits a job, 32 in flight").unwrap();
    assert!(together <= alone, "{report}");
    if let Some(fsyncs) = of("disk: fsyncs a job, one at a time") {
        assert!((1.9..2.5).contains(&fsyncs), "{report}");
    }
}

#[test]
fn a_store_that_survives_can_be_measured_too() {
    let place = Place::new();
    for store in ["sqlite", "sqlite-power"] {
        let args = [
            "bench",
            "roundtrips",
            "--runs",
            "2",
            "--count",
            "32",
            "--store",
            store,
        ];
        let ran = place.run(args).ok();
        assert!(
            ran.stdout.contains(&format!("store {store}, 2 runs")),
            "{ran:?}"
        );
    }
}
