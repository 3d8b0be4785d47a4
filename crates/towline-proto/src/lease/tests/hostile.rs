//! Patterns and values that want to cost much.

use towline_wire::Lease;

use super::{
    super::{LeaseError, LeaseSet, PatternFault, ViolationReason, limits::MAX_LEASE_STATES},
    *,
};

/// [ARCP 14-4] Matching stays linear where a backtracking matcher would take for ever.
#[test]
fn no_pattern_makes_matching_explode() {
    let stars = format!("/{}b", "*a".repeat(500));
    let value = format!("/{}", "a".repeat(16_000));
    assert_eq!(
        Pattern::parse(&stars, Kind::Path).unwrap().matches(&value),
        Ok(false)
    );
    let doubles = format!("{}b", "/**/a".repeat(200));
    let value = "/a".repeat(8000);
    assert_eq!(
        Pattern::parse(&doubles, Kind::Path)
            .unwrap()
            .matches(&value),
        Ok(false)
    );
}

/// [ARCP 14-4] Length, braces and automaton are bounded, and the error says so.
#[test]
fn patterns_are_bounded() {
    let fault = |text: &str, kind| Pattern::parse(text, kind).unwrap_err().fault();
    assert_eq!(
        fault(&format!("/{}", "a".repeat(1024)), Kind::Path),
        PatternFault::TooLong
    );
    assert_eq!(
        fault(&format!("/{}", "{a,b}".repeat(9)), Kind::Path),
        PatternFault::TooComplex
    );
    assert_eq!(
        fault(&format!("/{}", "{a,b}".repeat(200)), Kind::Path),
        PatternFault::TooComplex
    );
    assert_eq!(
        fault(&"{".repeat(1024), Kind::Name),
        PatternFault::TooComplex
    );
    assert_eq!(
        fault(
            &format!("*://{}{{a,b}}{{a,b}}{{a,b}}/", "x".repeat(300)),
            Kind::Url
        ),
        PatternFault::TooComplex
    );
}

/// [ARCP 14-4] A lease as a whole is bounded too.
#[test]
fn leases_are_bounded() {
    let many: Lease = (0..1025)
        .map(|number| ("tool.call", format!("t{number}")))
        .collect();
    assert_eq!(
        LeaseSet::compile(&many).unwrap_err(),
        LeaseError::TooComplex
    );
    let large = (0..=MAX_LEASE_STATES / 1000)
        .map(|number| ("tool.call", format!("{number}{}", "x".repeat(1000))));
    assert_eq!(
        LeaseSet::compile(&large.collect()).unwrap_err(),
        LeaseError::TooComplex
    );
}

/// [ARCP 14-4] Neither compiling nor comparing grows out of hand when every character is another one.
#[test]
fn huge_alphabets_are_bounded() {
    let distinct = |from: u32| (from..from + 130).filter_map(char::from_u32);
    let pattern = |from: u32| {
        distinct(from)
            .map(|char| format!("[!{char}]*"))
            .collect::<String>()
    };
    let patterns =
        |count: u32| (0..count).map(move |index| ("tool.call", pattern(0x4E00 + 130 * index)));
    let parent = LeaseSet::compile(&patterns(100).collect()).unwrap();
    let child = LeaseSet::compile(&Lease::new().with("tool.call", "x*".repeat(200))).unwrap();
    assert_eq!(
        parent.contains(&child).unwrap_err().reason(),
        &ViolationReason::TooComplex
    );
    let few = LeaseSet::compile(&Lease::new().with("tool.call", "[!一]*[!丁]*[!丂]*")).unwrap();
    assert!(few.contains(&child).is_ok());
}

/// Long chains of wildcards that only braces can put side by side.
#[test]
fn wildcards_side_by_side_mean_what_the_widest_means() {
    let pattern = Pattern::parse("/{*}{**}{*}x", Kind::Path).unwrap();
    assert_eq!(pattern.matches("/a/b/x"), Ok(true));
    assert_eq!(pattern.matches("/a/b/y"), Ok(false));
    let chain = Pattern::parse(&format!("/{}", "{*}".repeat(300)), Kind::Path).unwrap();
    assert_eq!(chain.matches("/abc"), Ok(true));
    assert_eq!(chain.matches("/a/b"), Ok(false));
}
