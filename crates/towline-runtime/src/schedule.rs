//! What a deployment says of a schedule.

use serde_json::{Map, Value, json};
use towline_proto::schedule::{Missed, Overlap, Plan, Timetable, key, seconds_text};
use towline_store::Principal;
use towline_wire::{Lease, RawJson, Timestamp};

/// A schedule: what is submitted, for whom, and when [ARCP 22-1].
///
/// Each firing is an ordinary submit of the principal, with all that its role bounds, under the key `schedule:NAME@TIME`. How
/// far a schedule is, is kept with the job of the firing, so that a crash fires nothing twice and forgets nothing.
///
/// ```
/// use towline_runtime::{Schedule, Timetable, Zone};
///
/// let times = Timetable::new("30 2 * * *".parse()?, Zone::named("Europe/Berlin")?);
/// let nightly = Schedule::new("nightly", times, "alice", "index").input(serde_json::json!({"root": "/srv"}));
/// assert_eq!(nightly.name(), "nightly");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    name: String,
    plan: Plan,
    overlap: Overlap,
    principal: Principal,
    submit: Map<String, Value>,
}

impl Schedule {
    /// A schedule of that name, which submits the agent for the principal.
    pub fn new(
        name: impl Into<String>,
        timetable: Timetable,
        principal: impl Into<String>,
        agent: impl Into<String>,
    ) -> Self {
        let mut submit = Map::new();
        submit.insert("agent".to_owned(), agent.into().into());
        Self {
            name: name.into(),
            plan: Plan {
                timetable,
                missed: Missed::default(),
            },
            overlap: Overlap::default(),
            principal: Principal::new(principal.into()),
            submit,
        }
    }

    /// What the agent is given. Default: null.
    #[must_use]
    pub fn input(mut self, input: Value) -> Self {
        self.submit.insert("input".to_owned(), input);
        self
    }

    /// What its jobs ask to be allowed. Default: nothing.
    #[must_use]
    pub fn lease(mut self, lease: &Lease) -> Self {
        self.submit.insert("lease_request".to_owned(), json!(lease));
        self
    }

    /// What becomes of times at which the runtime was not there. Default: one firing for all of them.
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.plan.missed = missed;
        self
    }

    /// What becomes of a firing while the job of the one before is not over. Default: it is passed over.
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it fires.
    pub fn timetable(&self) -> &Timetable {
        &self.plan.timetable
    }

    /// Whose jobs they are.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The agent that is submitted.
    pub fn agent(&self) -> &str {
        let agent = self.submit.get("agent").and_then(Value::as_str);
        agent.unwrap_or_default()
    }

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn overlaps(&self) -> Overlap {
        self.overlap
    }

    /// What is submitted: for a time under that time's key, by hand under none.
    pub(crate) fn submit(&self, keyed: Option<Timestamp>) -> RawJson {
        let mut submit = self.submit.clone();
        if let Some(at) = keyed {
            submit.insert("idempotency_key".to_owned(), key(&self.name, at).into());
        }
        Value::Object(submit).into()
    }

    /// The next times after a moment, at most so many, as `2026-01-31T02:30:00Z`.
    pub fn next_times(&self, after: Timestamp, most: usize) -> Vec<String> {
        self.plan
            .timetable
            .times(after)
            .take(most)
            .map(seconds_text)
            .collect()
    }

    /// What is said of it to those who ask: an object.
    pub fn describe(&self) -> Value {
        json!({
            "name": self.name,
            "cron": self.plan.timetable.cron().to_string(),
            "zone": self.plan.timetable.zone().name(),
            "agent": self.submit.get("agent"),
            "principal": self.principal.as_str(),
            "overlap": self.overlap.as_str(),
            "missed": self.plan.missed.as_str(),
        })
    }
}
