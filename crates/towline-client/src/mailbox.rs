//! Between the session's task and one handle.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use towline_proto::client::{JobEnd, Lane};
use towline_wire::{EventSeq, JobId, JobSeq};

use crate::{ClientError, JobEvent};

/// The events of one job on their way to one handle.
///
/// Bounded: at `limit` events, or [`MAX_WEIGHT`] bytes of them, it is full, and the session's task stops reading its
/// connection until the handle has taken some. What one read brought in is still put in, so it can hold one read
/// more; and the handle has what it took last. A handle that only waits for the outcome is never full: nothing but the
/// chunks of a result is kept, and of those no more than the handle's cap.
#[derive(Debug)]
pub(crate) struct Mailbox {
    job: JobId,
    role: Role,
    inner: Mutex<Inner>,
    /// The number of the event the handle gave out last.
    taken: AtomicU64,
    /// Tells the session's task that there is room again.
    room: Arc<Notify>,
}

/// Why the handle sees the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The session's own job.
    Own,
    /// A subscription.
    Watch,
}

#[derive(Debug)]
struct Inner {
    queue: VecDeque<JobEvent>,
    weight: usize,
    limit: usize,
    wants: Wants,
    claim: Claim,
    /// The last of the job's own events that was put in; a replay for somebody else brings them again.
    last: JobSeq,
    joining: Joining,
    /// How many events without the job's own number were put in, and how many of those that come are these again.
    unnumbered: u64,
    again: u64,
    /// The number of the last event handed to the handle.
    handed: u64,
    end: Option<End>,
    /// An end that came while the past was waited for, and may turn out to be that of the past.
    passed_end: Option<(Arc<JobEnd>, Option<EventSeq>)>,
    trouble: Option<ClientError>,
    closed: bool,
    reader: Option<Waker>,
    driver_waits: bool,
}

#[derive(Debug)]
struct End {
    end: Arc<JobEnd>,
    seq: Option<EventSeq>,
    taken: bool,
}

/// What the handle is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    /// Every event.
    Events,
    /// The outcome: chunks of a result up to this many decoded bytes.
    Outcome { cap: u64 },
    /// The chunks of a result, one after the other.
    Chunks,
}

/// Whether the job has a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    Claimed,
    /// Delivered without a request; events are kept as long as there is room.
    Unclaimed,
    /// There was no room, so events were dropped.
    Lapsed,
}

/// What a handle of a job that is under way already waits for. Events that are on their way when it joins are none of its
/// events, or come again with the job's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joining {
    /// It has joined.
    No,
    /// The answer, which says what the first live event is.
    Live,
    /// The job's past, from the event after this one.
    Past {
        after: JobSeq,
        /// The last event that was let go while waiting.
        passed: JobSeq,
        /// The last record of the past, once the runtime has said so, and whether the job was over with it.
        until: Option<(JobSeq, bool)>,
    },
}

/// What a mailbox says to what was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fill {
    Room,
    Full,
    /// The handle is gone.
    Closed,
}

/// What a handle finds.
#[derive(Debug)]
pub(crate) enum Taken {
    /// Events, moved to the handle.
    Events,
    /// The job ended, and every event was taken.
    End(Arc<JobEnd>),
    /// Nothing can come for now, or at all.
    Trouble(ClientError),
    /// More chunks than the handle's cap allows.
    TooBig,
}

impl Mailbox {
    pub(crate) fn new(job: JobId, role: Role, limit: usize, room: Arc<Notify>) -> Self {
        let inner = Inner {
            queue: VecDeque::new(),
            weight: 0,
            limit: limit.max(1),
            wants: Wants::Events,
            claim: Claim::Claimed,
            last: JobSeq::ZERO,
            joining: Joining::No,
            unnumbered: 0,
            again: 0,
            handed: 0,
            end: None,
            passed_end: None,
            trouble: None,
            closed: false,
            reader: None,
            driver_waits: false,
        };
        Self {
            job,
            role,
            inner: Mutex::new(inner),
            taken: AtomicU64::new(0),
            room,
        }
    }

    /// A mailbox of a job that was delivered without a request: it drops events rather than stopping the session.
    pub(crate) fn unclaimed(job: JobId, room: Arc<Notify>) -> Self {
        let mailbox = Self::new(job, Role::Own, UNCLAIMED_LIMIT, room);
        mailbox.inner.lock().claim = Claim::Unclaimed;
        mailbox
    }

    pub(crate) const fn job(&self) -> &JobId {
        &self.job
    }

    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    /// Starts after an event the handle does not want.
    pub(crate) fn begin_after(&self, seq: JobSeq) {
        self.inner.lock().last = seq;
    }

    /// Waits for the runtime to say what is live.
    pub(crate) fn join_live(&self) {
        self.inner.lock().joining = Joining::Live;
    }

    /// Waits for the job's past: it is in the session's stream already, and its live events must not overtake their past.
    pub(crate) fn join_past(&self) {
        let mut inner = self.inner.lock();
        inner.joining = Joining::Past {
            after: inner.last,
            passed: JobSeq::ZERO,
            until: None,
        };
    }

    /// The job has ended unheard: its past is asked for, and what was heard of it will come again.
    pub(crate) fn cease(&self) {
        self.join_past();
        let mut inner = self.inner.lock();
        inner.again = inner.unnumbered;
    }

    /// Whether the job's end is in.
    pub(crate) fn has_end(&self) -> bool {
        self.inner.lock().end.is_some()
    }

    /// The runtime has answered: everything after `from` is live, or, if the job was over, nothing.
    pub(crate) fn joined(&self, from: JobSeq, is_over: bool) {
        let mut inner = self.inner.lock();
        match &mut inner.joining {
            Joining::No => {}
            Joining::Past { after, .. } if *after >= from => inner.joining = Joining::No,
            Joining::Past { until, .. } => *until = Some((from, is_over)),
            Joining::Live => {
                inner.last = from;
                inner.joining = Joining::No;
            }
        }
    }

    /// Whether an end that comes now is another handle's: that of the past this one waits for is still to come.
    pub(crate) fn waits_for_past(&self) -> bool {
        match self.inner.lock().joining {
            Joining::No | Joining::Live => false,
            Joining::Past { until: None, .. } => true,
            // Of a job that ended later, the past has come. Of one that is over, it may be the end alone.
            Joining::Past {
                after,
                until: Some((until, is_over)),
                ..
            } => is_over && after.next() < until,
        }
    }

    /// An end that came while the past is waited for.
    pub(crate) fn pass_end(&self, end: Arc<JobEnd>, seq: Option<EventSeq>) {
        self.inner.lock().passed_end = Some((end, seq));
    }

    /// What there is of the past has come: an end that came with it is the end. `false` when there was none.
    pub(crate) fn past_is_in(&self) -> bool {
        let passed = {
            let mut inner = self.inner.lock();
            inner.joining = Joining::No;
            let passed = inner.passed_end.take();
            passed.filter(|_| inner.end.is_none())
        };
        match passed {
            Some((end, seq)) => {
                self.end(end, seq);
                true
            }
            None => false,
        }
    }

    /// The past will not come; the handle is told that events are missing.
    pub(crate) fn give_up_past(&self) {
        self.change(Inner::lapse);
    }

    /// Puts events in. One lock for a run of them.
    pub(crate) fn put(&self, lane: Lane, events: impl Iterator<Item = JobEvent>) -> Fill {
        // What comes twice goes to the handle the first time.
        if lane == Lane::Echo && self.role == Role::Own {
            return Fill::Room;
        }
        let mut inner = self.inner.lock();
        if inner.closed {
            return Fill::Closed;
        }
        for event in events {
            inner.put(event);
        }
        let fill = inner.settle();
        let reader = if inner.queue.is_empty() {
            None
        } else {
            inner.reader.take()
        };
        drop(inner);
        if let Some(reader) = reader {
            reader.wake();
        }
        fill
    }

    /// The job ended; nothing follows.
    pub(crate) fn end(&self, end: Arc<JobEnd>, seq: Option<EventSeq>) {
        self.change(|inner| {
            inner.end = Some(End {
                end,
                seq,
                taken: false,
            })
        });
    }

    /// Nothing can come, or it can again.
    pub(crate) fn set_trouble(&self, trouble: Option<ClientError>) {
        self.change(|inner| inner.trouble = trouble);
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let reader = {
            let mut inner = self.inner.lock();
            change(&mut inner);
            inner.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Whether the session's task has to wait for the handle.
    pub(crate) fn is_full(&self) -> bool {
        let mut inner = self.inner.lock();
        !inner.closed && inner.settle() == Fill::Full
    }

    /// Whether the handle is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().closed
    }

    /// Up to where the session's events were taken, as far as this job holds it back.
    pub(crate) fn processed(&self) -> Option<EventSeq> {
        let inner = self.inner.lock();
        if inner.closed || inner.claim != Claim::Claimed {
            return None;
        }
        let taken = self.taken.load(Ordering::Relaxed);
        if taken < inner.handed {
            return Some(EventSeq::new(taken));
        }
        let before = |seq: EventSeq| EventSeq::new(seq.value().saturating_sub(1));
        let waiting = inner.queue.iter().find_map(JobEvent::event_seq);
        let end = inner
            .end
            .as_ref()
            .filter(|end| !end.taken)
            .and_then(|end| end.seq);
        waiting.or(end).map(before)
    }

    // The handle's side.

    /// Moves what is there to `local`, which has to be empty.
    pub(crate) fn poll_take(
        &self,
        local: &mut VecDeque<JobEvent>,
        cx: &mut Context<'_>,
    ) -> Poll<Taken> {
        let mut inner = self.inner.lock();
        if inner.claim == Claim::Lapsed {
            inner.claim = Claim::Claimed;
            return Poll::Ready(match inner.wants {
                Wants::Outcome { .. } => Taken::TooBig,
                _ => Taken::Trouble(ClientError::EventsDropped {
                    job: self.job.clone(),
                }),
            });
        }
        if !inner.queue.is_empty() {
            self.hand_over(&mut inner, local);
            let wake = std::mem::take(&mut inner.driver_waits);
            drop(inner);
            if wake {
                self.room.notify_one();
            }
            return Poll::Ready(Taken::Events);
        }
        if let Some(end) = &mut inner.end {
            end.taken = true;
            return Poll::Ready(Taken::End(end.end.clone()));
        }
        if let Some(trouble) = &inner.trouble {
            return Poll::Ready(Taken::Trouble(trouble.clone()));
        }
        inner.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn hand_over(&self, inner: &mut Inner, local: &mut VecDeque<JobEvent>) {
        std::mem::swap(&mut inner.queue, local);
        inner.weight = 0;
        let mut numbers = local.iter().filter_map(JobEvent::event_seq);
        if let Some(first) = numbers.next() {
            inner.handed = numbers.next_back().unwrap_or(first).value();
            self.taken
                .store(first.value().saturating_sub(1), Ordering::Relaxed);
        }
    }

    /// The handle gave an event out.
    pub(crate) fn gave(&self, event: &JobEvent) {
        if let Some(seq) = event.event_seq() {
            self.taken.store(seq.value(), Ordering::Relaxed);
        }
    }

    /// The handle has let go of what it took.
    pub(crate) fn gave_all(&self) {
        let handed = self.inner.lock().handed;
        self.taken.store(handed, Ordering::Relaxed);
    }

    /// Changes what is waited for. What is no longer wanted is let go.
    pub(crate) fn want(&self, wants: Wants) {
        let mut inner = self.inner.lock();
        if inner.wants == wants {
            return;
        }
        inner.wants = wants;
        if wants != Wants::Events {
            inner.queue.retain(JobEvent::is_chunk);
            inner.weight = inner.queue.iter().map(JobEvent::weight).sum();
        }
        let wake = std::mem::take(&mut inner.driver_waits);
        drop(inner);
        if wake {
            self.room.notify_one();
        }
    }

    /// Gives a job that was delivered without a request to a handle.
    pub(crate) fn claim(&self, limit: usize) {
        let mut inner = self.inner.lock();
        inner.limit = limit.max(1);
        if inner.claim == Claim::Unclaimed {
            inner.claim = Claim::Claimed;
        }
    }

    pub(crate) fn set_limit(&self, limit: usize) {
        self.inner.lock().limit = limit.max(1);
        self.room.notify_one();
    }

    /// The handle is gone: what comes is dropped.
    pub(crate) fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.queue = VecDeque::new();
        drop(inner);
        self.room.notify_one();
    }
}

impl Inner {
    fn put(&mut self, event: JobEvent) {
        if let Some(seq) = event.job_seq() {
            if !self.joins_with(seq) || seq <= self.last {
                return;
            }
            self.last = seq;
        } else {
            // Without the job's own numbers there is nothing to wait for.
            self.joining = Joining::No;
            if self.again > 0 {
                self.again -= 1;
                return;
            }
            self.unnumbered += 1;
        }
        if self.end.is_some() || (self.wants != Wants::Events && !event.is_chunk()) {
            return;
        }
        self.weight += event.weight();
        self.queue.push_back(event);
    }

    /// Whether an event is for a handle that has joined, or is the one it joins with.
    fn joins_with(&mut self, seq: JobSeq) -> bool {
        let joins = match &mut self.joining {
            Joining::No => true,
            Joining::Live => false,
            Joining::Past {
                after,
                passed,
                until,
            } => {
                // Without some features the first event of the past does not show; then it shows by going back.
                let joins = seq == after.next()
                    || seq <= *passed
                    || until.is_some_and(|(until, _)| seq > until);
                *passed = seq;
                joins
            }
        };
        if joins {
            self.joining = Joining::No;
        }
        joins
    }

    /// Decides what a full mailbox means.
    fn settle(&mut self) -> Fill {
        if let Wants::Outcome { cap } = self.wants {
            // Chunks take at most a third more than their bytes, and a little around them.
            let most = usize::try_from(cap.saturating_mul(3) / 2).unwrap_or(usize::MAX);
            if self.weight > most.saturating_add(MAX_WEIGHT) {
                self.lapse();
            }
            return Fill::Room;
        }
        let most = if self.claim == Claim::Claimed {
            MAX_WEIGHT
        } else {
            UNCLAIMED_WEIGHT
        };
        if self.queue.len() < self.limit && self.weight < most {
            return Fill::Room;
        }
        if self.claim == Claim::Claimed {
            self.driver_waits = true;
            return Fill::Full;
        }
        self.lapse();
        Fill::Room
    }

    fn lapse(&mut self) {
        self.claim = Claim::Lapsed;
        self.queue = VecDeque::new();
        self.weight = 0;
    }
}

/// Bytes at which a mailbox is full, however few the events.
const MAX_WEIGHT: usize = 8 << 20;
/// Events and bytes an unclaimed job keeps.
const UNCLAIMED_LIMIT: usize = 256;
const UNCLAIMED_WEIGHT: usize = 256 << 10;
