//! Packed forms: numbers in groups of seven bits, the lowest first.

use towline_wire::{EventSeq, JobId, JobSeq};

use crate::{Block, RecordKind, Span, SpanView};

/// Appends a number.
pub(super) fn put(buffer: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        buffer.push(number as u8 | 0x80);
        number >>= 7;
    }
    buffer.push(number as u8);
}

/// Reads what [`put`] wrote.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn number(&mut self) -> Option<u64> {
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
pub(super) fn put_head(buffer: &mut Vec<u8>, block: &Block) {
    let mut before = 0;
    for (kind, end) in block.kinds().iter().zip(block.ends()) {
        put(buffer, u64::from(end - before) << 3 | *kind as u64);
        before = *end;
    }
}

/// A head, read.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kinds: Vec<RecordKind>,
    pub(super) ends: Vec<u32>,
}

impl Head {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
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

    pub(super) fn len(&self) -> u64 {
        self.kinds.len() as u64
    }

    pub(super) fn ends_the_job(&self) -> bool {
        self.kinds.last().is_some_and(|kind| kind.is_terminal())
    }
}

/// A block from its row; `None` when the parts do not fit together.
pub(super) fn block(job: &JobId, first: JobSeq, head: &[u8], text: Vec<u8>) -> Option<Block> {
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

/// What `span_log` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StreamOp {
    Span(Span),
    Trim(EventSeq),
}

pub(super) fn put_op(buffer: &mut Vec<u8>, session: i64, op: &StreamOp) {
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

pub(super) fn read_op(reader: &mut Reader<'_>) -> Option<(i64, StreamOp)> {
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

pub(super) fn view_bits(view: SpanView) -> u8 {
    u8::from(view.assembled) | u8::from(view.replayed) << 1
}

pub(super) fn view_of(bits: u8) -> SpanView {
    SpanView {
        assembled: bits & 1 != 0,
        replayed: bits & 2 != 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::BlockBuilder;

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
