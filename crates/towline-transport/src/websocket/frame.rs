//! Frames as they stand in the byte stream (RFC 6455 §5.2), without I/O.

use crate::CloseCode;

/// Which side of the connection we are. A client masks what it sends; a server must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continue,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn read(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continue,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return None,
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continue => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// How the peer broke RFC 6455, as it is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
}

impl Violation {
    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self {
            code: CloseCode::PROTOCOL,
            reason,
        }
    }

    pub(super) const fn not_utf8(reason: &'static str) -> Self {
        Self {
            code: INVALID_PAYLOAD,
            reason,
        }
    }
}

/// The header of a received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) is_last: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: Option<[u8; 4]>,
    /// The payload's length.
    pub(super) length: u64,
    /// The header's own length.
    pub(super) size: usize,
}

impl Head {
    /// Reads a header that `role` received; `None` while there is too little of it.
    pub(super) fn read(bytes: &[u8], role: Role) -> Result<Option<Self>, Violation> {
        let [first, second, ..] = *bytes else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(Violation::protocol(
                "a frame has reserved bits, and no extension was agreed",
            ));
        }
        let opcode = Opcode::read(first & 0xf)
            .ok_or_else(|| Violation::protocol("a frame has an unknown opcode"))?;
        let (is_last, is_masked) = (first & LAST != 0, second & MASKED != 0);
        match (role, is_masked) {
            (Role::Server, false) => {
                return Err(Violation::protocol("a client's frame is not masked"));
            }
            (Role::Client, true) => return Err(Violation::protocol("a server's frame is masked")),
            _ => {}
        }
        let short = second & !MASKED;
        if opcode.is_control() && (!is_last || short > SHORT) {
            return Err(Violation::protocol(
                "a control frame is fragmented or longer than 125 bytes",
            ));
        }
        let (length, before_mask) = match short {
            LONG_16 => match bytes.get(2..4).and_then(|bytes| bytes.try_into().ok()) {
                Some(length) => (u64::from(u16::from_be_bytes(length)), 4),
                None => return Ok(None),
            },
            LONG_64 => match bytes.get(2..10).and_then(|bytes| bytes.try_into().ok()) {
                Some(length) => (u64::from_be_bytes(length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        if length >> 63 != 0 {
            return Err(Violation::protocol("a frame's length has its top bit set"));
        }
        let (mask, size) = if is_masked {
            match bytes.get(before_mask..before_mask + 4) {
                Some(mask) => (mask.try_into().ok(), before_mask + 4),
                None => return Ok(None),
            }
        } else {
            (None, before_mask)
        };
        Ok(Some(Self {
            is_last,
            opcode,
            mask,
            length,
            size,
        }))
    }
}

/// Writes one unfragmented frame behind what `out` holds. `write` appends the payload; when it says no, nothing is added.
pub(super) fn write<E>(
    out: &mut Vec<u8>,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    size_hint: usize,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    // Room for the header that the hint calls for; if the payload turns out otherwise, it is moved.
    let (start, mask_size) = (out.len(), mask.map_or(0, |mask| mask.len()));
    let planned = length_size(size_hint) + mask_size;
    out.reserve(planned + size_hint);
    out.extend_from_slice(&[0; MOST_HEADER][..planned]);
    if let Err(refused) = write(out) {
        out.truncate(start);
        return Err(refused);
    }
    let length = out.len() - start - planned;
    let size = length_size(length) + mask_size;
    if size > planned {
        let gap = [0; MOST_HEADER];
        out.splice(start..start, gap[..size - planned].iter().copied());
    } else {
        out.drain(start..start + (planned - size));
    }
    fill(&mut out[start..start + size], opcode, mask, length);
    if let Some(mask) = mask {
        apply(mask, &mut out[start + size..]);
    }
    Ok(())
}

/// The length of a header without its mask.
const fn length_size(length: usize) -> usize {
    match length {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "each length is written in the form that has room for it"
)]
fn fill(header: &mut [u8], opcode: Opcode, mask: Option<[u8; 4]>, length: usize) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    header[0] = LAST | opcode.bits();
    let end = length_size(length);
    match end {
        2 => header[1] = masked | length as u8,
        4 => {
            header[1] = masked | LONG_16;
            header[2..4].copy_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header[1] = masked | LONG_64;
            header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        header[end..end + 4].copy_from_slice(&mask);
    }
}

/// Masks, or unmasks, a payload from its first byte.
pub(super) fn apply(mask: [u8; 4], payload: &mut [u8]) {
    // Eight bytes in a piece, so that the compiler takes many at once.
    let [a, b, c, d] = mask;
    let twice = [a, b, c, d, a, b, c, d];
    let mut pieces = payload.chunks_exact_mut(8);
    for piece in &mut pieces {
        piece
            .iter_mut()
            .zip(twice)
            .for_each(|(byte, key)| *byte ^= key);
    }
    let rest = pieces.into_remainder().iter_mut();
    rest.zip(twice).for_each(|(byte, key)| *byte ^= key);
}

const LAST: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const SHORT: u8 = 125;
const LONG_16: u8 = 126;
const LONG_64: u8 = 127;
const MOST_HEADER: usize = 14;
/// 1007: what calls itself text is not UTF-8 (RFC 6455 §7.4.1).
pub(super) const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
