//! What one actor knows, and what must hold for the next thing it hears.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    audit::{Digest, said},
    work::Work,
};

/// All an actor ever heard and was promised.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// The session's last `event_seq`.
    pub(crate) last: u64,
    pub(crate) resumes: usize,
    plan: BTreeMap<String, Work>,
    /// Job by key, once acknowledged.
    accepted: BTreeMap<String, String>,
    own: BTreeSet<String>,
    /// How far this session heard each job.
    so_far: BTreeMap<String, u64>,
    /// What each job said in this session, by the job's own numbers.
    heard: BTreeMap<String, BTreeMap<u64, Digest>>,
    ended: BTreeSet<String>,
    cancelled: BTreeSet<String>,
}

impl Model {
    /// A new key with work for it.
    pub(crate) fn plan(&mut self, key: String, work: Work) {
        self.plan.insert(key, work);
    }

    /// The submit of a key.
    pub(crate) fn submit(&self, key: &str) -> Value {
        self.plan[key].submit(key)
    }

    /// Planned keys without an acknowledged job.
    pub(crate) fn unacknowledged(&self) -> Vec<String> {
        self.plan
            .keys()
            .filter(|key| !self.accepted.contains_key(*key))
            .cloned()
            .collect()
    }

    /// A submit was acknowledged.
    ///
    /// # Panics
    /// When the key had another job before.
    pub(crate) fn accept(&mut self, key: &str, job: &str) {
        let before = self.accepted.insert(key.to_owned(), job.to_owned());
        assert!(
            before.as_ref().is_none_or(|before| before == job),
            "`{key}` was {before:?} and is {job}"
        );
        // What was submitted by a session that is gone is only watched.
        if before.is_none() {
            self.own.insert(job.to_owned());
        }
    }

    /// A cancel was acknowledged.
    pub(crate) fn cancel(&mut self, job: &str) {
        self.cancelled.insert(job.to_owned());
    }

    /// An event or terminal of the session.
    ///
    /// # Panics
    /// When a number is missing or comes twice, when a job's own numbers have a gap, when a job speaks after its terminal, or
    /// when it ends in a way that was ruled out.
    pub(crate) fn hear(&mut self, envelope: &Value) {
        let ends = envelope["type"] == "job.result" || envelope["type"] == "job.error";
        if ends
            && envelope["event_seq"]
                .as_u64()
                .is_some_and(|seq| seq <= self.last)
        {
            // Behind the acceptance of a repeated submit the end comes once more, under its old number [ARCP 7.2-1].
            let job = envelope["job_id"].as_str().unwrap_or_default();
            let (seq, digest) = said(envelope);
            let before = self.heard.get(job).and_then(|heard| heard.get(&seq));
            assert_eq!(before, Some(&digest), "not the end there was: {envelope}");
            return;
        }
        assert_eq!(
            envelope["event_seq"].as_u64(),
            Some(self.last + 1),
            "after {}: {envelope}",
            self.last
        );
        self.last += 1;
        let job = envelope["job_id"].as_str().unwrap_or_default();
        let (seq, digest) = said(envelope);
        let heard = self.heard.entry(job.to_owned()).or_default();
        // Histories of watched jobs may come again, and say the same.
        let before = heard.insert(seq, digest);
        assert!(
            before.is_none_or(|before| before == digest),
            "said otherwise before: {envelope}"
        );
        let before = self.so_far.insert(job.to_owned(), seq).unwrap_or(0);
        if self.own.contains(job) {
            assert_eq!(seq, before + 1, "a job of its own: {envelope}");
            assert!(!self.ended.contains(job), "after the end: {envelope}");
        }
        if envelope["type"] != "job.event" {
            if self.cancelled.contains(job) {
                assert_eq!(
                    envelope["payload"]["code"], "CANCELLED",
                    "the cancel was acknowledged: {envelope}"
                );
            }
            self.ended.insert(job.to_owned());
        }
    }

    /// Own jobs that have not ended.
    pub(crate) fn running(&self) -> Vec<String> {
        self.own.difference(&self.ended).cloned().collect()
    }

    /// Some acknowledged key.
    pub(crate) fn some_key(&self, at: u64) -> Option<(&str, &str)> {
        let at = usize::try_from(at).unwrap_or(0) % self.accepted.len().max(1);
        self.accepted
            .iter()
            .nth(at)
            .map(|(key, job)| (key.as_str(), job.as_str()))
    }

    /// How many different events were heard.
    pub(crate) fn heard(&self) -> usize {
        self.heard.values().map(BTreeMap::len).sum()
    }

    /// Keys and their jobs.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.accepted
            .iter()
            .map(|(key, job)| (key.as_str(), job.as_str()))
    }

    /// Jobs and the work they were given.
    pub(crate) fn work(&self) -> impl Iterator<Item = (&str, &Work)> {
        self.accepted
            .iter()
            .map(|(key, job)| (job.as_str(), &self.plan[key]))
    }

    /// Every job that was heard, and what it said.
    pub(crate) fn all_heard(&self) -> impl Iterator<Item = (&str, &BTreeMap<u64, Digest>)> {
        self.heard.iter().map(|(job, heard)| (job.as_str(), heard))
    }
}
