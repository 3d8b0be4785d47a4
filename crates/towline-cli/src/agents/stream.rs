//! `stream`: a streamed result of a known pattern that goes on over its pieces.

use serde::Deserialize;
use towline::{
    runtime::{AgentError, JobContext},
    wire::RawJson,
};

#[derive(Deserialize)]
pub(super) struct Input {
    chunks: u32,
    bytes: usize,
    #[serde(default)]
    binary: bool,
}

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<RawJson, AgentError> {
    let mut writer = ctx.stream_result()?;
    for chunk in 0..input.chunks {
        if input.binary {
            writer
                .write_bytes(&bytes(chunk as usize * input.bytes, input.bytes))
                .await?
        } else {
            writer.write_text(&"a".repeat(input.bytes)).await?
        }
    }
    writer.finish(None).await?;
    Ok(RawJson::NULL)
}

/// The bytes 0..=255 over and over, from a place of that sequence on.
fn bytes(from: usize, count: usize) -> Vec<u8> {
    (from..from + count).map(|at| (at % 256) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_goes_on_over_pieces() {
        assert_eq!(bytes(254, 4), [254, 255, 0, 1]);
    }
}
