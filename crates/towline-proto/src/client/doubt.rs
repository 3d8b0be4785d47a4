//! Jobs of which nothing is heard, in runtimes that leave something unsaid.
//!
//! Some runtimes answer a submit that finds a finished job with `job.accepted` and nothing else, and some send a resumed
//! session no live event. A job that may be such a one is *doubted*: after a while of silence the runtime is asked which jobs
//! live, and a doubted job that is not among them has ended without a word ([`super::Effect::Ceased`]). As long as it lives
//! it is asked about again, less and less often.

use std::time::Duration;

use towline_wire::{JobId, JobStatus, payload};

use super::jobs::JobKey;

/// The doubted jobs of a session. They are its own live jobs, so they are bounded by those.
#[derive(Debug, Default)]
pub(super) struct Doubts(Vec<Doubt>);

#[derive(Debug)]
struct Doubt {
    job: JobKey,
    id: JobId,
    why: Why,
    wait: Duration,
    due: Duration,
    /// Whether the runtime is being asked, and nothing was heard since.
    asked: bool,
}

/// Why a job is doubted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It may be a finished one, found by its key. The first event settles it.
    Repeat,
    /// The session was resumed. What is heard may be what was missed, so it settles nothing.
    Resumed,
}

impl Doubts {
    pub(super) fn add(&mut self, job: JobKey, id: JobId, why: Why, now: Duration) {
        self.0.retain(|doubt| doubt.job != job);
        self.0.push(Doubt {
            job,
            id,
            why,
            wait: FIRST_WAIT,
            due: now + FIRST_WAIT,
            asked: false,
        });
    }

    /// Something came of a job.
    pub(super) fn heard(&mut self, job: JobKey, now: Option<Duration>) {
        if self.0.is_empty() {
            return;
        }
        self.0
            .retain(|doubt| doubt.job != job || doubt.why == Why::Resumed);
        for doubt in self.0.iter_mut().filter(|doubt| doubt.job == job) {
            doubt.asked = false;
            if let Some(now) = now {
                doubt.due = now + doubt.wait;
            }
        }
    }

    /// A job is over, or no longer watched.
    pub(super) fn settle(&mut self, job: JobKey) {
        self.0.retain(|doubt| doubt.job != job);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.0.iter().map(|doubt| doubt.due).min()
    }

    /// The question to ask now, if it is time for one: it is about every doubted job.
    pub(super) fn question(&mut self, now: Duration) -> Option<payload::ListJobs> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        for doubt in &mut self.0 {
            doubt.asked = true;
            doubt.wait = (doubt.wait * 2).min(LONGEST_WAIT);
            doubt.due = now + doubt.wait;
        }
        let live = vec![JobStatus::Pending, JobStatus::Running];
        Some(payload::ListJobs {
            filter: Some(payload::JobFilter {
                status: Some(live),
                ..payload::JobFilter::default()
            }),
            limit: Some(1000),
            cursor: None,
            order: None,
            follow: None,
            details: false,
        })
    }

    /// The answer: gives the jobs that have ceased, and doubts them no more. One that has a further page says nothing of
    /// those it does not name.
    pub(super) fn answered(&mut self, page: &payload::Jobs) -> Vec<JobKey> {
        if page.next_cursor.is_some() {
            return Vec::new();
        }
        let lives = |id: &JobId| {
            let listed = page.jobs.iter().find(|listed| listed.job_id == *id);
            listed.is_some_and(|listed| !listed.status.is_terminal())
        };
        let mut ceased = Vec::new();
        self.0.retain(|doubt| {
            let gone = doubt.asked && !lives(&doubt.id);
            if gone {
                ceased.push(doubt.job);
            }
            !gone
        });
        ceased
    }
}

/// A runtime has something to say of most jobs within this.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::jobs::Jobs;

    fn page(jobs: serde_json::Value) -> payload::Jobs {
        serde_json::from_value(serde_json::json!({ "jobs": jobs })).unwrap()
    }

    fn second(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// One doubted job, and its key.
    fn doubts(why: Why) -> (Doubts, JobKey) {
        let id = JobId::parse("a").unwrap();
        let key = Jobs::default().own(&id, None);
        let mut doubts = Doubts::default();
        doubts.add(key, id, why, second(0));
        (doubts, key)
    }

    #[test]
    fn a_job_that_is_not_listed_has_ceased() {
        let (mut doubts, key) = doubts(Why::Repeat);
        assert!(doubts.question(Duration::from_millis(999)).is_none());
        assert!(doubts.question(second(1)).is_some());
        let running = serde_json::json!([{"job_id": "a", "status": "running"}]);
        assert_eq!(doubts.answered(&page(running)), []);
        assert!(doubts.question(second(2)).is_none(), "twice as long");
        assert!(doubts.question(second(3)).is_some());
        assert_eq!(doubts.answered(&page(serde_json::json!([]))), [key]);
        assert_eq!(doubts.deadline(), None);
    }

    #[test]
    fn what_is_heard_settles_a_repeat_and_postpones_the_rest() {
        let (mut repeat, key) = doubts(Why::Repeat);
        repeat.heard(key, None);
        assert_eq!(repeat.deadline(), None);
        let (mut resumed, key) = doubts(Why::Resumed);
        assert!(resumed.question(second(1)).is_some());
        resumed.heard(key, Some(second(2)));
        assert_eq!(resumed.deadline(), Some(second(4)));
        let nothing = page(serde_json::json!([]));
        assert_eq!(
            resumed.answered(&nothing),
            [],
            "heard since the question was asked"
        );
    }

    #[test]
    fn a_page_that_is_not_the_last_says_nothing() {
        let (mut doubts, _) = doubts(Why::Repeat);
        doubts.question(second(1));
        let mut page = page(serde_json::json!([]));
        page.next_cursor = Some("more".to_owned());
        assert_eq!(doubts.answered(&page), []);
    }
}
