//! `stream`: a streamed result of a known pattern that goes on over its pieces.

use serde::Deserialize;
use towline::{
    runtime::{AgentError, JobContext},
    wire::RawJson,
};

#[derive(Deserialize)]
pub(super) struct Input {
    chunks: u64,
    bytes: u64,
    #[serde(default)]
    binary: bool,
}

/// More pieces than this are nobody's test.
const MAX_CHUNKS: u64 = 1_000_000;

/// More bytes than this are no result: the runtime's own bound is below it.
const MAX_BYTES: u64 = 1024 * 1024 * 1024;

/// What is held in memory at once. As much as a chunk has at most, so that the chunks are those of one write.
const PIECE: usize = 256 * 1024;

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<RawJson, AgentError> {
    check(&input)?;
    let mut writer = ctx.stream_result()?;
    let mut text = String::new();
    let mut written = 0u64;
    for _ in 0..input.chunks {
        for piece in pieces(input.bytes) {
            if input.binary {
                writer.write_bytes(&bytes(written, piece)).await?;
            } else {
                if text.len() != piece {
                    text = "a".repeat(piece);
                }
                writer.write_text(&text).await?;
            }
            written += piece as u64;
        }
    }
    writer.finish(None).await?;
    Ok(RawJson::NULL)
}

/// Numbers of a stranger size no memory and no loop without a bound [ARCP 14-6].
fn check(input: &Input) -> Result<(), AgentError> {
    let refuse = |what: String| Err(AgentError::invalid_input(&what));
    if input.chunks > MAX_CHUNKS {
        return refuse(format!(
            "`chunks` is {}, at most {MAX_CHUNKS}",
            input.chunks
        ));
    }
    let total = input.bytes.checked_mul(input.chunks);
    if total.is_none_or(|total| total > MAX_BYTES) {
        return refuse(format!(
            "{} `chunks` of {} `bytes` are more than {MAX_BYTES} bytes; ask for fewer",
            input.chunks, input.bytes
        ));
    }
    Ok(())
}

/// The sizes of the pieces that so many bytes are written in.
fn pieces(bytes: u64) -> impl Iterator<Item = usize> {
    let mut left = bytes;
    std::iter::from_fn(move || {
        let piece = left.min(PIECE as u64);
        left -= piece;
        (piece > 0).then_some(piece as usize)
    })
}

/// The bytes 0..=255 over and over, from a place of that sequence on.
fn bytes(from: u64, count: usize) -> Vec<u8> {
    (0..count as u64)
        .map(|at| ((from + at) % 256) as u8)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_goes_on_over_pieces() {
        assert_eq!(bytes(254, 4), [254, 255, 0, 1]);
    }

    /// [ARCP 14-4, 14-6] no number asks for more memory than a piece has, and none runs for ever.
    #[test]
    fn numbers_size_no_memory() {
        let refusal = |chunks, bytes| {
            let binary = false;
            let checked = check(&Input {
                chunks,
                bytes,
                binary,
            });
            checked.err().map(|error| error.message().to_owned())
        };
        assert_eq!(refusal(2, 3), None);
        assert_eq!(refusal(1, MAX_BYTES), None);
        let huge = 1_000_000_000_000_000;
        for (chunks, bytes) in [(1, huge), (1, u64::MAX), (3, u64::MAX / 2), (2, MAX_BYTES)] {
            let message = refusal(chunks, bytes).expect("refused");
            assert!(message.contains(&bytes.to_string()), "{message}");
        }
        assert!(refusal(u64::MAX, 0).unwrap().contains("`chunks`"));
        let sizes: Vec<usize> = pieces(PIECE as u64 * 2 + 7).collect();
        assert_eq!(sizes, [PIECE, PIECE, 7]);
        assert_eq!(pieces(0).count(), 0);
    }
}
