//! Putting a streamed result together (§8.4).

mod inlined;

use std::{collections::VecDeque, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use towline_wire::{
    ResultId,
    event::{ChunkEncoding, ResultChunk},
    payload::JobResult,
};

use crate::encoding::explain_base64;

pub use inlined::Inlined;

/// Checks the chunks of one job and gives back their bytes.
///
/// Hand every `result_chunk` of the job to [`Assembly::push`], in the order they came; each call gives the bytes of that
/// chunk. Then ask [`Assembly::finish`] with the job's `job.result`, which says whether the stream was whole. After an
/// error the assembly stays failed: `finish` repeats it [ARCP 8.4-4].
///
/// ```text
/// Empty ──chunk 0, more──▶ Open ──chunk n, !more──▶ Whole
///   └──chunk 0, !more──────────────────────────────▲
/// any ──a chunk that breaks a rule──▶ Failed
/// ```
///
/// All of it, `·` for "the same" (`next` and `last` have the number that belongs here, `skipped` has another, `other` names
/// another result):
///
/// ```text
///        │ next   last   skipped other
/// ───────┼──────────────────────────────
/// Empty  │ Open   Whole  Failed  Open
/// Open   │ ·      Whole  Failed  Failed
/// Whole  │ Failed Failed Failed  Failed
/// Failed │ ·      ·      ·       ·
/// ```
///
/// It keeps no bytes; who wants them in one piece keeps what `push` returns, or uses [`Collected`].
#[derive(Debug, Clone)]
pub struct Assembly {
    cap: u64,
    size: u64,
    progress: Progress,
}

#[derive(Debug, Clone)]
enum Progress {
    Empty,
    Open { id: ResultId, next: u64 },
    Whole { id: ResultId },
    Failed(AssemblyError),
}

/// Why a streamed result cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// A chunk is missing, doubled or out of order.
    #[error("result chunk {got} came where chunk {expected} belongs")]
    Order {
        /// The chunk that belongs here.
        expected: u64,
        /// The chunk that came.
        got: u64,
    },
    /// A job has one streamed result; this chunk, or the `job.result`, names another.
    #[error("the streamed result is `{expected}`, but `{got}` was named")]
    OtherResult {
        /// The result the first chunk named.
        expected: ResultId,
        /// The one named now.
        got: ResultId,
    },
    /// A chunk came after the one that said it was the last.
    #[error("result chunk {got} came after the last one")]
    AfterEnd {
        /// The chunk that came.
        got: u64,
    },
    /// The chunk says base64 and is not.
    #[error("result chunk {chunk} is not base64: {reason}")]
    Encoding {
        /// The chunk.
        chunk: u64,
        /// What does not fit.
        reason: String,
    },
    /// The result is larger than the reader allows.
    #[error("the streamed result is larger than {cap} bytes, raise the cap or write it to a file")]
    TooBig {
        /// The cap, in decoded bytes.
        cap: u64,
    },
    /// The job ended before the chunk that says it is the last.
    #[error(
        "the streamed result ends in the middle, after {size} bytes: its last chunk never came"
    )]
    MissingEnd {
        /// Decoded bytes that did come.
        size: u64,
    },
    /// The job names a streamed result of which no chunk came.
    #[error("no chunk of the streamed result `{result}` came")]
    NoChunks {
        /// The result the job names.
        result: ResultId,
    },
    /// The job says another size than its chunks have.
    #[error("the job says its result has {declared} bytes, its chunks have {received}")]
    Size {
        /// What `result_size` says.
        declared: u64,
        /// What came.
        received: u64,
    },
    /// A result is inline or streamed, never both [ARCP 8.4-2].
    #[error("the job has an inline result and a streamed one")]
    InlineToo,
}

/// How a job that ended well gave its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// In `job.result` itself.
    Inline,
    /// In chunks, and they were whole.
    Streamed {
        /// The result.
        id: ResultId,
        /// Its decoded bytes.
        size: u64,
    },
}

impl Assembly {
    /// An assembly that takes at most `cap` decoded bytes.
    pub const fn new(cap: u64) -> Self {
        Self {
            cap,
            size: 0,
            progress: Progress::Empty,
        }
    }

    /// Decoded bytes so far.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Takes the next chunk and gives its bytes.
    ///
    /// # Errors
    /// [`AssemblyError`] when the chunk breaks a rule, and for every chunk after one that did.
    pub fn push(&mut self, chunk: ResultChunk) -> Result<Bytes, AssemblyError> {
        let taken = self.take(chunk);
        if let Err(cause) = &taken {
            self.progress = Progress::Failed(cause.clone());
        }
        taken
    }

    fn take(&mut self, chunk: ResultChunk) -> Result<Bytes, AssemblyError> {
        let expected = match &self.progress {
            Progress::Empty => 0,
            Progress::Open { id, .. } | Progress::Whole { id } if *id != chunk.result_id => {
                return Err(AssemblyError::OtherResult {
                    expected: id.clone(),
                    got: chunk.result_id,
                });
            }
            Progress::Open { next, .. } => *next,
            Progress::Whole { .. } => {
                return Err(AssemblyError::AfterEnd {
                    got: chunk.chunk_seq,
                });
            }
            Progress::Failed(cause) => return Err(cause.clone()),
        };
        if chunk.chunk_seq != expected {
            return Err(AssemblyError::Order {
                expected,
                got: chunk.chunk_seq,
            });
        }
        let bytes = self.decode(chunk.encoding, chunk.data, expected)?;
        self.size += bytes.len() as u64;
        self.progress = if chunk.more {
            Progress::Open {
                id: chunk.result_id,
                next: expected + 1,
            }
        } else {
            Progress::Whole {
                id: chunk.result_id,
            }
        };
        Ok(bytes)
    }

    /// Refuses what is above the cap before it is decoded, so that a peer cannot make us hold more.
    fn decode(
        &self,
        encoding: ChunkEncoding,
        data: String,
        chunk: u64,
    ) -> Result<Bytes, AssemblyError> {
        let room = self.cap.saturating_sub(self.size);
        let least = match encoding {
            ChunkEncoding::Utf8 => data.len(),
            ChunkEncoding::Base64 => (data.len() / 4).saturating_sub(1) * 3,
        };
        let too_big = AssemblyError::TooBig { cap: self.cap };
        if least as u64 > room {
            return Err(too_big);
        }
        let bytes = match encoding {
            ChunkEncoding::Utf8 => Bytes::from(data),
            ChunkEncoding::Base64 => STANDARD
                .decode(data.as_bytes())
                .map_err(|cause| AssemblyError::Encoding {
                    chunk,
                    reason: explain_base64(&cause),
                })?
                .into(),
        };
        if bytes.len() as u64 > room {
            Err(too_big)
        } else {
            Ok(bytes)
        }
    }

    /// Judges the whole, given the job's `job.result`. A missing `result_id` or `result_size` is not held against a
    /// stream that was whole.
    ///
    /// # Errors
    /// [`AssemblyError`] when a chunk broke a rule, or the chunks and `result` do not agree.
    pub fn finish(&self, result: &JobResult) -> Result<Delivery, AssemblyError> {
        let id = match &self.progress {
            Progress::Failed(cause) => return Err(cause.clone()),
            Progress::Empty => {
                return match &result.result_id {
                    Some(id) => Err(AssemblyError::NoChunks { result: id.clone() }),
                    None => Ok(Delivery::Inline),
                };
            }
            Progress::Open { .. } => return Err(AssemblyError::MissingEnd { size: self.size }),
            Progress::Whole { id } => id,
        };
        if result
            .result
            .as_ref()
            .is_some_and(|inline| !inline.is_null())
        {
            return Err(AssemblyError::InlineToo);
        }
        if let Some(other) = result.result_id.as_ref().filter(|other| *other != id) {
            return Err(AssemblyError::OtherResult {
                expected: id.clone(),
                got: other.clone(),
            });
        }
        match result.result_size {
            Some(declared) if declared != self.size => Err(AssemblyError::Size {
                declared,
                received: self.size,
            }),
            _ => Ok(Delivery::Streamed {
                id: id.clone(),
                size: self.size,
            }),
        }
    }
}

/// An [`Assembly`] that keeps the bytes until they are taken, piece by piece or all at once.
#[derive(Clone)]
pub struct Collected {
    assembly: Assembly,
    pieces: VecDeque<Bytes>,
}

impl Collected {
    /// A collection of at most `cap` decoded bytes, taken ones included.
    pub const fn new(cap: u64) -> Self {
        Self {
            assembly: Assembly::new(cap),
            pieces: VecDeque::new(),
        }
    }

    /// Another cap for what comes from here on.
    pub const fn set_cap(&mut self, cap: u64) {
        self.assembly.cap = cap;
    }

    /// Takes the next chunk. What was collected is let go when a chunk breaks a rule.
    ///
    /// # Errors
    /// As [`Assembly::push`].
    pub fn push(&mut self, chunk: ResultChunk) -> Result<(), AssemblyError> {
        let taken = self.assembly.push(chunk);
        match taken {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => self.pieces.push_back(bytes),
            Err(cause) => {
                self.pieces = VecDeque::new();
                return Err(cause);
            }
        }
        Ok(())
    }

    /// Fails the result as too big, for a reader that gave up before it had decoded it.
    pub fn fail_too_big(&mut self) {
        self.pieces = VecDeque::new();
        self.assembly.progress = Progress::Failed(AssemblyError::TooBig {
            cap: self.assembly.cap,
        });
    }

    /// Takes the oldest piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.pieces.pop_front()
    }

    /// What broke the stream, if something did.
    pub const fn failure(&self) -> Option<&AssemblyError> {
        match &self.assembly.progress {
            Progress::Failed(cause) => Some(cause),
            _ => None,
        }
    }

    /// The delivery, and the bytes of the pieces not yet taken.
    ///
    /// # Errors
    /// As [`Assembly::finish`].
    pub fn finish(&mut self, result: &JobResult) -> Result<(Delivery, Bytes), AssemblyError> {
        let delivery = self.assembly.finish(result)?;
        let mut pieces = std::mem::take(&mut self.pieces);
        let bytes = match pieces.len() {
            1 => pieces.pop_front().unwrap_or_default(),
            _ => Vec::from(pieces).concat().into(),
        };
        Ok((delivery, bytes))
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected")
            .field("assembly", &self.assembly)
            .field("pieces", &self.pieces.len())
            .finish()
    }
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests {
    use super::{
        samples::{binary, chunk, ended},
        *,
    };

    fn outcome(chunks: Vec<ResultChunk>, end: &str) -> Result<(Delivery, Bytes), AssemblyError> {
        let mut collected = Collected::new(16);
        for chunk in chunks {
            // The error comes again from `finish`.
            let _ = collected.push(chunk);
        }
        collected.finish(&ended(end))
    }

    /// In order from 0, one id, `more:false` on the last, an empty last chunk allowed, sizes in decoded bytes.
    #[test]
    fn whole_streams_give_their_bytes() {
        let (delivery, bytes) = outcome(
            vec![
                chunk("res_1", 0, "é", true),
                binary(1, "AAEC", true),
                chunk("res_1", 2, "", false),
            ],
            r#"{"final_status":"success","result_id":"res_1","result_size":5}"#,
        )
        .unwrap();
        assert_eq!(
            delivery,
            Delivery::Streamed {
                id: ResultId::parse("res_1").unwrap(),
                size: 5
            }
        );
        assert_eq!(&bytes[..], b"\xc3\xa9\x00\x01\x02");
        assert_eq!(
            outcome(vec![], r#"{"result":{"a":1}}"#).unwrap().0,
            Delivery::Inline
        );
        assert!(
            outcome(
                vec![chunk("res_1", 0, "", false)],
                r#"{"result_id":"res_1","result_size":0}"#
            )
            .is_ok()
        );
    }

    /// [ARCP 8.4-4] wrong order, another `result_id`, a missing end and the cap are typed errors.
    #[test]
    fn broken_streams_say_what_broke() {
        let id = |text| ResultId::parse(text).unwrap();
        let whole = || vec![chunk("res_1", 0, "abc", false)];
        let table = [
            (
                vec![chunk("res_1", 1, "b", true)],
                "{}",
                AssemblyError::Order {
                    expected: 0,
                    got: 1,
                },
            ),
            (
                vec![chunk("res_1", 0, "a", true), chunk("res_1", 0, "a", true)],
                "{}",
                AssemblyError::Order {
                    expected: 1,
                    got: 0,
                },
            ),
            (
                vec![chunk("res_1", 0, "a", true), chunk("res_2", 1, "b", false)],
                "{}",
                AssemblyError::OtherResult {
                    expected: id("res_1"),
                    got: id("res_2"),
                },
            ),
            (
                vec![chunk("res_1", 0, "a", false), chunk("res_1", 1, "b", false)],
                "{}",
                AssemblyError::AfterEnd { got: 1 },
            ),
            (
                vec![chunk("res_1", 0, "a", true)],
                "{}",
                AssemblyError::MissingEnd { size: 1 },
            ),
            (
                vec![],
                r#"{"result_id":"res_9"}"#,
                AssemblyError::NoChunks {
                    result: id("res_9"),
                },
            ),
            (
                whole(),
                r#"{"result_size":4}"#,
                AssemblyError::Size {
                    declared: 4,
                    received: 3,
                },
            ),
            (
                whole(),
                r#"{"result_id":"res_2"}"#,
                AssemblyError::OtherResult {
                    expected: id("res_1"),
                    got: id("res_2"),
                },
            ),
            (
                vec![chunk("res_1", 0, "12345678901234567", false)],
                "{}",
                AssemblyError::TooBig { cap: 16 },
            ),
            (
                vec![binary(0, "AAAAAAAAAAAAAAAAAAAAAAAA", false)],
                "{}",
                AssemblyError::TooBig { cap: 16 },
            ),
        ];
        for (chunks, end, expected) in table {
            assert_eq!(outcome(chunks, end), Err(expected));
        }
        let garbled = outcome(vec![binary(0, "A*AA", false)], "{}").unwrap_err();
        assert!(
            matches!(garbled, AssemblyError::Encoding { chunk: 0, .. }),
            "{garbled}"
        );
        assert!(
            garbled.to_string().contains("`*` as character 2"),
            "{garbled}"
        );
    }

    /// Never both an inline result and chunks; `null` beside chunks is no result.
    #[test]
    fn inline_beside_chunks_is_refused() {
        let both = outcome(
            vec![chunk("res_1", 0, "a", false)],
            r#"{"result":1,"result_id":"res_1"}"#,
        );
        assert_eq!(both, Err(AssemblyError::InlineToo));
        assert!(
            outcome(
                vec![chunk("res_1", 0, "a", false)],
                r#"{"result":null,"result_id":"res_1"}"#
            )
            .is_ok()
        );
    }

    #[test]
    fn a_failed_assembly_stays_failed() {
        let mut assembly = Assembly::new(16);
        assembly.push(chunk("res_1", 3, "a", true)).unwrap_err();
        let again = assembly.push(chunk("res_1", 0, "a", false));
        assert_eq!(
            again,
            Err(AssemblyError::Order {
                expected: 0,
                got: 3
            })
        );
    }

    /// [ARCP 8.4-1] the assembly does what is drawn above it: every chunk in every phase.
    #[test]
    fn the_assembly_is_as_drawn() {
        crate::drawing::walk(include_str!("assembly.rs"), |phase, event| {
            let mut assembly = Assembly::new(16);
            let way: &[&str] = match phase {
                "Empty" => &[],
                "Open" => &["next"],
                "Whole" => &["next", "last"],
                "Failed" => &["skipped"],
                other => panic!("{other} is no phase"),
            };
            for (at, event) in (0..).zip(way.iter().chain([&event])) {
                let piece = match *event {
                    "next" => chunk("res_1", at, "a", true),
                    "last" => chunk("res_1", at, "a", false),
                    "skipped" => chunk("res_1", at + 1, "a", true),
                    "other" => chunk("res_2", at, "a", true),
                    other => panic!("{other} is no event"),
                };
                drop(assembly.push(piece));
            }
            let reached = match assembly.progress {
                Progress::Empty => "Empty",
                Progress::Open { .. } => "Open",
                Progress::Whole { .. } => "Whole",
                Progress::Failed(_) => "Failed",
            };
            reached.to_owned()
        });
    }
}
