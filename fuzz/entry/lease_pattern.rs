//! What the fuzz target `lease_pattern` does with its input. The ordinary tests include this file too
//! and run every seed through it.

use towline_proto::lease::{Decision, LeaseSet, ViolationReason};
use towline_wire::Lease;
use towline_wire::namespace::NET_FETCH;

/// Reads lines: a namespace, a value, a child's pattern, then the parent's patterns.
///
/// Nothing may panic; a decision must not change when the normalised value is asked again, a lease
/// contains itself, and what is said about a child and its parent must fit what both decide.
pub(crate) fn lease_pattern(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let mut lines = text.lines();
    let (Some(namespace), Some(value), Some(pattern)) = (lines.next(), lines.next(), lines.next())
    else {
        return;
    };
    let (Some(child), Some(parent)) = (compile(namespace, [pattern]), compile(namespace, lines))
    else {
        return;
    };
    check_value(&child, namespace, value);
    check_value(&parent, namespace, value);
    check_inclusion(&parent, &child, namespace, value);
    if let Err(violation) = child.contains(&child) {
        panic!("a lease does not contain itself: {violation}");
    }
}

fn compile<'t>(namespace: &str, patterns: impl IntoIterator<Item = &'t str>) -> Option<LeaseSet> {
    let mut lease = Lease::new();
    for pattern in patterns {
        lease.add(namespace, pattern);
    }
    match LeaseSet::compile(&lease) {
        Ok(set) => Some(set),
        Err(error) => {
            assert!(!error.to_string().is_empty(), "a refusal says why");
            None
        }
    }
}

fn check_value(lease: &LeaseSet, namespace: &str, value: &str) {
    if let Some(explanation) = lease.explain(namespace, value) {
        let is_allowed = lease.check(namespace, value).is_allowed();
        assert_eq!(
            explanation.is_allowed(),
            is_allowed,
            "the explanation says something else: {explanation}"
        );
    }
    if let Decision::Allowed { value: normal, .. } = lease.check(namespace, value) {
        let Decision::Allowed { value: again, .. } = lease.check(namespace, &normal) else {
            panic!("{value:?} is allowed, but not in its normal form {normal:?}");
        };
        assert_eq!(again, normal, "the normal form of {value:?} is not normal");
    }
}

fn check_inclusion(parent: &LeaseSet, child: &LeaseSet, namespace: &str, value: &str) {
    match parent.contains(child) {
        Ok(()) => assert!(
            !child.check(namespace, value).is_allowed()
                || parent.check(namespace, value).is_allowed(),
            "the parent contains the child, and only the child allows {value:?}"
        ),
        Err(violation) => match violation.reason() {
            // The comparison knows hosts by their characters only, so a URL's witness may name a host
            // that no URL has, such as `[]`, or one that is not in normal form, such as `010`.
            // Elsewhere a witness is a value like any other.
            ViolationReason::Escapes { .. } if namespace == NET_FETCH => {}
            ViolationReason::Escapes { witness } => {
                assert!(
                    child.check(namespace, witness).is_allowed(),
                    "the child denies its witness {witness:?}"
                );
                assert!(
                    !parent.check(namespace, witness).is_allowed(),
                    "the parent allows the witness {witness:?}"
                );
            }
            ViolationReason::NotGranted => assert!(parent.patterns(namespace).is_empty()),
            _ => {}
        },
    }
}
