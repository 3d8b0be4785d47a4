//! The values inside messages: times, amounts, agents, traces, words.

use std::time::Duration;

use towline_wire::{
    AgentRef, Amount, ErrorCode, Feature, FeatureSet, JobStatus, Lease, MessageType, SpanId,
    Timestamp, TraceId,
};

fn time(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|cause| panic!("{cause}"))
}

/// [ARCP 5-8] We write RFC 3339 in UTC with milliseconds and `Z`, and read it with any offset and any precision.
#[test]
fn times_are_read_with_any_offset_and_written_in_utc() {
    for (text, expected) in [
        ("2026-01-31T12:00:00.250Z", "2026-01-31T12:00:00.250Z"),
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31t12:00:00z", "2026-01-31T12:00:00.000Z"),
        ("2026-01-31T12:00:00.9999999Z", "2026-01-31T12:00:00.999Z"),
        ("2026-01-31T12:00:00.1+01:00", "2026-01-31T11:00:00.100Z"),
        ("2026-01-31T00:30:00+05:45", "2026-01-30T18:45:00.000Z"),
        ("2026-12-31T23:30:00-01:00", "2027-01-01T00:30:00.000Z"),
        ("2026-01-31T12:00:00-00:00", "2026-01-31T12:00:00.000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
        ("2000-02-29T23:59:59.999Z", "2000-02-29T23:59:59.999Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
        ("1583-10-15T01:02:03.004Z", "1583-10-15T01:02:03.004Z"),
        ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ] {
        assert_eq!(time(text).to_string(), expected, "{text}");
        assert_eq!(
            serde_json::to_string(&time(text)).unwrap(),
            format!("\"{expected}\"")
        );
    }
}

#[test]
fn other_texts_are_no_times() {
    for text in [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00Z",
        "2026-1-31T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "1900-02-29T12:00:00Z",
        "2026-00-10T12:00:00Z",
        "2026-13-10T12:00:00Z",
        "2026-04-31T12:00:00Z",
        "2026-01-00T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:60:00Z",
        "2026-01-31T12:00:61Z",
        "2026-01-31T12:00:00.Z",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00+01",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00+24:00",
        "2026-01-31T12:00:00+01:60",
        "2026-01-31T12:00:00[UTC]",
        "2026-01-31T12:00:00Z ",
        " 2026-01-31T12:00:00Z",
        "+02026-01-31T12:00:00Z",
        "２026-01-31T12:00:00Z",
        "0000-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ] {
        assert!(text.parse::<Timestamp>().is_err(), "{text}");
    }
    let refused = "x"
        .repeat(1000)
        .parse::<Timestamp>()
        .unwrap_err()
        .to_string();
    assert!(refused.len() < 200, "{refused}");
}

#[test]
fn some_times_have_to_be_in_utc() {
    assert!(Timestamp::parse_utc("2026-01-31T12:00:00Z").is_ok());
    for text in ["2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00z", "Z"] {
        assert!(Timestamp::parse_utc(text).is_err(), "{text}");
    }
}

#[test]
fn times_stay_within_what_can_be_written() {
    assert_eq!(Timestamp::from_unix_micros(i64::MIN), Timestamp::MIN);
    assert_eq!(Timestamp::from_unix_micros(i64::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::MAX.plus(Duration::MAX), Timestamp::MAX);
    assert_eq!(Timestamp::MIN.to_string(), "0000-01-01T00:00:00.000Z");
    assert_eq!(Timestamp::MAX.to_string(), "9999-12-31T23:59:59.999Z");
    let epoch = Timestamp::from_unix_micros(0);
    assert_eq!(
        epoch.plus(Duration::from_millis(1500)).since(epoch),
        Duration::from_millis(1500)
    );
    assert_eq!(
        epoch.since(epoch.plus(Duration::from_secs(1))),
        Duration::ZERO
    );
    assert_eq!(Timestamp::from_unix_micros(-1).unix_millis(), 0);
}

/// [ARCP 5-10] Money keeps its exact decimal text from JSON to JSON.
#[test]
fn amounts_keep_their_text() {
    for text in [
        "0",
        "5",
        "5.00",
        "-0.10",
        "0.1",
        "3.0",
        "0.0000001",
        "9007199254740993",
        "1234567890123456789012345678",
        "0.1234567890123456789012345678",
        "123456789012345.6789012345678",
        "-9999999999999999999999999999",
        "0.0000000000000000000000000001",
    ] {
        let amount: Amount =
            serde_json::from_str(text).unwrap_or_else(|cause| panic!("{text}: {cause}"));
        assert_eq!(serde_json::to_string(&amount).unwrap(), text);
        let quoted: Amount = serde_json::from_str(&format!("\"{text}\"")).unwrap();
        assert_eq!(quoted, amount);
    }
}

#[test]
fn exponents_are_written_out_exactly() {
    for (text, expected) in [
        ("1e-7", "0.0000001"),
        ("1E3", "1000"),
        ("1e+3", "1000"),
        ("5.00e2", "500"),
        ("5.00e1", "50.0"),
        ("12.5e-1", "1.25"),
        ("-2.5e3", "-2500"),
        ("1e27", "1000000000000000000000000000"),
        ("1e-28", "0.0000000000000000000000000001"),
        ("10e-29", "0.0000000000000000000000000001"),
        ("0e999", "0"),
        ("0.0e-999", "0.0000000000000000000000000000"),
        ("-0", "0"),
    ] {
        let amount: Amount = text.parse().unwrap_or_else(|cause| panic!("{cause}"));
        assert_eq!(amount.to_string(), expected, "{text}");
    }
}

#[test]
fn other_texts_are_no_amounts() {
    for text in [
        "",
        "-",
        "+1",
        ".5",
        "5.",
        "1_000",
        "1,5",
        "0x10",
        "NaN",
        "inf",
        "1e",
        "1e+",
        "1e1.5",
        " 1",
        "1 ",
        "--1",
        "USD:5",
        "1e28",
        "1e-29",
        "1e99999999999999999999",
        "12345678901234567890123456789",
        "0.12345678901234567890123456789",
        "٣",
    ] {
        assert!(text.parse::<Amount>().is_err(), "{text}");
    }
    for json in ["null", "true", "[]", "{}", "\"five\"", "\"\""] {
        assert!(serde_json::from_str::<Amount>(json).is_err(), "{json}");
    }
}

#[test]
fn sums_are_exact_or_none() {
    let amount = |text: &str| text.parse::<Amount>().unwrap();
    for (a, b, sum) in [
        ("0.1", "0.2", Some("0.3")),
        ("5.00", "1", Some("6.00")),
        ("5", "-5.00", Some("0.00")),
        ("9999999999999999999999999999", "1", None),
        (
            "999999999999999999999999999.9",
            "0.1",
            Some("1000000000000000000000000000"),
        ),
        ("1000000000000000000000000000", "0.1", None),
        (
            "1000000000000000000000000000",
            "0.0",
            Some("1000000000000000000000000000"),
        ),
        (
            "1000000000000000000000000000",
            "0.0000000000000000000000000001",
            None,
        ),
    ] {
        let found = amount(a).checked_add(amount(b)).map(|sum| sum.to_string());
        assert_eq!(found.as_deref(), sum, "{a} + {b}");
    }
    assert_eq!(
        amount("0.3").checked_sub(amount("0.1")),
        Some(amount("0.2"))
    );
    assert!(amount("-0.01").is_negative() && !amount("-0.00").is_negative());
}

/// [ARCP 7.5-1] `name` or `name@version`, each by its grammar.
#[test]
fn agents_have_a_grammar() {
    for (text, name, version) in [
        ("echo", "echo", None),
        ("0", "0", None),
        ("a.b_c-d", "a.b_c-d", None),
        ("echo@1.0.0", "echo", Some("1.0.0")),
        (
            "echo@1.0.0-RC.1+build_5",
            "echo",
            Some("1.0.0-RC.1+build_5"),
        ),
        ("echo@-", "echo", Some("-")),
    ] {
        let agent = AgentRef::parse(text).unwrap_or_else(|cause| panic!("{cause}"));
        assert_eq!((agent.name(), agent.version()), (name, version), "{text}");
        assert_eq!(agent.to_string(), text);
        assert_eq!(
            serde_json::from_str::<AgentRef>(&serde_json::to_string(&agent).unwrap()).unwrap(),
            agent
        );
    }
    for text in [
        "", "@", "@1", "echo@", "Echo", "-echo", ".echo", "_echo", "écho", "e cho", "e/cho",
        "echo@1@2", "echo@1 0", "echo@1/0", "echo@é", "echo\n", " echo",
    ] {
        assert!(AgentRef::parse(text).is_err(), "{text}");
    }
    assert!(AgentRef::parse(&"a".repeat(256)).is_ok());
    assert!(AgentRef::parse(&"a".repeat(257)).is_err());
}

#[test]
fn trace_ids_are_thirty_two_lower_case_digits() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(TraceId::parse(trace).unwrap().to_string(), trace);
    for text in [
        "",
        "4bf9",
        &trace.to_uppercase(),
        &"0".repeat(32),
        &"g".repeat(32),
        &trace[1..],
        &format!("{trace}0"),
    ] {
        assert!(TraceId::parse(text).is_none(), "{text}");
    }
}

#[test]
fn traceparents_are_read_as_w3c_says() {
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let span = "00f067aa0ba902b7";
    for text in [
        format!("00-{trace}-{span}-01"),
        format!("01-{trace}-{span}-01-what-the-future-adds"),
    ] {
        let (found, parent) = TraceId::parse_lenient(&text).unwrap();
        assert_eq!(
            (found.to_string(), parent.map(|span| span.to_string())),
            (trace.to_owned(), Some(span.to_owned()))
        );
    }
    for text in [
        format!("ff-{trace}-{span}-01"),
        format!("00-{trace}-{span}-01-more"),
        format!("00-{trace}-{span}"),
        format!("00-{trace}-{span}-1"),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{}-{span}-01", "0".repeat(32)),
        format!("00-{}-{span}-01", trace.to_uppercase()),
        format!("0-{trace}-{span}-01"),
        format!("{trace}-{span}-01"),
    ] {
        assert!(TraceId::parse_lenient(&text).is_none(), "{text}");
    }
    assert!(SpanId::from_bytes([0; 8]).is_none());
}

#[test]
fn words_are_known_or_kept() {
    for kind in MessageType::KNOWN {
        assert_eq!(MessageType::new(kind.as_str()), *kind);
        assert!(kind.is_known());
        let ours = kind.as_str().starts_with("x-vendor.towline.");
        assert_eq!(kind.is_vendor(), ours, "{kind}");
    }
    let vendor = MessageType::new("x-vendor.acme.hello");
    assert!(vendor.is_vendor() && !vendor.is_known());
    let retryable: Vec<_> = ErrorCode::KNOWN
        .iter()
        .filter(|code| code.is_retryable())
        .map(ErrorCode::as_str)
        .collect();
    assert_eq!(
        retryable,
        [
            "AGENT_NOT_AVAILABLE",
            "TIMEOUT",
            "HEARTBEAT_LOST",
            "INTERNAL_ERROR"
        ]
    );
    assert_eq!(ErrorCode::KNOWN.len(), 15);
}

#[test]
fn statuses_are_read_in_other_spellings_too() {
    for status in JobStatus::ALL {
        assert_eq!(JobStatus::parse(status.as_str()), Some(status));
    }
    assert_eq!(JobStatus::parse("timedout"), Some(JobStatus::TimedOut));
    assert_eq!(JobStatus::parse("Running"), None);
    assert_eq!(
        JobStatus::ALL
            .into_iter()
            .filter(|status| !status.is_terminal())
            .count(),
        2
    );
}

#[test]
fn feature_sets_are_written_as_flags() {
    let all: Vec<&str> = Feature::ALL
        .iter()
        .map(|feature| feature.as_str())
        .collect();
    assert_eq!(
        serde_json::to_value(FeatureSet::ALL).unwrap(),
        serde_json::json!(all)
    );
    for feature in Feature::ALL {
        assert_eq!(Feature::parse(feature.as_str()), Some(*feature));
        let set = FeatureSet::NONE.with(*feature);
        assert_eq!(FeatureSet::from_bits(set.bits()), set);
        assert_eq!(set.without(*feature), FeatureSet::NONE);
    }
    assert_eq!(FeatureSet::from_bits(u16::MAX), FeatureSet::ALL);
    let read: FeatureSet = serde_json::from_str(r#"["ack","later","\u0061ck"]"#).unwrap();
    assert_eq!(read, FeatureSet::NONE.with(Feature::Ack));
}

/// An empty list is not the same as no list: a lease that names no model forbids what silence may leave open.
#[test]
fn leases_keep_empty_lists() {
    let lease: Lease =
        serde_json::from_str(r#"{"model.use":[],"fs.read":["/a"],"net.fetch":null}"#).unwrap();
    assert!(lease.grants("model.use") && lease.patterns("model.use").is_empty());
    assert!(!lease.grants("net.fetch"));
    assert_eq!(
        serde_json::to_string(&lease).unwrap(),
        r#"{"fs.read":["/a"],"model.use":[]}"#
    );
}
