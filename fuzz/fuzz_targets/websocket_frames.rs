//! WebSocket frames as a client may send them.

#![no_main]

#[path = "../entry/websocket_frames.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|input: &[u8]| entry::websocket_frames(input));
