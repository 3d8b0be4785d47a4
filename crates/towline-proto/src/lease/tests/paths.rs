//! Paths and names: pattern × value.

use super::{super::ValueError, *};

/// [ARCP 9.2-2] The wildcards, one by one, on paths.
#[test]
fn wildcards_on_paths() {
    table(
        Kind::Path,
        &[
            ("/", &["+/", "-/a"]),
            ("/a", &["+/a", "-/", "-/ab", "-/a/b", "-/A", "+//a", "+/a/"]),
            ("/?", &["+/a", "+/é", "-/", "-/ab", "-/a/b", "+/🦀"]),
            ("/*", &["+/a", "+/abc", "+/", "-/a/b"]),
            ("/a*", &["+/a", "+/abc", "-/ba", "-/a/b"]),
            ("/*.txt", &["+/a.txt", "+/.txt", "-/a.txt.bak", "-/d/a.txt"]),
            ("/a/*/c", &["+/a/b/c", "-/a/c", "-/a/b/b/c", "-/a//c"]),
            ("/**", &["+/", "+/a", "+/a/b/c", "+/.hidden"]),
            (
                "/a/**",
                &["+/a", "+/a/", "+/a/b", "+/a/b/c", "-/ab", "-/", "-/b/a"],
            ),
            (
                "/a/**/z",
                &[
                    "+/a/z",
                    "+/a/b/z",
                    "+/a/b/c/z",
                    "-/az",
                    "-/a/bz",
                    "-/z",
                    "-/a/z/b",
                ],
            ),
            ("/**/z", &["+/z", "+/a/z", "+/a/b/z", "-/az", "-/z/a"]),
            ("/a/**/**/z", &["+/a/z", "+/a/b/z", "-/az"]),
            ("/a/**/**", &["+/a", "+/a/b/c", "-/ab"]),
            ("/a/**b", &["+/a/b", "+/a/xb", "+/a/x/yb", "-/a", "-/a/bc"]),
            ("/a**", &["+/a", "+/ab", "+/a/b", "-/b"]),
            ("/[abc]", &["+/a", "+/c", "-/d", "-/ab", "-/A"]),
            ("/[a-c]x", &["+/ax", "+/cx", "-/dx", "-/x"]),
            ("/[!a-c]", &["+/d", "+/é", "-/a", "-/", "-/dd"]),
            ("/[a-cx-z-]", &["+/b", "+/y", "+/-", "-/d"]),
            (r"/[\]\\]", &["+/]", r"+/\", "-/a"]),
            ("/a[+-9]b", &["+/a.b", "+/a5b", "-/a/b"]),
            ("/a[!x]b", &["+/a.b", "-/a/b", "-/axb"]),
            ("/a?b", &["+/a.b", "-/a/b"]),
            ("/{a,b}", &["+/a", "+/b", "-/c", "-/a,b", "-/ab"]),
            (
                "/{a,b/{c,d}}/e",
                &["+/a/e", "+/b/c/e", "+/b/d/e", "-/b/e", "-/c/e"],
            ),
            ("/a{,b}", &["+/a", "+/ab", "-/abb"]),
            ("/a{,/**}", &["+/a", "+/a/b/c", "-/ab"]),
            ("/{a,b}/**", &["+/a", "+/b/x/y", "-/c", "-/ab"]),
            (r"/\*", &["+/*", "-/a"]),
            (r"/\{a\}", &["+/{a}", "-/a"]),
            (r"/a\?", &["+/a?", "-/ab"]),
            ("/a,b", &["+/a,b", "-/a"]),
            ("/größe/*", &["+/größe/x", "-/groesse/x"]),
        ],
    );
}

/// [ARCP 9.2-3] Paths are normalised before they are matched; climbing does not help.
#[test]
fn paths_are_normalised_first() {
    table(
        Kind::Path,
        &[
            (
                "/workspace/**",
                &[
                    "+/workspace/./a",
                    "+/workspace//a",
                    "+/workspace/b/../a",
                    "+/other/../workspace/a",
                    "+/workspace/a/..",
                    "-/workspace/../secret",
                    "-/workspace/a/../../secret",
                    "-/workspace/..",
                    "-/workspace-old/a",
                    "-/workspace.bak",
                    "-/../workspace/a",
                    "-workspace/a",
                    "-./workspace/a",
                    "-../workspace/a",
                    "-",
                    "-/workspace/a\0b",
                    "-/WORKSPACE/a",
                    "+/workspace/...",
                    "+/workspace/..a",
                    "+/workspace/%2e%2e/secret",
                    r"+/workspace/..\secret",
                    "-~/workspace/a",
                    "-file:///workspace/a",
                ],
            ),
            ("/a/b", &["+/a/b/.", "+/a//b/", "+/a/c/../b", "-/a/b/c"]),
            ("/", &["+/a/..", "+/.", "+//", "-/.."]),
        ],
    );
}

/// [ARCP 9.2-3] A path that is relative or climbs above the root is denied whatever the pattern.
#[test]
fn bad_paths_are_denied_by_every_pattern() {
    let everything = Pattern::parse("/**", Kind::Path).unwrap();
    let cases = [
        ("a/b", ValueError::RelativePath),
        (".", ValueError::RelativePath),
        ("/..", ValueError::AboveRoot),
        ("/a/../../b", ValueError::AboveRoot),
        ("/a\0", ValueError::ControlCharacter),
        ("", ValueError::Empty),
    ];
    for (value, error) in cases {
        assert_eq!(everything.matches(value), Err(error), "{value:?}");
    }
    let long = format!("/{}", "a".repeat(20_000));
    assert_eq!(everything.matches(&long), Err(ValueError::TooLong));
}

/// [ARCP 9.2-5] Relative and non-normal path patterns are malformed, as is whatever could match nothing.
#[test]
fn useless_path_patterns_are_malformed() {
    refused(
        Kind::Path,
        &[
            "a",
            "a/**",
            "*",
            "**",
            "**/a",
            "./a",
            "../a",
            "?a",
            "[/]a",
            "{/a,b}",
            "/a/../b",
            "/a/./b",
            "/a//b",
            "/a/",
            "//",
            "/..",
            "/.",
            "/a/{b,..}",
            "/a/[.]",
            "/a[/]b",
            "/a/[",
            "/a/{b",
            "/a}",
            "/a/***",
            r"/a\",
            "/**/",
        ],
    );
}

/// [ARCP 9.2-2] In dotted names `*` crosses dots, not slashes.
#[test]
fn names_are_dotted() {
    table(
        Kind::Name,
        &[
            (
                "search.web",
                &[
                    "+search.web",
                    "-search.web2",
                    "-search",
                    "-Search.web",
                    "-search_web",
                ],
            ),
            (
                "search.*",
                &[
                    "+search.web",
                    "+search.web.deep",
                    "+search.",
                    "-search",
                    "-searching.web",
                    "-search.a/b",
                ],
            ),
            ("*", &["+a", "+a.b.c", "+a:b@c", "-a/b"]),
            ("**", &["+a", "+a.b/c"]),
            (
                "exec:{ls,cat}",
                &["+exec:ls", "+exec:cat", "-exec:rm", "-exec:lsx"],
            ),
            ("exec:*", &["+exec:ls", "-exec:/bin/ls", "-exec"]),
            (
                "exec:/bin/**",
                &["+exec:/bin/ls", "+exec:/bin", "-exec:/binary"],
            ),
            (
                "anthropic/claude-*",
                &[
                    "+anthropic/claude-3",
                    "-anthropic/claude-3/x",
                    "-openai/claude-3",
                ],
            ),
            ("gpt-[45]*", &["+gpt-4", "+gpt-4.1-mini", "-gpt-3.5"]),
            ("a?c", &["+abc", "+a.c", "-a/c", "-ac"]),
            ("**/x", &["+a/x", "+/x", "-x"]),
        ],
    );
    let any = Pattern::parse("**", Kind::Name).unwrap();
    assert_eq!(any.matches("a\nb"), Err(ValueError::ControlCharacter));
}

/// [ARCP 9.2-2] Agents match by name; by name and version when the pattern has `@`.
#[test]
fn agents_match_by_name_or_with_version() {
    table(
        Kind::Agent,
        &[
            (
                "review",
                &[
                    "+review",
                    "+review@1.0.0",
                    "-reviewer",
                    "-review2@1.0.0",
                    "-preview",
                ],
            ),
            ("rev*", &["+review", "+review@2.0.0", "+rev", "-preview"]),
            ("*1", &["+a1", "+a1@2", "-a@1", "-a2@1"]),
            (
                "review@1.0.0",
                &[
                    "+review@1.0.0",
                    "-review",
                    "-review@1.0.1",
                    "-review@11.0.0",
                ],
            ),
            (
                "review@1.*",
                &[
                    "+review@1.0.0",
                    "+review@1.",
                    "-review@2.1.0",
                    "-review",
                    "-review@10.0.0",
                ],
            ),
            ("*@2.0.0", &["+a@2.0.0", "+b.c@2.0.0", "-a@2.0.1", "-a"]),
            ("*", &["+a", "+a@1", "+a.b-c_d@1.0.0+build"]),
            ("**", &["+a", "+a@1"]),
            ("{a,b@1}", &["+a", "+a@9", "+b@1", "-b", "-b@2"]),
            ("a[!x]", &["+ab", "+ab@1", "-ax", "-a@1"]),
            ("**", &["-", "-A", "-a@", "-@1", "-a@1@2", "-a/b", "-a b"]),
        ],
    );
    refused(
        Kind::Agent,
        &["Review", "a@", "@1", "a@1@2", "a/b", "a b", "[@]", "/a/**"],
    );
}
