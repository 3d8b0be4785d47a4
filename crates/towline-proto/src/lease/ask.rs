//! What a lease does not grant but a person may: `x-vendor.towline.ask` [ARCP 15-6].

use towline_wire::{Lease, namespace};

use super::{
    effort::Care,
    error::LeaseError,
    kind::Kind,
    set::{LeaseSet, Violation, ViolationReason},
};

/// Compiles ask patterns, each a `NAMESPACE=PATTERN`, as the lease they would be if they were granted.
pub(super) fn compile(texts: &[String], care: Care) -> Result<LeaseSet, LeaseError> {
    let mut lease = Lease::new();
    for text in texts {
        let (namespace, pattern) = split(text)?;
        lease.add(namespace, pattern);
    }
    LeaseSet::compile_with(&lease, care)
}

/// The namespace and the pattern of an ask pattern.
fn split(text: &str) -> Result<(&str, &str), LeaseError> {
    let malformed = || LeaseError::Ask(text.to_owned());
    let (of, pattern) = text.split_once('=').ok_or_else(malformed)?;
    // Amounts are no patterns, and a question about asking would be one too many.
    if Kind::of(of).is_none() || of == namespace::ASK {
        return Err(malformed());
    }
    Ok((of, pattern))
}

/// Whether a child asks for no more than its parent may ask for.
pub(super) fn contains(
    parent: Option<&LeaseSet>,
    child: Option<&LeaseSet>,
    care: Care,
) -> Result<(), Violation> {
    let Some(child) = child else {
        return Ok(());
    };
    let violation = |namespace: &str, pattern: &str, reason| {
        let pattern = format!("{namespace}={pattern}");
        Violation::new(namespace::ASK.to_owned(), pattern, reason)
    };
    match parent {
        Some(parent) => parent
            .contains_with(child, care)
            .map_err(|over| violation(over.namespace(), over.pattern(), over.reason().clone())),
        None => match child.all_patterns().next() {
            Some((namespace, pattern)) => Err(violation(
                namespace,
                pattern.as_str(),
                ViolationReason::NotGranted,
            )),
            None => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(asks: &[&str]) -> Result<LeaseSet, LeaseError> {
        let lease = asks
            .iter()
            .fold(Lease::new(), |lease, ask| lease.with(namespace::ASK, *ask));
        LeaseSet::compile(&lease)
    }

    /// [ARCP 15-6, 9.2-5] an ask pattern is `NAMESPACE=PATTERN`, by the namespace's own rules, and anything else is malformed.
    #[test]
    fn ask_patterns_are_those_of_their_namespace() {
        for good in [
            "fs.write=/w/**",
            "net.fetch=https://a.test/**",
            "tool.call=exec:git",
            "tool.call=a=b",
            "agent.delegate=coder@*",
            "model.use=gpt-*",
            "x-vendor.acme.db=users",
        ] {
            assert!(set(&[good]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "fs.write",
            "fs.write=relative",
            "fs.write=",
            "=/w",
            "cost.budget=USD:1",
            "fs.delete=/w",
            "x-vendor.towline.ask=fs.read=/w",
        ] {
            let error = set(&[bad]).map(drop).unwrap_err();
            assert_eq!(error.code(), towline_wire::ErrorCode::INVALID_REQUEST);
        }
    }

    /// [ARCP 15-6] what an ask pattern covers is not granted, and is known to be worth a question; the value is normalised.
    #[test]
    fn what_may_be_asked_is_not_granted() {
        let set = set(&["fs.write=/w/**"]).unwrap();
        assert!(!set.check("fs.write", "/w/a").is_allowed());
        let asked = set.ask("fs.write", "/w/./b/../a").unwrap();
        assert_eq!((asked.pattern.as_str(), &*asked.value), ("/w/**", "/w/a"));
        assert_eq!(set.ask("fs.write", "/w/../etc"), None);
        assert_eq!(set.ask("fs.read", "/w/a"), None);
        assert!(set.names(namespace::ASK));
    }

    /// [ARCP 15-6, 9.4-1] a child may ask for what its parent may ask for, and not for more.
    #[test]
    fn a_child_asks_for_no_more_than_its_parent() {
        let parent = set(&["fs.write=/w/**", "tool.call=exec:*"]).unwrap();
        assert_eq!(parent.contains(&set(&["fs.write=/w/a/*"]).unwrap()), Ok(()));
        assert_eq!(parent.contains(&set(&[]).unwrap()), Ok(()));
        for over in ["fs.write=/v/a", "fs.read=/w/a"] {
            let violation = parent.contains(&set(&[over]).unwrap()).unwrap_err();
            assert_eq!(
                (violation.namespace(), violation.pattern()),
                (namespace::ASK, over)
            );
        }
        let nothing = LeaseSet::compile(&Lease::new().with("fs.write", "/w/**")).unwrap();
        let violation = nothing.contains(&set(&["fs.write=/w/a"]).unwrap());
        assert_eq!(
            violation.map_err(|violation| violation.reason().clone()),
            Err(ViolationReason::NotGranted)
        );
    }
}
