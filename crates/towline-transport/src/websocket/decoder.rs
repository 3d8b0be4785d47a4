//! Messages out of bytes: fragments, control frames, limits (RFC 6455 §5.4–§5.6), without I/O.

use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;

use super::{
    frame::{self, Head, Opcode, Role, Violation},
    room,
};
use crate::{CloseCode, CloseFrame};

/// Takes messages off the front of what was read.
#[derive(Debug)]
pub(super) struct Decoder {
    role: Role,
    limit: usize,
    /// The fragments so far of a message that is not complete.
    fragments: Option<Fragments>,
}

#[derive(Debug)]
struct Fragments {
    is_text: bool,
    bytes: BytesMut,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Text(ByteString),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<CloseFrame>),
}

/// Why nothing more can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// A message is above the limit.
    TooBig,
    Violation(Violation),
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl Decoder {
    pub(super) fn new(role: Role, limit: usize) -> Self {
        Self {
            role,
            limit,
            fragments: None,
        }
    }

    /// Holds what comes from now on to another limit.
    pub(super) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The next message; `None` while there is too little of it. What stays in `input` begins with a frame.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Message>, Fault> {
        loop {
            let Some(head) = Head::read(input, self.role)? else {
                return Ok(None);
            };
            self.check(&head)?;
            // Its length is checked, or at most 125.
            let length = usize::try_from(head.length).map_err(|_| Fault::TooBig)?;
            if input.len() - head.size < length {
                return Ok(None);
            }
            input.advance(head.size);
            let mut payload = room::split(input, length);
            if let Some(mask) = head.mask {
                frame::apply(mask, &mut payload);
            }
            if let Some(message) = self.take(&head, payload)? {
                return Ok(Some(message));
            }
        }
    }

    /// Refuses a frame by its header alone, before its payload costs anything.
    fn check(&self, head: &Head) -> Result<(), Fault> {
        let before = match (head.opcode, &self.fragments) {
            (Opcode::Continue, None) => {
                return Err(Violation::protocol("a frame continues no message").into());
            }
            (Opcode::Text | Opcode::Binary, Some(_)) => {
                return Err(
                    Violation::protocol("a message begins before the last one has ended").into(),
                );
            }
            (Opcode::Continue, Some(fragments)) => fragments.bytes.len(),
            (Opcode::Text | Opcode::Binary, None) => 0,
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
        };
        let room = (self.limit as u64).saturating_sub(before as u64);
        if head.length > room {
            Err(Fault::TooBig)
        } else {
            Ok(())
        }
    }

    fn take(&mut self, head: &Head, payload: BytesMut) -> Result<Option<Message>, Violation> {
        let whole = match head.opcode {
            Opcode::Ping => return Ok(Some(Message::Ping(payload.freeze()))),
            Opcode::Pong => return Ok(Some(Message::Pong)),
            Opcode::Close => return close(&payload).map(|close| Some(Message::Close(close))),
            Opcode::Text | Opcode::Binary => Fragments {
                is_text: head.opcode == Opcode::Text,
                bytes: payload,
            },
            Opcode::Continue => match self.fragments.take() {
                Some(mut fragments) => {
                    fragments.bytes.extend_from_slice(&payload);
                    fragments
                }
                // Refused by its header already.
                None => return Ok(None),
            },
        };
        if !head.is_last {
            self.fragments = Some(whole);
            return Ok(None);
        }
        let bytes = whole.bytes.freeze();
        if !whole.is_text {
            return Ok(Some(Message::Binary(bytes)));
        }
        let text = ByteString::try_from(bytes);
        text.map(|text| Some(Message::Text(text)))
            .map_err(|_| Violation::not_utf8("a text message is not UTF-8"))
    }
}

fn close(payload: &[u8]) -> Result<Option<CloseFrame>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::protocol("a close frame has half a code"))
        };
    };
    let code = u16::from_be_bytes(*code);
    // Those that RFC 6455 §7.4 lets stand in a frame, or leaves to whoever uses them.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol(
            "a close frame has a code it must not have",
        ));
    }
    let reason = std::str::from_utf8(reason);
    let reason = reason.map_err(|_| Violation::not_utf8("the reason of a close is not UTF-8"))?;
    Ok(Some(CloseFrame::new(CloseCode(code), reason)))
}

#[cfg(test)]
mod tests;
