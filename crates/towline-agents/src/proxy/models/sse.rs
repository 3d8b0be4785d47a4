//! Events of a stream, as they come.

use bytes::{Bytes, BytesMut};

/// A longer event is passed on unread: no upstream has one.
const LONGEST: usize = 4 << 20;

/// Cuts a stream of bytes into events, each with the blank line that ends it, and keeps every byte.
#[derive(Debug, Default)]
pub(super) struct Events {
    held: BytesMut,
    /// Up to here no event ends.
    looked: usize,
}

impl Events {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next event that is whole, or too long to wait for.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let end = self
            .end()
            .or((self.held.len() > LONGEST).then_some(self.held.len()))?;
        self.looked = 0;
        Some(self.held.split_to(end).freeze())
    }

    /// What is left when nothing more comes.
    pub(super) fn rest(&mut self) -> Bytes {
        self.looked = 0;
        self.held.split().freeze()
    }

    /// Where the first event ends: behind a blank line, whatever its lines end with.
    fn end(&mut self) -> Option<usize> {
        let from = self.looked;
        let found = memchr::memchr2_iter(b'\n', b'\r', &self.held[from..]).find_map(|at| {
            let rest = &self.held[from + at..];
            let blank: [&[u8]; 4] = [b"\r\n\r\n", b"\n\n", b"\r\r", b"\n\r\n"];
            let blank = blank.iter().find(|blank| rest.starts_with(blank))?;
            Some(from + at + blank.len())
        });
        // The longest of them may have begun.
        self.looked = self.held.len().saturating_sub(3);
        found
    }
}

/// The data of an event: its `data` lines, joined.
pub(super) fn data(event: &[u8]) -> Vec<u8> {
    let lines = event.split(|byte| matches!(byte, b'\n' | b'\r'));
    let mut data = Vec::new();
    for line in lines.filter_map(|line| line.strip_prefix(b"data:")) {
        if !data.is_empty() {
            data.push(b'\n');
        }
        data.extend_from_slice(line.strip_prefix(b" ").unwrap_or(line));
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the pieces are, the events are the same, and no byte is lost.
    #[test]
    fn events_do_not_depend_on_pieces() {
        let stream = b"event: a\ndata: 1\n\ndata: 2\r\ndata:3\r\n\r\n: a comment\n\ndata: [DONE]\n\ndata: cut";
        for size in 1..stream.len() {
            let mut events = Events::default();
            let mut whole = Vec::new();
            for piece in stream.chunks(size) {
                events.push(piece);
                while let Some(event) = events.next() {
                    whole.push(event);
                }
            }
            let found: Vec<_> = whole.iter().map(|event| data(event)).collect();
            assert_eq!(
                found,
                [&b"1"[..], b"2\n3", b"", b"[DONE]"],
                "pieces of {size}"
            );
            let mut all = whole.concat();
            all.extend_from_slice(&events.rest());
            assert_eq!(all, stream);
        }
    }
}
