//! A job in memory: its machine, its log, and who watches.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use towline_proto::{
    admission::Terms,
    chunks::ChunkCounter,
    job::{Cause, JobMachine, Outcome, Stop, Terminal},
    lease::{Authority, Budget, Remaining},
    span::RecordKind,
};
use towline_store::{Block, JobRow, JobState};
use towline_wire::{
    Amount, EventKind, JobId, JobSeq, JobStatus, RawJson, SpanId, Timestamp, event,
};

use super::{
    kin::Kin,
    log::{AppendError, Backlog, Log, Taken},
    run_job::{RunJob, RunRules},
    tail::Tail,
    talk::Talk,
};
use crate::{RuntimeOptions, session::SessionEntry};

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
    /// Set, under the job's lock, when it was released and its agent has stopped: nothing of this process works on it.
    pub(crate) left: CancellationToken,
}

/// What changes about a job, all of it under one lock that is held briefly.
pub(crate) struct JobCore {
    pub(crate) machine: JobMachine,
    pub(crate) log: Log,
    pub(crate) authority: Authority,
    pub(crate) chunks: Option<ChunkCounter>,
    pub(crate) observers: Vec<Arc<SessionEntry>>,
    pub(crate) children: Vec<Weak<JobEntry>>,
    pub(crate) parent: Option<Arc<JobEntry>>,
    /// Its root's family; for a child, its own part in it, until it ends.
    pub(crate) kin: Kin,
    /// Its last message.
    pub(crate) ended_with: Option<Ended>,
    /// What a streamed result's writer said of it at the end.
    pub(crate) result_summary: Option<String>,
    being: Being,
    pub(crate) place: Place,
    /// What it asks for beside a place, if anything.
    pub(crate) terms: Option<Box<Terms>>,
    /// What it was resolved to when it was accepted [ARCP 7.5-2]; a recovered job is resolved again.
    pub(crate) agent: Option<Arc<dyn RunJob>>,
    /// How its agent's jobs are run, once it has begun.
    pub(crate) rules: RunRules,
    /// Whether its parent has back what it did not spend.
    settled: bool,
    /// What its span will be below.
    pub(crate) caused_by: Option<CausedBy>,
    /// The span of its run, while it runs.
    pub(crate) span: tracing::Span,
    finished_at: Option<Timestamp>,
    /// What it and people have to say to each other.
    pub(crate) talk: Talk,
    pub(crate) runs: Runs,
    /// Whether a part of its result is out.
    chunked: bool,
    /// Whether the store refused its records before.
    is_broken: bool,
    /// Whether its submitter ended its output, and waited for it as long as jobs have at a shutdown.
    pub(crate) was_waited_for: bool,
}

/// How often a job's agent was started, and whether that led anywhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runs {
    /// The runs so far, the present one included.
    pub(crate) attempt: u32,
    /// `attempt` as of the latest checkpoint, and one more for each run since that the runtime did not cut short.
    pub(crate) progressed: u32,
    /// How many runs failed and were followed by another one.
    pub(crate) retried: u32,
    /// When the first run began.
    pub(crate) started_at: Option<Timestamp>,
}

impl Runs {
    /// How many runs there were since the latest checkpoint that the runtime's death ended, the present one included.
    pub(crate) fn in_vain(self) -> u32 {
        self.attempt.saturating_sub(self.progressed)
    }
}

/// Whether there is such a job, as far as anybody outside may know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Being {
    /// Its acceptance is being committed. It must not begin.
    New,
    /// It was accepted, and a crash does not undo that.
    Durable,
    /// It was not accepted. Nothing of it may be committed: a store refuses records of a job it does not have, and
    /// everything that is committed with them.
    Discarded,
}

/// Whether a job is counted among those that run [ARCP 7.1-5].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It waits for its turn, or needs none any more.
    None,
    /// It holds one, and gives it up once.
    Held,
    /// It holds one of those that its principal has for children, and gives it up once.
    Child,
}

/// What a job's span is the child of.
pub(crate) enum CausedBy {
    /// A span of whoever sent the submit.
    Remote(SpanId),
    /// The span in which the job's parent delegated.
    Local(tracing::Span),
}

/// How a job ended, for those who wait for it inside the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) status: JobStatus,
    pub(crate) is_result: bool,
    pub(crate) payload: RawJson,
}

/// A job's records and its state, as a commit writes them.
pub(crate) struct Changes {
    pub(crate) blocks: Vec<Arc<Block>>,
    pub(crate) state: Option<JobState>,
    pub(crate) talk: Option<RawJson>,
    /// Questions that ended without an answer, for the audit log.
    pub(crate) unanswered: Vec<event::InputResolved>,
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
            log: Log::new(last),
            authority,
            chunks: None,
            observers: Vec::new(),
            children: Vec::new(),
            parent,
            kin: Kin::root(),
            ended_with: None,
            result_summary: None,
            being: Being::New,
            place: Place::None,
            terms: None,
            agent: None,
            rules: RunRules::default(),
            settled: false,
            caused_by: None,
            span: tracing::Span::none(),
            finished_at: row.state.finished_at,
            talk: Talk::default(),
            runs: Runs {
                attempt: row.state.attempt,
                progressed: row.state.progressed,
                retried: row.state.retried,
                started_at: row.state.started_at,
            },
            chunked: row.state.chunked,
            is_broken: false,
            was_waited_for: false,
        };
        Arc::new(Self {
            row,
            core: Mutex::new(core),
            tail: Mutex::new(Tail::default()),
            drained: Notify::new(),
            stop: CancellationToken::new(),
            ended: CancellationToken::new(),
            left: CancellationToken::new(),
        })
    }

    pub(crate) fn id(&self) -> &JobId {
        &self.row.id
    }

    pub(crate) fn lock(&self) -> parking_lot::MutexGuard<'_, JobCore> {
        self.core.lock()
    }

    /// How many bytes of memory it takes for what it was asked with: a stranger's doing, and all of it kept until it is let
    /// go.
    pub(crate) fn weight(&self) -> usize {
        let lease = self.row.lease.iter().map(|(namespace, patterns)| {
            let patterns = patterns.iter().map(String::len).sum::<usize>();
            namespace.len() + patterns
        });
        let states = self.core.lock().authority.leases().states();
        self.row.input.as_str().len() + lease.sum::<usize>() + states * STATE_BYTES
    }

    /// How the job stands now, as far as a commit has taken it.
    pub(crate) fn state(&self) -> JobState {
        self.core.lock().state()
    }

    /// The children that are in memory.
    pub(crate) fn children(&self) -> Vec<Arc<Self>> {
        let core = self.core.lock();
        core.children.iter().filter_map(Weak::upgrade).collect()
    }

    /// The block that holds `seq`: one being committed, or a recent one.
    pub(crate) fn block(&self, seq: JobSeq) -> Option<Arc<Block>> {
        let in_flight = self.core.lock().log.in_flight(seq);
        in_flight.or_else(|| self.tail.lock().block(seq))
    }

    /// Waits until what the log has now is durable, or the job is over. Cancel safe.
    pub(crate) async fn durable(&self) {
        let last = self.lock().log.last_appended();
        loop {
            // Made before the look, so that no commit is missed.
            let drained = self.drained.notified();
            if self.lock().log.last_committed() >= last {
                return;
            }
            tokio::select! {
                () = drained => {}
                () = self.ended.cancelled() => return,
            }
        }
    }

    /// Gives the parent back what this job did not spend, once. The parent has to be committed together with the job's
    /// terminal: a crash between the two would return the same money twice [ARCP 9.4-2].
    pub(crate) fn settle(&self, now: Timestamp) -> Option<Arc<Self>> {
        let (parent, budget, settled) = {
            let mut core = self.core.lock();
            let settled = std::mem::replace(&mut core.settled, true);
            let budget = core.authority.budget().clone();
            (core.parent.clone()?, budget, settled)
        };
        if !settled {
            let mut core = parent.core.lock();
            let reports = core.authority.budget_mut().settle(&budget);
            core.log.touch();
            for report in &reports {
                core.report_remaining(report, now);
            }
        }
        Some(parent)
    }
}

impl JobCore {
    /// Adds an event to the log of a job that runs; `write_body` appends the event's body.
    pub(crate) fn append_event(
        &mut self,
        record: RecordKind,
        kind: &EventKind,
        now: Timestamp,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
    ) -> Result<(), AppendError> {
        if !self.is_open() {
            return Err(AppendError::NotRunning);
        }
        self.log
            .append_event(record, kind.as_str(), now, write_body)?;
        if record == RecordKind::ResultChunk && !self.chunked {
            self.chunked = true;
            self.log.touch();
        }
        Ok(())
    }

    /// The agent is started, for the first time or once more.
    pub(crate) fn begin_run(&mut self, now: Timestamp) {
        self.runs.attempt = self.runs.attempt.saturating_add(1);
        self.runs.started_at.get_or_insert(now);
        // A run that failed may have begun a result without giving any of it.
        self.chunks = None;
        self.result_summary = None;
        self.log.touch();
    }

    /// Notes how far the agent got, and gives what was noted before.
    pub(crate) fn note_progress(&mut self, attempt: u32) -> u32 {
        let before = std::mem::replace(&mut self.runs.progressed, attempt);
        if before != attempt {
            self.log.touch();
        }
        before
    }

    /// How long the job may still run: its time counts from its first run, whatever came between.
    pub(crate) fn runtime_left(&self, max: Duration, now: Timestamp) -> Duration {
        let ran = match self.runs.started_at {
            Some(at) if self.runs.attempt > 1 || self.runs.retried > 0 => now.since(at),
            _ => Duration::ZERO,
        };
        max.saturating_sub(ran)
    }

    /// The present run failed, and another one follows.
    pub(crate) fn note_retry(&mut self) {
        self.runs.retried = self.runs.retried.saturating_add(1);
        self.note_ended_run();
    }

    /// The present run ended without the runtime's death.
    fn note_ended_run(&mut self) {
        let counted = self.runs.progressed.saturating_add(1);
        self.runs.progressed = counted.min(self.runs.attempt);
        self.log.touch();
    }

    /// Leaves the job as it stands to the next runtime; `false` when its end is decided.
    pub(crate) fn release(&mut self) -> bool {
        let was_released = self.machine.is_released();
        let runs = self.machine.status() == JobStatus::Running;
        let released = self.machine.release();
        if released && !was_released && runs {
            self.note_ended_run();
        }
        released
    }

    /// Whether a part of the job's result is out: another run would stream another result, and a job has one [ARCP 8.4-1].
    pub(crate) fn has_given_a_part(&self) -> bool {
        self.chunked
    }

    /// Whether the job may still add to its log.
    pub(crate) fn is_open(&self) -> bool {
        self.machine.is_open() && !self.log.is_shut()
    }

    /// Whether the job's log has just outgrown its bounds [ARCP 14-6]. Then it takes nothing but the terminal any more, and the
    /// end of the job is decided. `all` adds to what its principal's jobs hold, and gives that.
    pub(crate) fn outgrows(
        &mut self,
        options: &RuntimeOptions,
        all: impl FnOnce(u64) -> u64,
        now: impl FnOnce() -> Timestamp,
    ) -> bool {
        let (bytes, events) = (options.log_bytes, options.log_events);
        let most = options.log_bytes_per_principal;
        let together = self.log.weigh().is_some_and(|more| all(more) > most);
        let cause = if self.log.has_outgrown(bytes, events) {
            Cause::LogFull { bytes, events }
        } else if together {
            Cause::LogsFull { bytes: most }
        } else {
            return false;
        };
        let news = self.is_open();
        if news {
            self.log.shut();
            self.stop(cause, now());
        }
        news
    }

    /// Reports what is left of a currency [ARCP 9.6-4].
    pub(crate) fn report_remaining(&mut self, report: &Remaining, now: Timestamp) {
        let body = event::Metric {
            name: REMAINING_METRIC.to_owned(),
            value: report.amount,
            unit: Some(report.currency.clone()),
            dimensions: None,
        };
        // A job that has just ended needs no report.
        let _ = self.append_event(RecordKind::Event, &EventKind::METRIC, now, |out| {
            serde_json::to_writer(out, &body)
        });
    }

    /// Ends the job: its terminal becomes the last record.
    pub(crate) fn end(&mut self, terminal: &Terminal, now: Timestamp) {
        self.withdraw_questions(now);
        let kind = if terminal.is_result() {
            RecordKind::Result
        } else {
            RecordKind::Error
        };
        // A terminal always has a JSON form; a job without a last record would be worse than one with an empty one.
        let payload = terminal.payload(now).unwrap_or(RawJson::EMPTY_OBJECT);
        let written = self.log.append(kind, |out| {
            out.extend_from_slice(payload.as_str().as_bytes());
            Ok(())
        });
        debug_assert_eq!(written, Ok(()));
        self.finished_at = Some(now);
        self.log.touch();
        self.ended_with = Some(Ended {
            status: terminal.status,
            is_result: terminal.is_result(),
            payload,
        });
    }

    /// The terminal was given up with what came before it, and becomes the last record once more.
    pub(crate) fn end_again(&mut self) {
        let Some(ended) = self.ended_with.clone() else {
            return;
        };
        let kind = if ended.is_result {
            RecordKind::Result
        } else {
            RecordKind::Error
        };
        let written = self.log.append(kind, |out| {
            out.extend_from_slice(ended.payload.as_str().as_bytes());
            Ok(())
        });
        debug_assert_eq!(written, Ok(()));
        self.log.touch();
    }

    /// The store will not have the job's records. Whether that happened before.
    pub(crate) fn break_off(&mut self) -> bool {
        std::mem::replace(&mut self.is_broken, true)
    }

    /// Not even the job's end can be written: nothing more of it is committed.
    pub(crate) fn cast_off(&mut self) {
        self.being = Being::Discarded;
    }

    /// Somebody wants the job to end. A job that never began ends here.
    pub(crate) fn stop(&mut self, cause: Cause, now: Timestamp) -> Stop {
        let stop = self.machine.stop(cause);
        match &stop {
            Stop::EndNow(terminal) => self.end(terminal, now),
            Stop::StopAgent => {
                self.withdraw_questions(now);
                self.log.touch();
            }
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

    /// How much waits for its commit, and whether the job has to be queued for it, for who has just appended.
    pub(crate) fn enqueue_appended(&mut self) -> Backlog {
        self.log.enqueue_appended()
    }

    /// What a commit writes of the job; see [`Log::take`].
    pub(crate) fn take(&mut self, job: &JobId, again: bool) -> Changes {
        let Taken { blocks, with_state } = match self.being {
            Being::Discarded => self.log.take_nothing(),
            Being::New | Being::Durable => self.log.take(job, again),
        };
        let state = with_state.then(|| self.state());
        let (talk, unanswered) = match self.being {
            Being::Discarded => Default::default(),
            Being::New | Being::Durable => self.talk.take(),
        };
        Changes {
            blocks,
            state,
            talk,
            unanswered,
        }
    }

    /// The commit failed: what it took has to be taken again.
    pub(crate) fn failed(&mut self) {
        self.log.failed();
        self.talk.failed();
    }

    /// The job was accepted, or found in the store.
    pub(crate) fn came_to_be(&mut self) {
        debug_assert_eq!(self.being, Being::New, "a job is accepted once");
        self.being = Being::Durable;
    }

    /// The job was not accepted after all. Somebody who knew of it may have recorded something in its log already; that is
    /// never committed.
    pub(crate) fn discard(&mut self) {
        debug_assert_ne!(self.being, Being::Durable, "what was acknowledged stays");
        self.machine.stop(Cause::Shutdown);
        self.kin.leave();
        self.being = Being::Discarded;
    }

    /// Whether the job's acceptance is being committed.
    pub(crate) fn is_new(&self) -> bool {
        self.being == Being::New
    }

    /// Whether the job waits for nothing but a place. A discarded one does too: when its turn comes, it gives the place up.
    pub(crate) fn may_begin(&self) -> bool {
        !self.is_new()
    }

    /// The row of the state, with everything taken so far.
    pub(crate) fn state(&self) -> JobState {
        JobState {
            status: self.machine.status(),
            last_seq: self.log.last_taken(),
            budget: budget_row(self.authority.budget()),
            finished_at: self.finished_at,
            ending: self
                .machine
                .ending()
                .and_then(|cause| RawJson::of(cause).ok()),
            attempt: self.runs.attempt,
            progressed: self.runs.progressed,
            retried: self.runs.retried,
            started_at: self.runs.started_at,
            chunked: self.chunked,
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
    if budget.is_untouched() {
        None
    } else {
        RawJson::of(budget).ok()
    }
}

/// What a state of a compiled lease takes, about.
const STATE_BYTES: usize = 128;

/// The metric that tells what is left of a currency.
const REMAINING_METRIC: &str = "cost.budget.remaining";
