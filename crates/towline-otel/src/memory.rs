//! What is remembered of a connection's jobs and traces, so that later envelopes can tell it too.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use opentelemetry::trace::SpanContext;
use serde::Deserialize;
use towline_wire::{
    Amount, Envelope, Event, EventPayload, JobId, LeaseConstraints, MessageType, TraceId,
};

/// Bounded in every direction: what is oldest is forgotten first, and then its attributes are missing.
pub(crate) struct Memory {
    jobs: Bounded<JobId, JobFacts>,
    traces: Bounded<TraceId, SpanContext>,
}

/// What is known of a job's bounds.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobFacts {
    pub(crate) expires_at: Option<String>,
    budget: BTreeMap<String, Amount>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            jobs: Bounded::new(MAX_JOBS),
            traces: Bounded::new(MAX_TRACES),
        }
    }

    /// Takes in what an envelope tells of its job, and gives what is known of it now.
    pub(crate) fn learn(&mut self, envelope: &Envelope) -> Option<JobFacts> {
        let told = JobFacts::told_by(envelope);
        let Some(job) = &envelope.job_id else {
            return told;
        };
        if let Some(told) = told {
            self.jobs.insert(job.clone(), told);
        }
        if let Some((currency, left)) = remaining(envelope) {
            self.jobs.get_or_default(job).spend(currency, left);
        }
        if envelope.kind.is_terminal() {
            self.jobs.remove(job)
        } else {
            self.jobs.get(job).cloned()
        }
    }

    /// Remembers the first span of a trace.
    pub(crate) fn begins(&mut self, trace: TraceId, span: &SpanContext) {
        if span.is_valid() && self.traces.get(&trace).is_none() {
            self.traces.insert(trace, span.clone());
        }
    }

    /// The first span seen of a trace.
    pub(crate) fn beginning(&self, trace: TraceId) -> Option<SpanContext> {
        self.traces.get(&trace).cloned()
    }
}

impl JobFacts {
    /// What a submit, its acceptance or a subscription states.
    fn told_by(envelope: &Envelope) -> Option<Self> {
        #[derive(Deserialize)]
        struct Bounds {
            #[serde(default)]
            lease_constraints: Option<LeaseConstraints>,
            #[serde(default)]
            budget: Option<BTreeMap<String, Amount>>,
        }
        let kinds = [
            MessageType::JOB_SUBMIT,
            MessageType::JOB_ACCEPTED,
            MessageType::JOB_SUBSCRIBED,
        ];
        if !kinds.contains(&envelope.kind) {
            return None;
        }
        let bounds: Bounds = envelope.payload.read().ok()?;
        let mut facts = Self::default();
        let expires_at = bounds
            .lease_constraints
            .and_then(|constraints| constraints.expires_at);
        facts.expires_at = expires_at.filter(|expires_at| expires_at.len() <= MAX_WORD_BYTES);
        for (currency, left) in bounds.budget.unwrap_or_default() {
            facts.spend(currency, left);
        }
        Some(facts)
    }

    fn spend(&mut self, currency: String, left: Amount) {
        let room = self.budget.len() < MAX_CURRENCIES || self.budget.contains_key(&currency);
        if room && currency.len() <= MAX_WORD_BYTES {
            self.budget.insert(currency, left);
        }
    }

    /// The budget as one JSON object; amounts keep their digits.
    pub(crate) fn budget_json(&self) -> Option<String> {
        (!self.budget.is_empty())
            .then(|| serde_json::to_string(&self.budget).ok())
            .flatten()
    }
}

/// What a `cost.budget.remaining` metric says is left of which currency.
fn remaining(envelope: &Envelope) -> Option<(String, Amount)> {
    const METRIC: &str = "cost.budget.remaining";
    // Events are many and such metrics few: look before parsing.
    if envelope.kind != MessageType::JOB_EVENT || !envelope.payload.as_str().contains(METRIC) {
        return None;
    }
    let payload: EventPayload = envelope.payload.read().ok()?;
    match payload.event().ok()? {
        Event::Metric(metric) if metric.name == METRIC => Some((metric.unit?, metric.value)),
        _ => None,
    }
}

/// A map that forgets its oldest entry when it is full.
struct Bounded<K, V> {
    limit: usize,
    next: u64,
    entries: HashMap<K, (u64, V)>,
    ages: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V: Default> Bounded<K, V> {
    fn get_or_default(&mut self, key: &K) -> &mut V {
        if !self.entries.contains_key(key) {
            self.insert(key.clone(), V::default());
        }
        &mut self.entries.entry(key.clone()).or_default().1
    }
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            next: 0,
            entries: HashMap::new(),
            ages: BTreeMap::new(),
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        if self.entries.len() >= self.limit
            && let Some((_, oldest)) = self.ages.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.ages.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, value));
        self.next += 1;
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.entries.remove(key)?;
        self.ages.remove(&age);
        Some(value)
    }
}

const MAX_JOBS: usize = 1024;
const MAX_TRACES: usize = 1024;
const MAX_CURRENCIES: usize = 16;
const MAX_WORD_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut map = Bounded::new(2);
        map.insert("a", 1);
        map.insert("b", 2);
        map.insert("a", 3);
        map.insert("c", 4);
        assert_eq!(
            (map.get(&"a"), map.get(&"b"), map.get(&"c")),
            (Some(&3), None, Some(&4))
        );
        assert_eq!(map.remove(&"a"), Some(3));
        assert_eq!((map.entries.len(), map.ages.len()), (1, 1));
    }

    /// [ARCP 14-4] A peer cannot make the memory grow without bound.
    #[test]
    fn jobs_and_currencies_are_bounded() {
        let mut memory = Memory::new();
        for n in 0..3 * MAX_JOBS {
            let budget: BTreeMap<String, u32> = (0..100).map(|c| (format!("C{c}"), 1)).collect();
            let mut envelope = Envelope::new(MessageType::JOB_ACCEPTED);
            envelope.job_id = Some(JobId::minted(&n.to_string()));
            envelope.payload = serde_json::json!({ "budget": budget }).into();
            assert_eq!(
                memory.learn(&envelope).unwrap().budget.len(),
                MAX_CURRENCIES
            );
        }
        assert_eq!(memory.jobs.entries.len(), MAX_JOBS);
        assert_eq!(memory.jobs.ages.len(), MAX_JOBS);
    }
}
