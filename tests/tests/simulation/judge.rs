//! Whether everything that was seen is what happened.

use std::{collections::BTreeMap, fmt::Write};

use towline_store::{EventStore, JobQuery, RecordKind};
use towline_wire::{JobId, JobSeq, JobStatus, RawJson};

use crate::{book::Record, life::Disk, observer::Observed, world::World};

/// What the disk says of a job: the truth everything else is measured by.
#[derive(Debug)]
struct Log {
    status: JobStatus,
    records: Vec<(RecordKind, RawJson)>,
}

/// The logs of all jobs.
pub(crate) struct Truth {
    logs: BTreeMap<JobId, Log>,
    faults: Faults,
}

/// What is wrong.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn expect(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds {
            self.0.push(fault());
        }
    }
}

impl Truth {
    pub(crate) async fn read(disk: &Disk) -> Self {
        let query = JobQuery {
            limit: 100_000,
            ..JobQuery::default()
        };
        let page = disk
            .inner()
            .list_jobs(query)
            .await
            .expect("the jobs can be listed");
        let mut truth = Self {
            logs: BTreeMap::new(),
            faults: Faults::default(),
        };
        for row in page.jobs {
            let mut records = Vec::new();
            loop {
                let next = JobSeq::new(records.len() as u64 + 1);
                let blocks = disk
                    .inner()
                    .read_job(&row.id, next, usize::MAX)
                    .await
                    .expect("the log can be read");
                if blocks.is_empty() {
                    break;
                }
                for block in blocks {
                    truth.faults.expect(
                        block.first() == JobSeq::new(records.len() as u64 + 1),
                        || {
                            format!(
                                "{}: a block begins at {} after {} records",
                                row.id,
                                block.first(),
                                records.len()
                            )
                        },
                    );
                    records.extend(
                        (block.first().value()..=block.last().value())
                            .filter_map(|at| block.payload(JobSeq::new(at))),
                    );
                }
            }
            truth.logs.insert(
                row.id.clone(),
                Log {
                    status: row.state.status,
                    records,
                },
            );
        }
        truth
    }

    /// Every job has exactly one terminal, its last record, and its status is that.
    pub(crate) fn check_ends(&mut self) {
        for (job, log) in &self.logs {
            let ends: Vec<usize> = log
                .records
                .iter()
                .enumerate()
                .filter(|(_, (kind, _))| kind.is_terminal())
                .map(|(at, _)| at + 1)
                .collect();
            if ends != [log.records.len()] || !log.status.is_terminal() {
                self.faults.0.push(format!(
                    "{job} is {} with {} records and ends at {ends:?}",
                    log.status,
                    log.records.len()
                ));
            }
        }
    }

    /// What was delivered is what is in the logs.
    pub(crate) fn check_delivered(&mut self, records: &[Record]) {
        for record in records {
            let at = usize::try_from(record.job_seq.value()).unwrap_or(usize::MAX);
            let logged = self
                .logs
                .get(&record.job)
                .and_then(|log| log.records.get(at.wrapping_sub(1)));
            // A terminal is sent with its job's name, which a log need not repeat.
            let same = logged.is_some_and(|(kind, payload)| {
                let payload = payload.clone();
                let sent = if kind.is_terminal() {
                    payload.with_member("job_id", &record.job)
                } else {
                    payload
                };
                sent == record.payload
            });
            self.faults.expect(same, || {
                format!("delivered {record:?}, but the log has {logged:?}")
            });
        }
    }

    /// An observer saw every event from where it began, in order, once, and then the end.
    pub(crate) fn check_observed(&mut self, observed: &Observed) {
        let Some(log) = self.logs.get(&observed.job) else {
            return self.faults.0.push(format!(
                "{} saw {}, which is not on the disk",
                observed.who, observed.job
            ));
        };
        let first = usize::try_from(observed.after.value()).unwrap_or(usize::MAX);
        let events = log.records.len().saturating_sub(1);
        let expected: Vec<u64> = (first as u64 + 1..=events as u64).collect();
        let seen: Vec<u64> = observed.events.iter().map(|(seq, _)| seq.value()).collect();
        let same = observed.events.iter().all(|(seq, payload)| {
            let at = usize::try_from(seq.value())
                .unwrap_or(usize::MAX)
                .wrapping_sub(1);
            log.records
                .get(at)
                .is_some_and(|(_, logged)| logged == payload)
        });
        let ended = match observed.end {
            Some(end) => end == log.status,
            None => !observed.is_whole,
        };
        let (status, who, job) = (log.status, &observed.who, &observed.job);
        let what = format!(
            "{who} {job} after {first}: saw {seen:?}, end {:?}; there are {events}, {status}",
            observed.end
        );
        self.faults
            .expect(seen == expected && same && ended, || what);
    }

    /// A key stands for one job, and a job is run once, unless its agent may be run again after a restart.
    pub(crate) fn check_runs(&mut self, world: &World) {
        for (key, jobs) in world.runs().by_key() {
            self.faults
                .expect(jobs.len() == 1, || format!("`{key}` stands for {jobs:?}"));
        }
        for (job, run) in world.runs().all() {
            let mut lives = run.lives.clone();
            lives.dedup();
            self.faults.expect(lives == run.lives, || {
                format!("{job} ran twice in one life: {run:?}")
            });
            self.faults.expect(run.restartable || lives.len() == 1, || {
                format!("{job} ran again after a restart: {run:?}")
            });
            let is_there = self.logs.contains_key(&job);
            self.faults
                .expect(is_there, || format!("{job} ran and is not on the disk"));
        }
    }

    /// Fails with everything that is wrong, and how to see it again.
    ///
    /// # Panics
    /// When something is wrong.
    pub(crate) fn settle(mut self, others: impl IntoIterator<Item = String>, again: &str) {
        self.faults.0.extend(others);
        if self.faults.0.is_empty() {
            return;
        }
        let mut told = format!("{again}\n");
        for fault in self.faults.0.iter().take(20) {
            let _ = writeln!(told, "- {fault}");
        }
        panic!("{told}({} faults)", self.faults.0.len());
    }
}
