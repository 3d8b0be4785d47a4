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
    let filling = "x".repeat(input.bytes);
    for number in 1..=input.n {
        ctx.log("info", message(number, &filling)).await?;
    }
    Ok(Output { emitted: input.n })
}

/// A message as long as the filling, that begins with its number.
fn message(number: u64, filling: &str) -> String {
    let mut text = String::with_capacity(filling.len().max(20));
    text.push_str(&number.to_string());
    if text.len() < filling.len() {
        text.push(' ');
    }
    text.push_str(&filling[text.len().min(filling.len())..]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_begin_with_their_number_and_have_the_size() {
        assert_eq!(message(7, "xxxxxx"), "7 xxxx");
        assert_eq!(message(12, "xxx"), "12 ");
        assert_eq!(message(123, "x"), "123");
        assert_eq!(message(1, &"x".repeat(100)).len(), 100);
    }
}
