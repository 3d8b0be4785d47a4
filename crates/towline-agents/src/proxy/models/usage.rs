//! What an answer says that it used.

use serde::Deserialize;
use serde_json::Value;

/// The tokens of one call, each counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usage {
    /// Read, and neither of the next two.
    pub(super) input: u64,
    /// Read before.
    pub(super) cached: u64,
    /// Read, and kept to be read again.
    pub(super) written: u64,
    /// Written.
    pub(super) output: u64,
}

/// More tokens no call has; with no more, no cost is ever rounded.
const MOST: u64 = 10_000_000_000;

/// How an answer names what it used, and how a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// OpenAI's chat completions, completions and embeddings.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

/// The `usage` of an answer, by all names it has: where a field is absent, null or no count of tokens, it is unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    input: Option<u64>,
    cached: Option<u64>,
    written: Option<u64>,
    output: Option<u64>,
}

impl Seen {
    /// Reads the `usage` of an answer, or of an event of a stream.
    fn read(usage: &Value) -> Self {
        let at = |path: &[&str]| {
            let found = path.iter().try_fold(usage, |value, name| value.get(name));
            found.and_then(count)
        };
        Self {
            input: at(&["prompt_tokens"]).or_else(|| at(&["input_tokens"])),
            cached: at(&["prompt_tokens_details", "cached_tokens"])
                .or_else(|| at(&["input_tokens_details", "cached_tokens"]))
                .or_else(|| at(&["cache_read_input_tokens"])),
            written: at(&["cache_creation_input_tokens"]),
            output: at(&["completion_tokens"]).or_else(|| at(&["output_tokens"])),
        }
    }

    /// Takes what is said later, which counts from the start and not from what was said before.
    fn and_later(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            cached: later.cached.or(self.cached),
            written: later.written.or(self.written),
            output: later.output.or(self.output),
        }
    }

    /// What was used, where all of it is known: an answer without output (embeddings) names none.
    fn whole(self, shape: Shape, without_output: bool) -> Option<Usage> {
        let output = self.output.or(without_output.then_some(0))?;
        Some(self.with(shape, self.input?, output))
    }

    fn with(self, shape: Shape, input: u64, output: u64) -> Usage {
        let (cached, written) = (self.cached.unwrap_or(0), self.written.unwrap_or(0));
        // OpenAI counts what was read before among the input, Anthropic beside it.
        let (input, cached) = match shape {
            Shape::Messages => (input, cached),
            Shape::Chat | Shape::Responses => {
                let cached = cached.min(input);
                (input - cached, cached)
            }
        };
        Usage {
            input,
            cached,
            written,
            output,
        }
    }

    /// What has to be taken for used when an answer broke off: what was seen of it, else the most that may have been.
    pub(super) fn broken_off(self, shape: Shape, most: Most) -> Usage {
        let output = self.output.unwrap_or(0).max(most.output);
        self.with(shape, self.input.unwrap_or(most.input), output)
    }
}

/// What a call may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Most {
    pub(super) input: u64,
    pub(super) output: u64,
}

/// A count of tokens: whole, not negative, not absurd. Some upstreams write `12.0`.
pub(super) fn count(value: &Value) -> Option<u64> {
    let number = value.as_number()?.as_str();
    let whole = match number.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
        Some(_) => return None,
        None => number,
    };
    whole.parse().ok().filter(|count| *count <= MOST)
}

/// What a whole answer used; `Err` is what was seen of it.
pub(super) fn of_answer(shape: Shape, body: &[u8], without_output: bool) -> Result<Usage, Seen> {
    #[derive(Deserialize)]
    struct Answer {
        usage: Value,
    }
    let seen = serde_json::from_slice(body)
        .map(|Answer { usage }| Seen::read(&usage))
        .unwrap_or_default();
    seen.whole(shape, without_output).ok_or(seen)
}

/// Reads along with a stream.
#[derive(Debug)]
pub(super) struct Meter {
    shape: Shape,
    seen: Seen,
    /// Whether all of it was said that will be.
    complete: bool,
}

/// What an event of a stream was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Something on the way.
    More,
    /// What was used, and nothing but that: an event that is there because usage was asked for.
    UsageAlone,
    /// The last that matters.
    End,
}

impl Meter {
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            seen: Seen::default(),
            complete: false,
        }
    }

    /// What was used, when nothing more comes; `Err` is what was seen of it before it broke off.
    pub(super) fn finish(&self) -> Result<Usage, Seen> {
        let whole = self.seen.whole(self.shape, false);
        whole.filter(|_| self.complete).ok_or(self.seen)
    }

    /// Takes the data of one event.
    pub(super) fn hear(&mut self, data: &[u8]) -> Heard {
        if data.trim_ascii() == b"[DONE]" {
            self.complete = true;
            return Heard::End;
        }
        // Most events are pieces of text, which need no look at what is in them.
        if !mentions(data, b"usage") && !mentions(data, b"_stop") {
            return Heard::More;
        }
        let Ok(event) = serde_json::from_slice::<Value>(data) else {
            return Heard::More;
        };
        let kind = event.get("type").and_then(Value::as_str).unwrap_or("");
        let usage = match self.shape {
            Shape::Chat => event.get("usage"),
            Shape::Responses => event.get("response").and_then(|event| event.get("usage")),
            Shape::Messages => event
                .get("message")
                .and_then(|message| message.get("usage"))
                .or_else(|| event.get("usage")),
        };
        let usage = usage.filter(|usage| usage.is_object());
        if let Some(usage) = usage {
            self.seen = self.seen.and_later(Seen::read(usage));
        }
        let ends = match self.shape {
            Shape::Chat => {
                let choices = event.get("choices").and_then(Value::as_array);
                if usage.is_some() && choices.is_some_and(Vec::is_empty) {
                    self.complete = true;
                    return Heard::UsageAlone;
                }
                false
            }
            Shape::Responses => ENDS.contains(&kind),
            Shape::Messages => kind == "message_stop",
        };
        if !ends {
            return Heard::More;
        }
        self.complete = true;
        Heard::End
    }
}

/// The last events of OpenAI's responses.
const ENDS: [&str; 3] = [
    "response.completed",
    "response.incomplete",
    "response.failed",
];

fn mentions(data: &[u8], word: &[u8]) -> bool {
    memchr::memmem::find(data, word).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn usage(input: u64, cached: u64, written: u64, output: u64) -> Usage {
        Usage {
            input,
            cached,
            written,
            output,
        }
    }

    use Shape::{Chat, Messages, Responses};

    const ANSWERS: [(Shape, &str, Option<Usage>); 15] = [
        (
            Chat,
            r#"{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}"#,
            Some(usage(7, 0, 0, 3)),
        ),
        (
            Chat,
            r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":5}}"#,
            Some(usage(2, 5, 0, 3)),
        ),
        (
            Chat,
            r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":50}}"#,
            Some(usage(0, 7, 0, 3)),
        ),
        (
            Chat,
            r#"{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":null}"#,
            Some(usage(7, 0, 0, 3)),
        ),
        (
            Responses,
            r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":2}"#,
            Some(usage(5, 4, 0, 2)),
        ),
        (
            Messages,
            r#"{"input_tokens":9,"cache_read_input_tokens":100,"cache_creation_input_tokens":20,"output_tokens":2}"#,
            Some(usage(9, 100, 20, 2)),
        ),
        (
            Messages,
            r#"{"input_tokens":9.0,"cache_read_input_tokens":null,"output_tokens":2}"#,
            Some(usage(9, 0, 0, 2)),
        ),
        (Chat, r#"{"prompt_tokens":7}"#, None),
        (Chat, r#"{"prompt_tokens":-7,"completion_tokens":3}"#, None),
        (Chat, r#"{"prompt_tokens":7.5,"completion_tokens":3}"#, None),
        (Chat, r#"{"prompt_tokens":"7","completion_tokens":3}"#, None),
        (
            Chat,
            r#"{"prompt_tokens":1e300,"completion_tokens":3}"#,
            None,
        ),
        (
            Chat,
            r#"{"prompt_tokens":99999999999999999999,"completion_tokens":3}"#,
            None,
        ),
        (Chat, "null", None),
        (Chat, "[]", None),
    ];

    /// [ARCP 18-3] Every name that a count has; and a count that is none is not taken for zero.
    #[test]
    fn answers_say_what_they_used() {
        for (shape, text, expected) in ANSWERS {
            let body = format!(r#"{{"id":"x","usage":{text}}}"#);
            assert_eq!(
                of_answer(shape, body.as_bytes(), false).ok(),
                expected,
                "{text}"
            );
        }
        let embedded = br#"{"usage":{"prompt_tokens":7,"total_tokens":7}}"#;
        assert_eq!(
            of_answer(Shape::Chat, embedded, true),
            Ok(usage(7, 0, 0, 0))
        );
        assert!(of_answer(Shape::Chat, embedded, false).is_err());
        assert!(of_answer(Shape::Chat, b"not json", false).is_err());
    }

    #[test]
    fn streams_say_it_on_the_way() {
        let mut chat = Meter::new(Shape::Chat);
        let text = br#"{"choices":[{"delta":{"content":"the usage"}}],"usage":null}"#;
        assert_eq!(chat.hear(text), Heard::More);
        let alone = br#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#;
        assert!(chat.finish().is_err());
        assert_eq!(chat.hear(alone), Heard::UsageAlone);
        assert_eq!(chat.finish(), Ok(usage(7, 0, 0, 3)));
        assert_eq!(chat.hear(b"[DONE]"), Heard::End);
        let mut silent = Meter::new(Shape::Chat);
        assert_eq!(silent.hear(b"[DONE]"), Heard::End);
        assert!(silent.finish().is_err());

        let mut messages = Meter::new(Shape::Messages);
        let start = br#"{"type":"message_start","message":{"usage":{"input_tokens":25,"cache_read_input_tokens":4,"output_tokens":1}}}"#;
        assert_eq!(messages.hear(start), Heard::More);
        let delta = br#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}"#;
        assert_eq!(messages.hear(delta), Heard::More);
        assert!(messages.finish().is_err());
        let stop = br#"{"type":"message_stop"}"#;
        assert_eq!(messages.hear(stop), Heard::End);
        assert_eq!(messages.finish(), Ok(usage(25, 4, 0, 15)));

        let mut responses = Meter::new(Shape::Responses);
        let done = br#"{"type":"response.completed","response":{"usage":{"input_tokens":9,"output_tokens":2}}}"#;
        assert_eq!(responses.hear(done), Heard::End);
        assert_eq!(responses.finish(), Ok(usage(9, 0, 0, 2)));
    }

    /// [ARCP 18-3] A stream that was cut is charged by what was seen, and the longest that may have been.
    #[test]
    fn what_broke_off_is_taken_for_the_most() {
        let most = Most {
            input: 300,
            output: 100,
        };
        let mut messages = Meter::new(Shape::Messages);
        assert_eq!(
            messages
                .finish()
                .unwrap_err()
                .broken_off(Shape::Messages, most),
            usage(300, 0, 0, 100)
        );
        let start = br#"{"type":"message_start","message":{"usage":{"input_tokens":25,"output_tokens":1}}}"#;
        messages.hear(start);
        assert_eq!(
            messages
                .finish()
                .unwrap_err()
                .broken_off(Shape::Messages, most),
            usage(25, 0, 0, 100)
        );
    }
}
