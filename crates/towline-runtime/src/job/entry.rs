//! A job in memory: its machine, its log on the way to the store, and who watches.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use towline_proto::{
    chunks::ChunkCounter,
    job::{Cause, JobMachine, Outcome, Stop, Terminal},
    lease::{Authority, Budget, Remaining},
    span::RecordKind,
};
use towline_store::{Block, BlockBuilder, JobRow, JobState};
use towline_wire::{Amount, JobId, JobSeq, JobStatus, RawJson, Timestamp, event, write_string};

use super::tail::Tail;
use crate::session::SessionEntry;
use crate::{agent::AgentEntry, trace::CausedBy};

/// A job that is in memory: because it is not finished, or because it finished a moment ago.
pub(crate) struct JobEntry {
    /// What is fixed. Its `state` is that of the job's acceptance; the current one is [`JobEntry::state`].
    pub(crate) row: JobRow,
    core: Mutex<JobCore>,
    pub(crate) tail: Mutex<Tail>,
    /// Told when the committer has taken what was pending.
    pub(crate) drained: Notify,
    /// Set when the job's agent has to stop.
    pub(crate) stop: CancellationToken,
    /// Set when the terminal is committed.
    pub(crate) ended: CancellationToken,
}

/// What changes about a job, all of it under one lock that is held briefly.
pub(crate) struct JobCore {
    pub(crate) machine: JobMachine,
    pub(crate) authority: Authority,
    pub(crate) chunks: Option<ChunkCounter>,
    pub(crate) observers: Vec<Arc<SessionEntry>>,
    pub(crate) children: Vec<Weak<JobEntry>>,
    pub(crate) parent: Option<Arc<JobEntry>>,
    /// Its last message.
    pub(crate) ended_with: Option<Ended>,
    /// What a streamed result's writer said of it at the end.
    pub(crate) result_summary: Option<String>,
    /// Whether the job has a place among the running ones.
    pub(crate) has_place: bool,
    /// Whether the job is durable: only then may it begin.
    pub(crate) is_durable: bool,
    is_discarded: bool,
    /// What it was resolved to when it was accepted [ARCP 7.5-2]; a recovered job is resolved again.
    pub(crate) agent: Option<AgentEntry>,
    /// Whether its parent has back what it did not spend.
    pub(crate) settled: bool,
    /// What its span will be below.
    pub(crate) caused_by: Option<CausedBy>,
    /// The span of its run, while it runs.
    pub(crate) span: tracing::Span,
    pending: BlockBuilder,
    /// Taken from `pending` and not committed yet, in order; taken again when the commit failed.
    in_flight: Vec<Arc<Block>>,
    /// The last record that was taken from `pending`.
    taken: JobSeq,
    committed: JobSeq,
    queued: bool,
    state_changed: bool,
    finished_at: Option<Timestamp>,
    clock_text: ClockText,
}

/// How a job ended, for those who wait for it inside the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) status: JobStatus,
    pub(crate) is_result: bool,
    pub(crate) payload: RawJson,
}

/// The text of the current millisecond, so that a burst of events formats its time once.
#[derive(Default)]
struct ClockText {
    millis: i64,
    text: String,
}

/// A job's records that are ready for the store.
pub(crate) struct Flush {
    pub(crate) blocks: Vec<Arc<Block>>,
    pub(crate) state: Option<JobState>,
}

/// What is to be done about the records of a job that wait to be committed.
pub(crate) struct Waiting {
    /// The job has to be put into the queue.
    pub(crate) enqueue: bool,
    /// How much waits.
    pub(crate) bytes: usize,
}

/// Why a record was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The job has not begun or has ended.
    NotRunning,
    /// The record has no JSON form.
    Unserialisable,
}

impl JobEntry {
    pub(crate) fn new(
        row: JobRow,
        authority: Authority,
        machine: JobMachine,
        parent: Option<Arc<Self>>,
    ) -> Arc<Self> {
        let last = row.state.last_seq;
        let core = JobCore {
            machine,
            authority,
            chunks: None,
            observers: Vec::new(),
            children: Vec::new(),
            parent,
            ended_with: None,
            result_summary: None,
            has_place: false,
            is_durable: false,
            is_discarded: false,
            agent: None,
            settled: false,
            caused_by: None,
            span: tracing::Span::none(),
            pending: BlockBuilder::default(),
            in_flight: Vec::new(),
            taken: last,
            committed: last,
            queued: false,
            state_changed: false,
            finished_at: row.state.finished_at,
            clock_text: ClockText::default(),
        };
        Arc::new(Self {
            row,
            core: Mutex::new(core),
            tail: Mutex::new(Tail::default()),
            drained: Notify::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
        })
    }

    pub(crate) fn id(&self) -> &JobId {
        &self.row.id
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, JobCore> {
        self.core.lock()
    }

    /// How the job stands now, as far as it is committed.
    pub(crate) fn state(&self) -> JobState {
        self.core.lock().state()
    }
}

impl JobCore {
    /// Adds a record to the log; `write` appends its payload.
    pub(crate) fn append(
        &mut self,
        kind: RecordKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
    ) -> Result<(), Closed> {
        self.pending
            .push_with(kind, write)
            .map_err(|_| Closed::Unserialisable)
    }

    /// Adds an event to the log of a job that runs.
    pub(crate) fn append_event(
        &mut self,
        record: RecordKind,
        kind: &str,
        now: Timestamp,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
    ) -> Result<(), Closed> {
        if !self.machine.is_open() {
            return Err(Closed::NotRunning);
        }
        let ts = self.clock_text.of(now);
        self.pending
            .push_with(record, |out| {
                out.extend_from_slice(b"{\"kind\":");
                write_string(out, kind);
                out.extend_from_slice(b",\"ts\":\"");
                out.extend_from_slice(ts.as_bytes());
                out.extend_from_slice(b"\",\"body\":");
                write_body(out)?;
                out.push(b'}');
                Ok(())
            })
            .map_err(|_: serde_json::Error| Closed::Unserialisable)
    }

    /// Reports what is left of a currency [ARCP 9.6-4].
    pub(crate) fn report_remaining(&mut self, report: &Remaining, now: Timestamp) {
        let body = event::Metric {
            name: "cost.budget.remaining".to_owned(),
            value: report.amount,
            unit: Some(report.currency.clone()),
            dimensions: None,
        };
        // A job that has just ended needs no report.
        let _ = self.append_event(RecordKind::Event, "metric", now, |out| {
            serde_json::to_writer(out, &body)
        });
    }

    /// Ends the job: its terminal becomes the last record.
    pub(crate) fn end(&mut self, terminal: &Terminal, now: Timestamp) {
        let kind = if terminal.is_result() {
            RecordKind::Result
        } else {
            RecordKind::Error
        };
        // A terminal always has a JSON form; a job without a last record would be worse than one with an empty one.
        let payload = terminal.payload(now).unwrap_or(RawJson::EMPTY_OBJECT);
        let written = self.append(kind, |out| {
            out.extend_from_slice(payload.as_str().as_bytes());
            Ok(())
        });
        debug_assert_eq!(written, Ok(()));
        self.finished_at = Some(now);
        self.state_changed = true;
        self.ended_with = Some(Ended {
            status: terminal.status,
            is_result: terminal.is_result(),
            payload,
        });
    }

    /// Somebody wants the job to end. A job that never began ends here.
    pub(crate) fn stop(&mut self, cause: Cause, now: Timestamp) -> Stop {
        let stop = self.machine.stop(cause);
        match &stop {
            Stop::EndNow(terminal) => self.end(terminal, now),
            Stop::StopAgent => self.state_changed = true,
            Stop::Already | Stop::TooLate(_) => {}
        }
        stop
    }

    /// The agent is done. `false` when the job had ended before.
    pub(crate) fn finish(&mut self, outcome: Outcome, now: Timestamp) -> bool {
        let terminal = self.machine.finish(outcome);
        if let Some(terminal) = &terminal {
            self.end(terminal, now);
        }
        terminal.is_some()
    }

    /// Notes that the state row has to be written with the next commit.
    pub(crate) fn touch(&mut self) {
        self.state_changed = true;
    }

    /// Bytes that wait for their commit.
    pub(crate) fn backlog(&self) -> usize {
        let in_flight: usize = self.in_flight.iter().map(|block| block.text().len()).sum();
        self.pending.bytes() + in_flight
    }

    /// The last record that was added.
    pub(crate) fn appended(&self) -> JobSeq {
        self.taken.plus(self.pending.len() as u64)
    }

    /// The last record that is committed.
    pub(crate) fn committed(&self) -> JobSeq {
        self.committed
    }

    /// Whether the job has to be queued for the committer; from now on it counts as queued.
    pub(crate) fn enqueue(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    /// [`enqueue`](Self::enqueue), and how much waits, for who has just appended.
    pub(crate) fn enqueue_appended(&mut self) -> Waiting {
        Waiting {
            enqueue: self.enqueue(),
            bytes: self.backlog(),
        }
    }

    /// What a commit writes. Until [`JobCore::flushed`] or [`JobCore::unflushed`] the records count as taken. `again`
    /// tells that the same commit has taken from this job before, and then only what is new is given.
    pub(crate) fn flush(&mut self, job: &JobId, again: bool) -> Flush {
        self.queued = false;
        if self.is_discarded {
            return Flush {
                blocks: Vec::new(),
                state: None,
            };
        }
        let known = if again { self.in_flight.len() } else { 0 };
        if let Some(block) = self.pending.take(job, self.taken.next()) {
            self.taken = block.last();
            self.in_flight.push(Arc::new(block));
        }
        let blocks = self.in_flight[known..].to_vec();
        let changed = std::mem::take(&mut self.state_changed) || !blocks.is_empty();
        Flush {
            blocks,
            state: changed.then(|| self.state()),
        }
    }

    /// The block that holds `seq`: one being committed, or a recent one.
    pub(crate) fn block_in_flight_or(&self, entry: &JobEntry, seq: JobSeq) -> Option<Arc<Block>> {
        let in_flight = self
            .in_flight
            .iter()
            .find(|block| block.first() <= seq && seq <= block.last());
        in_flight.cloned().or_else(|| entry.tail.lock().block(seq))
    }

    /// The commit succeeded. `true` when more is waiting.
    pub(crate) fn flushed(&mut self) -> bool {
        if let Some(block) = self.in_flight.last() {
            self.committed = block.last();
        }
        self.in_flight.clear();
        !self.pending.is_empty()
    }

    /// The job never came to be. Nothing of it is committed, whatever somebody who knew of it already has recorded: a
    /// store refuses records of a job it does not have, and everything that is committed with them.
    pub(crate) fn discard(&mut self) {
        self.machine.stop(Cause::Shutdown);
        self.is_discarded = true;
        // It has nothing to wait for any more; when its turn to begin comes, it gives its place up.
        self.is_durable = true;
    }

    /// The commit failed: the same records have to be taken again.
    pub(crate) fn unflushed(&mut self) {
        self.state_changed = true;
    }

    /// The row of the state, with everything taken so far.
    pub(crate) fn state(&self) -> JobState {
        JobState {
            status: self.machine.status(),
            last_seq: self.taken,
            budget: budget_row(self.authority.budget()),
            finished_at: self.finished_at,
            ending: self
                .machine
                .ending()
                .and_then(|cause| RawJson::of(cause).ok()),
            ..JobState::accepted()
        }
    }

    /// The counters now, per currency; `None` when nothing is budgeted.
    pub(crate) fn budget_now(&self) -> Option<BTreeMap<String, Amount>> {
        remaining(self.authority.budget())
    }

    /// How long until the lease expires.
    pub(crate) fn expires_in(&self, now: Timestamp) -> Option<Duration> {
        self.authority.expires_at().map(|at| at.since(now))
    }
}

/// The counters as the wire shows them.
pub(crate) fn remaining(budget: &Budget) -> Option<BTreeMap<String, Amount>> {
    let counters: BTreeMap<String, Amount> = budget
        .remaining()
        .map(|(currency, amount)| (currency.to_owned(), amount))
        .collect();
    (!counters.is_empty()).then_some(counters)
}

/// The counters as the store keeps them.
fn budget_row(budget: &Budget) -> Option<RawJson> {
    if budget.is_empty() {
        None
    } else {
        RawJson::of(budget).ok()
    }
}

impl ClockText {
    fn of(&mut self, now: Timestamp) -> &str {
        let millis = now.unix_micros().div_euclid(1000);
        if self.text.is_empty() || millis != self.millis {
            self.millis = millis;
            self.text = now.to_string();
        }
        &self.text
    }
}
