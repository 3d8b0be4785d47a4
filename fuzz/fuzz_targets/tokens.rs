//! Tokens of strangers, and the keys they are held against.

#![no_main]

#[path = "../entry/tokens.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entry::tokens(input));
