//! Figures of several runs: their median and their spread.

use anstream::println;
use serde::Serialize;

use crate::failure::{Failure, Outcome};

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    store: String,
    runs: u32,
    cores: usize,
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    unit: &'static str,
    median: f64,
    least: f64,
    most: f64,
    #[serde(skip)]
    latest: f64,
    #[serde(skip)]
    samples: Vec<f64>,
}

impl Report {
    pub(super) fn new(store: &str, runs: u32) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            store: store.to_owned(),
            runs,
            cores,
            figures: Vec::new(),
        }
    }

    /// Adds one run's figure.
    pub(super) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        let known = self.figures.iter().position(|figure| figure.name == name);
        let at = known.unwrap_or_else(|| {
            self.figures.push(Figure {
                name,
                unit,
                median: 0.0,
                least: 0.0,
                most: 0.0,
                latest: 0.0,
                samples: Vec::new(),
            });
            self.figures.len() - 1
        });
        self.figures[at].take(value);
    }

    /// Adds what half of some times, and what all but the slowest hundredth and thousandth of them, did not exceed.
    pub(super) fn add_tail(&mut self, name: &str, mut times: Vec<f64>) {
        times.sort_by(f64::total_cmp);
        let Some(last) = times.len().checked_sub(1) else {
            return;
        };
        for (part, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let at = (last as f64 * share) as usize;
            self.add(format!("{name}, {part}"), "ms", times[at]);
        }
    }

    /// What a figure was in the run that is under way.
    pub(super) fn latest(&self, name: &str) -> Option<f64> {
        let figure = self.figures.iter().find(|figure| figure.name == name);
        figure.map(|figure| figure.latest)
    }

    pub(super) fn print(&self, json: bool) -> Outcome<()> {
        if json {
            let text = serde_json::to_string_pretty(self)
                .map_err(|error| Failure::local(error.to_string()))?;
            println!("{text}");
            return Ok(());
        }
        println!(
            "store {}, {} runs, {} cores: median (least – most)",
            self.store, self.runs, self.cores
        );
        for figure in &self.figures {
            let (median, least, most) = (
                rounded(figure.median),
                rounded(figure.least),
                rounded(figure.most),
            );
            println!(
                "{:<56} {median:>12} {}  ({least} – {most})",
                figure.name, figure.unit
            );
        }
        Ok(())
    }
}

impl Figure {
    fn take(&mut self, value: f64) {
        self.latest = value;
        self.samples.push(value);
        self.samples.sort_by(f64::total_cmp);
        self.median = self.samples[self.samples.len() / 2];
        self.least = self.samples[0];
        self.most = self.samples[self.samples.len() - 1];
    }
}

fn rounded(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.3}")
    }
}
