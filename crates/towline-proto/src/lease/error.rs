//! Why a lease, a pattern or a value is refused.

use towline_wire::ErrorCode;

use super::limits::MAX_VALUE_BYTES;

/// A pattern that cannot be used [ARCP 9.2-5]. It names the pattern, the byte and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed pattern `{}` at byte {at}: {fault}", shorten(.pattern))]
pub struct PatternError {
    pattern: String,
    at: usize,
    fault: PatternFault,
}

impl PatternError {
    pub(super) fn new(pattern: &str, at: usize, fault: PatternFault) -> Self {
        Self {
            pattern: pattern.to_owned(),
            at,
            fault,
        }
    }

    /// The pattern as it was written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The byte of the pattern the error is about, from 0.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// What is wrong.
    pub const fn fault(&self) -> PatternFault {
        self.fault
    }
}

/// What can be wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternFault {
    /// There is nothing in it.
    #[error("a pattern may not be empty")]
    Empty,
    /// It is longer than [`MAX_PATTERN_BYTES`](super::MAX_PATTERN_BYTES).
    #[error("too long, a pattern has at most 1024 bytes")]
    TooLong,
    /// Its braces or its automaton outgrow their bounds.
    #[error("too complex, use fewer braces or split the pattern")]
    TooComplex,
    /// A `{` without its `}`.
    #[error("this `{{` is never closed; write `\\{{` for the character")]
    UnclosedBrace,
    /// A `}` without its `{`.
    #[error("this `}}` was never opened; write `\\}}` for the character")]
    UnopenedBrace,
    /// A `[` without its `]`.
    #[error("this `[` is never closed; write `\\[` for the character")]
    UnclosedClass,
    /// A class without members, or with none that may occur here.
    #[error("this class matches nothing; note that no class matches a separator")]
    EmptyClass,
    /// `[^…]`, which other dialects read as a negation.
    #[error("write `[!…]` to negate a class, or `\\^` for the character")]
    CaretClass,
    /// A range such as `z-a`.
    #[error("this range runs backwards")]
    ReversedRange,
    /// A `\` at the end.
    #[error("nothing follows this `\\`; write `\\\\` for the character")]
    NothingEscaped,
    /// `***`.
    #[error("more than two `*` in a row; use `*` or `**`")]
    ThreeStars,
    /// A file pattern that does not begin with `/`.
    #[error("a path must begin with `/`")]
    Relative,
    /// `.`, `..` or an empty segment, which no normalised path has.
    #[error(
        "paths are normalised before they are matched, so remove `.`, `..`, `//` and a final `/`"
    )]
    NotNormal,
    /// A URL pattern without `scheme://`.
    #[error("a URL pattern must begin with a scheme, such as `https://`")]
    NoScheme,
    /// A scheme that no fetch may use.
    #[error("the scheme must be one of http, https, ws and wss")]
    UnknownScheme,
    /// A URL pattern without a host.
    #[error("the host is missing; write `**` for every host")]
    NoHost,
    /// `user@` in a URL pattern.
    #[error("user information is never allowed, remove it")]
    UserInfo,
    /// A host that no URL can have.
    #[error("this is not part of a host; wildcards and names (in punycode beside a wildcard) are")]
    BadHost,
    /// A port that no URL can have.
    #[error("a port is a number up to 65535, or `*`")]
    BadPort,
    /// `\?`, `#` or `\\` in a URL pattern.
    #[error(
        "queries and fragments are not matched and `\\` is no path character; remove it or percent-encode it"
    )]
    NotInPath,
    /// A `%` without two hexadecimal digits, or encoding no UTF-8.
    #[error("`%` must be followed by two hexadecimal digits, encoding UTF-8")]
    BadPercent,
    /// Well formed, and yet no value could ever match it.
    #[error("no value can match this pattern")]
    MatchesNothing,
}

/// A value that is denied whatever the lease says [ARCP 9.2-3, 9.2-4].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// There is nothing in it.
    #[error("the value is empty")]
    Empty,
    /// The patterns and the value together take too many steps to match [ARCP 14-6].
    #[error(
        "matching it with these patterns takes too long; grant simpler patterns or ask for a shorter value"
    )]
    TooComplex,
    /// Longer than [`MAX_VALUE_BYTES`](super::MAX_VALUE_BYTES).
    #[error("the value is longer than {} bytes", MAX_VALUE_BYTES)]
    TooLong,
    /// It holds a control character.
    #[error("the value holds a control character")]
    ControlCharacter,
    /// A path that does not begin with `/`.
    #[error("the path is not absolute")]
    RelativePath,
    /// A path whose `..` lead out of the root.
    #[error("the path climbs above `/`")]
    AboveRoot,
    /// Not an absolute URL.
    #[error("the value is not a URL of the form scheme://host/path")]
    NotUrl,
    /// A scheme other than http, https, ws and wss.
    #[error("the URL's scheme is none of http, https, ws and wss")]
    UnknownScheme,
    /// A URL with `user@`.
    #[error("the URL carries user information")]
    UserInfo,
    /// A URL with a `\`, which parsers disagree about.
    #[error("the URL holds a `\\`")]
    Backslash,
    /// A host such as `example.com.` or `a..b`.
    #[error("the URL's host has an empty label")]
    EmptyLabel,
    /// A `%` without two hexadecimal digits, or encoding no UTF-8.
    #[error("the URL's path is not percent-encoded UTF-8")]
    BadPercent,
    /// `..%2F` and its like, which some servers read as a step upwards.
    #[error("the URL's path hides a `.` or `..` segment behind an encoded slash")]
    HiddenDots,
    /// Not `name` or `name@version`.
    #[error("the value is not an agent, name or name@version")]
    NotAgent,
}

/// A lease that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// A namespace that is neither reserved nor a vendor's [ARCP 9.2-1].
    #[error("unknown lease namespace `{}`; vendor namespaces begin with `x-vendor.`", shorten(.0))]
    UnknownNamespace(String),
    /// A malformed pattern [ARCP 9.2-5].
    #[error("lease namespace `{}`: {source}", shorten(.namespace))]
    Pattern {
        /// The namespace it stands in.
        namespace: String,
        /// What is wrong.
        source: PatternError,
    },
    /// An ask pattern of another form [ARCP 15-6].
    #[error(
        "lease namespace `x-vendor.towline.ask`: `{}` is not NAMESPACE=PATTERN with a namespace of patterns, such as fs.write=/srv/**",
        shorten(.0)
    )]
    Ask(String),
    /// A malformed amount [ARCP 9.6-1].
    #[error(transparent)]
    Budget(#[from] super::BudgetError),
    /// All patterns together outgrow their bounds [ARCP 14-4].
    #[error("the lease is too complex: at most 1024 patterns, fewer when they hold many braces")]
    TooComplex,
    /// `expires_at` is no time in UTC [ARCP 9.5-1].
    #[error("lease_constraints.expires_at `{}` is not a UTC time such as 2026-01-31T12:00:00Z", shorten(.0))]
    BadExpiry(String),
    /// `expires_at` is not in the future [ARCP 9.5-1].
    #[error("lease_constraints.expires_at {0} is not in the future")]
    PastExpiry(towline_wire::Timestamp),
}

impl LeaseError {
    /// How it is told to the peer.
    pub const fn code(&self) -> ErrorCode {
        ErrorCode::INVALID_REQUEST
    }
}

/// At most 120 characters of a text, for messages.
pub(super) fn shorten(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(120) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
