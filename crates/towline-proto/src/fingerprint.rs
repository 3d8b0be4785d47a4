//! Whether two submits ask for the same (§7.2).

use std::ops::Range;

use sha2::{Digest, Sha256};
use towline_wire::RawJson;

use crate::limits::INPUT_DEPTH;

/// How deep a payload nests, itself counted.
const MAX_JSON_DEPTH: usize = INPUT_DEPTH + 1;

/// A payload that has no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FingerprintError {
    /// An accepted submit's payload always is one.
    #[error("the payload is not an object")]
    NoObject,
    /// A submit that nests as deep is refused before.
    #[error("the payload nests deeper than {MAX_JSON_DEPTH} levels")]
    TooDeep,
}

/// The SHA-256 of a submit's parameters in canonical form: two payloads that are the same JSON value have the same
/// fingerprint, however their keys are ordered and their numbers spelled [ARCP 7.2-2].
///
/// `null` fields and an empty `lease_request` count as absent. The key itself does not take part. Keys mean nothing but
/// themselves: the text is read here, not through a value whose library gives some of them a meaning.
///
/// # Errors
/// [`FingerprintError`], for what is no accepted submit.
pub fn of_submit(payload: &RawJson) -> Result<[u8; 32], FingerprintError> {
    let text = payload.as_str().trim_start();
    if !text.starts_with('{') {
        return Err(FingerprintError::NoObject);
    }
    let mut canonical = Canonical::default();
    canonical.read(text)?;
    Ok(Sha256::digest(&canonical.out).into())
}

/// The SHA-256 of a JSON value in canonical form, as that of a submit, and nothing in it counts as absent.
///
/// # Errors
/// [`FingerprintError`], for what nests too deep.
pub fn of_value(value: &RawJson) -> Result<[u8; 32], FingerprintError> {
    let mut canonical = Canonical::default();
    // In a list, for of an object that stands by itself some members do not count.
    canonical.read(&format!("[{}]", value.as_str()))?;
    Ok(Sha256::digest(&canonical.out).into())
}

/// The canonical form of a JSON text that is known to be one. Different values have different forms: every piece begins with
/// its kind and its length.
#[derive(Default)]
struct Canonical {
    out: Vec<u8>,
    open: Vec<Open>,
}

/// An object or a list whose end has not come.
struct Open {
    /// Where its pieces begin, behind its kind and their number.
    begin: usize,
    /// How many items a list has.
    items: u64,
    /// The members of an object; none for a list.
    members: Option<Vec<Member>>,
}

/// A member of an object, in the form so far.
struct Member {
    key: String,
    whole: Range<usize>,
    /// Where its value begins.
    value: usize,
}

impl Canonical {
    fn read(&mut self, text: &str) -> Result<(), FingerprintError> {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let end = match byte {
                b'{' | b'[' => {
                    self.begin(*byte == b'{')?;
                    at + 1
                }
                b'}' | b']' => {
                    self.end();
                    at + 1
                }
                b'"' => {
                    let end = end_of_string(bytes, at);
                    self.string(&text[at..end]);
                    end
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => at + 1,
                _ => {
                    let length = bytes[at..]
                        .iter()
                        .position(|byte| b",]} \t\n\r".contains(byte));
                    let end = length.map_or(bytes.len(), |length| at + length);
                    self.plain(&text[at..end]);
                    end
                }
            };
            at = end;
        }
        Ok(())
    }

    fn begin(&mut self, is_object: bool) -> Result<(), FingerprintError> {
        if self.open.len() >= MAX_JSON_DEPTH {
            return Err(FingerprintError::TooDeep);
        }
        self.out.push(if is_object { b'o' } else { b'a' });
        self.out.extend([0; 8]);
        self.open.push(Open {
            begin: self.out.len(),
            items: 0,
            members: is_object.then(Vec::new),
        });
        Ok(())
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let count = match open.members {
            Some(members) => self.sort(open.begin, members),
            None => open.items,
        };
        self.out[open.begin - 8..open.begin].copy_from_slice(&count.to_le_bytes());
        self.value_ended();
    }

    /// Puts an object's members in the order of their keys; of a key that is there twice the last one counts. Of the payload
    /// itself some members do not count. Gives how many there are.
    fn sort(&mut self, begin: usize, mut members: Vec<Member>) -> u64 {
        if self.open.is_empty() {
            members.retain(|member| self.counts(member));
        }
        members.sort_by(|left, right| left.key.cmp(&right.key));
        // Equal keys are in the order they came in.
        let mut kept: Vec<Member> = Vec::with_capacity(members.len());
        for member in members {
            if kept.last().is_some_and(|last| last.key == member.key) {
                kept.pop();
            }
            kept.push(member);
        }
        let mut sorted = Vec::with_capacity(self.out.len() - begin);
        for member in &kept {
            sorted.extend_from_slice(&self.out[member.whole.clone()]);
        }
        self.out.truncate(begin);
        self.out.extend(sorted);
        kept.len() as u64
    }

    fn counts(&self, member: &Member) -> bool {
        let value = &self.out[member.value..member.whole.end];
        let is_empty_object = value.len() == 9 && value[0] == b'o';
        member.key != "idempotency_key"
            && value != b"n"
            && !(member.key == "lease_request" && is_empty_object)
    }

    /// A text in its quotes: a key, or a value.
    fn string(&mut self, quoted: &str) {
        let text: String = serde_json::from_str(quoted).unwrap_or_default();
        let awaits_key = |open: &Open| {
            let last = open.members.as_ref().map(|members| members.last());
            last.is_some_and(|last| last.is_none_or(|last| !last.whole.is_empty()))
        };
        if self.open.last().is_some_and(awaits_key) {
            let start = self.out.len();
            self.text(b'k', &text);
            let value = self.out.len();
            if let Some(members) = self.open.last_mut().and_then(|open| open.members.as_mut()) {
                members.push(Member {
                    key: text,
                    // Its end is where its value's is.
                    whole: start..start,
                    value,
                });
            }
            return;
        }
        self.text(b's', &text);
        self.value_ended();
    }

    /// A number, or one of the three words.
    fn plain(&mut self, text: &str) {
        match text {
            "null" => self.out.push(b'n'),
            "true" => self.out.push(b't'),
            "false" => self.out.push(b'f'),
            number => self.text(b'd', &canonical_number(number)),
        }
        self.value_ended();
    }

    fn value_ended(&mut self) {
        let end = self.out.len();
        match self.open.last_mut() {
            Some(Open {
                members: Some(members),
                ..
            }) => {
                if let Some(member) = members.last_mut() {
                    member.whole.end = end;
                }
            }
            Some(list) => list.items += 1,
            None => {}
        }
    }

    fn text(&mut self, kind: u8, text: &str) {
        self.out.push(kind);
        self.out.extend((text.len() as u64).to_le_bytes());
        self.out.extend(text.as_bytes());
    }
}

/// Behind the quote that ends the string which begins at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() {
        match bytes[end] {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// The number as digits and an exponent without superfluous zeros: `1.50`, `15e-1` and `0.15e1` are one number.
fn canonical_number(text: &str) -> String {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>()),
        None => (text, Ok(0)),
    };
    // An exponent beyond 64 bits is no number anybody means; its spelling stands for itself.
    let Ok(exponent) = exponent else {
        return text.to_owned();
    };
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
            (r#" { "agent" : "a" } "#, r#"{"agent":"a"}"#),
            (r#"{"agent":"b","agent":"a"}"#, r#"{"agent":"a"}"#),
            (
                r#"{"agent":"a","input":{"b":[1,{"d":"\"]","c":{}}],"a":"\\"}}"#,
                r#"{"input":{"a":"\\","b":[1,{"c":{},"d":"\"]"}]},"agent":"a"}"#,
            ),
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
            (
                r#"{"agent":"a","input":{"$serde_json::private::Number":"1"}}"#,
                r#"{"agent":"a","input":1}"#,
            ),
            (
                r#"{"agent":"a","input":{"x":null,"lease_request":{}}}"#,
                r#"{"agent":"a","input":{"x":null}}"#,
            ),
        ];
        for (left, right) in different {
            assert!(!same(left, right), "{left} {right}");
        }
    }

    /// [ARCP 7.2-2] Keys that were stored by an earlier version keep what they stand for.
    #[test]
    fn fingerprints_stay_what_they_were() {
        let payload =
            r#"{"input":{"b":[1.50,"x",null,true],"a":{}},"agent":"echo","idempotency_key":"k"}"#;
        let payload = RawJson::parse(payload.to_owned()).unwrap();
        let mut form = Vec::new();
        let count = |form: &mut Vec<u8>, kind: u8, count: u64| {
            form.push(kind);
            form.extend(count.to_le_bytes());
        };
        let text = |form: &mut Vec<u8>, kind: u8, text: &str| {
            count(form, kind, text.len() as u64);
            form.extend(text.as_bytes());
        };
        count(&mut form, b'o', 2);
        text(&mut form, b'k', "agent");
        text(&mut form, b's', "echo");
        text(&mut form, b'k', "input");
        count(&mut form, b'o', 2);
        text(&mut form, b'k', "a");
        count(&mut form, b'o', 0);
        text(&mut form, b'k', "b");
        count(&mut form, b'a', 4);
        text(&mut form, b'd', "15e-1");
        text(&mut form, b's', "x");
        form.extend(b"nt");
        let digest: [u8; 32] = Sha256::digest(&form).into();
        assert_eq!(of_submit(&payload), Ok(digest));
    }

    #[test]
    fn what_is_no_submit_has_no_fingerprint() {
        let of = |text: String| of_submit(&RawJson::parse(text).unwrap());
        assert_eq!(of("[1]".to_owned()), Err(FingerprintError::NoObject));
        let nested =
            |depth: usize| format!("{{\"input\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(of(nested(MAX_JSON_DEPTH - 1)).is_ok());
        assert_eq!(of(nested(MAX_JSON_DEPTH)), Err(FingerprintError::TooDeep));
    }
}
