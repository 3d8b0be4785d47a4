//! One pattern of a lease.

use std::fmt;

use super::{
    automaton::{Automaton, Piece},
    component::{AGENT, Fault, PLAIN, check_segments},
    effort::{Care, Effort, Exhausted},
    error::{PatternError, PatternFault, ValueError},
    inclusion,
    kind::Kind,
    normal::Normal,
    symbol::SymbolSet,
    syntax::{self, Alternative},
    url_pattern,
};

/// A compiled pattern [ARCP 9.2-2].
///
/// It is anchored at both ends and case-sensitive, and it is never silently useless: a text that no value could match
/// does not compile [ARCP 9.2-5]. Matching takes time linear in the value's length, up to a bound.
///
/// ```
/// use towline_proto::lease::{Kind, Pattern};
///
/// let pattern = Pattern::parse("/srv/*/logs/**", Kind::Path)?;
/// assert_eq!(pattern.matches("/srv/a/logs/today/x.log"), Ok(true));
/// assert_eq!(pattern.matches("/srv/a/logs/../secret"), Ok(false));
/// # Ok::<(), towline_proto::lease::PatternError>(())
/// ```
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    kind: Kind,
    automaton: Automaton,
    literal_host: bool,
}

impl Pattern {
    /// Compiles a pattern for values of a kind.
    ///
    /// # Errors
    /// [`PatternError`] when the text is malformed, over the bounds on length and size, or could match no value.
    pub fn parse(text: &str, kind: Kind) -> Result<Self, PatternError> {
        Self::parse_within(text, kind, &mut Effort::compiling(Care::Full))
    }

    /// The same as a part of something larger.
    pub(super) fn parse_within(
        text: &str,
        kind: Kind,
        effort: &mut Effort,
    ) -> Result<Self, PatternError> {
        let fail = |(at, fault): Fault| PatternError::new(text, at, fault);
        let alternatives = syntax::parse(text, kind == Kind::Url)?;
        let mut sequences = Vec::new();
        for alternative in &alternatives {
            sequences.extend(pieces(alternative, kind).map_err(fail)?);
        }
        let too_complex = || fail((0, PatternFault::TooComplex));
        let automaton =
            Automaton::build(sequences.iter().map(Vec::as_slice)).map_err(|_| too_complex())?;
        match inclusion::all_starts_lead_to_a_value(&automaton, kind, effort) {
            Ok(true) => Ok(Self {
                text: text.into(),
                kind,
                automaton,
                literal_host: kind == Kind::Url && name_one_host(&alternatives),
            }),
            Ok(false) => Err(fail((0, PatternFault::MatchesNothing))),
            Err(Exhausted) => Err(too_complex()),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it matches.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the pattern is of URLs and names one host, without wildcards or alternatives, so that whoever wrote it knew
    /// where that host is. Only such a pattern opens private addresses [ARCP 9.2-4, 18-2].
    pub const fn has_literal_host(&self) -> bool {
        self.literal_host
    }

    /// Whether the pattern covers a value, which is normalised first.
    ///
    /// # Errors
    /// [`ValueError`] when no pattern covers the value, whatever it says.
    pub fn matches(&self, value: &str) -> Result<bool, ValueError> {
        let value = Normal::new(self.kind, value)?;
        self.covers(&value, &mut Effort::matching())
    }

    /// Whether the pattern may cover some value that begins so. It is read as the beginning of a value, and not normalised
    /// beyond that; what takes too long to tell is not covered.
    pub fn covers_some(&self, beginning: &str) -> bool {
        let Ok(beginning) = Normal::new(self.kind, beginning) else {
            return false;
        };
        let stops = self
            .automaton
            .stops_at(beginning.symbols(), &mut Effort::matching());
        stops == Ok(None)
    }

    /// Whether the pattern covers a normalised value; an error when that takes too long to tell.
    pub(super) fn covers(
        &self,
        value: &Normal<'_>,
        effort: &mut Effort,
    ) -> Result<bool, ValueError> {
        self.automaton
            .accepts(value.symbols(), effort)
            .map_err(|Exhausted| ValueError::TooComplex)
    }

    pub(super) const fn automaton(&self) -> &Automaton {
        &self.automaton
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?}, {:?})", self.kind, self.text)
    }
}

fn name_one_host(alternatives: &[Alternative]) -> bool {
    let mut hosts = alternatives
        .iter()
        .map(|alternative| url_pattern::literal_host(alternative));
    let first = hosts.next().flatten();
    first.is_some() && hosts.all(|host| host == first)
}

fn pieces(tokens: &Alternative, kind: Kind) -> Result<Vec<Vec<Piece>>, Fault> {
    let pieces = match kind {
        Kind::Url => return url_pattern::pieces(tokens),
        Kind::Name => PLAIN.pieces(tokens)?,
        Kind::Path => {
            let relative = tokens.first().is_none_or(|token| !token.is('/'));
            if relative {
                return Err((
                    tokens.first().map_or(0, |token| token.at),
                    PatternFault::Relative,
                ));
            }
            check_segments(tokens, true)?;
            PLAIN.pieces(tokens)?
        }
        Kind::Agent => return agent_pieces(tokens),
    };
    Ok(vec![pieces])
}

/// A pattern without `@` means every version of the agents that it names.
fn agent_pieces(tokens: &Alternative) -> Result<Vec<Vec<Piece>>, Fault> {
    let exact = AGENT.pieces(tokens)?;
    if tokens.iter().any(|token| token.is('@')) {
        return Ok(vec![exact]);
    }
    let any_version = [
        Piece::One(SymbolSet::one('@'.into())),
        Piece::Run(SymbolSet::unicode()),
    ];
    let versioned = exact.iter().cloned().chain(any_version).collect();
    Ok(vec![exact, versioned])
}
