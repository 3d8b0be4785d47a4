//! Any document as a value, for those who need one.

use std::collections::BTreeMap;

use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::RawJson;

/// A document as a value, whatever stands in its [`RawJson`] members. Those are kept as peers wrote them, and a peer may write what
/// a [`Value`] cannot be: texts with half a surrogate pair, or nesting that takes more stack than there is. `json!` and
/// `serde_json::to_value` fail for these, the first by a panic. Here half a pair becomes U+FFFD, as in a text that was cut, and
/// what is nested over 200 levels deep stands as the text it was written as.
pub fn value_of(document: &impl Serialize) -> Value {
    let text = serde_json::to_string(document).unwrap_or_else(|_| "null".to_owned());
    value(&text, 0)
}

impl RawJson {
    /// The value, as [`value_of`] gives it.
    pub fn to_value(&self) -> Value {
        value(self.as_str(), 0)
    }
}

/// Nesting that is read in one go. Each level takes stack.
const DEEPEST: usize = 200;

/// How far down the members of something deeper are looked at one by one: documents of ours are no deeper than that.
const TAKEN_APART: usize = 3;

fn value(text: &str, level: usize) -> Value {
    if !is_deeper(text, DEEPEST) {
        let read = read(text).or_else(|| read(&whole_pairs(text)));
        return read.unwrap_or_else(|| text.into());
    }
    let below = |member: &RawJson| value(member.as_str(), level + 1);
    if level < TAKEN_APART {
        if let Ok(members) = serde_json::from_str::<BTreeMap<String, RawJson>>(text) {
            let members = members.iter();
            return members
                .map(|(name, member)| (name.clone(), below(member)))
                .collect();
        }
        if let Ok(items) = serde_json::from_str::<Vec<RawJson>>(text) {
            return items.iter().map(below).collect();
        }
    }
    text.into()
}

fn read(text: &str) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader.disable_recursion_limit();
    let value = Value::deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    Some(value)
}

/// Whether JSON has more levels of lists and objects than `most`.
pub fn is_deeper(json: &str, most: usize) -> bool {
    // Each level is opened and closed.
    if json.len() <= 2 * most {
        return false;
    }
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                if depth > most {
                    return true;
                }
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// JSON with each escape of half a surrogate pair replaced.
fn whole_pairs(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        whole.push_str(before);
        let length = match unit(escape) {
            // A short escape, or none that could be read.
            None => escape
                .char_indices()
                .nth(2)
                .map_or(escape.len(), |(end, _)| end),
            Some(0xD800..=0xDBFF) => match unit(escape.get(6..).unwrap_or_default()) {
                Some(0xDC00..=0xDFFF) => 12,
                _ => 0,
            },
            Some(0xDC00..=0xDFFF) => 0,
            Some(_) => 6,
        };
        if length == 0 {
            whole.push_str("\\ufffd");
            rest = escape.get(6..).unwrap_or_default();
        } else {
            let (kept, after) = escape.split_at(length);
            whole.push_str(kept);
            rest = after;
        }
    }
    whole + rest
}

/// The UTF-16 unit that a text begins with an escape of.
fn unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str::<RawJson>(text).unwrap().to_value()
    }

    /// [ARCP 14-4] Whatever a peer may write has a value: as it was written, with halves of pairs replaced.
    #[test]
    fn everything_has_a_value() {
        for (text, expected) in [
            (r#"{"a":[1,"b",null]}"#, json!({"a": [1, "b", null]})),
            (r#""\ud83d\ude00""#, json!("😀")),
            (r#""\ud83d""#, json!("\u{fffd}")),
            (
                r#"["a\ude00b\ud83dc","\\ud800"]"#,
                json!(["a\u{fffd}b\u{fffd}c", "\\ud800"]),
            ),
            (
                r#""\ud83d\ud83d\ude00\"\n\u0041""#,
                json!("\u{fffd}😀\"\nA"),
            ),
            (r#"{"\udc00":"é\\"}"#, json!({"\u{fffd}": "é\\"})),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
        assert_eq!(value("1e400").to_string(), "1e+400");
        let deep = |levels| format!("{}\"\\ud800\"{}", "[".repeat(levels), "]".repeat(levels));
        assert!(value(&deep(200)).is_array());
        let deepest = deep(1_000_000);
        let document = format!(r#"{{"events":[{{"body":{deepest}}},"x"],"last":1}}"#);
        let expected = json!({"events": [{"body": deepest}, "x"], "last": 1});
        assert_eq!(value(&document), expected);
    }
}
