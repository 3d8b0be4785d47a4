//! Which resume tokens take a session up (§6.3).

use subtle::ConstantTimeEq as _;

/// The resume tokens of one session that are good now, as the hashes that are kept of them [ARCP 6.3-1, 6.3-7].
///
/// The token rotates at every welcome, but the welcome may never arrive. So the token that was shown stays good beside the
/// new one until the client is [`heard`](Tokens::heard) on the new connection; with either it can come back until then.
/// A try of the client's that was under way for long may arrive after a later one: it shows the older token once more, and
/// takes the connection away on which the client has just been welcomed. That welcome's token stays good too, for it may
/// be the one the client has. A client that shows a newer one has the welcome it came with, and the others are good no more.
///
/// The drawing, `·` for "the same" (`newer` is a resume by the latest token, `older` one by the token before it):
///
/// ```text
///         │ newer   older   heard
/// ────────┼────────────────────────
/// Settled │ Offered ·       ·
/// Offered │ ·       Twice   Settled
/// Twice   │ Offered ·       Settled
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    current: TokenHash,
    previous: Option<TokenHash>,
    skipped: Option<TokenHash>,
}

/// The SHA-256 of a token.
pub type TokenHash = [u8; 32];

impl Tokens {
    /// The token of a session's latest welcome, and no other.
    pub const fn new(current: TokenHash) -> Self {
        Self::restored(current, None, None)
    }

    /// The tokens as they were kept.
    pub const fn restored(
        current: TokenHash,
        previous: Option<TokenHash>,
        skipped: Option<TokenHash>,
    ) -> Self {
        Self {
            current,
            previous,
            skipped,
        }
    }

    /// That of the latest welcome.
    pub const fn current(&self) -> &TokenHash {
        &self.current
    }

    /// The one that the client showed for it, while the client may not have the latest.
    pub const fn previous(&self) -> Option<&TokenHash> {
        self.previous.as_ref()
    }

    /// That of the welcome before the latest, when both answered the same token.
    pub const fn skipped(&self) -> Option<&TokenHash> {
        self.skipped.as_ref()
    }

    /// Every one that is good.
    pub fn iter(&self) -> impl Iterator<Item = &TokenHash> {
        std::iter::once(&self.current)
            .chain(&self.previous)
            .chain(&self.skipped)
    }

    /// Whether the session can be taken up with this one. Takes the same time whichever of them it is.
    pub fn accept(&self, presented: &TokenHash) -> bool {
        let found = self.iter().fold(subtle::Choice::from(0), |found, hash| {
            found | hash[..].ct_eq(&presented[..])
        });
        bool::from(found)
    }

    /// The tokens after a welcome that answers a resume with `presented` and carries `next`.
    #[must_use]
    pub fn rotated(&self, presented: TokenHash, next: TokenHash) -> Self {
        let has_a_newer = presented == self.current || self.skipped == Some(presented);
        Self {
            current: next,
            previous: Some(presented),
            skipped: (!has_a_newer).then_some(self.current),
        }
    }

    /// The client said something on the connection of the latest welcome, so it has that. Gives those that were good
    /// until now.
    pub fn heard(&mut self) -> impl Iterator<Item = TokenHash> + use<> {
        self.previous.take().into_iter().chain(self.skipped.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TokenHash = [1; 32];
    const B: TokenHash = [2; 32];
    const C: TokenHash = [3; 32];
    const D: TokenHash = [4; 32];

    fn good(tokens: &Tokens) -> Vec<u8> {
        let all = [A, B, C, D];
        let good = all.iter().filter(|hash| tokens.accept(hash));
        good.map(|hash| hash[0]).collect()
    }

    /// [ARCP 6.3-1] a welcome that is lost costs no session: the token shown is good until the client is heard, however
    /// often welcomes are lost, and then no more.
    #[test]
    fn the_token_shown_is_good_until_the_client_is_heard() {
        let mut tokens = Tokens::new(A);
        assert_eq!(good(&tokens), [1]);
        tokens = tokens.rotated(A, B);
        assert_eq!(good(&tokens), [1, 2]);
        // Whether the client has B nobody knows: this may be an older try of its that took long.
        tokens = tokens.rotated(A, C);
        assert_eq!(good(&tokens), [1, 2, 3]);
        assert_eq!(tokens.clone().rotated(A, D).iter().count(), 3);
        assert_eq!(tokens.heard().collect::<Vec<_>>(), [A, B]);
        assert_eq!(tokens.heard().count(), 0);
        assert_eq!(good(&tokens), [3]);
    }

    /// [ARCP 6.3-1] who shows a newer token has it, and the others are gone.
    #[test]
    fn who_shows_a_newer_token_gives_up_the_others() {
        let offered = Tokens::new(A).rotated(A, B);
        assert_eq!(good(&offered.rotated(B, C)), [2, 3]);
        assert_eq!(good(&offered.rotated(A, C).rotated(B, D)), [2, 4]);
        assert_eq!(good(&offered.rotated(A, C).rotated(C, D)), [3, 4]);
    }

    /// [ARCP 6.3-1] a resume that was decided while the client was heard takes nothing from what the client has.
    #[test]
    fn what_was_heard_stays_good() {
        let mut tokens = Tokens::new(A).rotated(A, B);
        assert_eq!(tokens.heard().count(), 1);
        assert_eq!(good(&tokens.rotated(A, C)), [1, 2, 3]);
    }

    /// The tokens do what is drawn above them: every event in every phase.
    #[test]
    fn the_tokens_are_as_drawn() {
        crate::drawing::walk(include_str!("tokens.rs"), |phase, event| {
            let settled = Tokens::new(A);
            let offered = settled.rotated(A, B);
            let mut tokens = match phase {
                "Settled" => settled,
                "Offered" => offered,
                "Twice" => offered.rotated(A, C),
                other => panic!("{other} is no phase"),
            };
            match event {
                "newer" => tokens = tokens.rotated(*tokens.current(), D),
                "older" => {
                    if let Some(previous) = tokens.previous().copied() {
                        tokens = tokens.rotated(previous, D);
                    }
                }
                "heard" => drop(tokens.heard()),
                other => panic!("{other} is no event"),
            }
            let phase = match (tokens.previous(), tokens.skipped()) {
                (None, _) => "Settled",
                (Some(_), None) => "Offered",
                (Some(_), Some(_)) => "Twice",
            };
            phase.to_owned()
        });
    }
}
