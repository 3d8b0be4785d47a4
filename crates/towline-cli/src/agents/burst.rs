//! `burst`: log lines of one size, as fast as it can.

use serde::{Deserialize, Serialize};
use towline::runtime::{AgentError, JobContext};

#[derive(Deserialize)]
pub(super) struct Input {
    n: u64,
    #[serde(default = "hundred")]
    bytes: usize,
}

fn hundred() -> usize {
    100
}

#[derive(Serialize)]
pub(super) struct Output {
    emitted: u64,
}

/// Larger messages would pass the limit of a frame.
const MAX_BYTES: usize = 512 * 1024;

pub(super) async fn run(ctx: JobContext, input: Input) -> Result<Output, AgentError> {
    if input.bytes > MAX_BYTES {
        return Err(AgentError::invalid_input(&format!(
            "`bytes` is {}, at most {MAX_BYTES}",
            input.bytes
        )));
    }
    for number in 1..=input.n {
        ctx.log("info", message(number, input.bytes)).await?;
    }
    Ok(Output { emitted: input.n })
}

/// A message of so many bytes that begins with its number.
fn message(number: u64, bytes: usize) -> String {
    let mut text = number.to_string();
    text.reserve(bytes.saturating_sub(text.len()));
    if text.len() < bytes {
        text.push(' ');
    }
    let missing = bytes.saturating_sub(text.len());
    text.push_str(&"x".repeat(missing));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_begin_with_their_number_and_have_the_size() {
        assert_eq!(message(7, 6), "7 xxxx");
        assert_eq!(message(12, 3), "12 ");
        assert_eq!(message(123, 1), "123");
        assert_eq!(message(1, 100).len(), 100);
    }
}
