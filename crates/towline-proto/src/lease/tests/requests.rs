//! What a submit may ask for.

use towline_wire::{ErrorCode, Lease, LeaseConstraints, Timestamp};

use super::super::{LeaseError, LeaseSet, PatternVerdict, validate_request};

fn now() -> Timestamp {
    "2026-01-31T12:00:00Z".parse().unwrap()
}

fn until(text: &str) -> LeaseConstraints {
    LeaseConstraints {
        expires_at: Some(text.to_owned()),
    }
}

/// [ARCP 9.2-1] Reserved and vendor namespaces pass; any other is an INVALID_REQUEST that names it.
#[test]
fn unknown_namespaces_are_refused() {
    let known = Lease::new()
        .with("fs.read", "/a")
        .with("fs.write", "/a/**")
        .with("net.fetch", "https://a.b/**")
        .with("tool.call", "t.*")
        .with("agent.delegate", "a@1.*")
        .with("cost.budget", "USD:1")
        .with("model.use", "m*")
        .with("x-vendor.acme.db", "read.*");
    assert!(validate_request(&known, &LeaseConstraints::default(), now()).is_ok());
    for unknown in ["fs.delete", "fs", "", "FS.read", "vendor.x", "x-vendor."] {
        let error = validate_request(
            &Lease::new().with(unknown, "a"),
            &LeaseConstraints::default(),
            now(),
        )
        .unwrap_err();
        assert_eq!(error, LeaseError::UnknownNamespace(unknown.to_owned()));
        assert_eq!(error.code(), ErrorCode::INVALID_REQUEST);
        assert!(error.to_string().contains(unknown));
    }
}

/// [ARCP 9.2-5] A malformed pattern is an INVALID_REQUEST naming namespace, pattern and position.
#[test]
fn malformed_patterns_are_refused() {
    let lease = Lease::new()
        .with("fs.read", "/ok")
        .with("fs.read", "/data/[a");
    let error = validate_request(&lease, &LeaseConstraints::default(), now()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_REQUEST);
    let text = "lease namespace `fs.read`: malformed pattern `/data/[a` at byte 6: this `[` is never closed; write `\\[` for the character";
    assert_eq!(error.to_string(), text);
}

/// [ARCP 9.6-1] A malformed amount is an INVALID_REQUEST naming it.
#[test]
fn malformed_amounts_are_refused() {
    let lease = Lease::new()
        .with("cost.budget", "USD:5.00")
        .with("cost.budget", "USD -1");
    let error = validate_request(&lease, &LeaseConstraints::default(), now()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::INVALID_REQUEST);
    assert!(error.to_string().contains("`USD -1`"), "{error}");
}

/// [ARCP 9.5-1] The expiry is UTC with `Z` and in the future, however far.
#[test]
fn the_expiry_is_checked() {
    let lease = Lease::new();
    for good in [
        "2026-01-31T12:00:00.001Z",
        "2026-01-31T12:00:01Z",
        "9000-01-01T00:00:00Z",
    ] {
        let valid = validate_request(&lease, &until(good), now()).unwrap();
        assert_eq!(valid.expires_at, Some(good.parse().unwrap()));
    }
    for past in [
        "2026-01-31T12:00:00Z",
        "2026-01-31T11:59:59.999Z",
        "1999-01-01T00:00:00Z",
    ] {
        let error = validate_request(&lease, &until(past), now()).unwrap_err();
        assert_eq!(error, LeaseError::PastExpiry(past.parse().unwrap()));
        assert_eq!(error.code(), ErrorCode::INVALID_REQUEST);
    }
    for bad in [
        "2026-02-01T12:00:00+00:00",
        "2026-02-01T12:00:00-01:00",
        "2026-02-01T12:00:00",
        "tomorrow",
        "",
        "1769860800",
        "2026-02-01",
    ] {
        let error = validate_request(&lease, &until(bad), now()).unwrap_err();
        assert_eq!(error, LeaseError::BadExpiry(bad.to_owned()));
        assert!(error.to_string().contains(bad));
    }
}

/// What a person is told about a decision.
#[test]
fn explanations_show_the_value_and_every_pattern() {
    let lease = Lease::new()
        .with("fs.read", "/srv/*")
        .with("fs.read", "/data/**")
        .with("net.fetch", "https://a.b/x/**");
    let set = LeaseSet::compile(&lease).unwrap();
    let shown = |namespace, value| set.explain(namespace, value).unwrap().to_string();
    assert_eq!(
        shown("fs.read", "/data/./a/../b"),
        "fs.read `/data/./a/../b`: allowed\n  matched as `/data/b`\n  `/srv/*` agrees up to `/` and no further\n  `/data/**` covers it\n"
    );
    assert_eq!(
        shown("fs.read", "/data/../../etc"),
        "fs.read `/data/../../etc`: denied\n  the path climbs above `/`\n  `/srv/*` is not asked, such a value is always denied\n  \
         `/data/**` is not asked, such a value is always denied\n"
    );
    assert!(
        shown("net.fetch", "https://a.b:444/x").contains("`https://a.b/x/**` is for another port")
    );
    assert!(shown("net.fetch", "https://a.c/x").contains("another host"));
    assert!(shown("net.fetch", "https://a.b/y").contains("another path"));
    assert!(shown("tool.call", "t").contains("the lease grants nothing of tool.call"));
    assert!(set.explain("cost.budget", "USD:1").is_none());
    let short = set.explain("fs.read", "/sr").unwrap();
    assert_eq!(
        short.patterns().next().unwrap().1,
        &PatternVerdict::WantsMore
    );
    assert!(!short.is_allowed() && short.covering().is_none() && short.normalised() == Ok("/sr"));
}
