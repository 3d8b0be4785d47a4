//! `[schedules.NAME]`: what is submitted by the clock [ARCP 22-1].

use std::collections::BTreeMap;

use serde::Deserialize;
use towline::{
    lease::LeaseSet,
    runtime::{Cron, Schedule, Timetable, Zone},
    wire::{AgentRef, Lease, namespace, stands_as_it_is},
};

use super::{file::File, queues::named};
use crate::{failure::Outcome, values::Budget};

/// `[schedules.NAME]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct ScheduleSection {
    cron: String,
    zone: Option<String>,
    agent: String,
    input: Option<toml::Value>,
    #[serde(default)]
    lease: BTreeMap<String, Vec<String>>,
    budget: Option<Budgets>,
    principal: String,
    overlap: Option<String>,
    missed: Option<String>,
}

/// One amount, or several.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Budgets {
    One(String),
    Several(Vec<String>),
}

impl Budgets {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

impl ScheduleSection {
    /// The schedule.
    pub(super) fn schedule(&self, name: &str, file: &File) -> Outcome<Schedule> {
        let wrong = |key: &str, message: &dyn std::fmt::Display| {
            file.wrong(&format!("schedules.{name}.{key}"), &message.to_string())
        };
        named("schedules", name, file)?;
        if self.principal.is_empty() || !stands_as_it_is(&self.principal) {
            return Err(wrong(
                "principal",
                &"is empty, or has characters that nobody is shown; name the one whose jobs these are",
            ));
        }
        let cron: Cron = self.cron.parse().map_err(|error| wrong("cron", &error))?;
        let zone = self
            .zone
            .as_deref()
            .map_or_else(|| Ok(Zone::default()), Zone::named);
        let zone = zone.map_err(|error| wrong("zone", &error))?;
        AgentRef::parse(&self.agent).map_err(|error| wrong("agent", &error))?;
        let mut lease: Lease = self
            .lease
            .iter()
            .flat_map(|(namespace, patterns)| {
                patterns.iter().map(move |pattern| (namespace, pattern))
            })
            .fold(Lease::new(), |lease, (namespace, pattern)| {
                lease.with(namespace, pattern)
            });
        for text in self.budget.iter().flat_map(Budgets::texts) {
            text.parse::<Budget>()
                .map_err(|error| wrong("budget", &error))?;
            lease.add(namespace::COST_BUDGET, text);
        }
        LeaseSet::compile(&lease).map_err(|error| wrong("lease", &error))?;
        let times = Timetable::new(cron, zone);
        let mut schedule = Schedule::new(name, times, self.principal.as_str(), self.agent.as_str());
        if let Some(input) = &self.input {
            let input = serde_json::to_value(input).map_err(|error| wrong("input", &error))?;
            schedule = schedule.input(input);
        }
        if !lease.is_empty() {
            schedule = schedule.lease(&lease);
        }
        if let Some(word) = &self.overlap {
            schedule = schedule.overlap(word.parse().map_err(|error| wrong("overlap", &error))?);
        }
        if let Some(word) = &self.missed {
            schedule = schedule.missed(word.parse().map_err(|error| wrong("missed", &error))?);
        }
        Ok(schedule)
    }
}
