//! Packed forms: numbers in groups of seven bits, the lowest first. Files and tables have them: none ever changes its meaning.

use towline_wire::{EventSeq, JobId, JobSeq, JobStatus};

use crate::{Block, RecordKind, Span, SpanView};

/// Appends a number.
fn put(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

/// Reads what `put` wrote.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// From the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next number; `None` when there is none.
    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}

/// A block's kinds and lengths: one number for each record, its length and in the lowest three bits its kind.
pub fn put_head(buffer: &mut Vec<u8>, block: &Block) {
    let mut before = 0;
    for (kind, end) in block.kinds().iter().zip(block.ends()) {
        put(buffer, u64::from(end - before) << 3 | *kind as u64);
        before = *end;
    }
}

/// A head, read.
#[derive(Debug)]
pub struct Head {
    /// What each record is.
    pub kinds: Vec<RecordKind>,
    /// Where each payload ends in the text.
    pub ends: Vec<u32>,
}

impl Head {
    /// Reads what [`put_head`] wrote; `None` when it cannot have.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut head = Self {
            kinds: Vec::with_capacity(bytes.len() / 2),
            ends: Vec::with_capacity(bytes.len() / 2),
        };
        let mut end: u32 = 0;
        let mut reader = Reader(bytes);
        while !reader.is_empty() {
            let packed = reader.number()?;
            end = end.checked_add(u32::try_from(packed >> 3).ok()?)?;
            head.kinds.push(RecordKind::from_u8(packed as u8 & 7)?);
            head.ends.push(end);
        }
        (!head.kinds.is_empty()).then_some(head)
    }

    /// How many records; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a head is never empty")]
    pub fn len(&self) -> u64 {
        self.kinds.len() as u64
    }

    /// Whether the last record is the job's terminal.
    pub fn ends_the_job(&self) -> bool {
        self.kinds.last().is_some_and(|kind| kind.is_terminal())
    }
}

/// A block from its row; `None` when the parts do not fit together.
pub fn block(job: &JobId, first: JobSeq, head: &[u8], text: Vec<u8>) -> Option<Block> {
    let head = Head::read(head)?;
    let text = bytestring::ByteString::try_from(text).ok()?;
    Block::from_parts(
        job.clone(),
        first,
        head.kinds.into(),
        head.ends.into(),
        text,
    )
}

/// A change of a stream, as it waits in a log until it is brought to its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamOp {
    /// More of it.
    Span(Span),
    /// It is needed up to here no more.
    Trim(EventSeq),
}

/// Appends a change of the stream of a session, which is known by its number here.
pub fn put_op(buffer: &mut Vec<u8>, session: i64, op: &StreamOp) {
    put(buffer, session.unsigned_abs());
    match op {
        StreamOp::Span(span) => {
            put(buffer, u64::from(span.count));
            put(buffer, span.first.value());
            put(buffer, span.from.value());
            put(buffer, u64::from(view_bits(span.view)));
            put(buffer, span.job.as_str().len() as u64);
            buffer.extend_from_slice(span.job.as_str().as_bytes());
        }
        // A span holds at least one record, so that a count of 0 is free to mean something else.
        StreamOp::Trim(up_to) => {
            put(buffer, 0);
            put(buffer, up_to.value());
        }
    }
}

/// Reads what [`put_op`] wrote.
pub fn read_op(reader: &mut Reader<'_>) -> Option<(i64, StreamOp)> {
    let session = i64::try_from(reader.number()?).ok()?;
    let count = u32::try_from(reader.number()?).ok()?;
    let first = EventSeq::new(reader.number()?);
    if count == 0 {
        return Some((session, StreamOp::Trim(first)));
    }
    let from = JobSeq::new(reader.number()?);
    let view = view_of(u8::try_from(reader.number()?).ok()?);
    let job = JobId::parse(reader.text()?).ok()?;
    Some((
        session,
        StreamOp::Span(Span {
            first,
            job,
            from,
            count,
            view,
        }),
    ))
}

/// A view as a number.
pub fn view_bits(view: SpanView) -> u8 {
    u8::from(view.assembled) | u8::from(view.replayed) << 1
}

/// The view of a number.
pub fn view_of(bits: u8) -> SpanView {
    SpanView {
        assembled: bits & 1 != 0,
        replayed: bits & 2 != 0,
    }
}

/// The number of a status. A number never changes its meaning.
pub const fn status_number(status: JobStatus) -> i64 {
    match status {
        JobStatus::Pending => 0,
        JobStatus::Running => 1,
        JobStatus::Success => 2,
        JobStatus::Error => 3,
        JobStatus::Cancelled => 4,
        JobStatus::TimedOut => 5,
    }
}

/// The status of a number.
pub fn status_of(number: i64) -> Option<JobStatus> {
    JobStatus::ALL
        .into_iter()
        .find(|status| status_number(*status) == number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::BlockBuilder;

    /// What is kept has these numbers.
    #[test]
    fn a_status_has_its_number_for_ever() {
        let pinned = [
            (JobStatus::Pending, 0),
            (JobStatus::Running, 1),
            (JobStatus::Success, 2),
            (JobStatus::Error, 3),
            (JobStatus::Cancelled, 4),
            (JobStatus::TimedOut, 5),
        ];
        assert_eq!(pinned.map(|(status, _)| status), JobStatus::ALL);
        for (status, number) in pinned {
            assert_eq!(status_number(status), number);
            assert_eq!(status_of(number), Some(status));
        }
        assert!(status_of(6).is_none() && status_of(-1).is_none());
    }

    proptest! {
        #[test]
        fn numbers_come_back(number: u64) {
            let mut buffer = Vec::new();
            put(&mut buffer, number);
            let mut reader = Reader::new(&buffer);
            prop_assert_eq!(reader.number(), Some(number));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn blocks_come_back(records in prop::collection::vec((0u8..6, "[a-zäß€]{0,300}"), 1..40), first in 1u64..1 << 50) {
            let job = JobId::minted("x");
            let mut builder = BlockBuilder::default();
            for (kind, text) in &records {
                let write = |buffer: &mut Vec<u8>| { buffer.extend_from_slice(text.as_bytes()); Ok::<_, ()>(()) };
                builder.push_with(RecordKind::from_u8(*kind).unwrap(), write).unwrap();
            }
            let written = builder.take(&job, JobSeq::new(first)).unwrap();
            let mut head = Vec::new();
            put_head(&mut head, &written);
            let read = block(&job, written.first(), &head, written.text().as_bytes().to_vec());
            prop_assert_eq!(read, Some(written));
        }

        #[test]
        fn stream_changes_come_back(session in 1i64.., count: u32, first in 0u64..1 << 53, bits in 0u8..4) {
            let op = match count {
                0 => StreamOp::Trim(EventSeq::new(first)),
                count => StreamOp::Span(Span {
                    first: EventSeq::new(first), job: JobId::minted("x"), from: JobSeq::new(first / 2), count, view: view_of(bits),
                }),
            };
            let mut buffer = Vec::new();
            put_op(&mut buffer, session, &op);
            prop_assert_eq!(read_op(&mut Reader::new(&buffer)), Some((session, op)));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = block(&JobId::minted("x"), JobSeq::FIRST, &bytes, bytes.clone());
            let mut reader = Reader::new(&bytes);
            while !reader.is_empty() && read_op(&mut reader).is_some() {}
        }
    }
}
