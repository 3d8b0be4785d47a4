//! Properties on random patterns and values, always the same ones.

use proptest::{prelude::*, sample::select, test_runner::RngSeed};
use towline_wire::Lease;

use super::{
    super::{
        LeaseSet, ViolationReason,
        syntax::{self, Token, TokenKind},
    },
    *,
};

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(1500))]

    /// The automaton agrees with the plainest matcher one can write.
    #[test]
    fn the_automaton_agrees_with_a_naive_matcher(pattern in path_pattern(), values in path_values()) {
        let compiled = Pattern::parse(&pattern, Kind::Path).unwrap();
        let alternatives = syntax::parse(&pattern, false).unwrap();
        for value in values {
            let symbols: Vec<_> = value.chars().collect();
            let expected = alternatives.iter().any(|tokens| naive(tokens, &symbols));
            prop_assert_eq!(compiled.matches(&value), Ok(expected), "{} {}", pattern, value);
        }
    }

    /// [ARCP 9.2-2] Where both grammars mean the same by definition, the same values match as with `globset`.
    #[test]
    fn it_agrees_with_globset(pattern in common_pattern(), values in path_values()) {
        let compiled = Pattern::parse(&pattern, Kind::Path).unwrap();
        let glob = globset::GlobBuilder::new(&pattern).literal_separator(true).build().unwrap().compile_matcher();
        for value in values {
            prop_assert_eq!(compiled.matches(&value), Ok(glob.is_match(&value)), "{} {}", pattern, value);
        }
    }

    /// [ARCP 9.4-1] If a lease is contained in another, none of its values escapes; if not, the witness does. Values are
    /// all short ones over the patterns' alphabet, and longer ones made from the child.
    #[test]
    fn inclusion_is_sound_and_complete(
        child in path_pattern(),
        parents in prop::collection::vec(path_pattern(), 1..4),
        values in path_values(),
    ) {
        let (parent, child) = (paths(&parents), paths(&[child]));
        match parent.contains(&child) {
            Ok(()) => {
                for value in short_paths().iter().chain(&values) {
                    let escapes = covers(&child, value) && !covers(&parent, value);
                    prop_assert!(!escapes, "{} escapes {:?}", value, parents);
                }
            }
            Err(violation) => {
                let ViolationReason::Escapes { witness } = violation.reason() else {
                    return Err(TestCaseError::fail(violation.to_string()));
                };
                prop_assert!(covers(&child, witness), "{} is no witness", witness);
                prop_assert!(!covers(&parent, witness), "{} is covered by {:?}", witness, parents);
            }
        }
    }

    /// [ARCP 9.4-1] What instances a pattern has, they are contained in it and it contains itself and its parts.
    #[test]
    fn a_pattern_contains_its_instances(pattern in path_pattern(), other in path_pattern(), seed in any::<u64>()) {
        let both = paths(&[pattern.clone(), other.clone()]);
        prop_assert!(both.contains(&paths(std::slice::from_ref(&pattern))).is_ok());
        let either = format!("/{{{},{}}}", &pattern[1..], &other[1..]);
        prop_assert!(both.contains(&paths(&[either])).is_ok());
        let alternatives = syntax::parse(&pattern, false).unwrap();
        let instance = instance(&alternatives[seed as usize % alternatives.len()], seed);
        if covers(&both, &instance) && !instance.contains(['*', '?', '[', '{', '\\']) {
            let plain = normal(&instance);
            prop_assert!(both.contains(&paths(&[plain])).is_ok(), "{}", instance);
        }
    }

    /// [ARCP 9.4-1] Inclusion is right for URLs as well, over all their components.
    #[test]
    fn inclusion_of_urls_is_right(
        child in url_pattern(),
        parents in prop::collection::vec(url_pattern(), 1..4),
        values in prop::collection::vec(url_value(), 50),
    ) {
        let (parent, child) = (lease("net.fetch", &parents), lease("net.fetch", &[child]));
        let covers = |lease: &LeaseSet, value: &str| lease.check("net.fetch", value).is_allowed();
        match parent.contains(&child) {
            Ok(()) => {
                for value in values {
                    prop_assert!(!covers(&child, &value) || covers(&parent, &value), "{} escapes", value);
                }
            }
            Err(violation) => {
                let ViolationReason::Escapes { witness } = violation.reason() else {
                    return Err(TestCaseError::fail(violation.to_string()));
                };
                prop_assert!(covers(&child, witness), "{} is no witness", witness);
                prop_assert!(!covers(&parent, witness), "{} is covered by {:?}", witness, parents);
            }
        }
    }

    /// [ARCP 14-4] Whatever a peer sends as pattern or value: an answer, never a panic.
    #[test]
    fn nothing_panics(pattern in soup(), other in soup(), value in soup()) {
        for (namespace, kind) in [("fs.read", Kind::Path), ("net.fetch", Kind::Url), ("tool.call", Kind::Name), ("agent.delegate", Kind::Agent)] {
            for text in [pattern.clone(), format!("/{pattern}"), format!("https://{pattern}"), format!("https://a.b/{pattern}")] {
                let Ok(compiled) = Pattern::parse(&text, kind) else { continue };
                for value in [value.clone(), format!("/{value}"), format!("https://{value}"), format!("https://a.b/{value}")] {
                    let _ = compiled.matches(&value);
                }
                let parent: Lease = [(namespace, other.clone())].into_iter().collect();
                if let Ok(parent) = LeaseSet::compile(&parent) {
                    let _ = parent.contains(&lease(namespace, std::slice::from_ref(&text)));
                    let _ = parent.explain(namespace, &value).map(|explanation| explanation.to_string());
                }
            }
        }
    }

    /// [ARCP 9.2-3, 9.2-4] What was normalised once stays as it is.
    #[test]
    fn normalising_twice_changes_nothing(value in soup()) {
        let everything = Lease::new().with("fs.read", "/**").with("net.fetch", "*://**:*/**");
        let everything = LeaseSet::compile(&everything).unwrap();
        for (namespace, value) in [("fs.read", format!("/{value}")), ("net.fetch", format!("https://a.b/{value}"))] {
            if let super::super::Decision::Allowed { value: once, .. } = everything.check(namespace, &value) {
                let again = everything.explain(namespace, &once).unwrap();
                prop_assert_eq!(again.normalised(), Ok(&*once));
            }
        }
    }
}

fn lease(namespace: &str, patterns: &[String]) -> LeaseSet {
    let lease: Lease = patterns
        .iter()
        .map(|pattern| (namespace, pattern.clone()))
        .collect();
    LeaseSet::compile(&lease).unwrap_or_else(|error| panic!("{error}"))
}

fn paths(patterns: &[String]) -> LeaseSet {
    lease("fs.read", patterns)
}

fn covers(lease: &LeaseSet, path: &str) -> bool {
    lease.check("fs.read", path).is_allowed()
}

fn is_normal(path: &str) -> bool {
    let everything = paths(&["/**".to_owned()]);
    everything.explain("fs.read", path).unwrap().normalised() == Ok(path)
}

fn normal(path: &str) -> String {
    let everything = paths(&["/**".to_owned()]);
    everything
        .explain("fs.read", path)
        .unwrap()
        .normalised()
        .unwrap()
        .to_owned()
}

/// Concatenations of small pieces that compile.
fn text_of_pieces(
    first: &'static str,
    pieces: &'static [&'static str],
    kind: Kind,
) -> impl Strategy<Value = String> {
    let text = prop::collection::vec(select(pieces), 0..7);
    text.prop_map(move |pieces| format!("{first}{}", pieces.concat()))
        .prop_filter("has to compile", move |text| {
            Pattern::parse(text, kind).is_ok()
        })
}

fn path_pattern() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "a", "b", "ab", ".", "/", "/a", "/b", "?", "*", "**", "/**", "/**/", "/*", "[ab]", "[!a]",
        "[a-c.]", "{a,b}", "{,a}", "{a,b/a}", "{/**,b}", "{?,a*}",
    ];
    text_of_pieces("/", PIECES, Kind::Path)
}

/// Without what other dialects read differently: `**` beside other characters or at the end, negated classes, empty
/// branches.
fn common_pattern() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "a", "b", ".", "/a", "/b", "?", "/*", "/**/a", "/**/b", "[ab]", "[a-c]", "{a,b}",
        "{a,b/a}", "/*b",
    ];
    text_of_pieces("/a", PIECES, Kind::Path)
}

fn path_values() -> impl Strategy<Value = Vec<String>> {
    let segment = select(vec![
        "a", "b", "c", "ab", "ba", "aab", ".a", "...", "b.a", "d",
    ]);
    let path = prop::collection::vec(segment, 1..6)
        .prop_map(|segments| format!("/{}", segments.join("/")));
    prop::collection::vec(path, 40)
}

fn url_pattern() -> impl Strategy<Value = String> {
    let scheme = select(vec!["https", "http", "*", "http{,s}", "ws*"]);
    let host = select(vec![
        "a",
        "b",
        "*",
        "**",
        "a.b",
        "*.b",
        "**.b",
        "[ab]",
        "?.b",
        "{a,b}.b",
        "a*",
        "[::1]",
        "127.0.0.1",
    ]);
    let port = select(vec!["", ":*", ":80", ":443", ":8?", ":{80,81}"]);
    let path = select(vec![
        "",
        "/",
        "/**",
        "/*",
        "/a",
        "/a/**",
        "/?",
        "/a%2Fb",
        "/%61",
        "/a/*/b",
        "/**/b",
        "/[ab]*",
        "/{a,b}/**",
    ]);
    (scheme, host, port, path)
        .prop_map(|(scheme, host, port, path)| format!("{scheme}://{host}{port}{path}"))
}

fn url_value() -> impl Strategy<Value = String> {
    let scheme = select(vec!["https", "http", "ws", "wss"]);
    let host = select(vec![
        "a",
        "b",
        "c",
        "a.b",
        "b.b",
        "a.a.b",
        "ab",
        "[::1]",
        "[::2]",
        "127.0.0.1",
    ]);
    let port = select(vec!["", ":80", ":81", ":443", ":8080"]);
    let path = select(vec![
        "", "/a", "/b", "/a/b", "/a/c/b", "/a/a/a", "/a%2Fb", "/c", "/é", "/ab", "/a/",
    ]);
    (scheme, host, port, path)
        .prop_map(|(scheme, host, port, path)| format!("{scheme}://{host}{port}{path}"))
}

/// Anything at all, with a liking for what is special.
fn soup() -> impl Strategy<Value = String> {
    let special = select(
        "/.*?[]{},!\\-^@:%#&=~+ a0bZ\0\u{7f}é。🦀2eF"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(prop_oneof![6 => special, 1 => any::<char>()], 0..24)
        .prop_map(String::from_iter)
}

/// Every normalised path of at most five characters over `a`, `b` and `.`.
fn short_paths() -> &'static [String] {
    static PATHS: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| {
        let mut paths = vec!["/".to_owned()];
        let mut grown = paths.clone();
        for _ in 0..4 {
            let longer = |path: &String| ["a", "b", ".", "/"].map(|next| format!("{path}{next}"));
            grown = grown.iter().flat_map(longer).collect();
            paths.extend(grown.iter().filter(|path| is_normal(path)).cloned());
        }
        paths
    });
    &PATHS
}

/// One value made from an alternative, not necessarily normalised.
fn instance(tokens: &[Token], mut seed: u64) -> String {
    let mut pick = |choices: &[&'static str]| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        choices[(seed >> 33) as usize % choices.len()].to_owned()
    };
    let text = |token: &Token| match &token.kind {
        TokenKind::Literal(char) => char.to_string(),
        TokenKind::One => pick(&["a", "b", "c"]),
        TokenKind::Star => pick(&["", "a", "bb", "c."]),
        TokenKind::DoubleStar => pick(&["", "a", "a/b", "c/a/b"]),
        TokenKind::Class { negated: true, .. } => pick(&["b", "x"]),
        _ => pick(&["a", "b"]),
    };
    tokens.iter().map(text).collect()
}

/// Backtracking over tokens, straight from the rules.
fn naive(tokens: &[Token], value: &[char]) -> bool {
    let is_double = |token: &Token| token.kind == TokenKind::DoubleStar;
    let Some((token, rest)) = tokens.split_first() else {
        return value.is_empty();
    };
    if token.is('/') && rest.first().is_some_and(is_double) {
        let only_doubles = rest
            .chunks(2)
            .all(|pair| is_double(&pair[0]) && pair.get(1).is_none_or(|next| next.is('/')));
        if only_doubles && rest.len() % 2 == 1 && value.is_empty() {
            return true;
        }
        if rest.get(1).is_some_and(|next| next.is('/')) && naive(&rest[1..], value) {
            return true;
        }
    }
    let runs = |allowed: fn(char) -> bool| {
        let longest = value.iter().take_while(|char| allowed(**char)).count();
        (0..=longest).any(|taken| naive(rest, &value[taken..]))
    };
    match &token.kind {
        TokenKind::Star => runs(|char| char != '/'),
        TokenKind::DoubleStar => runs(|_| true),
        one => value
            .split_first()
            .is_some_and(|(char, left)| is_one(one, *char) && naive(rest, left)),
    }
}

fn is_one(kind: &TokenKind, char: char) -> bool {
    match kind {
        TokenKind::Literal(literal) => *literal == char,
        TokenKind::One => char != '/',
        TokenKind::Class { negated, ranges } => {
            char != '/'
                && *negated
                    != ranges
                        .iter()
                        .any(|(low, high)| (*low..=*high).contains(&char))
        }
        _ => false,
    }
}

/// What a pattern may cover is told by how values begin.
#[test]
fn beginnings_of_values() {
    for (text, beginning, expected) in [
        ("exec:git", "exec:", true),
        ("exec:*", "exec:", true),
        ("*", "exec:", true),
        ("{search,exec}:*", "exec:", true),
        ("search.web", "exec:", false),
        ("exec", "exec:", false),
        ("mcp:github/*", "mcp:github/", true),
        ("mcp:git*", "mcp:github/", false),
        ("mcp:**", "mcp:github/", true),
        ("mcp:[a-f]*/x", "mcp:github/", false),
    ] {
        let pattern = Pattern::parse(text, Kind::Name).unwrap();
        assert_eq!(
            pattern.covers_some(beginning),
            expected,
            "`{text}` and `{beginning}`"
        );
    }
}
