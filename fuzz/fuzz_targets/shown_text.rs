//! Texts of peers, as people are shown them.

#![no_main]

#[path = "../entry/shown_text.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entry::shown_text(input));
