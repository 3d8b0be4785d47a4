//! Inclusion: child pattern ⊆ parent patterns.

use towline_wire::Lease;

use super::super::{LeaseSet, ViolationReason};

fn lease(namespace: &str, patterns: &[&str]) -> LeaseSet {
    let lease: Lease = patterns
        .iter()
        .map(|pattern| (namespace, *pattern))
        .collect();
    LeaseSet::compile(&lease).unwrap_or_else(|error| panic!("{error}"))
}

/// `+child` is contained in the parents, `-child` is not, and then the witness is real.
#[track_caller]
fn check(namespace: &str, rows: &[(&[&str], &[&str])]) {
    for (parents, children) in rows {
        let parent = lease(namespace, parents);
        for marked in *children {
            let (expected, text) = (marked.starts_with('+'), &marked[1..]);
            let child = lease(namespace, &[text]);
            let violation = parent.contains(&child).err();
            assert_eq!(
                violation.is_none(),
                expected,
                "`{text}` in {parents:?}: {violation:?}"
            );
            let Some(violation) = violation else { continue };
            assert_eq!(
                (violation.namespace(), violation.pattern()),
                (namespace, text)
            );
            let ViolationReason::Escapes { witness } = violation.reason() else {
                panic!("{violation}")
            };
            assert!(
                child.check(namespace, witness).is_allowed(),
                "`{witness}` is not of `{text}`"
            );
            assert!(
                !parent.check(namespace, witness).is_allowed(),
                "`{witness}` is of {parents:?}"
            );
        }
    }
}

/// [ARCP 9.4-1] Containment is decided on what the patterns cover, not on how they read.
#[test]
fn paths_contain_paths() {
    check(
        "fs.read",
        &[
            (
                &["/data/**"],
                &[
                    "+/data/*",
                    "+/data/**",
                    "+/data",
                    "+/data/a/**",
                    "+/data/**/x",
                    "-/data*",
                    "-/**",
                    "-/database/x",
                ],
            ),
            (
                &["/data/*"],
                &[
                    "+/data/*",
                    "+/data/a",
                    "+/data/?",
                    "+/data/[ab]*",
                    "-/data/**",
                    "-/data",
                    "-/data/*/x",
                    "-/data/a/**",
                ],
            ),
            (&["/**"], &["+/", "+/a/*/b", "+/**", "+/**/x"]),
            (&["/*"], &["+/a", "+/?", "+/{a,b}", "+/", "-/**", "-/a/b"]),
            (
                &["/a", "/a/*", "/a/*/**"],
                &["+/a/**", "+/a/b", "-/**", "-/ab"],
            ),
            (&["/a", "/a/*"], &["-/a/**", "+/a{,/*}"]),
            (&["/a/b*", "/a/[!b]*"], &["+/a/*", "+/a/?", "-/a/**", "-/a"]),
            (
                &["/{a,b}/**"],
                &["+/a/x", "+/b", "+/[ab]/*", "-/[a-c]/*", "-/*"],
            ),
            (&["/?", "/??", "/???*"], &["+/?*", "-/*", "-/**"]),
            (&["/a/?*/b"], &["+/a/*/b"]),
            (
                &["/[a-m]*", "/[n-z]*"],
                &["+/[a-z]*", "+/hello", "-/[a-z0]*", "-/*"],
            ),
            (&["/**/z"], &["+/z", "+/a/**/z", "-/a/**", "-/az"]),
            (
                &["/a/**/z", "/a/**/y"],
                &["+/a/**/[yz]", "+/a/b/c/{y,z}", "-/a/**/[x-z]"],
            ),
            (
                &["/*.rs", "/*.toml"],
                &["+/*.{rs,toml}", "+/lib.rs", "-/*.{rs,md}"],
            ),
            (&["/a*b"], &["+/ab", "+/a*a*b", "+/a?b", "-/a*", "-/*b"]),
            (&["/*a*"], &["+/*a", "+/a*", "+/*aa*", "-/*b*"]),
            (&["/*a?????"], &["+/*a?a???", "-/*a????"]),
            (&["/größe/**"], &["+/größe/ä", "+/gr[ö]ße", "-/gr?ße/x"]),
            (&["/[!a]"], &["+/[b-d]", "+/🦀", "-/?", "-/[a-d]"]),
        ],
    );
}

/// [ARCP 9.4-1, 9.4-4] Tools, models and agents likewise.
#[test]
fn names_contain_names() {
    check(
        "tool.call",
        &[
            (
                &["search.*"],
                &[
                    "+search.web",
                    "+search.*",
                    "+search.web.*",
                    "-search*",
                    "-search",
                    "-*",
                ],
            ),
            (&["*"], &["+a.b", "+*.b", "-**", "-a/b"]),
            (
                &["search.web", "search.news"],
                &["+search.{web,news}", "-search.*", "-search.{web,mail}"],
            ),
            (&["exec:{ls,cat}"], &["+exec:ls", "+exec:{cat,ls}"]),
            (
                &["exec:{ls,cat}"],
                &["-exec:[lc]{s,at}", "-exec:?s", "-exec:*"],
            ),
        ],
    );
    check(
        "model.use",
        &[(
            &["anthropic/*"],
            &["+anthropic/claude-*", "-anthropic/**", "-*", "-openai/*"],
        )],
    );
    check(
        "agent.delegate",
        &[
            (
                &["review"],
                &[
                    "+review",
                    "+review@1.0.0",
                    "+review@*",
                    "-review*",
                    "-*@1.0.0",
                ],
            ),
            (
                &["review@1.*"],
                &["+review@1.0.0", "+review@1.[0-9]*", "-review", "-review@*"],
            ),
            (&["review@*"], &["+review@2.0.0", "-review"]),
            (&["*"], &["+review", "+**", "+*@1"]),
            (&["a", "b@1"], &["+{a,b@1}", "+a@1", "-b"]),
            (&["a", "b@1"], &["+{a,b}@1", "-{a,b}", "-{a,b}@?"]),
        ],
    );
    check("x-vendor.acme.db", &[(&["read.*"], &["+read.users", "-*"])]);
}

/// [ARCP 9.4-1] A URL is compared as a whole: what one parent allows of the host and another of the path does not add
/// up to both.
#[test]
fn urls_contain_urls() {
    check(
        "net.fetch",
        &[
            (
                &["https://**.example.com/**"],
                &[
                    "+https://api.example.com/v1/*",
                    "+https://*.example.com/",
                    "+https://*.*.example.com/**",
                    "-https://example.com/",
                    "-http://api.example.com/",
                    "-https://api.example.com:8443/",
                    "-https://**/**",
                    "-https://*/**",
                ],
            ),
            (
                &["https://a.com/public/**", "https://b.com/**"],
                &[
                    "+https://{a,b}.com/public/x",
                    "+https://b.com/secret",
                    "-https://{a,b}.com/**",
                    "-https://a.com/secret",
                    "-https://?.com/public/**",
                ],
            ),
            (
                &["http://x/**", "https://x/**", "ws{,s}://x/**"],
                &["+*://x/**", "+http*://x/a", "-*://x:*/"],
            ),
            (
                &["https://x:*/**"],
                &["+https://x/", "+https://x:8443/a", "+https://x:44?/"],
            ),
            (
                &["https://x/*"],
                &[
                    "+https://x",
                    "+https://x/",
                    "+https://x/a",
                    "-https://x/**",
                    "-https://x/a%2Fb",
                ],
            ),
            (
                &["https://x/a%2Fb", "https://x/*"],
                &["+https://x/a%2Fb", "-https://x/a/b"],
            ),
            (
                &["https://[::1]/**"],
                &["+https://[0::1]/x", "-https://**/x"],
            ),
            (&["https://127.0.0.1/**"], &["+https://0x7f.1/x"]),
            (
                &["https://*.a/**", "https://*.*.a/**"],
                &["+https://{b,b.c}.a/", "-https://**.a/"],
            ),
            (
                &["https://*.*.*.*/**"],
                &[
                    "+https://**.1/",
                    "+https://**.[0-9]/**",
                    "-https://**/",
                    "-https://**.a/",
                ],
            ),
            (
                &["https://{*,*.**}/**"],
                &[
                    "+https://*/",
                    "+https://a.b/",
                    "-https://**/",
                    "-https://[::1]/",
                ],
            ),
            (
                &["http://a:{?,??,???,????,[1-6]????}/"],
                &["+http://a:*/", "+http://a/", "-http://a:*/x"],
            ),
            (&["https://x/%7Ejoe/**"], &["+https://x/~joe/a"]),
        ],
    );
}

/// [ARCP 9.4-4] What the parent was not granted at all, the child cannot have.
#[test]
fn a_namespace_has_to_be_granted() {
    let parent = lease("fs.read", &["/**"]);
    for (namespace, pattern) in [
        ("fs.write", "/a"),
        ("model.use", "m"),
        ("agent.delegate", "a"),
    ] {
        let violation = parent.contains(&lease(namespace, &[pattern])).unwrap_err();
        assert_eq!(violation.reason(), &ViolationReason::NotGranted);
        assert!(
            violation.to_string().contains(pattern) && violation.to_string().contains(namespace),
            "{violation}"
        );
    }
    assert!(parent.contains(&LeaseSet::default()).is_ok());
}

/// [ARCP 9.4-1] The refusal names the pattern and a value that shows why.
#[test]
fn the_refusal_shows_a_value() {
    let violation = lease("fs.read", &["/data/*"])
        .contains(&lease("fs.read", &["/data/**"]))
        .unwrap_err();
    let expected = "fs.read pattern `/data/**` reaches beyond the parent's lease: it covers `/data`, the parent does not";
    assert_eq!(violation.to_string(), expected);
}

/// [ARCP 14-4] Where an answer would cost too much, none is given and the child is refused. Here the parents do cover
/// the child, but to see it one has to remember which of the last forty characters were an `a`.
#[test]
fn hard_questions_are_refused() {
    let forty = "?".repeat(40);
    let parent = lease(
        "tool.call",
        &[&format!("*a{forty}"), &format!("*[!a]{forty}")],
    );
    let violation = parent
        .contains(&lease("tool.call", &[&format!("?{forty}*")]))
        .unwrap_err();
    assert_eq!(violation.reason(), &ViolationReason::TooComplex);
    assert!(violation.to_string().contains("too complex"), "{violation}");
}
