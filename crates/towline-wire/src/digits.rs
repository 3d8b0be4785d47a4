//! Digits written straight into a buffer: `fmt` takes several times as long, and these are in every frame.

/// The decimal digits of `value` onto `out`.
pub(crate) fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len() - 1;
    digits[start] = digit(value % 10);
    while value >= 10 {
        value /= 10;
        start -= 1;
        digits[start] = digit(value % 10);
    }
    out.extend_from_slice(&digits[start..]);
}

/// Fills `place` with the last digits of `value`, leading zeros included.
pub(crate) fn fill_decimal(place: &mut [u8], mut value: u64) {
    for byte in place.iter_mut().rev() {
        *byte = digit(value % 10);
        value /= 10;
    }
}

/// Fills `place`, twice as long as `bytes`, with lower-case hex digits.
pub(crate) fn fill_hex(place: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in place.chunks_exact_mut(2).zip(bytes) {
        pair[0] = HEX[usize::from(byte >> 4)];
        pair[1] = HEX[usize::from(byte & 15)];
    }
}

/// ASCII as text; what the functions above write is always that.
pub(crate) fn ascii(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the callers pass one decimal digit"
)]
const fn digit(value: u64) -> u8 {
    b'0' + value as u8
}

const HEX: &[u8; 16] = b"0123456789abcdef";
