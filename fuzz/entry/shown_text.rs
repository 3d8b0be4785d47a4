//! What the fuzz target `shown_text` does with its input. The ordinary tests include this file too and run every seed
//! through it.

use towline_wire::{RawJson, Shown, shown_json};

/// Shows a text of a peer's as people are shown it.
///
/// Nothing that a terminal obeys may be left, what was harmless stays as it is, a text that was cut is not longer than it may
/// be, and JSON stays the same JSON.
pub(crate) fn shown_text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let shown = Shown::new(&text).to_string();
    check(&shown, |_| false);
    check(&Shown::new(&text).lines().to_string(), |c| {
        matches!(c, '\n' | '\t')
    });
    if !text.contains(is_obeyed) {
        assert_eq!(shown, text);
    }
    let cut = Shown::new(&text).at_most(16).to_string();
    assert!(cut.len() <= 16 + '…'.len_utf8(), "{cut:?}");
    let Ok(json) = RawJson::parse(text.to_string()) else {
        return;
    };
    let shown = shown_json(json.as_str());
    check(&shown, |c| c.is_ascii_whitespace());
    let again = RawJson::parse(shown.to_string()).expect("JSON that is shown is JSON");
    let read = |json: &RawJson| json.read::<serde_json::Value>().ok();
    assert_eq!(read(&json), read(&again));
}

fn check(shown: &str, may_stay: impl Fn(char) -> bool) {
    let obeyed = |c: char| is_obeyed(c) && !may_stay(c);
    assert!(!shown.contains(obeyed), "{shown:?}");
}

/// C0 and C1 controls, separators of lines, controls of bidirectional text.
fn is_obeyed(c: char) -> bool {
    matches!(u32::from(c), 0..0x20 | 0x7f..0xa0 | 0x2028..=0x202e | 0x2066..=0x2069)
}
