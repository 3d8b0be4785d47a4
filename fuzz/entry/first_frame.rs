//! What the fuzz target `first_frame` does with its input. The ordinary tests include this file too and run every seed
//! through it.

use bytes::Bytes;
use towline_proto::{
    Dialect,
    dialect::{is_old_vocabulary, old_vocabulary},
};
use towline_wire::{Envelope, Message};

/// Reads a frame as the first one of a peer, before anybody knows who that is, and tells what the peer speaks.
///
/// Nothing may panic; the guess is the same each time, a dialect that was guessed can be chosen by its name, and what is
/// said of an older protocol is on one line.
pub(crate) fn first_frame(frame: &[u8]) {
    let Ok(envelope) = Envelope::decode_bytes(Bytes::copy_from_slice(frame)) else {
        return;
    };
    let kind = envelope.kind.as_str();
    if is_old_vocabulary(kind) {
        let told = old_vocabulary(kind);
        assert!(!told.contains('\n'), "{told}");
    }
    let dialect = Dialect::of_first_frame(&envelope);
    check(dialect, Dialect::of_first_frame(&envelope));
    match Message::of(&envelope) {
        Ok(Message::Hello(hello)) => {
            check(
                Dialect::of_hello(&envelope, &hello),
                Dialect::of_hello(&envelope, &hello),
            );
        }
        Ok(Message::Welcome(welcome)) => {
            let guess = || Dialect::of_welcome(&envelope, &welcome);
            check(guess(), guess());
        }
        _ => {}
    }
}

fn check(dialect: Dialect, again: Dialect) {
    assert_eq!(dialect, again, "the guess changes");
    assert_eq!(dialect.to_string().parse::<Dialect>().ok(), Some(dialect));
}
