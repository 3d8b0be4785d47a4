//! The load program: that each scenario runs and reports, not what it measures.

use crate::support::Place;

#[test]
fn every_scenario_reports_its_figures() {
    let scenarios = [
        ("events", "40", 3),
        ("roundtrips", "40", 1),
        ("latency", "5", 2),
        ("idle", "3", 1),
        ("replay", "40", 3),
        ("fanout", "20", 1),
        ("churn", "3", 1),
        ("sessions", "100", 6),
        ("history", "100", 9),
        ("watchers", "5", 4),
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
