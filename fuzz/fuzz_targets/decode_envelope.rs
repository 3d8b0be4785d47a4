//! Frames as a peer may send them.

#![no_main]

#[path = "../entry/decode_envelope.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|frame: &[u8]| entry::decode_envelope(frame));
