//! A streamed result on its way out (§8.4).

use towline_wire::ResultId;

/// The largest piece we send, in decoded bytes; every known peer can read it.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// The largest piece we send over stdio, where one SDK reads lines of at most 64 KiB.
pub const STDIO_CHUNK_BYTES: usize = 32 * 1024;

/// The bounds of a streamed result, in decoded bytes [ARCP 8.4-3].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLimits {
    /// A piece.
    pub chunk: usize,
    /// All pieces together.
    pub total: u64,
}

impl Default for ChunkLimits {
    fn default() -> Self {
        Self {
            chunk: 1024 * 1024,
            total: 256 * 1024 * 1024,
        }
    }
}

/// Numbers the pieces of a job's result: in order from 0, nothing after the last [ARCP 8.4-1].
#[derive(Debug, Clone)]
pub struct ChunkCounter {
    result_id: ResultId,
    next: u64,
    total: u64,
    finished: bool,
    overflowed: bool,
    limits: ChunkLimits,
}

/// Why a piece cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The last piece has been sent.
    #[error("the streamed result is finished; nothing can follow its last chunk")]
    Finished,
    /// The piece is too big.
    #[error("a result chunk has at most {limit} bytes, this one has {size}")]
    ChunkTooBig {
        /// The piece's size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// All pieces together are too big.
    #[error("a streamed result has at most {limit} bytes in all")]
    ResultTooBig {
        /// The limit.
        limit: u64,
    },
}

impl ChunkCounter {
    /// A result without a piece.
    pub const fn new(result_id: ResultId, limits: ChunkLimits) -> Self {
        Self {
            result_id,
            next: 0,
            total: 0,
            finished: false,
            overflowed: false,
            limits,
        }
    }

    /// The stream's name.
    pub const fn result_id(&self) -> &ResultId {
        &self.result_id
    }

    /// Decoded bytes so far.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// Whether more was to be sent than may be. What was sent is then not the whole, and the job cannot succeed
    /// [ARCP 8.4-3].
    pub const fn has_overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether the last piece has been sent.
    pub const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Counts a piece of `size` decoded bytes and gives its number.
    ///
    /// # Errors
    /// [`ChunkError`]; the piece must not be sent then, and is not counted.
    pub fn add(&mut self, size: usize, more: bool) -> Result<u64, ChunkError> {
        if self.finished {
            return Err(ChunkError::Finished);
        }
        let total = self.total.saturating_add(size as u64);
        self.overflowed |= size > self.limits.chunk || total > self.limits.total;
        if size > self.limits.chunk {
            return Err(ChunkError::ChunkTooBig {
                size,
                limit: self.limits.chunk,
            });
        }
        if total > self.limits.total {
            return Err(ChunkError::ResultTooBig {
                limit: self.limits.total,
            });
        }
        let seq = self.next;
        self.next += 1;
        self.total = total;
        self.finished = !more;
        Ok(seq)
    }
}

/// The longest beginning of `text` of at most `limit` bytes that does not end inside a character [ARCP 8.4-2].
pub fn split_text(text: &str, limit: usize) -> (&str, &str) {
    let mut at = limit.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    // A limit below one character would never get on; a character has at most four bytes.
    if at == 0 && !text.is_empty() {
        at = text.chars().next().map_or(0, char::len_utf8);
    }
    text.split_at(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counter(chunk: usize, total: u64) -> ChunkCounter {
        ChunkCounter::new(
            ResultId::parse("res_1").unwrap(),
            ChunkLimits { chunk, total },
        )
    }

    /// [ARCP 8.4-1] chunks count from 0, the last may be empty, none follows it.
    #[test]
    fn chunks_count_from_zero_and_stop() {
        let mut chunks = counter(10, 100);
        assert_eq!(chunks.add(10, true), Ok(0));
        assert_eq!(chunks.add(3, true), Ok(1));
        assert_eq!(chunks.add(0, false), Ok(2));
        assert_eq!(chunks.add(0, false), Err(ChunkError::Finished));
        assert_eq!(chunks.total(), 13);
    }

    /// [ARCP 8.4-3] the caps on a chunk and on the whole.
    #[test]
    fn caps_hold() {
        let mut chunks = counter(10, 15);
        assert_eq!(
            chunks.add(11, true),
            Err(ChunkError::ChunkTooBig {
                size: 11,
                limit: 10
            })
        );
        assert!(chunks.has_overflowed());
        assert_eq!(chunks.add(10, true), Ok(0));
        assert_eq!(
            chunks.add(6, true),
            Err(ChunkError::ResultTooBig { limit: 15 })
        );
        assert_eq!(chunks.add(5, false), Ok(1));
    }

    proptest! {
        /// [ARCP 8.4-2] text is never split inside a code point, and no piece is lost.
        #[test]
        fn splitting_keeps_characters_whole(text in "\\PC*", limit in 1usize..20) {
            let (mut rest, mut joined) = (text.as_str(), String::new());
            while !rest.is_empty() {
                let (piece, tail) = split_text(rest, limit);
                prop_assert!(!piece.is_empty() && piece.len() <= limit.max(4));
                joined.push_str(piece);
                rest = tail;
            }
            prop_assert_eq!(joined, text);
        }
    }
}
