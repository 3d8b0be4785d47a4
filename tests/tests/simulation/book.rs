//! What a client was told, frame by frame, checked as it comes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use towline_wire::{Envelope, EventSeq, JobId, JobSeq, MessageType, RawJson, SessionId, payload};

/// Everything one client sent and was sent, over all its connections and sessions.
///
/// Clones share it. It judges what no replay may ever change: the numbers on a connection are strictly +1 from the one
/// that was asked for, and a number of a session always stands for the same record.
#[derive(Clone)]
pub(crate) struct Book(Arc<Mutex<Inner>>);

struct Inner {
    started: Instant,
    pages: u64,
    events: BTreeMap<(SessionId, EventSeq), Record>,
    faults: Vec<String>,
    trace: String,
    /// Jobs and sessions by the order in which they were first seen: their ids depend on who asked first.
    names: HashMap<String, usize>,
}

/// A record of a job's log, as it was delivered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) job: JobId,
    pub(crate) job_seq: JobSeq,
    pub(crate) payload: RawJson,
}

impl Book {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            started: Instant::now(),
            pages: 0,
            events: BTreeMap::new(),
            faults: Vec::new(),
            trace: String::new(),
            names: HashMap::new(),
        })))
    }

    /// A page for one connection.
    pub(crate) fn page(&self) -> Page {
        let mut inner = self.0.lock();
        inner.pages += 1;
        Page {
            book: self.clone(),
            number: inner.pages,
            asked: EventSeq::ZERO,
            session: None,
            next: None,
        }
    }

    /// Notes something that must not be.
    pub(crate) fn fault(&self, fault: String) {
        self.0.lock().faults.push(fault);
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.0.lock().faults.clone()
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> u64 {
        self.0.lock().pages
    }

    pub(crate) fn records(&self) -> Vec<Record> {
        self.0.lock().events.values().cloned().collect()
    }

    /// What passed, a line a frame, without anything that another client's doings could change.
    pub(crate) fn trace(&self) -> String {
        self.0.lock().trace.clone()
    }
}

/// One connection's part of the book.
pub(crate) struct Page {
    book: Book,
    number: u64,
    asked: EventSeq,
    session: Option<SessionId>,
    /// The number that has to come next; `None` before the welcome.
    next: Option<EventSeq>,
}

impl Page {
    /// The client sent a frame.
    pub(crate) fn went(&mut self, envelope: &Envelope) {
        if envelope.kind == MessageType::SESSION_HELLO
            && let Ok(hello) = envelope.decode::<payload::Hello>()
        {
            self.asked = hello
                .resume
                .and_then(|resume| resume.last_event_seq)
                .unwrap_or_default();
        }
        self.write('>', envelope);
    }

    /// The client was sent a frame.
    pub(crate) fn came(&mut self, envelope: &Envelope) {
        self.write('<', envelope);
        if envelope.kind == MessageType::SESSION_WELCOME {
            self.session.clone_from(&envelope.session_id);
            self.next = Some(self.asked.next());
        }
        if let Some(seq) = envelope.event_seq {
            self.event(seq, envelope);
        }
    }

    fn event(&mut self, seq: EventSeq, envelope: &Envelope) {
        let number = self.number;
        let again = envelope.kind.is_terminal() && self.next.is_some_and(|next| seq < next);
        // Behind the acceptance of a repeated submit the end comes once more, under its old number [ARCP 7.2-1].
        if !again && self.next != Some(seq) {
            self.book.fault(format!(
                "connection {number}: event {seq} came instead of {:?}",
                self.next
            ));
        }
        if !again {
            self.next = Some(seq.next());
        }
        let (Some(session), Some(job), Some(job_seq)) =
            (&self.session, &envelope.job_id, envelope.job_seq)
        else {
            return self.book.fault(format!(
                "connection {number}: event {seq} names no job or place in it"
            ));
        };
        let record = Record {
            job: job.clone(),
            job_seq,
            payload: envelope.payload.clone(),
        };
        let mut inner = self.book.0.lock();
        let known = inner
            .events
            .entry((session.clone(), seq))
            .or_insert_with(|| record.clone());
        if *known != record {
            let fault =
                format!("connection {number}: event {seq} was {known:?} and is now {record:?}");
            inner.faults.push(fault);
        }
    }

    fn write(&self, direction: char, envelope: &Envelope) {
        let mut inner = self.book.0.lock();
        let at = inner.started.elapsed().as_micros();
        let job = envelope.job_id.as_ref().map(|job| inner.name(job.as_str()));
        let seqs = (
            envelope.event_seq.map(EventSeq::value),
            envelope.job_seq.map(JobSeq::value),
        );
        let (kind, number) = (&envelope.kind, self.number);
        // Writing to a string cannot fail.
        let _ = writeln!(
            inner.trace,
            "{at} {number}{direction} {kind} {job:?} {seqs:?}"
        );
    }
}

impl Inner {
    fn name(&mut self, id: &str) -> usize {
        let next = self.names.len();
        *self.names.entry(id.to_owned()).or_insert(next)
    }
}
