//! What is wrong with the text of the file, without what stands there: it may be a token [ARCP 14-8].

use super::keys;

/// Where a mistake is, the key it is about when it is one of ours, and what kind of mistake.
pub(super) fn told(error: &toml::de::Error, text: &str) -> String {
    let kind = kind(error.message());
    let Some(span) = error.span() else {
        return kind;
    };
    let before = text.get(..span.start).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split('=').next().unwrap_or_default().trim();
    if keys::is_known(key) {
        format!("line {number}: `{key}`: {kind}")
    } else {
        format!("line {number}: {kind}")
    }
}

/// The library's message without the value it quotes.
fn kind(message: &str) -> String {
    if message.contains("untagged enum SpanValue") {
        return "is no time span; write 10s, or a number of seconds".to_owned();
    }
    let message = message.lines().collect::<Vec<_>>().join(", ");
    match message.rfind(", expected ") {
        Some(at) if message.starts_with("invalid ") => {
            let kind = message[..at].split(['"', '`']).next().unwrap_or_default();
            format!("{}{}", kind.trim_end(), &message[at..])
        }
        // Grammar quotes what it wants and not what it found; a key that is there twice is none of our secrets.
        _ => message,
    }
}
