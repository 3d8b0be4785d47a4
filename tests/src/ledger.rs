//! What one session was told, checked as it comes.
//!
//! A [`Ledger`] belongs to a session rather than to a connection: it lives through drops and resumes, and knows what the
//! session has to hear next.

use std::collections::BTreeMap;

use serde_json::Value;

/// The checked stream of one session.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    last: u64,
    jobs: BTreeMap<String, Track>,
    acceptances: BTreeMap<String, Value>,
}

/// What is known of one job.
#[derive(Debug, Clone, Default)]
struct Track {
    last_job_seq: u64,
    events: Vec<Value>,
    terminal: Option<Value>,
}

impl Ledger {
    /// The highest `event_seq` heard.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Takes one envelope in.
    ///
    /// # Panics
    /// When an event's `event_seq` is not the last one plus 1 (nor that of an end that comes once more), when its `job_seq` does not grow, or when it comes after the
    /// job's terminal message [ARCP 8-3, 7.3-2].
    pub fn take(&mut self, envelope: &Value) {
        let kind = envelope["type"].as_str().unwrap_or_default();
        let job = envelope["job_id"].as_str().unwrap_or_default().to_owned();
        match kind {
            "job.accepted" => {
                self.acceptances.insert(job, envelope.clone());
            }
            // Asking for history starts the job over.
            "job.subscribed"
                if !matches!(
                    &envelope["payload"]["replayed"],
                    Value::Bool(false) | Value::Null
                ) =>
            {
                self.jobs
                    .remove(envelope["payload"]["job_id"].as_str().unwrap_or_default());
            }
            "job.event" | "job.result" | "job.error" if !envelope["event_seq"].is_null() => {
                self.event(job, envelope)
            }
            _ => {}
        }
    }

    fn event(&mut self, job: String, envelope: &Value) {
        let seq = envelope["event_seq"].as_u64();
        if self.is_end_again(&job, envelope) {
            return;
        }
        assert_eq!(
            seq,
            Some(self.last + 1),
            "event_seq after {}: {envelope}",
            self.last
        );
        self.last += 1;
        let track = self.jobs.entry(job).or_default();
        assert!(
            track.terminal.is_none(),
            "after the terminal {:?}: {envelope}",
            track.terminal
        );
        let job_seq = envelope["job_seq"].as_u64().unwrap_or_default();
        assert!(
            job_seq > track.last_job_seq,
            "job_seq after {}: {envelope}",
            track.last_job_seq
        );
        track.last_job_seq = job_seq;
        match envelope["type"].as_str() {
            Some("job.event") => track.events.push(envelope.clone()),
            _ => track.terminal = Some(envelope.clone()),
        }
    }

    /// Whether this is the end of a job once more, under its old number, as it comes behind the acceptance of a repeated submit
    /// [ARCP 7.2-1].
    fn is_end_again(&self, job: &str, envelope: &Value) -> bool {
        let before = self.jobs.get(job).and_then(|track| track.terminal.as_ref());
        let Some(before) = before.filter(|before| before["event_seq"] == envelope["event_seq"])
        else {
            return false;
        };
        assert_eq!(before["payload"], envelope["payload"], "the same end");
        true
    }

    /// The job's events so far, whole envelopes.
    pub fn events(&self, job: &str) -> &[Value] {
        self.jobs.get(job).map_or(&[], |track| &track.events)
    }

    /// The payloads of the job's events of one kind.
    pub fn bodies(&self, job: &str, kind: &str) -> Vec<Value> {
        let events = self.events(job).iter().map(|event| &event["payload"]);
        events
            .filter(|payload| payload["kind"] == kind)
            .map(|payload| payload["body"].clone())
            .collect()
    }

    /// The kinds of the job's events, in order.
    pub fn kinds(&self, job: &str) -> Vec<&str> {
        self.events(job)
            .iter()
            .filter_map(|event| event["payload"]["kind"].as_str())
            .collect()
    }

    /// The job's terminal envelope, once it came.
    pub fn terminal(&self, job: &str) -> Option<&Value> {
        self.jobs.get(job)?.terminal.as_ref()
    }

    /// The latest `job.accepted` of a job.
    pub fn acceptance(&self, job: &str) -> Option<&Value> {
        self.acceptances.get(job)
    }

    /// Every job the session heard events of.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        self.jobs.keys().map(String::as_str)
    }

    /// The job's own last number.
    pub fn last_job_seq(&self, job: &str) -> u64 {
        self.jobs.get(job).map_or(0, |track| track.last_job_seq)
    }

    /// No event of the job is missing between its first and its last.
    ///
    /// # Panics
    /// When one is.
    pub fn assert_whole(&self, job: &str) {
        let Some(track) = self.jobs.get(job) else {
            return;
        };
        let terminal = track.terminal.iter();
        let heard: Vec<u64> = track
            .events
            .iter()
            .chain(terminal)
            .filter_map(|event| event["job_seq"].as_u64())
            .collect();
        let first = heard.first().copied().unwrap_or(1);
        let expected: Vec<u64> = (first..first + heard.len() as u64).collect();
        assert_eq!(heard, expected, "the job_seqs of {job}");
    }

    /// Forgets all of a job.
    pub fn forget(&mut self, job: &str) {
        self.jobs.remove(job);
        self.acceptances.remove(job);
    }

    /// Forgets the events' bodies, to watch very long jobs in little memory.
    pub fn forget_events(&mut self) {
        self.jobs
            .values_mut()
            .for_each(|track| track.events.clear());
    }
}
