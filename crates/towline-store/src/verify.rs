//! What makes a store whole, whichever store it is.

use std::{collections::HashMap, hash::BuildHasher};

use towline_wire::{EventSeq, JobSeq};

use crate::{RecordKind, Span, StoreStats, codec::Head};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The store's schema.
    pub schema: usize,
    /// How much was looked at.
    pub stats: StoreStats,
    /// What is wrong, one line each; at most a hundred.
    pub problems: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    /// Takes down what is wrong.
    pub fn note(&mut self, problem: String) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

/// A job as the walk over the blocks finds it.
#[derive(Debug)]
pub struct Log {
    /// The job's name.
    pub id: String,
    finished: bool,
    chunked: bool,
    /// The last record so far.
    pub last: JobSeq,
    ended: bool,
}

impl Log {
    /// A job before its first block: whether its state says that it is finished, and that a part of its result is out.
    pub fn new(id: String, finished: bool, chunked: bool) -> Self {
        Self {
            id,
            finished,
            chunked,
            last: JobSeq::ZERO,
            ended: false,
        }
    }

    /// Goes on with the job's next block.
    pub fn extend(&mut self, first: JobSeq, head: &Head, text: &[u8], report: &mut VerifyReport) {
        let (id, last) = (&self.id, self.last);
        if last > JobSeq::ZERO && first != last.next() {
            report.note(format!("{id}: record {last} is followed by {first}"));
        }
        if self.ended {
            report.note(format!("{id}: records follow the terminal one, {last}"));
        }
        if let Some(problem) = unreadable(head, text) {
            report.note(format!("{id}: the block at {first} {problem}"));
        }
        if !self.finished && !self.chunked && head.kinds.contains(&RecordKind::ResultChunk) {
            report.note(format!(
                "{id}: a part of its result is out, but its state does not say so"
            ));
        }
        self.last = JobSeq::new(first.value() + head.len() - 1);
        self.ended = head.ends_the_job();
    }

    /// Whether log and state end alike.
    pub fn verify_end(&self, report: &mut VerifyReport) {
        if self.finished == self.ended || self.last == JobSeq::ZERO {
            return;
        }
        let (state, end) = if self.finished {
            ("finished", "does not end")
        } else {
            ("live", "ends")
        };
        report.note(format!(
            "{} is {state}, but its log {end} with a terminal record",
            self.id
        ));
    }
}

/// What is wrong with a block's text.
fn unreadable(head: &Head, text: &[u8]) -> Option<String> {
    if head
        .ends
        .last()
        .is_none_or(|end| *end as usize != text.len())
    {
        return Some(format!(
            "has {} bytes and not those its head tells of",
            text.len()
        ));
    }
    if head.kinds[..head.kinds.len() - 1]
        .iter()
        .any(|kind| kind.is_terminal())
    {
        return Some("has a terminal record that is not the last".to_owned());
    }
    let mut start = 0;
    for (index, end) in head.ends.iter().enumerate() {
        let record = &text[start..*end as usize];
        if serde_json::from_slice::<serde::de::IgnoredAny>(record).is_err() {
            return Some(format!("holds a record, number {index}, that is not JSON"));
        }
        start = *end as usize;
    }
    None
}

/// A span goes on right after the one before and stays within the log it shows.
pub fn verify_span(
    session: &str,
    span: &Span,
    before: Option<EventSeq>,
    logs: &HashMap<String, JobSeq, impl BuildHasher>,
    report: &mut VerifyReport,
) {
    if before.is_some_and(|last| span.first != last.next()) {
        report.note(format!(
            "{session}: its stream has a gap or an overlap at {}",
            span.first
        ));
    }
    let last = span.from.value() + u64::from(span.count).saturating_sub(1);
    // A job that retention took leaves spans behind; reading them answers that they are gone.
    if logs
        .get(span.job.as_str())
        .is_some_and(|end| last > end.value())
    {
        report.note(format!(
            "{session}: the span at {} goes beyond the log of {}",
            span.first, span.job
        ));
    }
}

const MOST_PROBLEMS: usize = 100;
