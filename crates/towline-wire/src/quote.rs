//! JSON strings, written by hand.

/// A buffer that text is written onto.
pub(crate) trait PushStr {
    fn push_str(&mut self, text: &str);
}

impl PushStr for Vec<u8> {
    fn push_str(&mut self, text: &str) {
        self.extend_from_slice(text.as_bytes());
    }
}

/// Writes `intro` and a JSON string, whose text comes as bytes: an id need not prove again that it is text.
pub(crate) fn push_text(out: &mut Vec<u8>, intro: &str, text: &[u8]) {
    out.push_str(intro);
    match escaped(text) {
        Some(escaped) => out.push_str(&escaped),
        None => {
            out.push(b'"');
            out.extend_from_slice(text);
            out.push(b'"');
        }
    }
}

/// Writes a JSON string. Text with nothing to escape in it, as most is, is copied in one go.
///
/// ```
/// let mut out = Vec::new();
/// towline_wire::write_string(&mut out, "a \"quoted\" one");
/// assert_eq!(out, br#""a \"quoted\" one""#);
/// ```
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    push_text(out, "", text.as_bytes());
}

/// [`push_text`] onto a text.
pub(crate) fn push_string(out: &mut String, text: &str) {
    match escaped(text.as_bytes()) {
        Some(escaped) => out.push_str(&escaped),
        None => {
            out.push('"');
            out.push_str(text);
            out.push('"');
        }
    }
}

/// The whole JSON string, where something in it has to be escaped; our ids have nothing of the kind.
fn escaped(text: &[u8]) -> Option<String> {
    // Not `any`: without an early end the loop runs over many bytes at once.
    let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let escapes = text
        .iter()
        .fold(false, |found, byte| found | special(*byte));
    escapes.then(|| serde_json::Value::from(String::from_utf8_lossy(text)).to_string())
}
