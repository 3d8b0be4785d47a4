//! A job's log on its way to the store.

use std::sync::Arc;

use towline_proto::span::RecordKind;
use towline_store::{Block, BlockBuilder};
use towline_wire::{JobId, JobSeq, Timestamp, write_string};

/// The records of a job that are not durable yet, and how far those go that are.
///
/// ```text
///             take                  committed
/// pending ──────────▶ in flight ────────────────▶ durable
///    ▲                 │     ▲
///  append              └─────┘ failed: the next `take` gives the same blocks again
/// ```
///
/// [`Log::append`] adds to what is pending. [`Log::take`] makes one block of it and gives everything in flight to a commit;
/// then comes exactly one of [`Log::committed`] and [`Log::failed`]. A commit may take from the same log several times, and
/// says so. It reads no clock and holds no lock: the job's lock is around it.
pub(crate) struct Log {
    pending: BlockBuilder,
    /// Taken from `pending` and not committed yet, in order, without gaps.
    in_flight: Vec<Arc<Block>>,
    /// The last record that was taken from `pending`.
    taken: JobSeq,
    /// The last record that is durable.
    committed: JobSeq,
    /// Whether the job is in the committer's queue.
    queued: bool,
    /// Whether the job's state has to be written. Records alone change nothing in it: the store knows where a log ends.
    state_changed: bool,
    /// How many bytes were taken.
    bytes_taken: u64,
    /// How many of those count for the bound of the principal's jobs together.
    weighed: u64,
    /// Whether nothing but the terminal is added any more.
    shut: bool,
    clock_text: ClockText,
    /// How many of the bytes that wait were told of, for the bound of all jobs together.
    told: usize,
}

/// What a commit gets of a log.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) blocks: Vec<Arc<Block>>,
    /// Whether the job's state belongs into the same commit.
    pub(crate) with_state: bool,
}

/// What is to be done about the records that wait for their commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// The job has to be put into the committer's queue.
    pub(crate) enqueue: bool,
    /// How much waits.
    pub(crate) bytes: usize,
    /// How much of it nobody was told of yet, once it is worth telling.
    pub(crate) more: usize,
}

/// Why a record was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AppendError {
    /// The job has not begun or has ended.
    NotRunning,
    /// The record has no JSON form.
    Unserialisable,
    /// The event would not fit into a message.
    TooLarge,
}

/// The longest event, so that it fits into a message with what is around it: peers take 16 MiB, and one that is lost with a message
/// is sent the same again at each resume.
pub(crate) const LONGEST_EVENT: usize = 15 << 20;

/// The text of the current millisecond, so that a burst of events formats its time once.
#[derive(Default)]
struct ClockText {
    millis: i64,
    text: String,
}

impl Log {
    /// A log whose records up to `last` are durable.
    pub(crate) fn new(last: JobSeq) -> Self {
        Self {
            pending: BlockBuilder::default(),
            in_flight: Vec::new(),
            taken: last,
            committed: last,
            queued: false,
            state_changed: false,
            bytes_taken: 0,
            weighed: 0,
            shut: false,
            clock_text: ClockText::default(),
            told: 0,
        }
    }

    /// Adds a record; `write` appends its payload.
    pub(crate) fn append(
        &mut self,
        kind: RecordKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
    ) -> Result<(), AppendError> {
        self.pending
            .push_with(kind, write)
            .map_err(|_| AppendError::Unserialisable)
    }

    /// Adds a record that is an event; `write_body` appends the event's body.
    pub(crate) fn append_event(
        &mut self,
        record: RecordKind,
        kind: &str,
        now: Timestamp,
        write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
    ) -> Result<(), AppendError> {
        let ts = self.clock_text.of(now);
        self.pending.push_with(record, |out| {
            let before = out.len();
            out.extend_from_slice(b"{\"kind\":");
            write_string(out, kind);
            out.extend_from_slice(b",\"ts\":\"");
            out.extend_from_slice(ts.as_bytes());
            out.extend_from_slice(b"\",\"body\":");
            write_body(out).map_err(|_| AppendError::Unserialisable)?;
            out.push(b'}');
            if out.len() - before > LONGEST_EVENT {
                return Err(AppendError::TooLarge);
            }
            Ok(())
        })
    }

    /// Whether more was taken than a log may have.
    pub(crate) fn has_outgrown(&self, bytes: u64, events: u64) -> bool {
        self.bytes_taken > bytes || self.taken.value() > events
    }

    /// How much was taken since this was last asked, once it is worth asking anybody.
    pub(crate) fn weigh(&mut self) -> Option<u64> {
        let more = self.bytes_taken - self.weighed;
        (more >= WORTH_WEIGHING).then(|| {
            self.weighed = self.bytes_taken;
            more
        })
    }

    /// What [`Log::weigh`] gave in all.
    pub(crate) fn weight(&self) -> u64 {
        self.weighed
    }

    /// Takes no more events, only the terminal.
    pub(crate) fn shut(&mut self) {
        self.shut = true;
    }

    /// Whether the log takes no more events.
    pub(crate) fn is_shut(&self) -> bool {
        self.shut
    }

    /// Notes that the job's state has to be written with the next commit.
    pub(crate) fn touch(&mut self) {
        self.state_changed = true;
    }

    /// Whether the job has to be put into the committer's queue; from now on it counts as being there.
    pub(crate) fn enqueue(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    /// [`Log::enqueue`], and how much waits, for who has just appended.
    pub(crate) fn enqueue_appended(&mut self) -> Backlog {
        let bytes = self.bytes();
        let more = match bytes.checked_sub(self.told) {
            Some(more) if more >= WORTH_TELLING => more,
            _ => 0,
        };
        self.told += more;
        Backlog {
            enqueue: self.enqueue(),
            bytes,
            more,
        }
    }

    /// What a commit writes. `again`: the same commit has taken from this log before, and gets only what is new.
    pub(crate) fn take(&mut self, job: &JobId, again: bool) -> Taken {
        self.queued = false;
        let known = if again { self.in_flight.len() } else { 0 };
        if let Some(block) = self.pending.take(job, self.taken.next()) {
            self.taken = block.last();
            self.bytes_taken += block.text().len() as u64;
            self.in_flight.push(Arc::new(block));
        }
        debug_assert!(self.is_continuous(), "blocks in flight follow each other");
        let blocks = self.in_flight[known..].to_vec();
        let with_state = std::mem::take(&mut self.state_changed);
        Taken { blocks, with_state }
    }

    /// Leaves the queue with nothing: the log of a job that never came to be.
    pub(crate) fn take_nothing(&mut self) -> Taken {
        self.queued = false;
        Taken::default()
    }

    /// Takes back what was told of the bytes that wait.
    pub(crate) fn take_told(&mut self) -> usize {
        std::mem::take(&mut self.told)
    }

    /// What is in flight and pending is given up: the store will not have it. The log goes on after `last`, which is durable.
    pub(crate) fn give_up(&mut self, job: &JobId, last: JobSeq) {
        drop(self.pending.take(job, JobSeq::FIRST));
        self.in_flight.clear();
        (self.taken, self.committed) = (last, last);
        self.state_changed = true;
    }

    /// The store has the log up to `last`, though it said that the commit failed. `false` when `last` is not the end of
    /// something in flight.
    pub(crate) fn found_at(&mut self, last: JobSeq) -> bool {
        let Some(at) = self.in_flight.iter().position(|block| block.last() == last) else {
            return false;
        };
        self.in_flight.drain(..=at);
        self.committed = last;
        self.state_changed = true;
        true
    }

    /// Whether nothing waits for a commit.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && self.pending.is_empty()
    }

    /// The commit succeeded. `true` when more is waiting.
    pub(crate) fn committed(&mut self) -> bool {
        if let Some(block) = self.in_flight.last() {
            self.committed = block.last();
        }
        self.in_flight.clear();
        debug_assert!(
            self.committed <= self.taken,
            "nothing durable was not taken"
        );
        !self.pending.is_empty()
    }

    /// The commit failed: the same records have to be taken again, and the state with them.
    pub(crate) fn failed(&mut self) {
        self.state_changed = true;
    }

    /// Bytes that wait for their commit.
    pub(crate) fn bytes(&self) -> usize {
        let in_flight: usize = self.in_flight.iter().map(|block| block.text().len()).sum();
        self.pending.bytes() + in_flight
    }

    /// The last record that was added.
    pub(crate) fn last_appended(&self) -> JobSeq {
        self.taken.plus(self.pending.len() as u64)
    }

    /// The last record that was taken.
    pub(crate) fn last_taken(&self) -> JobSeq {
        self.taken
    }

    /// The last record that is durable.
    pub(crate) fn last_committed(&self) -> JobSeq {
        self.committed
    }

    /// The block in flight that holds `seq`.
    pub(crate) fn in_flight(&self, seq: JobSeq) -> Option<Arc<Block>> {
        self.in_flight
            .iter()
            .find(|block| block.first() <= seq && seq <= block.last())
            .cloned()
    }

    fn is_continuous(&self) -> bool {
        let mut next = self.committed.next();
        let follows = self.in_flight.iter().all(|block| {
            let expected = std::mem::replace(&mut next, block.last().next());
            block.first() == expected
        });
        follows && next == self.taken.next()
    }
}

/// How much a log grows before it counts for its principal's bound.
const WORTH_WEIGHING: u64 = 1024 * 1024;

/// From how many bytes on the bound of all jobs together is worth an update.
const WORTH_TELLING: usize = 64 * 1024;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is done to a log, in the order of a table.
    #[derive(Clone, Copy)]
    enum Do {
        Append,
        Touch,
        /// The blocks and the state it has to give: `first..=last` of each block.
        Take {
            again: bool,
            gives: &'static [(u64, u64)],
            with_state: bool,
        },
        /// Whether more is waiting.
        Committed(bool),
        Failed,
        /// Whether the job has to be queued.
        Enqueue(bool),
        /// Last appended, taken and durable.
        At(u64, u64, u64),
    }
    use Do::*;

    const fn take(gives: &'static [(u64, u64)], with_state: bool) -> Do {
        Take {
            again: false,
            gives,
            with_state,
        }
    }

    const fn take_again(gives: &'static [(u64, u64)], with_state: bool) -> Do {
        Take {
            again: true,
            gives,
            with_state,
        }
    }

    fn check(name: &str, last: u64, table: &[Do]) {
        let job = JobId::parse("job_1").unwrap();
        let mut log = Log::new(JobSeq::new(last));
        for (row, step) in table.iter().enumerate() {
            let at = format!("{name}, row {row}");
            match *step {
                Append => {
                    let added = log.append(RecordKind::Event, |out| {
                        out.extend_from_slice(b"{}");
                        Ok(())
                    });
                    assert_eq!(added, Ok(()), "{at}");
                }
                Touch => log.touch(),
                Take {
                    again,
                    gives,
                    with_state,
                } => {
                    let taken = log.take(&job, again);
                    let blocks: Vec<_> = taken
                        .blocks
                        .iter()
                        .map(|block| (block.first().value(), block.last().value()))
                        .collect();
                    assert_eq!(
                        (blocks.as_slice(), taken.with_state),
                        (gives, with_state),
                        "{at}"
                    );
                }
                Committed(more) => assert_eq!(log.committed(), more, "{at}"),
                Failed => log.failed(),
                Enqueue(first) => assert_eq!(log.enqueue(), first, "{at}"),
                At(appended, taken, committed) => {
                    let seqs = [log.last_appended(), log.last_taken(), log.last_committed()];
                    assert_eq!(
                        seqs.map(JobSeq::value),
                        [appended, taken, committed],
                        "{at}"
                    );
                }
            }
        }
    }

    #[test]
    fn records_go_from_pending_over_in_flight_to_durable() {
        let table = [
            At(0, 0, 0),
            Append,
            Append,
            At(2, 0, 0),
            take(&[(1, 2)], false),
            At(2, 2, 0),
            Append,
            At(3, 2, 0),
            Committed(true),
            At(3, 2, 2),
            Touch,
            take(&[(3, 3)], true),
            Committed(false),
            At(3, 3, 3),
            take(&[], false),
            Committed(false),
        ];
        check("from the start", 0, &table);
        let table = [
            Append,
            take(&[(8, 8)], false),
            Committed(false),
            At(8, 8, 8),
        ];
        check("after a restart", 7, &table);
    }

    /// What was not committed is taken again, under the same numbers and before what came later.
    #[test]
    fn a_failed_commit_is_made_up_for() {
        let table = [
            Append,
            take(&[(1, 1)], false),
            Failed,
            Append,
            take(&[(1, 1), (2, 2)], true),
            Failed,
            take(&[(1, 1), (2, 2)], true),
            At(2, 2, 0),
            Committed(false),
            At(2, 2, 2),
        ];
        check("records", 0, &table);
        let table = [
            Touch,
            take(&[], true),
            Failed,
            take(&[], true),
            Committed(false),
        ];
        check("only a state", 0, &table);
    }

    #[test]
    fn one_commit_that_takes_twice_gets_nothing_twice() {
        let table = [
            Append,
            take(&[(1, 1)], false),
            take_again(&[], false),
            Append,
            Touch,
            take_again(&[(2, 2)], true),
            Failed,
            take(&[(1, 1), (2, 2)], true),
            Committed(false),
        ];
        check("twice", 0, &table);
    }

    #[test]
    fn a_job_is_queued_once_until_it_is_taken_from() {
        let table = [
            Enqueue(true),
            Enqueue(false),
            Append,
            take(&[(1, 1)], false),
            Enqueue(true),
            Enqueue(false),
        ];
        check("queued", 0, &table);
    }

    #[test]
    fn what_has_no_json_form_leaves_nothing_behind() {
        let mut log = Log::new(JobSeq::ZERO);
        let refused = log.append(RecordKind::Event, |out| {
            out.extend_from_slice(b"{\"half\":");
            Err(serde::de::Error::custom("no"))
        });
        assert_eq!(refused, Err(AppendError::Unserialisable));
        assert_eq!((log.bytes(), log.last_appended()), (0, JobSeq::ZERO));
    }

    #[test]
    fn blocks_in_flight_can_be_read() {
        let job = JobId::parse("job_1").unwrap();
        let mut log = Log::new(JobSeq::ZERO);
        let add = |log: &mut Log| {
            log.append_event(
                RecordKind::Event,
                "log",
                Timestamp::from_unix_micros(0),
                |out| {
                    out.extend_from_slice(b"{}");
                    Ok(())
                },
            )
        };
        add(&mut log).unwrap();
        assert!(log.in_flight(JobSeq::FIRST).is_none());
        log.take(&job, false);
        let block = log.in_flight(JobSeq::FIRST).unwrap();
        let (kind, payload) = block.payload(JobSeq::FIRST).unwrap();
        assert_eq!(kind, RecordKind::Event);
        assert_eq!(
            payload.as_str(),
            r#"{"kind":"log","ts":"1970-01-01T00:00:00.000Z","body":{}}"#
        );
        assert_eq!(log.bytes(), payload.as_str().len());
        log.committed();
        assert!(log.in_flight(JobSeq::FIRST).is_none());
        assert_eq!(log.bytes(), 0);
    }
}
