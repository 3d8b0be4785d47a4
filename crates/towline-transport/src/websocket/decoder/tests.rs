//! The decoder and the frames it reads, beside a WebSocket library that others have used for years.

use std::io::{self, Read, Write};

use proptest::{collection::vec, prelude::*};
use tokio_tungstenite::tungstenite::{
    self, WebSocket,
    error::{CapacityError, Error},
    protocol::{self, WebSocketConfig},
};

use super::*;

const LIMIT: usize = 2000;
const MASK: [u8; 4] = [0x9e, 0x01, 0xff, 0x70];

/// What can be told of a message, or of why there is none, by either side.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Control,
    Close(Option<(u16, String)>),
    TooBig,
    Broken,
}

/// Everything in the bytes, which come in pieces of these sizes.
fn ours(role: Role, bytes: &[u8], pieces: &[usize]) -> Vec<Seen> {
    let mut decoder = Decoder::new(role, LIMIT);
    let (mut input, mut seen) = (BytesMut::new(), Vec::new());
    let mut rest = bytes;
    let mut sizes = pieces.iter().cycle();
    loop {
        match decoder.next(&mut input) {
            Ok(Some(Message::Text(text))) => seen.push(Seen::Text(text.to_string())),
            Ok(Some(Message::Binary(bytes))) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Some(Message::Ping(_) | Message::Pong)) => seen.push(Seen::Control),
            Ok(Some(Message::Close(close))) => {
                seen.push(Seen::Close(close.map(|close| (close.code.0, close.reason))));
                return seen;
            }
            Ok(None) if rest.is_empty() => return seen,
            Ok(None) => {
                let size = sizes.next().copied().unwrap_or(1).clamp(1, rest.len());
                super::super::room::append(&mut input, &rest[..size]);
                rest = &rest[size..];
            }
            Err(Fault::TooBig) => {
                seen.push(Seen::TooBig);
                return seen;
            }
            Err(Fault::Violation(_)) => {
                seen.push(Seen::Broken);
                return seen;
            }
        }
    }
}

/// Reads, and swallows what is answered.
struct Wire<'a>(&'a [u8]);

impl Read for Wire<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            Err(io::ErrorKind::WouldBlock.into())
        } else {
            self.0.read(out)
        }
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn theirs(role: Role, bytes: &[u8]) -> Vec<Seen> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let role = match role {
        Role::Client => protocol::Role::Client,
        Role::Server => protocol::Role::Server,
    };
    let mut socket = WebSocket::from_raw_socket(Wire(bytes), role, Some(config));
    let mut seen = Vec::new();
    loop {
        use tungstenite::Message;
        seen.push(match socket.read() {
            Ok(Message::Text(text)) => Seen::Text(text.as_str().to_owned()),
            Ok(Message::Binary(bytes)) => Seen::Binary(bytes.to_vec()),
            Ok(Message::Ping(_) | Message::Pong(_)) => Seen::Control,
            Ok(Message::Close(close)) => Seen::Close(
                close.map(|close| (close.code.into(), close.reason.as_str().to_owned())),
            ),
            Ok(Message::Frame(_)) => continue,
            Err(Error::Io(_)) => return seen,
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Seen::TooBig,
            Err(_) => Seen::Broken,
        });
        if let Some(Seen::Close(_) | Seen::TooBig | Seen::Broken) = seen.last() {
            return seen;
        }
    }
}

fn frame_bytes(role: Role, first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mask = match role {
        Role::Server => Some(MASK),
        Role::Client => None,
    };
    let mut out = Vec::new();
    let written = frame::write(&mut out, Opcode::Text, mask, payload.len(), |out| {
        out.extend_from_slice(payload);
        Ok::<_, ()>(())
    });
    assert_eq!(written, Ok(()));
    out[0] = first_byte;
    out
}

/// The messages, and whether a refusal ended them.
fn until_refused(seen: &[Seen]) -> (&[Seen], bool) {
    match seen {
        [messages @ .., Seen::TooBig | Seen::Broken] => (messages, true),
        messages => (messages, false),
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        ".{0,40}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..10),
        (100_usize..2200).prop_map(|length| vec![b'x'; length]),
    ]
}

/// First bytes of frames: mostly ones that make messages, and no Close. That is read by tables below, since what a bad
/// one is answered with differs.
fn first_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        6 => prop::sample::select(vec![0x81, 0x01, 0x00, 0x80, 0x82, 0x02, 0x89, 0x8a]),
        1 => any::<u8>().prop_filter("a close", |first| first & 0xf != 8),
    ]
}

proptest! {
    /// Whatever frames come, in whatever pieces, are read as the other library reads them, up to the first that is wrong.
    /// One that is wrong in two ways may be told either of them.
    #[test]
    fn frames_are_read_as_others_read_them(
        role in role(),
        frames in vec((first_byte(), payload()), 0..8),
        pieces in vec(1_usize..300, 1..6),
    ) {
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(first, payload)| {
                let mut payload = payload.clone();
                if first & 0x80 == 0 || first & 0xf == 0 {
                    // Bad text in a fragment is refused there, by us when the message is whole.
                    payload.iter_mut().for_each(|byte| *byte &= 0x7f);
                }
                frame_bytes(role, *first, &payload)
            })
            .collect();
        let (ours, theirs) = (ours(role, &bytes, &pieces), theirs(role, &bytes));
        let ((ours, we_refuse), (theirs, they_refuse)) = (until_refused(&ours), until_refused(&theirs));
        prop_assert_eq!((ours, we_refuse), (theirs, they_refuse));
    }

    /// Bytes that are no frames give the same messages. We refuse a frame by its header, the other library when it is
    /// whole; a fragment that is bad text the other way round.
    #[test]
    fn garbage_is_read_as_others_read_it(
        role in role(),
        bytes in vec(any::<u8>(), 0..60),
        pieces in vec(1_usize..20, 1..6),
    ) {
        let (ours, theirs) = (ours(role, &bytes, &pieces), theirs(role, &bytes));
        let closes = |seen: &[Seen]| matches!(seen.last(), Some(Seen::Close(_)));
        prop_assume!(!closes(&ours) && !closes(&theirs));
        let ((ours, we_refuse), (theirs, they_refuse)) = (until_refused(&ours), until_refused(&theirs));
        prop_assert!(ours.starts_with(theirs), "{ours:?} {theirs:?}");
        prop_assert!(ours.len() == theirs.len() || they_refuse, "{ours:?} {theirs:?}");
        prop_assert!(we_refuse || !they_refuse || bytes.iter().any(|byte| byte & 0x8f == 1));
    }

    /// A frame we write is read back whole, whatever the hint said of its size.
    #[test]
    fn what_is_written_is_read_back(
        role in role(),
        payload in payload(),
        hint in prop_oneof![0_usize..200, Just(65_535), Just(65_536), Just(70_000)],
        before in vec(any::<u8>(), 0..5),
    ) {
        // What a client writes, a server reads.
        let (reader, mask) = match role {
            Role::Client => (Role::Server, Some(MASK)),
            Role::Server => (Role::Client, None),
        };
        let mut out = before.clone();
        let text = String::from_utf8_lossy(&payload).into_owned();
        let written = frame::write(&mut out, Opcode::Text, mask, hint, |out| {
            out.extend_from_slice(text.as_bytes());
            Ok::<_, ()>(())
        });
        prop_assert_eq!(written, Ok(()));
        prop_assert_eq!(&out[..before.len()], &before[..]);
        let expected = match text.len() {
            0..=LIMIT => Seen::Text(text),
            _ => Seen::TooBig,
        };
        prop_assert_eq!(theirs(reader, &out[before.len()..]), vec![expected]);
    }
}

/// The lengths at which the header changes its form.
#[test]
fn every_form_of_a_length_is_the_library_s() {
    for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
        let payload = vec![b'x'; length];
        for (mask, role) in [(None, Role::Client), (Some(MASK), Role::Server)] {
            let mut out = Vec::new();
            let written = frame::write(&mut out, Opcode::Binary, mask, 0, |out| {
                out.extend_from_slice(&payload);
                Ok::<_, ()>(())
            });
            assert_eq!(written, Ok(()));
            let mut input = BytesMut::from(&out[..]);
            let read = Decoder::new(role, 1 << 20).next(&mut input);
            assert_eq!(read, Ok(Some(Message::Binary(payload.clone().into()))));
            assert!(input.is_empty());
        }
    }
}

#[test]
fn a_refused_payload_leaves_nothing_behind() {
    let mut out = b"before".to_vec();
    let refused = frame::write(&mut out, Opcode::Text, Some(MASK), 4, |out| {
        out.extend_from_slice(b"half");
        Err("no")
    });
    assert_eq!((refused, &out[..]), (Err("no"), &b"before"[..]));
}

/// [ARCP 4-7] Which closes are closes, and how the others are answered.
#[test]
fn closes_are_read() {
    let read = |payload: &[u8]| {
        let bytes = frame_bytes(Role::Server, 0x88, payload);
        Decoder::new(Role::Server, LIMIT).next(&mut BytesMut::from(&bytes[..]))
    };
    assert_eq!(read(b""), Ok(Some(Message::Close(None))));
    for code in [1000, 1001, 1011, 3000, 4999] {
        let payload = [&u16::to_be_bytes(code)[..], "tschüß".as_bytes()].concat();
        let close = CloseFrame::new(CloseCode(code), "tschüß");
        assert_eq!(read(&payload), Ok(Some(Message::Close(Some(close)))));
    }
    let mut refused: Vec<Vec<u8>> = [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535]
        .map(|code: u16| code.to_be_bytes().to_vec())
        .to_vec();
    refused.push(vec![3]);
    for payload in refused {
        assert!(
            matches!(read(&payload), Err(Fault::Violation(told)) if told.code == CloseCode::PROTOCOL),
            "{payload:?}"
        );
    }
    assert!(
        matches!(read(b"\x03\xe8\xff"), Err(Fault::Violation(told)) if told.code == CloseCode(1007))
    );
}

/// A header that promises much costs nothing until it comes.
#[test]
fn a_promised_length_is_no_memory() {
    let mut input = BytesMut::from(&[0x82, 127, 0, 0, 0, 0, 0, 0xf0, 0, 0, 1, 2, 3][..]);
    let mut decoder = Decoder::new(Role::Client, 64 << 20);
    assert_eq!(decoder.next(&mut input), Ok(None));
    assert!(input.capacity() < 1000);
    let mut limited = Decoder::new(Role::Client, LIMIT);
    assert_eq!(limited.next(&mut input), Err(Fault::TooBig));
}
