//! The program as a hostile or clumsy peer finds it: bytes, frames and lines that no library would send.

mod envelope;
mod frames;
mod handshake;
mod http;
mod stdio;
