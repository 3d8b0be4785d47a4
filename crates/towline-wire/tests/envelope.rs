//! The envelope: what is one, what is refused and in which words, and what is kept.

use std::fmt::Write as _;

use serde_json::Value;
use towline_wire::{Envelope, EventPayload, EventSeq, MAX_SEQ, MessageType, payload};

#[track_caller]
fn read(frame: &str) -> Envelope {
    Envelope::decode_text(frame).unwrap_or_else(|cause| panic!("{cause}: {frame}"))
}

/// The refusal of a frame.
#[track_caller]
fn refusal(frame: &str) -> String {
    match Envelope::decode_text(frame) {
        Ok(envelope) => panic!("read as {envelope:?}"),
        Err(refused) => refused.message,
    }
}

/// [ARCP 5-2] Unknown fields of the envelope and the payload are kept, in their order and to the letter.
#[test]
fn unknown_fields_are_kept() {
    let frame = concat!(
        r#"{"arcp":"1.1","id":"m","type":"session.ping","z":1.00,"a":{"b":[null,"\u00e9"]},"n":null,"#,
        r#""payload":{"nonce":"n","zz":1e-7,"deep":{"x":null}}}"#,
    );
    let envelope = read(frame);
    assert_eq!(envelope.encode(), frame);
    assert_eq!(envelope.unknown_field("z").unwrap().as_str(), "1.00");
    assert_eq!(envelope.unknown_field("y"), None);
    assert!(envelope.decode::<payload::Ping>().is_ok());
}

/// [ARCP 5-6] `null` is read as absent, in every field of the envelope and of a payload that may be left out.
#[test]
fn null_is_absent() {
    let nulls = concat!(
        r#"{"arcp":null,"id":null,"type":"job.submit","session_id":null,"job_id":null,"event_seq":null,"job_seq":null,"#,
        r#""trace_id":null,"extensions":null,"payload":null}"#,
    );
    assert_eq!(read(nulls), read(r#"{"type":"job.submit"}"#));
    assert_eq!(
        read(nulls).encode(),
        r#"{"arcp":"1.1","type":"job.submit","payload":{}}"#
    );

    let frame = r#"{"type":"job.submit","payload":{"agent":"a","input":null,"lease_request":null,"max_runtime_sec":null}}"#;
    let again = Envelope::of(&read(frame).decode::<payload::Submit>().unwrap()).unwrap();
    assert_eq!(again.payload.as_str(), r#"{"agent":"a"}"#);

    let frame = concat!(
        r#"{"type":"session.welcome","payload":{"runtime":null,"resume_token":null,"capabilities":"#,
        r#"{"encodings":null,"features":null,"agents":null}}}"#,
    );
    assert!(read(frame).decode::<payload::Welcome>().is_ok());
    let frame = r#"{"type":"job.accepted","payload":{"agent":null,"lease":{"fs.read":null},"budget":null}}"#;
    assert!(
        read(frame)
            .decode::<payload::Accepted>()
            .unwrap()
            .lease
            .is_empty()
    );
}

/// [ARCP 5-7] Any id from one to 256 bytes is taken, whatever it looks like; an empty or longer one is refused by name.
#[test]
fn ids_have_bounds_and_no_form() {
    let with_id = |id: &str| format!(r#"{{"id":"{id}","type":"session.ping"}}"#);
    for id in [
        "1",
        "0190b4a0-7b1e-7cc3-98c4-dc0c0c07398f",
        "ümlaut 🎈",
        &"x".repeat(256),
    ] {
        assert_eq!(read(&with_id(id)).id.unwrap().as_str(), id);
    }
    assert_eq!(refusal(&with_id("")), "`id`: an id must not be empty");
    assert_eq!(
        refusal(&with_id(&"x".repeat(257))),
        "`id`: an id has at most 256 bytes, this one has 257"
    );
    assert_eq!(
        refusal(&with_id(&"é".repeat(129))),
        "`id`: an id has at most 256 bytes, this one has 258"
    );
    assert_eq!(
        refusal(r#"{"id":7,"type":"session.ping"}"#),
        "`id`: expected a string, found a number"
    );
    assert!(read(r#"{"type":"session.ping"}"#).id.is_none());
    assert_eq!(
        refusal(r#"{"type":"t","session_id":""}"#),
        "`session_id`: an id must not be empty"
    );
    assert_eq!(
        refusal(r#"{"type":"t","job_id":{}}"#),
        "`job_id`: expected a string, found an object"
    );
}

/// [ARCP 5-9] A place in a stream is an integer from 1 to 2^53-1.
#[test]
fn places_are_from_one_to_two_to_the_fifty_third() {
    let with_seq = |seq: &str| format!(r#"{{"type":"job.event","event_seq":{seq}}}"#);
    assert_eq!(read(&with_seq("1")).event_seq, Some(EventSeq::FIRST));
    assert_eq!(
        read(&with_seq("9007199254740991")).event_seq,
        Some(EventSeq::new(MAX_SEQ))
    );
    let expected = "`event_seq`: expected a whole number up to 2^53-1, found";
    for (seq, found) in [
        ("9007199254740992", "9007199254740992"),
        ("18446744073709551615", "18446744073709551615"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("\"1\"", "a string"),
        ("true", "a boolean"),
        ("[1]", "an array"),
    ] {
        assert_eq!(
            refusal(&with_seq(seq)),
            format!("{expected} {found}"),
            "{seq}"
        );
    }
    assert_eq!(
        refusal(&with_seq("0")),
        "`event_seq`: the first number is 1, found 0"
    );
    for seq in [
        "01",
        "1e400",
        "99999999999999999999999999999999",
        "+1",
        "0x1",
        "",
    ] {
        refusal(&with_seq(seq));
    }
    assert_eq!(
        refusal(r#"{"type":"job.event","job_seq":0}"#),
        "`job_seq`: the first number is 1, found 0"
    );
}

#[test]
fn frames_that_are_no_envelope_are_refused_by_name() {
    for (frame, expected) in [
        ("", "the frame is empty"),
        (" \r\n", "the frame is empty"),
        (
            "\u{feff}{\"type\":\"t\"}",
            "the frame begins with a byte order mark; leave it out",
        ),
        ("[1,2]", "the frame is not a JSON object"),
        ("\"x\"", "the frame is not a JSON object"),
        ("null", "the frame is not a JSON object"),
        (
            "{oops",
            "the frame is not JSON: key must be a string at line 1 column 2",
        ),
        (
            "{\"type\":\"t\"",
            "the frame is not JSON: EOF while parsing an object at line 1 column 11",
        ),
        (
            "{\"type\":\"t\"} x",
            "the frame is not JSON: trailing characters at line 1 column 14",
        ),
        (
            "{\"type\":\"t\"}{}",
            "the frame is not JSON: trailing characters at line 1 column 13",
        ),
        ("{}", "`type` is missing"),
        (r#"{"type":""}"#, "`type` is missing"),
        (r#"{"type":null}"#, "`type` is missing"),
        (r#"{"type":5}"#, "`type`: expected a string, found a number"),
        (
            r#"{"type":["session.ping"]}"#,
            "`type`: expected a string, found an array",
        ),
        (
            r#"{"type":"t","arcp":"2.0"}"#,
            "`arcp` is `2.0`, this peer speaks `1.1`",
        ),
        (
            r#"{"type":"t","arcp":1.1}"#,
            "`arcp`: expected a string, found a number",
        ),
        (r#"{"type":"t","payload":[]}"#, "`payload` is not an object"),
        (
            r#"{"type":"t","payload":"{}"}"#,
            "`payload` is not an object",
        ),
        (
            r#"{"type":"t","extensions":1}"#,
            "`extensions` is not an object",
        ),
        (r#"{"type":"t","type":"t"}"#, "`type`: given twice"),
        (
            r#"{"type":"t","payload":{},"payload":{}}"#,
            "`payload`: given twice",
        ),
        (
            r#"{"id":"\ud800","type":"t"}"#,
            "`id`: unexpected end of hex escape",
        ),
    ] {
        assert_eq!(refusal(frame), expected, "{frame}");
    }
    let long = "9".repeat(5000);
    assert!(refusal(&format!(r#"{{"type":"t","arcp":"{long}"}}"#)).len() < 150);
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let refused =
        Envelope::decode_bytes(bytes::Bytes::from_static(b"{\"type\":\"\xff\"}")).unwrap_err();
    assert!(
        refused.message.starts_with("the frame is not UTF-8: "),
        "{refused}"
    );
    assert!(Envelope::decode_bytes(bytes::Bytes::from_static(b"{\"type\":\"t\"}")).is_ok());
}

/// A refusal can be answered: it carries the id of the frame wherever that can be read.
#[test]
fn refusals_name_their_frame() {
    for (frame, id) in [
        (r#"{"id":"m","payload":[]}"#, Some("m")),
        (r#"{"payload":{"id":"inner"},"type":5,"id":"m"}"#, Some("m")),
        (r#"{"type":"t","arcp":"9","id":"m"}"#, Some("m")),
        (r#"{"type":5,"id":""}"#, None),
        (r#"{"type":5,"id":6}"#, None),
        (r#"{"id":"m""#, None),
    ] {
        let refused = Envelope::decode_text(frame).unwrap_err();
        assert_eq!(refused.id.as_ref().map(|id| id.as_str()), id, "{frame}");
    }
}

/// Nesting costs no stack: a frame may be as deep as it is long, and a reader that cannot follow says so.
#[test]
fn deep_nesting_is_an_error_at_worst() {
    let mut frame = String::from(r#"{"type":"job.submit","payload":{"agent":"a","input":"#);
    frame.push_str(&"[".repeat(100_000));
    frame.push_str(&"]".repeat(100_000));
    frame.push_str("}}");
    let submit: payload::Submit = read(&frame).decode().unwrap();
    assert!(submit.input.unwrap().read::<Value>().is_err());
    for broken in [&frame[..100_000], &frame[..150_000]] {
        refusal(broken);
    }
    let ping = frame
        .replace("agent", "sent_at")
        .replace("job.submit", "session.ping")
        .replace("\"a\"", "[[[]]]");
    assert!(read(&ping).decode::<payload::Ping>().is_ok());
}

/// Values that only have to be JSON are passed on, whatever they hold.
#[test]
fn strange_values_pass_through() {
    let frame = r#"{"arcp":"1.1","type":"t","payload":{"n":1e999,"d":0.1000,"s":"\ud800","same":1,"same":2}}"#;
    assert_eq!(read(frame).encode(), frame);
    let faulty = r#"{"type":"session.close","payload":{"reason":"\ud800"}}"#;
    let fault = read(faulty)
        .decode::<payload::Close>()
        .unwrap_err()
        .to_string();
    assert!(fault.starts_with("`session.close`: `reason`: "), "{fault}");
}

/// A frame is one line, whoever wrote it on how many.
#[test]
fn frames_are_written_on_one_line() {
    let frame =
        "{\r\n \"type\": \"t\",\r\n \"x\": [1,\n2],\n \"payload\": {\n\"a\": \"\\n\"\r}\n}\n";
    assert_eq!(
        read(frame).encode(),
        r#"{"arcp":"1.1","type":"t","x":[1, 2],"payload":{ "a": "\n" }}"#
    );
}

/// Trace ids that are none are dropped; a whole `traceparent` is reduced to its trace.
#[test]
fn trace_ids_are_read_leniently() {
    let with_trace = |trace: &str| read(&format!(r#"{{"type":"t","trace_id":{trace}}}"#));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = with_trace(&format!("\"00-{trace}-00f067aa0ba902b7-01\""));
    assert_eq!(parent.trace_id.unwrap().to_string(), trace);
    assert_eq!(parent.parent_span.unwrap().to_string(), "00f067aa0ba902b7");
    assert_eq!(
        with_trace(&format!("\"{trace}\"")).trace_id,
        parent.trace_id
    );
    let upper = format!("\"{}\"", trace.to_uppercase());
    for none in [
        "5",
        "[]",
        "{\"a\":1}",
        "\"\"",
        "\"4bf92f\"",
        "\"00000000000000000000000000000000\"",
        &upper,
    ] {
        let envelope = with_trace(none);
        assert_eq!(
            (envelope.trace_id, envelope.parent_span),
            (None, None),
            "{none}"
        );
    }
}

/// Names and ids with escapes mean what they mean without.
#[test]
fn escapes_in_the_header_are_read() {
    let envelope =
        read(r#"{"\u0074ype":"session.\u0070ing","id":"a\"b\\c\n","payload":{"n\u006fnce":"x"}}"#);
    assert_eq!(envelope.kind, MessageType::SESSION_PING);
    assert_eq!(envelope.id.as_ref().unwrap().as_str(), "a\"b\\c\n");
    assert_eq!(envelope.decode::<payload::Ping>().unwrap().nonce, "x");
    let written = envelope.encode();
    assert!(written.contains(r#""id":"a\"b\\c\n""#), "{written}");
}

/// [ARCP 12-3] An error code nobody knows is kept as it is.
#[test]
fn unknown_error_codes_are_kept() {
    let frame = r#"{"arcp":"1.1","type":"session.error","payload":{"code":"OUT_OF_CHEESE","message":"m","retryable":true}}"#;
    let error: payload::SessionError = read(frame).decode().unwrap();
    assert_eq!(error.code.as_str(), "OUT_OF_CHEESE");
    assert!(!error.code.is_known() && !error.code.is_retryable());
    assert_eq!(Envelope::of(&error).unwrap().encode(), frame);
}

/// The header's order does not matter, nor does white space.
#[test]
fn order_and_white_space_do_not_matter() {
    let fields = [
        r#""payload":{"a":1}"#,
        r#""type":"t""#,
        r#""event_seq":7"#,
        r#""id":"m""#,
        r#""x":2"#,
        r#""arcp":"1.1""#,
    ];
    let (mut dense, mut airy) = (String::new(), String::new());
    for turn in 0..fields.len() {
        dense.clear();
        airy.clear();
        for index in 0..fields.len() {
            let field = fields[(index + turn) % fields.len()];
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(dense, "{comma}{field}");
            let _ = write!(airy, "{comma}\n\t {} ", field.replacen("\":", "\" : ", 1));
        }
        let (dense, airy) = (
            read(&format!("{{{dense}}}")),
            read(&format!(" {{{airy}}} ")),
        );
        assert_eq!(dense, airy);
        assert_eq!(
            dense.encode(),
            r#"{"arcp":"1.1","id":"m","type":"t","event_seq":7,"x":2,"payload":{"a":1}}"#
        );
    }
}

/// Frames without white space and escapes are read in a shorter way. White space in front leaves only the careful one,
/// which has the word.
#[test]
fn the_short_way_reads_what_the_careful_one_reads() {
    for frame in [
        r#"{"type":"t","id":"\u0041"}"#,
        r#"{"type":"t","id":"a\\"}"#,
        r#"{"type":"t","session_id":"12345678\\"}"#,
        r#"{"type":"t","\u0069d":"a"}"#,
        r#"{"type":"t\n"}"#,
        "{\"type\":\"t\u{1}\"}",
        "{\"type\":\"t\u{7f}\u{80}é🎈\"}",
        "{\"type\":\"12345678\n\"}",
        r#"{"type":"t","event_seq":07}"#,
        r#"{"type":"t","event_seq":7.0}"#,
        r#"{"type":"t","event_seq":7e0}"#,
        r#"{"type":"t","event_seq":9007199254740992}"#,
        r#"{"type":"t","event_seq":7,"event_seq":7}"#,
        r#"{"type":"t","x":1,"x":2}"#,
        r#"{"type":"t","payload":{}}x"#,
        r#"{"type":"t","payload":{}},"#,
        r#"{"type":"t","payload":{},}"#,
        r#"{"type":"t","payload":{"a":[1,2}}"#,
        r#"{"type":"t","x":nul}"#,
        r#"{"type":"t","x":01}"#,
        r#"{"type":"t","x":1x}"#,
        r#"{"type":"t"}"#,
        r#"{"type":"t","trace_id":5}"#,
        r#"{"type":"t","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","trace_id":null}"#,
    ] {
        let careful = Envelope::decode_text(format!(" {frame}")).map_err(|refused| refused.id);
        assert_eq!(
            Envelope::decode_text(frame).map_err(|refused| refused.id),
            careful,
            "{frame}"
        );
    }
    for payload in [
        r#"{"kind":"log","ts":"2026-01-31T12:00:00Z","body":{"a":1}}"#,
        r#"{"kind":"log","ts":"2026-01-31T12:00:00Z","body":null}"#,
        r#"{"kind":"log","ts":"2026-01-31T12:00:00Z","body":5}"#,
        r#"{"kind":"log","ts":"yesterday","body":{}}"#,
        r#"{"kind":"log","ts":"2026-01-31T12:00:00Z","body":{},"x":1}"#,
        r#"{"kind":"log","ts":"2026-01-31T12:00:00Z","body":{},"body":{}}"#,
        r#"{"kind":"lo\u0067","ts":"2026-01-31T12:00:00Z","body":{}}"#,
        r#"{"ts":"2026-01-31T12:00:00Z","kind":"log","body":{}}"#,
        r#"{"kind":"log","body":{}}"#,
        r#"{"kind":"log"}"#,
    ] {
        let short = read(&format!(r#"{{"type":"job.event","payload":{payload}}}"#))
            .decode::<EventPayload>()
            .ok();
        assert_eq!(short, serde_json::from_str(payload).ok(), "{payload}");
    }
}
