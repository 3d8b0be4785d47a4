//! Base64 that is none, in words for people.

use base64::DecodeError;

/// What is wrong with a text that is not base64: the character and where it stands, counted from 1.
pub fn explain_base64(error: &DecodeError) -> String {
    match error {
        DecodeError::InvalidByte(at, byte) => format!(
            "it has {} as character {}, and base64 has letters, digits, `+`, `/` and `=` at the end",
            shown(*byte),
            at + 1
        ),
        DecodeError::InvalidLength(length) => {
            format!(
                "it has {length} characters, and base64 comes in groups of four; is a part of it missing?"
            )
        }
        DecodeError::InvalidLastSymbol(at, byte) => format!(
            "its last character, {} at {}, stands for more than is left to say; is it cut?",
            shown(*byte),
            at + 1
        ),
        DecodeError::InvalidPadding => "its `=` at the end are too few or too many".to_owned(),
    }
}

fn shown(byte: u8) -> String {
    if byte.is_ascii_graphic() {
        format!("`{}`", char::from(byte))
    } else {
        format!("the byte {byte:#04x}")
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn each_mistake_has_its_words() {
        for (text, words) in [
            ("AB!A", "`!` as character 3"),
            ("AB\nA", "the byte 0x0a as character 3"),
            ("AAAAA", "5 characters"),
            ("AB==CD==", "`=` as character 3"),
            ("AAB=", "`B` at 3"),
            ("AA", "`=` at the end are too few"),
        ] {
            let error = STANDARD.decode(text).unwrap_err();
            let said = explain_base64(&error);
            assert!(said.contains(words), "{text:?}: {said} ({error})");
            assert!(
                !said.contains("symbol") && !said.contains("offset"),
                "{said}"
            );
        }
    }
}
