//! Pieces of a session's stream, and what is in them.

use towline_wire::{EventSeq, Feature, FeatureSet, JobId, JobSeq};

/// What a record of a job's log is, as far as projecting it to a session has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A `job.event` every observer gets.
    Event = 0,
    /// A `progress` event: only for sessions with that feature [ARCP 6.2-4].
    Progress = 1,
    /// A `result_chunk` event: only for sessions with that feature [ARCP 6.2-4].
    ResultChunk = 2,
    /// A credential's rotation: only for sessions with that feature; its secret is not in the record [ARCP 9.8-3].
    Rotation = 3,
    /// The job's `job.result`, its last record.
    Result = 4,
    /// The job's `job.error`, its last record.
    Error = 5,
    /// What people are asked, answer, grant and say: only for sessions with that feature (chapter 15).
    Input = 6,
}

impl RecordKind {
    /// The kind from its number, for stores.
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0 => Self::Event,
            1 => Self::Progress,
            2 => Self::ResultChunk,
            3 => Self::Rotation,
            4 => Self::Result,
            5 => Self::Error,
            6 => Self::Input,
            _ => return None,
        })
    }

    /// Whether nothing of the job follows.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Result | Self::Error)
    }

    /// Whether a session with these features gets records of this kind [ARCP 6.2-4].
    pub const fn shows_with(self, features: FeatureSet) -> bool {
        match self {
            Self::Event | Self::Result | Self::Error => true,
            Self::Progress => features.has(Feature::Progress),
            Self::ResultChunk => features.has(Feature::ResultChunk),
            Self::Rotation => features.has(Feature::ProvisionedCredentials),
            Self::Input => features.has(Feature::Input),
        }
    }
}

/// How a session sees the records of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpanView {
    /// Whether the session sees the job as one without `result_chunk`: the terminal carries the result whole.
    pub assembled: bool,
    /// Whether the records came by a subscription with history, beside the live stream.
    pub replayed: bool,
}

/// A piece of a session's stream: consecutive records of one job under consecutive numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The first record's number in the session.
    pub first: EventSeq,
    /// The job.
    pub job: JobId,
    /// The first record's place in the job's log.
    pub from: JobSeq,
    /// How many records; never 0.
    pub count: u32,
    /// How they are shown.
    pub view: SpanView,
}

impl Span {
    /// The last record's number in the session.
    pub fn last(&self) -> EventSeq {
        EventSeq::new(self.first.value() + u64::from(self.count) - 1)
    }

    /// This span and `next` as one, when `next` goes on where this one ends.
    pub fn joined(&self, next: &Self) -> Option<Self> {
        let count = self.count_with(next)?;
        Some(Self {
            count,
            ..self.clone()
        })
    }

    /// Takes `next` in when it goes on where this one ends; `false`, and nothing is changed, when it does not.
    pub fn absorb(&mut self, next: &Self) -> bool {
        let count = self.count_with(next);
        self.count = count.unwrap_or(self.count);
        count.is_some()
    }

    fn count_with(&self, next: &Self) -> Option<u32> {
        let goes_on = self.view == next.view
            && next.first == self.last().next()
            && next.from == self.from.plus(u64::from(self.count))
            && self.job == next.job;
        self.count.checked_add(next.count).filter(|_| goes_on)
    }
}

/// Fits records of a job to a session: what the session's features leave out takes no number there [ARCP 6.2-4].
///
/// Gives the spans in order; the first begins with `next`. With every feature in effect that is one span, whatever the
/// number of records.
pub fn project(
    job: &JobId,
    from: JobSeq,
    kinds: &[RecordKind],
    features: FeatureSet,
    mut next: EventSeq,
    replayed: bool,
) -> Vec<Span> {
    let view = SpanView {
        assembled: !features.has(Feature::ResultChunk),
        replayed,
    };
    let span = |first, offset: usize, count: usize| Span {
        first,
        job: job.clone(),
        from: from.plus(offset as u64),
        count: u32::try_from(count).unwrap_or(u32::MAX),
        view,
    };
    if kinds.iter().all(|kind| kind.shows_with(features)) {
        return if kinds.is_empty() {
            Vec::new()
        } else {
            vec![span(next, 0, kinds.len())]
        };
    }
    let mut spans = Vec::new();
    let mut offset = 0;
    for run in kinds.chunk_by(|left, right| left.shows_with(features) == right.shows_with(features))
    {
        if run[0].shows_with(features) {
            spans.push(span(next, offset, run.len()));
            next = next.plus(run.len() as u64);
        }
        offset += run.len();
    }
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds() -> impl Strategy<Value = Vec<RecordKind>> {
        prop::collection::vec(
            (0u8..7).prop_map(|kind| RecordKind::from_u8(kind).unwrap()),
            0..40,
        )
    }

    proptest! {
        /// [ARCP 6.2-4] records of features not in effect are left out and take no number; the others keep their order.
        #[test]
        fn projection_is_a_filter_with_consecutive_numbers(kinds in kinds(), bits in any::<u16>(), next in 1u64..1000) {
            let features = FeatureSet::from_bits(bits);
            let job = JobId::parse("job_1").unwrap();
            let spans = project(&job, JobSeq::new(5), &kinds, features, EventSeq::new(next), false);
            let mut shown = Vec::new();
            let mut number = next;
            for span in &spans {
                prop_assert_eq!(span.first.value(), number);
                shown.extend((0..u64::from(span.count)).map(|at| span.from.value() + at));
                number += u64::from(span.count);
            }
            let expected: Vec<u64> = (5u64..).zip(&kinds).filter(|(_, kind)| kind.shows_with(features)).map(|(seq, _)| seq).collect();
            prop_assert_eq!(shown, expected);
        }
    }
}
