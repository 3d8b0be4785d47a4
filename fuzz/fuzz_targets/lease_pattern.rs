//! Lease patterns, the values they are asked about, and the leases they are held against.

#![no_main]

#[path = "../entry/lease_pattern.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entry::lease_pattern(input));
