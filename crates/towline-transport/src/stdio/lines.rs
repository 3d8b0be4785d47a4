//! Lines out of a byte stream.

use bytes::{Bytes, BytesMut};

/// Finds lines in bytes that come in pieces of any size; the pieces never show in the result.
///
/// Append what was read to [`space`](Self::space), then take [`next_line`](Self::next_line) until it is `None`; after
/// [`finish`](Self::finish) what is left counts as a line. `\n` ends a line and a `\r` before it is dropped; blank lines
/// are skipped. Memory is bounded: of a line above the limit nothing is kept.
#[derive(Debug)]
pub(super) struct LineDecoder {
    buffer: BytesMut,
    /// How much of the buffer is known to hold no `\n`.
    scanned: usize,
    /// The longest line, in bytes, its end not counted.
    limit: usize,
    /// The rest of the line at the front is dropped.
    is_discarding: bool,
    is_finished: bool,
}

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// Its bytes, without the end.
    Whole(Bytes),
    /// It is above the limit.
    TooBig,
}

impl LineDecoder {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            limit,
            is_discarding: false,
            is_finished: false,
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Where to append the next piece; there is always room for some of it.
    pub(super) fn space(&mut self) -> &mut BytesMut {
        self.buffer.reserve(PIECE);
        &mut self.buffer
    }

    /// No more bytes come.
    pub(super) fn finish(&mut self) {
        self.is_finished = true;
    }

    /// The next line, if it is all there.
    pub(super) fn next_line(&mut self) -> Option<Line> {
        loop {
            let Some(line) = self.take_line() else {
                return self.check_unfinished();
            };
            if std::mem::take(&mut self.is_discarding) {
                continue;
            }
            if let Some(line) = self.judge(line) {
                return Some(line);
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let mut line = self.buffer.split_to(self.scanned + at + 1);
            line.truncate(line.len() - 1);
            self.scanned = 0;
            return Some(line.freeze());
        }
        self.scanned = self.buffer.len();
        if self.is_finished && !self.buffer.is_empty() {
            self.scanned = 0;
            return Some(self.buffer.split().freeze());
        }
        None
    }

    fn judge(&self, mut line: Bytes) -> Option<Line> {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.limit {
            return Some(Line::TooBig);
        }
        (!line.trim_ascii().is_empty()).then_some(Line::Whole(line))
    }

    /// Gives up on a line that is above the limit before its end has come.
    fn check_unfinished(&mut self) -> Option<Line> {
        // One more than the limit may still be the `\r` of the line's end.
        let is_too_big = self.buffer.len() > self.limit.saturating_add(1);
        if self.is_discarding || is_too_big {
            self.buffer = BytesMut::new();
            self.scanned = 0;
        }
        if self.is_discarding || !is_too_big {
            return None;
        }
        self.is_discarding = true;
        Some(Line::TooBig)
    }
}

/// How much is read at once, at least.
const PIECE: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(pieces: &[&[u8]], limit: usize) -> Vec<Line> {
        let mut decoder = LineDecoder::new(limit);
        let mut found = Vec::new();
        for piece in pieces {
            decoder.space().extend_from_slice(piece);
            found.extend(std::iter::from_fn(|| decoder.next_line()));
        }
        decoder.finish();
        found.extend(std::iter::from_fn(|| decoder.next_line()));
        found
    }

    fn whole(text: &'static str) -> Line {
        Line::Whole(Bytes::from_static(text.as_bytes()))
    }

    /// [ARCP 4-2] `\n` ends a line, `\r\n` is tolerated, blank lines are skipped, the last line needs no end.
    #[test]
    fn line_ends() {
        assert_eq!(
            lines(&[b"a\nb\r\n\n \t\r\n\r\nc"], 9),
            [whole("a"), whole("b"), whole("c")]
        );
        assert_eq!(lines(&[b"a\rb\n"], 9), [whole("a\rb")]);
        assert_eq!(lines(&[b""], 9), []);
    }

    /// [ARCP 4-6] Only what is above the limit is dropped, wherever the pieces are cut.
    #[test]
    fn the_limit() {
        assert_eq!(
            lines(&[b"abc\nabcd\nabc\r\n"], 3),
            [whole("abc"), Line::TooBig, whole("abc")]
        );
        assert_eq!(
            lines(&[b"abc", b"\r", b"\nx"], 3),
            [whole("abc"), whole("x")]
        );
        assert_eq!(
            lines(&[b"abcdefg", b"hi", b"j\nx\n"], 3),
            [Line::TooBig, whole("x")]
        );
        assert_eq!(lines(&[b"abcdefg", b"hi"], 3), [Line::TooBig]);
        assert_eq!(lines(&[b"abcd"], 3), [Line::TooBig]);
    }

    /// [ARCP 4-6] A line above the limit never sits in memory.
    #[test]
    fn an_endless_line_takes_bounded_memory() {
        let mut decoder = LineDecoder::new(1000);
        let mut refusals = 0;
        for _ in 0..10_000 {
            decoder.space().extend_from_slice(&[b'a'; 1000]);
            refusals += usize::from(decoder.next_line().is_some());
            assert!(decoder.buffer.capacity() < 16 << 10);
        }
        assert_eq!(refusals, 1);
    }

    proptest! {
        /// [ARCP 4-2] How the bytes are cut into pieces does not matter.
        #[test]
        fn pieces_do_not_show(
            bytes in prop::collection::vec(prop::sample::select(b"ab\n\n\r ".to_vec()), 0..200),
            cuts in prop::collection::vec(0usize..200, 0..20),
            limit in 0usize..12,
        ) {
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(lines(&pieces, limit), lines(&[&bytes], limit));
        }

        /// [ARCP 4-2] The decoder finds exactly the lines that splitting the whole text finds.
        #[test]
        fn agrees_with_splitting(bytes in prop::collection::vec(prop::sample::select(b"abc\n\r ".to_vec()), 0..200)) {
            // A blank line above the limit is one above the limit: nobody keeps it to look.
            let expected: Vec<_> = bytes
                .split(|byte| *byte == b'\n')
                .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
                .filter(|line| line.len() > 5 || !line.trim_ascii().is_empty())
                .map(|line| if line.len() > 5 { Line::TooBig } else { Line::Whole(Bytes::copy_from_slice(line)) })
                .collect();
            prop_assert_eq!(lines(&[&bytes], 5), expected);
        }
    }
}
