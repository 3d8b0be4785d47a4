//! What holds for any envelope and any value, not only for those somebody thought of.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value};
use towline_wire::{
    AgentRef, Amount, Envelope, EventPayload, EventSeq, JobId, JobSeq, MAX_SEQ, MessageId,
    MessageType, RawJson, SessionId, SpanId, Timestamp, TraceId, UnknownField,
};

/// Text with what JSON has to escape, and with what it need not.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z0-9_.-]{1,40}",
        "[ -~\\PC\\n\\r\\t\"\\\\\u{1}\u{7f}🎈]{1,20}"
    ]
}

fn id() -> impl Strategy<Value = String> {
    text().prop_filter("an id has at most 256 bytes", |text| text.len() <= 256)
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?"
            .prop_map(|number| serde_json::from_str(&number).unwrap()),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((text(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = RawJson> {
    vec((text(), json()), 0..6)
        .prop_map(|fields| RawJson::from(Value::Object(fields.into_iter().collect::<Map<_, _>>())))
}

fn unknown() -> impl Strategy<Value = Vec<UnknownField>> {
    let name = text().prop_filter("a field we know", |name| !HEADER.contains(&name.as_str()));
    let field = (name, json()).prop_map(|(name, value)| UnknownField {
        name,
        value: value.into(),
    });
    vec(field, 0..4)
}

fn trace() -> impl Strategy<Value = TraceId> {
    any::<[u8; 16]>().prop_filter_map("all zero", TraceId::from_bytes)
}

prop_compose! {
    fn envelope()(
        ids in (option::of(id()), option::of(id()), option::of(id())),
        kind in prop_oneof![
            text(),
            proptest::sample::select(MessageType::KNOWN).prop_map(|kind| kind.as_str().to_owned()),
        ],
        seqs in (option::of(1..=MAX_SEQ), option::of(1..=MAX_SEQ)),
        trace_id in option::of(trace()),
        extensions in option::of(object()),
        unknown in unknown(),
        payload in object(),
    ) -> Envelope {
        Envelope {
            id: ids.0.map(|id| MessageId::parse(&id).unwrap()),
            session_id: ids.1.map(|id| SessionId::parse(&id).unwrap()),
            job_id: ids.2.map(|id| JobId::parse(&id).unwrap()),
            event_seq: seqs.0.map(EventSeq::new),
            job_seq: seqs.1.map(JobSeq::new),
            trace_id,
            extensions,
            unknown,
            payload,
            ..Envelope::new(MessageType::new(&kind))
        }
    }
}

/// Frames that are nearly envelopes: real fields with odd values, twice, out of order, with and without white space.
fn nearly() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        proptest::sample::select(&HEADER[..]).prop_map(str::to_owned),
        Just("x".to_owned())
    ];
    let value = prop_oneof![
        json().prop_map(|value| value.to_string()),
        proptest::sample::select(&ODD[..]).prop_map(str::to_owned),
    ];
    let field = (
        name,
        proptest::sample::select(&["", "", "", " ", "\n"][..]),
        value,
    );
    (
        vec(field, 0..8),
        proptest::sample::select(&["}", "}", "}", "} ", "}x", "", ",}"][..]),
    )
        .prop_map(|(fields, end)| {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, gap, value)| format!("\"{name}\":{gap}{value}"))
                .collect();
            format!("{{{}{end}", fields.join(","))
        })
}

const HEADER: [&str; 10] = [
    "arcp",
    "id",
    "type",
    "session_id",
    "job_id",
    "event_seq",
    "job_seq",
    "trace_id",
    "extensions",
    "payload",
];

const ODD: [&str; 22] = [
    "\"1.1\"",
    "\"session.ping\"",
    "\"job.event\"",
    "\"msg_1\"",
    "{}",
    "{\"kind\":\"log\",\"ts\":\"2026-01-31T12:00:00Z\",\"body\":{\"level\":\"info\",\"message\":\"m\"}}",
    "{\"kind\":\"log\",\"ts\":\"2026-01-31T12:00:00Z\",\"body\":null}",
    "null",
    "0",
    "7",
    "07",
    "-0",
    "9007199254740991",
    "9007199254740992",
    "\"4bf92f3577b34da6a3ce929d0e0e4736\"",
    "\"\\u0041\"",
    "\"\\ud800\"",
    "\"\"",
    "nul",
    "[",
    "\"open",
    "1.0",
];

/// Frames of which one byte was changed, taken away or put in.
fn harmed() -> impl Strategy<Value = String> {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let events = [
        EVENT.to_owned(),
        EVENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", parent),
    ];
    let event = proptest::sample::select(events.to_vec());
    let frame = prop_oneof![
        event,
        envelope().prop_map(|envelope| envelope.encode().to_string())
    ];
    let byte = prop_oneof![
        any::<u8>(),
        proptest::sample::select(&b" \n\t\r\"\\{}[],:0-.eu"[..])
    ];
    let harm = (any::<proptest::sample::Index>(), 0..3, byte);
    (frame, harm).prop_map(|(frame, (at, how, byte))| {
        let mut bytes = frame.clone().into_bytes();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => drop(bytes.remove(at)),
            _ => bytes.insert(at, byte),
        }
        String::from_utf8(bytes).unwrap_or(frame)
    })
}

fn gap() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["", " ", "\n", "\r\n\t", "\u{a0}"][..])
}

/// The frame with its fields in another order and `gap` around every one of its tokens.
fn respelled(envelope: &Envelope, order: u64, gap: &str) -> String {
    let fields: Map<String, Value> = serde_json::from_str(&envelope.encode()).unwrap();
    let mut fields: Vec<_> = fields.into_iter().collect();
    let turn = usize::try_from(order % 16).unwrap() % fields.len();
    fields.rotate_left(turn);
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| {
            format!(
                "{gap}{}{gap}:{gap}{value:#}{gap}",
                Value::from(name.as_str())
            )
        })
        .collect();
    format!("{{{}}}{gap}", fields.join(","))
}

/// Whether the short way and the careful one read the same and refuse the same; white space in front leaves only the
/// careful one.
fn agree(frame: &str) -> Result<(), TestCaseError> {
    let short = Envelope::decode_text(frame);
    let careful = Envelope::decode_text(format!("\n{frame}"));
    prop_assert_eq!(short.is_ok(), careful.is_ok(), "{}", frame);
    let (Ok(short), Ok(careful)) = (short, careful) else {
        return Ok(());
    };
    prop_assert_eq!(&short, &careful, "{}", frame);
    prop_assert!(!short.payload.as_str().contains(['\n', '\r']), "{}", frame);
    let payload = short.decode::<EventPayload>().ok();
    let careful = serde_json::from_str::<EventPayload>(careful.payload.as_str()).ok();
    prop_assert_eq!(payload, careful, "{}", frame);
    Ok(())
}

const EVENT: &str = r#"{"arcp":"1.1","id":"msg_01JB3R5Q0M9T8V7W6X5Y4Z3A2B","type":"job.event","session_id":"sess_1","job_id":"job_1","event_seq":12,"job_seq":10,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","extensions":{"x-vendor.a":[1.5,null]},"more":[],"payload":{"kind":"log","ts":"2026-11-22T17:00:00.000Z","body":{"level":"info","message":"a \"quoted\" line\n","attributes":{"n":-0.5e3}}}}"#;

proptest! {
    /// [ARCP 5-2, 5-9] Any envelope is read back as it was written, fields we do not know included.
    #[test]
    fn envelopes_survive_the_wire(envelope in envelope()) {
        let frame = envelope.encode();
        prop_assert!(!frame.contains(['\n', '\r']), "{}", frame);
        let again = Envelope::decode_text(frame.as_str()).unwrap();
        prop_assert_eq!(&again, &envelope);
        prop_assert_eq!(again.encode(), frame);
    }

    /// The frame is the JSON any other writer would write.
    #[test]
    fn frames_are_json(envelope in envelope()) {
        let frame: Value = serde_json::from_str(&envelope.encode()).unwrap();
        prop_assert_eq!(&frame["arcp"], "1.1");
        prop_assert_eq!(frame.get("id").and_then(Value::as_str), envelope.id.as_ref().map(|id| id.as_str()));
        prop_assert_eq!(frame["type"].as_str(), Some(envelope.kind.as_str()));
        prop_assert_eq!(&frame["payload"], &envelope.payload.read::<Value>().unwrap());
    }

    /// The short way and the careful one read the same and refuse the same. White space in front leaves only the
    /// careful one.
    #[test]
    fn both_readers_agree(frame in nearly()) {
        let (short, careful) = (Envelope::decode_text(frame.as_str()), Envelope::decode_text(format!(" {frame}")));
        prop_assert_eq!(short.is_ok(), careful.is_ok(), "{}", frame);
        if let (Ok(short), Ok(careful)) = (short, careful) {
            prop_assert_eq!(&short, &careful);
            let payload: Result<EventPayload, _> = short.decode();
            let careful: Result<EventPayload, _> = serde_json::from_str(short.payload.as_str());
            prop_assert_eq!(payload.is_ok(), careful.is_ok());
            if let (Ok(payload), Ok(careful)) = (payload, careful) {
                prop_assert_eq!(payload, careful);
            }
        }
    }

    /// The same for whole envelopes, where most frames are good.
    #[test]
    fn both_readers_agree_on_envelopes(envelope in envelope()) {
        let careful = Envelope::decode_text(format!("\n{}", envelope.encode())).unwrap();
        prop_assert_eq!(careful, envelope);
    }

    /// The same for frames that came to harm on the way: one byte of a good frame is another, is missing or is white space
    /// more.
    #[test]
    fn both_readers_agree_on_what_was_harmed(frame in harmed()) {
        agree(&frame)?;
    }

    /// The same for whatever is spelled with white space, other orders of fields and payloads of any kind.
    #[test]
    fn both_readers_agree_on_any_spelling(envelope in envelope(), order in any::<u64>(), gap in gap()) {
        agree(&respelled(&envelope, order, gap))?;
    }

    /// Nothing a peer sends makes the reader panic.
    #[test]
    fn any_text_is_survived(frame in ".{0,200}", bytes in vec(any::<u8>(), 0..100)) {
        let _ = Envelope::decode_text(frame);
        let _ = Envelope::decode_bytes(bytes.into());
    }

    /// [ARCP 5-8] Any time that can be written is read back, to the millisecond.
    #[test]
    fn times_survive_the_wire(micros in Timestamp::MIN.unix_micros()..=Timestamp::MAX.unix_micros()) {
        let time = Timestamp::from_unix_micros(micros);
        let again: Timestamp = time.to_string().parse().unwrap();
        prop_assert_eq!(again.unix_micros(), micros.div_euclid(1000) * 1000);
        prop_assert_eq!(again.to_string(), time.to_string());
    }

    /// Times are those another reader of RFC 3339 finds, wherever they lie and however they are written.
    #[test]
    fn times_are_what_others_read(
        year in 1i16..9999, month in 1i8..=12, day in 1i8..=31, in_day in 0u32..86_400,
        fraction in "(\\.[0-9]{1,9})?", offset in "Z|[+-](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]",
    ) {
        let (hour, minute, second) = (in_day / 3600, in_day / 60 % 60, in_day % 60);
        let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}");
        let ours = text.parse::<Timestamp>().ok().map(Timestamp::unix_micros);
        let theirs = text.parse::<jiff::Timestamp>().ok();
        // They round what is before 1970 towards it, we cut off digits.
        let theirs = theirs.map(|time| i64::try_from(time.as_nanosecond().div_euclid(1000)).unwrap());
        prop_assert_eq!(ours, theirs, "{}", text);
    }

    /// [ARCP 5-10] Any decimal of up to 28 digits keeps its text, as a number and inside a string.
    #[test]
    fn amounts_survive_the_wire(minus in "-?", whole in "0|[1-9][0-9]{0,13}", places in "(\\.[0-9]{1,14})?") {
        let text = format!("{minus}{whole}{places}");
        let amount: Amount = serde_json::from_str(&text).unwrap();
        let zero = !text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        let expected = if zero { text.trim_start_matches('-') } else { text.as_str() };
        prop_assert_eq!(serde_json::to_string(&amount).unwrap(), expected);
    }

    /// What is added can be taken away again.
    #[test]
    fn sums_are_exact(a in "-?[0-9]{1,12}(\\.[0-9]{1,12})?", b in "-?[0-9]{1,12}(\\.[0-9]{1,12})?") {
        let (a, b): (Amount, Amount) = (a.parse().unwrap(), b.parse().unwrap());
        let sum = a.checked_add(b).unwrap();
        prop_assert_eq!(sum.checked_sub(b), Some(a));
        prop_assert_eq!(b.checked_add(a), Some(sum));
    }

    #[test]
    fn any_text_is_an_amount_or_none(text in "[-+0-9.eE_ ]{0,40}") {
        if let Ok(amount) = text.parse::<Amount>() {
            let again: Amount = amount.to_string().parse().unwrap();
            prop_assert_eq!(again, amount);
        }
    }

    #[test]
    fn traces_survive_the_wire(trace in trace(), span in any::<[u8; 8]>()) {
        prop_assert_eq!(TraceId::parse(&trace.to_string()), Some(trace));
        prop_assert_eq!(TraceId::from_bytes(trace.to_bytes()), Some(trace));
        if let Some(span) = SpanId::from_bytes(span) {
            let header = format!("00-{trace}-{span}-01");
            prop_assert_eq!(TraceId::parse_lenient(&header), Some((trace, Some(span))));
        }
    }

    /// [ARCP 7.5-1] Whatever the grammar makes is an agent, and an agent is what the grammar makes.
    #[test]
    fn agents_survive_the_wire(text in "[a-z0-9][a-z0-9._-]{0,20}(@[a-zA-Z0-9.+_-]{1,20})?") {
        let agent = AgentRef::parse(&text).unwrap();
        prop_assert_eq!(agent.to_string(), text);
        let again: AgentRef = serde_json::from_str(&serde_json::to_string(&agent).unwrap()).unwrap();
        prop_assert_eq!(again, agent);
    }

    #[test]
    fn raw_json_is_kept_to_the_letter(value in json()) {
        let text = value.to_string();
        let raw = RawJson::parse(format!(" {text}\n")).unwrap();
        prop_assert_eq!(raw.as_str(), text.as_str());
        prop_assert_eq!(RawJson::of(&raw).unwrap(), raw);
    }
}
