//! Values of flags: durations, grants, budgets, inputs, tokens. Each parser's error names the value and the remedy.

use std::{fmt, io::Read as _, str::FromStr, time::Duration};

use towline::{
    lease::Amounts,
    limits,
    wire::{RawJson, explain_json, namespace},
};

/// The command that is the scripted agent of docs/coding-agents.md. It is for runtimes and not for people, so the help leaves it out;
/// it has one of its own.
pub(crate) const ACP_SCRIPT: &str = "acp-script";

/// Whether a text is an address of a PostgreSQL database.
pub(crate) fn is_postgres(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// A span of time as a person writes it: `500ms`, `10s`, `5m`, `1.5h`, `7d`, `1h30m`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{text}` is not a time span; write 500ms, 10s, 5m, 1h30m or 7d (a bare number is seconds)"
            )
        };
        if let Ok(seconds) = text.parse::<f64>() {
            return seconds_of(seconds).map(Self).ok_or_else(refuse);
        }
        let mut total = Duration::ZERO;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or_else(refuse)?;
            let unit_end = rest[digits..]
                .find(|c: char| c.is_ascii_digit())
                .map_or(rest.len(), |at| digits + at);
            let number: f64 = rest[..digits].parse().map_err(|_| refuse())?;
            let scale = match &rest[digits..unit_end] {
                "ms" => 0.001,
                "s" | "sec" => 1.0,
                "m" | "min" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return Err(refuse()),
            };
            let part = seconds_of(number * scale).ok_or_else(refuse)?;
            total = total.checked_add(part).ok_or_else(refuse)?;
            rest = &rest[unit_end..];
        }
        if text.is_empty() {
            Err(refuse())
        } else {
            Ok(Self(total))
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A hundred years is more than any of our spans; above it arithmetic with the calendar may overflow.
fn seconds_of(seconds: f64) -> Option<Duration> {
    let sane = seconds.is_finite() && (0.0..=3_155_760_000.0).contains(&seconds);
    sane.then(|| Duration::from_secs_f64(seconds))
}

/// A span that is not zero: for intervals and timeouts.
pub(crate) fn positive_span(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0.is_zero() {
        Err(format!(
            "`{text}` has to be more than zero; write 10s or 5m"
        ))
    } else {
        Ok(span)
    }
}

/// A heartbeat interval: at least a second [ARCP 6.4-2].
pub(crate) fn heartbeat(text: &str) -> Result<Span, String> {
    let span: Span = text.parse()?;
    if span.0 < *limits::HEARTBEAT.start() {
        return Err(format!(
            "a heartbeat interval of `{text}` is too short; give at least 1 (second)"
        ));
    }
    Ok(span)
}

/// One grant, as `--lease` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) namespace: String,
    pub(crate) pattern: String,
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, pattern) = pair(text, "NAMESPACE=PATTERN such as fs.read=/data/**")?;
        let known = namespace::RESERVED.contains(&namespace) || namespace.starts_with("x-vendor.");
        if !known {
            let hint = crate::nearest::nearest(namespace, &namespace::RESERVED)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`"));
            let all = namespace::RESERVED.join(", ");
            return Err(format!(
                "`{namespace}` is not a namespace{hint} (there are {all}, and x-vendor.*)"
            ));
        }
        let pattern = if namespace.starts_with("fs.") {
            absolute(pattern)?
        } else {
            pattern.to_owned()
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            pattern,
        })
    }
}

/// A pattern of paths from this directory (`./**`) or the user's own (`~/**`), written out.
fn absolute(pattern: &str) -> Result<String, String> {
    let below = |sign: &str| match pattern.strip_prefix(sign) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(rest),
        _ => None,
    };
    let (base, rest) = if let Some(rest) = below(".") {
        (std::env::current_dir().ok(), rest)
    } else if let Some(rest) = below("~") {
        (std::env::home_dir(), rest)
    } else {
        return Ok(pattern.to_owned());
    };
    let base = base.filter(|base| base.is_absolute());
    let base = base.as_deref().and_then(std::path::Path::to_str);
    let base = base
        .ok_or_else(|| format!("there is no directory to read `{pattern}` from; write it out"))?;
    if !is_literal(base) {
        return Err(format!(
            "`{pattern}` begins in `{base}`, whose name has characters that mean something in patterns; write it out"
        ));
    }
    Ok(format!("{}{rest}", base.trim_end_matches('/')))
}

/// Whether a path means nothing but itself in a pattern.
pub(crate) fn is_literal(path: &str) -> bool {
    !path.contains(['*', '?', '[', ']', '{', '}', '\\'])
}

/// One operation, as `lease explain --op` takes it.
pub(crate) fn operation(text: &str) -> Result<Grant, String> {
    let (namespace, pattern) = pair(text, "NAMESPACE=VALUE such as fs.read=/data/a.txt")?;
    Ok(Grant {
        namespace: namespace.to_owned(),
        pattern: pattern.to_owned(),
    })
}

fn pair<'t>(text: &'t str, form: &str) -> Result<(&'t str, &'t str), String> {
    match text.split_once('=') {
        Some((left, right)) if !left.is_empty() && !right.is_empty() => Ok((left, right)),
        _ => Err(format!("`{text}` has to be {form}")),
    }
}

/// One currency's budget, `USD:1.00` [ARCP 9.6-1].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Budget(pub(crate) String);

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match Amounts::parse(&[text.to_owned()]) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(format!(
                "`{text}` is not a budget; write CURRENCY:AMOUNT such as USD:1.00, with at most 28 digits"
            )),
        }
    }
}

/// What an agent is given: JSON, `@FILE`, or `-` for standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    Inline(String),
    File(String),
    Stdin,
}

impl FromStr for Input {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "-" => Ok(Self::Stdin),
            _ => Ok(text.strip_prefix('@').map_or_else(
                || Self::Inline(text.to_owned()),
                |path| Self::File(path.to_owned()),
            )),
        }
    }
}

impl Input {
    /// Reads the input and checks that it is one JSON value.
    pub(crate) fn load(&self) -> Result<RawJson, String> {
        let (text, from) = match self {
            Self::Inline(text) => (text.clone(), "--input".to_owned()),
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read the input file `{path}`: {error}"))?;
                (text, format!("the input file `{path}`"))
            }
            Self::Stdin => {
                let mut text = String::new();
                let read = std::io::stdin().read_to_string(&mut text);
                read.map_err(|error| {
                    format!("cannot read the input from standard input: {error}")
                })?;
                (text, "standard input".to_owned())
            }
        };
        let text = text.trim_start_matches('\u{feff}');
        // As it is written: numbers keep their digits, and keys their order and number.
        RawJson::parse(text).map_err(|error| {
            let why = explain_json(&error);
            format!("{from} is not JSON: {why}; a text needs quotes of its own, as in --input '\"hello\"'")
        })
    }
}

/// A principal and its token, split at the first colon.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PrincipalToken {
    pub(crate) principal: String,
    pub(crate) token: String,
}

impl FromStr for PrincipalToken {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // The value is a secret: the message does not repeat it.
        match text.split_once(':') {
            Some((principal, token)) if !principal.is_empty() && !token.is_empty() => Ok(Self {
                principal: principal.to_owned(),
                token: token.to_owned(),
            }),
            _ => Err(
                "a token has to be PRINCIPAL:TOKEN, both non-empty, as in alice:s3cret".to_owned(),
            ),
        }
    }
}

impl fmt::Debug for PrincipalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:[redacted]", self.principal)
    }
}

/// An address to listen on: `HOST:PORT`.
pub(crate) fn listen_address(text: &str) -> Result<String, String> {
    let well = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if well {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is not an address; write HOST:PORT such as 127.0.0.1:7777 (port 0 takes a free one)"
        ))
    }
}

/// The path of the endpoint.
pub(crate) fn endpoint_path(text: &str) -> Result<String, String> {
    // Braces and stars mean something to the router.
    let well = text.starts_with('/') && !text.contains(['{', '}', '*', '?', '#', ' ']);
    if well {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "`{text}` is not a path; write one that begins with `/`, such as /arcp"
        ))
    }
}

/// Editors of some systems begin a file with a mark.
pub(crate) fn without_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with("\u{feff}".as_bytes()) {
        bytes.drain(..3);
    }
    bytes
}

/// A URL without the user information in it, which may hold a password.
pub(crate) fn without_user(url: &str) -> String {
    let begin = url.find("://").map_or(0, |at| at + "://".len());
    let rest = &url[begin..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password may hold a slash that nobody escaped: whatever stands before the last `@` goes.
    match rest.rfind('@') {
        Some(at) if at < end || !rest[at..].contains('/') => {
            format!("{}{}", &url[..begin], &rest[at + 1..])
        }
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_without_who_and_password() {
        for (url, shown) in [
            ("ws://u:p@h:1/arcp", "ws://h:1/arcp"),
            ("http://u@h", "http://h"),
            ("u:p@h", "h"),
            ("ws://u:a/b@h", "ws://h"),
            ("ws://h/a@b/c", "ws://h/a@b/c"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_user(url), shown);
        }
    }

    #[test]
    fn spans_read_as_people_write_them() {
        let cases = [
            ("10", 10_000),
            ("0.5", 500),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
        ];
        for (text, millis) in cases {
            assert_eq!(
                text.parse::<Span>().map(|span| span.0.as_millis()),
                Ok(millis),
                "{text}"
            );
        }
        for text in [
            "", "x", "10x", "-1", "1h30", "nan", "inf", "1e300", "s", "1.2.3s", "10 s",
        ] {
            let error = text.parse::<Span>().expect_err(text);
            assert!(
                error.contains(&format!("`{text}`")) && error.contains("10s"),
                "{error}"
            );
        }
    }

    #[test]
    fn intervals_of_zero_are_refused() {
        assert!(positive_span("0").is_err());
        assert!(heartbeat("0").expect_err("zero").contains("`0`"));
        assert!(heartbeat("0.5").is_err());
        assert_eq!(heartbeat("1").map(|span| span.0.as_secs()), Ok(1));
    }

    #[test]
    fn grants_split_at_the_first_equals_sign() {
        let grant: Grant = "net.fetch=https://h/a=b".parse().unwrap();
        assert_eq!(
            (grant.namespace.as_str(), grant.pattern.as_str()),
            ("net.fetch", "https://h/a=b")
        );
        assert!(
            "fs.raed=/x"
                .parse::<Grant>()
                .unwrap_err()
                .contains("did you mean `fs.read`")
        );
        for text in ["", "fs.read", "fs.read=", "=x"] {
            assert!(
                text.parse::<Grant>()
                    .unwrap_err()
                    .contains("NAMESPACE=PATTERN"),
                "{text}"
            );
        }
        assert!("x-vendor.acme.gpu=a100".parse::<Grant>().is_ok());
    }

    #[test]
    fn budgets_follow_the_grammar() {
        for text in ["USD:1.00", "EUR:5", "tokens.gpt-4:100000", "x_y:0.000001"] {
            assert!(text.parse::<Budget>().is_ok(), "{text}");
        }
        for text in [
            "",
            "USD",
            "USD:",
            ":1",
            "1USD:1",
            "USD:-1",
            "USD:1e3",
            "USD:.5",
            "USD:1.",
            "USD:+1",
            "US D:1",
            "USD:1.0.0",
            "USD:12345678901234567890123456789",
        ] {
            let error = text.parse::<Budget>().expect_err(text);
            assert!(error.contains("USD:1.00"), "{error}");
        }
    }

    #[test]
    fn tokens_split_at_the_first_colon_and_are_never_shown() {
        let pair: PrincipalToken = "alice:a:b".parse().unwrap();
        assert_eq!(
            (pair.principal.as_str(), pair.token.as_str()),
            ("alice", "a:b")
        );
        assert_eq!(format!("{pair:?}"), "alice:[redacted]");
        let error = "s3cretwithoutcolon".parse::<PrincipalToken>().unwrap_err();
        assert!(!error.contains("s3cretwithoutcolon"), "{error}");
    }

    #[test]
    fn inputs_have_to_be_json() {
        assert_eq!(
            "{\"a\": 1.50}"
                .parse::<Input>()
                .unwrap()
                .load()
                .unwrap()
                .as_str(),
            "{\"a\": 1.50}",
            "as it was written"
        );
        let error = "hello".parse::<Input>().unwrap().load().unwrap_err();
        assert!(
            error.contains("--input") && error.contains("quotes"),
            "{error}"
        );
        let error = "@/no/such/file"
            .parse::<Input>()
            .unwrap()
            .load()
            .unwrap_err();
        assert!(error.contains("/no/such/file"), "{error}");
    }
}
