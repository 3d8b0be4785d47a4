//! The seeds of the fuzz targets, run through the same entry points as the fuzzer does.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use towline_wire::{Envelope, Event, Message};

#[path = "../../fuzz/entry/decode_envelope.rs"]
mod decode_envelope;
#[path = "../../fuzz/entry/first_frame.rs"]
mod first_frame;
#[path = "../../fuzz/entry/lease_pattern.rs"]
mod lease_pattern;
#[path = "../../fuzz/entry/shown_text.rs"]
mod shown_text;
#[path = "../../fuzz/entry/tokens.rs"]
mod tokens;
#[path = "../../fuzz/entry/websocket_frames.rs"]
mod websocket_frames;

/// The seeds of a target, sorted, each with its name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let entries = fs::read_dir(&directory).expect("every target has a directory of seeds");
    let mut seeds: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("the directory can be read").path();
            let name = path
                .file_name()
                .expect("an entry has a name")
                .to_string_lossy()
                .into_owned();
            (name, fs::read(&path).expect("a seed can be read"))
        })
        .collect();
    seeds.sort();
    assert!(
        !seeds.is_empty(),
        "there are no seeds in {}",
        directory.display()
    );
    seeds
}

#[test]
fn every_envelope_seed_is_survived() {
    for (name, seed) in seeds("decode_envelope") {
        eprintln!("{name}");
        decode_envelope::decode_envelope(&seed);
    }
}

/// A seed named after a message type is a whole and valid message of that type, or the fuzzer would
/// begin at the door instead of in the house.
#[test]
fn envelope_seeds_cover_every_message_and_event() {
    let mut types = Vec::new();
    let mut kinds = Vec::new();
    for (name, seed) in seeds("decode_envelope") {
        if name.starts_with("odd-") {
            continue;
        }
        let envelope = Envelope::decode_bytes(Bytes::from(seed))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let message = Message::of(&envelope).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            !matches!(message, Message::Other(_)),
            "{name} has an unknown type"
        );
        if let Message::EventPayload(payload) = message {
            let event = payload
                .event()
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(
                payload.kind.is_vendor() || !matches!(event, Event::Other { .. }),
                "{name}"
            );
            kinds.push(format!("event.{}.json", payload.kind.as_str()));
        }
        types.push(format!("{}.json", envelope.kind.as_str()));
        assert!(
            types.contains(&name) || kinds.contains(&name),
            "{name} holds another type than its name says"
        );
    }
    types.sort();
    types.dedup();
    assert_eq!(
        types.len(),
        22,
        "each of the 22 message types has a seed: {types:?}"
    );
    kinds.sort();
    kinds.dedup();
    assert_eq!(
        kinds.len(),
        11,
        "each of the ten kinds and a vendor's has a seed: {kinds:?}"
    );
}

#[test]
fn every_lease_seed_is_survived() {
    for (name, seed) in seeds("lease_pattern") {
        eprintln!("{name}");
        lease_pattern::lease_pattern(&seed);
    }
}

#[test]
fn every_websocket_seed_is_survived() {
    for (name, seed) in seeds("websocket_frames") {
        eprintln!("{name}");
        websocket_frames::websocket_frames(&seed);
    }
}

/// The seeds named after an SDK are its real first frames, and are told apart.
#[test]
fn every_first_frame_seed_is_survived() {
    use towline_proto::Dialect;

    for (name, seed) in seeds("first_frame") {
        eprintln!("{name}");
        first_frame::first_frame(&seed);
        // What says another version is no frame of ours.
        let Ok(envelope) = Envelope::decode_bytes(Bytes::from(seed)) else {
            assert!(name.starts_with("older-"), "{name}");
            continue;
        };
        let dialect = match Message::of(&envelope) {
            Ok(Message::Hello(hello)) => Dialect::of_hello(&envelope, &hello),
            Ok(Message::Welcome(welcome)) => Dialect::of_welcome(&envelope, &welcome),
            _ => continue,
        };
        let expected = match name.trim_start_matches("welcome-") {
            "python" => Dialect::Python,
            "typescript" => Dialect::TypeScript,
            "go" => Dialect::Go,
            "java" => Dialect::Java,
            "ruby" => Dialect::Ruby,
            "csharp" => Dialect::CSharp,
            _ => continue,
        };
        assert_eq!(dialect, expected, "{name}");
    }
}

#[test]
fn every_shown_text_seed_is_survived() {
    for (name, seed) in seeds("shown_text") {
        eprintln!("{name}");
        shown_text::shown_text(&seed);
    }
}

#[test]
fn every_token_seed_is_survived() {
    for (name, seed) in seeds("tokens") {
        eprintln!("{name}");
        tokens::tokens(&seed);
    }
}
