//! What the lease engine promises, in tables and properties.

mod authority;
mod budget;
mod hostile;
mod inclusion;
mod paths;
mod properties;
mod requests;
mod urls;

use super::{Kind, Pattern};

/// Checks a table of pattern × value: `+` before a value that is covered, `-` before one that is not.
#[track_caller]
fn table(kind: Kind, rows: &[(&str, &[&str])]) {
    for (text, values) in rows {
        let pattern = Pattern::parse(text, kind).unwrap_or_else(|error| panic!("{error}"));
        for marked in *values {
            let (expected, value) = (marked.starts_with('+'), &marked[1..]);
            let covered = pattern.matches(value).unwrap_or(false);
            assert_eq!(covered, expected, "`{text}` and `{value}`");
        }
    }
}

/// Checks that each text is refused, and that the message names it.
#[track_caller]
fn refused(kind: Kind, texts: &[&str]) {
    for text in texts {
        match Pattern::parse(text, kind) {
            Ok(_) => panic!("`{text}` should be malformed"),
            Err(error) => assert!(error.to_string().contains(text), "{error}"),
        }
    }
}
