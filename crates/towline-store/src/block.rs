//! A run of a job's records, as one commit wrote it.

use bytestring::ByteString;
use towline_proto::span::RecordKind;
use towline_wire::{JobId, JobSeq, RawJson};

/// Consecutive records of one job: payloads as they go on the wire, in one piece of text.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    job: JobId,
    first: JobSeq,
    kinds: Box<[RecordKind]>,
    /// Where each payload ends in `text`.
    ends: Box<[u32]>,
    text: ByteString,
}

impl Block {
    /// Puts a block together again from what a store kept; `None` when the parts do not fit together.
    pub fn from_parts(
        job: JobId,
        first: JobSeq,
        kinds: Box<[RecordKind]>,
        ends: Box<[u32]>,
        text: ByteString,
    ) -> Option<Self> {
        let ordered = ends.windows(2).all(|pair| pair[0] <= pair[1]);
        let on_boundaries = ends.iter().all(|end| text.is_char_boundary(*end as usize));
        let complete = ends.last().is_some_and(|end| *end as usize == text.len());
        let fits = ordered
            && on_boundaries
            && complete
            && kinds.len() == ends.len()
            && first >= JobSeq::FIRST;
        fits.then_some(Self {
            job,
            first,
            kinds,
            ends,
            text,
        })
    }

    /// Whose log.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// The first record's place.
    pub fn first(&self) -> JobSeq {
        self.first
    }

    /// The last record's place.
    pub fn last(&self) -> JobSeq {
        JobSeq::new(self.first.value() + self.kinds.len() as u64 - 1)
    }

    /// How many records; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a block is never empty")]
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// What each record is.
    pub fn kinds(&self) -> &[RecordKind] {
        &self.kinds
    }

    /// Where each payload ends in [`Block::text`].
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// All payloads, one after the other.
    pub fn text(&self) -> &ByteString {
        &self.text
    }

    /// One record's payload, sharing the block's memory; `None` when the block does not hold it.
    pub fn payload(&self, seq: JobSeq) -> Option<(RecordKind, RawJson)> {
        let index = usize::try_from(seq.value().checked_sub(self.first.value())?).ok()?;
        let end = *self.ends.get(index)? as usize;
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        let text = self.text.slice_ref(&self.text[start..end]);
        Some((self.kinds[index], RawJson::from_checked(text)))
    }
}

/// Gathers records until the next commit takes them.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    kinds: Vec<RecordKind>,
    ends: Vec<u32>,
    text: Vec<u8>,
    /// How many records and bytes the last block held: in a burst the next one holds about as many.
    last: (usize, usize),
}

impl BlockBuilder {
    /// Adds a record whose payload, one JSON object in UTF-8, `write` appends to the text. When `write` fails nothing is
    /// added.
    ///
    /// # Errors
    /// What `write` says.
    pub fn push_with<E>(
        &mut self,
        kind: RecordKind,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = self.text.len();
        if before == 0 {
            let (records, bytes) = self.last;
            self.kinds.reserve(records);
            self.ends.reserve(records);
            self.text.reserve(bytes);
        }
        if let Err(error) = write(&mut self.text) {
            self.text.truncate(before);
            return Err(error);
        }
        self.kinds.push(kind);
        // A builder is bounded far below 4 GiB by whoever fills it.
        self.ends
            .push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// How many records wait.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// How many bytes of payload wait.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }

    /// Takes what waits as a block that begins at `first`; `None` when nothing waits (or, which `push_with` rules out,
    /// when the text is not UTF-8).
    pub fn take(&mut self, job: &JobId, first: JobSeq) -> Option<Block> {
        if self.is_empty() {
            return None;
        }
        let fresh = Self {
            last: (self.len(), self.bytes().min(MOST_FORESEEN)),
            ..Self::default()
        };
        let Self {
            kinds, ends, text, ..
        } = std::mem::replace(self, fresh);
        let text = ByteString::try_from(text).ok()?;
        debug_assert_eq!(kinds.len(), ends.len(), "each record has its end");
        debug_assert!(
            ends.iter().all(|end| text.is_char_boundary(*end as usize)),
            "records end where a character does"
        );
        debug_assert_eq!(ends.last().map(|end| *end as usize), Some(text.len()));
        Some(Block {
            job: job.clone(),
            first,
            kinds: kinds.into(),
            ends: ends.into(),
            text,
        })
    }
}

/// One large record makes no room for another.
const MOST_FORESEEN: usize = 64 << 10;
