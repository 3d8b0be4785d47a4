//! How a stream grows and is trimmed before it is brought to its place.

use std::collections::VecDeque;

use towline_wire::EventSeq;

use crate::{Span, codec::StreamOp};

/// A session's stream, as whoever writes it keeps it in memory: how it ends, and what of it is only in a log yet.
#[derive(Debug)]
pub struct Stream {
    /// The number the store knows the session by.
    pub key: i64,
    /// The last number given out.
    pub last: EventSeq,
    /// The last span, if it is still kept: the next one may join it.
    end: Option<Span>,
    /// Spans that are in the log alone; the first may be one that has its place, grown.
    pending: VecDeque<Span>,
    /// Spans in their place that end at or before this may go.
    trim: EventSeq,
}

impl Stream {
    /// A stream that ends with `last`, and with the span `end` where that is still kept.
    pub fn new(key: i64, last: EventSeq, end: Option<Span>) -> Self {
        Self {
            key,
            last,
            end,
            pending: VecDeque::new(),
            trim: EventSeq::ZERO,
        }
    }

    /// Takes a change.
    pub fn apply(&mut self, op: StreamOp) {
        match op {
            StreamOp::Span(span) => self.extend(span),
            StreamOp::Trim(up_to) => self.trim(up_to),
        }
    }

    fn extend(&mut self, span: Span) {
        self.last = span.last();
        let joined = self.end.as_ref().and_then(|end| end.joined(&span));
        let grown = joined.is_some();
        let span = joined.unwrap_or(span);
        self.end = Some(span.clone());
        match self.pending.back_mut() {
            Some(back) if grown => *back = span,
            _ => self.pending.push_back(span),
        }
    }

    fn trim(&mut self, up_to: EventSeq) {
        self.trim = self.trim.max(up_to);
        while self
            .pending
            .front()
            .is_some_and(|span| span.last() <= up_to)
        {
            self.pending.pop_front();
        }
        if self.end.as_ref().is_some_and(|end| end.last() <= up_to) {
            self.end = None;
        }
    }

    /// What is not in its place yet; from now on it counts as being there.
    pub fn take_unflushed(&mut self) -> Unflushed {
        Unflushed {
            trim: std::mem::take(&mut self.trim),
            spans: std::mem::take(&mut self.pending).into(),
        }
    }
}

/// What of a stream has to be brought to its place.
#[derive(Debug)]
pub struct Unflushed {
    /// Spans in their place that end at or before this go; nothing when it is 0.
    pub trim: EventSeq,
    /// Spans to write. The first may have its place already, with a smaller count.
    pub spans: Vec<Span>,
}
