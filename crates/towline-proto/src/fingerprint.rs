//! Whether two submits ask for the same (§7.2).

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use towline_wire::RawJson;

/// The SHA-256 of a submit's parameters in canonical form: two payloads that are the same JSON value have the same
/// fingerprint, however their keys are ordered and their numbers spelled [ARCP 7.2-2].
///
/// `null` fields and an empty `lease_request` count as absent. The key itself does not take part.
///
/// # Errors
/// When the payload is not a JSON object; an accepted submit's always is.
pub fn of_submit(payload: &RawJson) -> Result<[u8; 32], serde_json::Error> {
    let mut fields: Map<String, Value> = payload.read()?;
    fields.remove("idempotency_key");
    fields.retain(|name, value| {
        let empty_lease = name == "lease_request" && value.as_object().is_some_and(Map::is_empty);
        !value.is_null() && !empty_lease
    });
    let mut hasher = Sha256::new();
    feed_object(&mut hasher, &fields);
    Ok(hasher.finalize().into())
}

/// Feeds a value so that different values feed different bytes: every piece begins with its kind and its length.
fn feed(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(value) => hasher.update(if *value { b"t" } else { b"f" }),
        Value::Number(number) => feed_text(hasher, b'd', &canonical_number(number)),
        Value::String(text) => feed_text(hasher, b's', text),
        Value::Array(items) => {
            feed_length(hasher, b'a', items.len());
            items.iter().for_each(|item| feed(hasher, item));
        }
        Value::Object(fields) => feed_object(hasher, fields),
    }
}

fn feed_object(hasher: &mut Sha256, fields: &Map<String, Value>) {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_unstable();
    feed_length(hasher, b'o', names.len());
    for name in names {
        feed_text(hasher, b'k', name);
        feed(hasher, &fields[name]);
    }
}

fn feed_text(hasher: &mut Sha256, kind: u8, text: &str) {
    feed_length(hasher, kind, text.len());
    hasher.update(text);
}

fn feed_length(hasher: &mut Sha256, kind: u8, length: usize) {
    hasher.update([kind]);
    hasher.update((length as u64).to_le_bytes());
}

/// The number as digits and an exponent without superfluous zeros: `1.50`, `15e-1` and `0.15e1` are one number.
fn canonical_number(number: &Number) -> String {
    let text = number.to_string();
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>()),
        None => (text.as_str(), Ok(0)),
    };
    // An exponent beyond 64 bits is no number anybody means; its spelling stands for itself.
    let Ok(exponent) = exponent else { return text };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_end_matches('0');
    let significant = trimmed.trim_start_matches('0');
    if significant.is_empty() {
        return "0".to_owned();
    }
    let dropped = digits.len() - trimmed.len();
    let exponent = exponent
        .saturating_sub(fraction.len() as i64)
        .saturating_add(dropped as i64);
    format!("{sign}{significant}e{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(left: &str, right: &str) -> bool {
        let of = |text: &str| of_submit(&RawJson::parse(text.to_owned()).unwrap()).unwrap();
        of(left) == of(right)
    }

    /// [ARCP 7.2-2] parameters compare as JSON values.
    #[test]
    fn parameters_compare_as_json_values() {
        let equal = [
            (
                r#"{"agent":"a","input":{"x":1,"y":2}}"#,
                r#"{"input":{"y":2,"x":1},"agent":"a"}"#,
            ),
            (
                r#"{"agent":"a","input":1.50}"#,
                r#"{"agent":"a","input":15e-1}"#,
            ),
            (
                r#"{"agent":"a","input":100}"#,
                r#"{"agent":"a","input":1E2}"#,
            ),
            (
                r#"{"agent":"a","input":-0}"#,
                r#"{"agent":"a","input":0.0}"#,
            ),
            (r#"{"agent":"a","input":null}"#, r#"{"agent":"a"}"#),
            (r#"{"agent":"a","lease_request":{}}"#, r#"{"agent":"a"}"#),
            (r#"{"agent":"a","idempotency_key":"k"}"#, r#"{"agent":"a"}"#),
            (r#"{"agent":"\u0061"}"#, r#"{"agent":"a"}"#),
        ];
        for (left, right) in equal {
            assert!(same(left, right), "{left} {right}");
        }
        let different = [
            (r#"{"agent":"a","input":1}"#, r#"{"agent":"a","input":"1"}"#),
            (
                r#"{"agent":"a","input":[1,2]}"#,
                r#"{"agent":"a","input":[2,1]}"#,
            ),
            (
                r#"{"agent":"a","input":[[1],2]}"#,
                r#"{"agent":"a","input":[[1,2]]}"#,
            ),
            (r#"{"agent":"a","input":1}"#, r#"{"agent":"a","input":10}"#),
            (r#"{"agent":"a","input":1}"#, r#"{"agent":"a","input":-1}"#),
            (
                r#"{"agent":"a","input":{"x":null}}"#,
                r#"{"agent":"a","input":{}}"#,
            ),
            (
                r#"{"agent":"a","input":9007199254740993}"#,
                r#"{"agent":"a","input":9007199254740992}"#,
            ),
            (r#"{"agent":"a","max_runtime_sec":1}"#, r#"{"agent":"a"}"#),
        ];
        for (left, right) in different {
            assert!(!same(left, right), "{left} {right}");
        }
    }
}
