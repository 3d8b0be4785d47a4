//! Patterns and values that want to cost much.

use towline_wire::Lease;

use super::{
    super::{
        Care, Decision, DenyReason, LeaseError, LeaseSet, PatternFault, ValueError,
        ViolationReason, limits::MAX_LEASE_STATES,
    },
    *,
};

/// [ARCP 14-4] Matching stays linear where a backtracking matcher would take for ever, and what takes long all the same is
/// no match.
#[test]
fn no_pattern_makes_matching_explode() {
    let check = |pattern: &str, value: &str, expected| {
        let pattern = Pattern::parse(pattern, Kind::Path).unwrap();
        assert_eq!(pattern.matches(value), expected);
    };
    let stars = |count| format!("/{}b", "*a".repeat(count));
    let value = format!("/{}", "a".repeat(4000));
    check(&stars(50), &value, Ok(false));
    check(&stars(500), &value, Err(ValueError::TooComplex));
    let doubles = |count| format!("{}b", "/**/a".repeat(count));
    let value = "/a".repeat(2000);
    check(&doubles(20), &value, Ok(false));
    check(&doubles(200), &value, Err(ValueError::TooComplex));
}

/// [ARCP 14-6] One question to a lease has one bound on its steps, however many patterns the lease has; beyond it the answer
/// is no.
#[test]
fn matching_has_one_bound_for_all_patterns() {
    let slow = |number: u32| format!("**a{}{number}", "?".repeat(100));
    let lease = |count| (0..count).map(|number| ("tool.call", slow(number)));
    let value = "a".repeat(2000);
    let ask = |count| {
        let set = LeaseSet::compile(&lease(count).collect()).unwrap();
        match set.check("tool.call", &value) {
            Decision::Allowed { .. } => panic!("allowed"),
            Decision::Denied(reason) => reason,
        }
    };
    assert!(matches!(ask(1), DenyReason::NoMatch { .. }));
    assert_eq!(ask(100), DenyReason::BadValue(ValueError::TooComplex));
    let plain = (0..1024).map(|number| ("fs.read", format!("/srv/{number}/**/*.rs")));
    let set = LeaseSet::compile(&plain.collect()).unwrap();
    let long = format!("/srv/1023/{}main.rs", "directory/".repeat(300));
    assert!(set.check("fs.read", &long).is_allowed());
    let name = "x".repeat(4097);
    assert!(matches!(
        set.check("fs.read", &name),
        Decision::Denied(DenyReason::BadValue(ValueError::TooLong))
    ));
}

/// [ARCP 14-6] Comparing two leases has one bound on its steps, however many patterns they have: what one pattern may cost,
/// a hundred may not cost a hundred times.
#[test]
fn comparing_has_one_bound_for_all_patterns() {
    let parent = Lease::new()
        .with("tool.call", "*a??????")
        .with("tool.call", "*b??????");
    let parent = LeaseSet::compile(&parent).unwrap();
    let child = |count| {
        let patterns = (0..count).map(|more| ("tool.call", "[ab]".repeat(20 + more)));
        LeaseSet::compile(&patterns.collect()).unwrap()
    };
    assert_eq!(parent.contains(&child(1)), Ok(()));
    let violation = parent.contains(&child(100)).unwrap_err();
    assert_eq!(violation.reason(), &ViolationReason::TooComplex);
    let hasty = parent.contains_with(&child(1), Care::Quick).unwrap_err();
    assert_eq!(hasty.reason(), &ViolationReason::TooComplex);
    let many = |prefix: &str| {
        let patterns = (0..500).map(|number| ("fs.read", format!("{prefix}/{number}/**")));
        LeaseSet::compile(&patterns.collect()).unwrap()
    };
    assert_eq!(many("/srv").contains(&many("/srv")), Ok(()));
    let tree = Lease::new().with("fs.read", "/srv/**");
    let tree = LeaseSet::compile(&tree).unwrap();
    let few = Lease::new()
        .with("fs.read", "/srv/a/**")
        .with("fs.read", "/srv/*.md");
    let few = LeaseSet::compile(&few).unwrap();
    assert_eq!(tree.contains_with(&few, Care::Quick), Ok(()));
    assert_eq!(tree.contains(&many("/srv")), Ok(()));
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
    assert_eq!(
        LeaseSet::compile(&patterns(100).collect()).unwrap_err(),
        LeaseError::TooComplex
    );
    let parent = LeaseSet::compile(&patterns(20).collect()).unwrap();
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
