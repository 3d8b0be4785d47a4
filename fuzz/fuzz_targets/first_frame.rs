//! First frames of peers, by which their dialect is told.

#![no_main]

#[path = "../entry/first_frame.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entry::first_frame(input));
