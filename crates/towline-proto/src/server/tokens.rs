//! Which resume tokens take a session up (§6.3).

use subtle::ConstantTimeEq as _;

/// The resume tokens of one session that are good now, as the hashes that are kept of them [ARCP 6.3-1, 6.3-7].
///
/// The token rotates at every welcome, but the welcome may never arrive. So the token that was shown stays good beside the
/// new one until the client is [`heard`](Tokens::heard) on the new connection; with either it can come back until then.
/// Two are enough: a client that shows the newer one has the welcome it came with, and so needs the older one no more.
///
/// The drawing, `·` for "the same" (`rotated` is a resume by any token that is good):
///
/// ```text
///         │ rotated heard
/// ────────┼────────────────
/// Settled │ Offered ·
/// Offered │ ·       Settled
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    current: TokenHash,
    previous: Option<TokenHash>,
}

/// The SHA-256 of a token.
pub type TokenHash = [u8; 32];

impl Tokens {
    /// The tokens of a session: the one of its latest welcome, and the one before while that is still good.
    pub const fn new(current: TokenHash, previous: Option<TokenHash>) -> Self {
        Self { current, previous }
    }

    /// That of the latest welcome.
    pub const fn current(&self) -> &TokenHash {
        &self.current
    }

    /// The one before, while the client may not have the latest.
    pub const fn previous(&self) -> Option<&TokenHash> {
        self.previous.as_ref()
    }

    /// Every one that is good.
    pub fn iter(&self) -> impl Iterator<Item = &TokenHash> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Whether the session can be taken up with this one. Takes the same time whatever the answer.
    pub fn accept(&self, presented: &TokenHash) -> bool {
        let same = |hash: &TokenHash| hash[..].ct_eq(&presented[..]);
        let current = same(&self.current);
        bool::from(match &self.previous {
            Some(previous) => current | same(previous),
            None => current,
        })
    }

    /// The tokens after a welcome that answers a resume with `presented` and carries `next`.
    #[must_use]
    pub const fn rotated(presented: TokenHash, next: TokenHash) -> Self {
        Self::new(next, Some(presented))
    }

    /// The client said something on the connection of the latest welcome, so it has that. `false` when that was known.
    pub const fn heard(&mut self) -> bool {
        self.previous.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TokenHash = [1; 32];
    const B: TokenHash = [2; 32];
    const C: TokenHash = [3; 32];

    /// [ARCP 6.3-1] a welcome that is lost costs no session: the token shown is good until the client is heard, however
    /// often welcomes are lost, and then no more.
    #[test]
    fn the_token_shown_is_good_until_the_client_is_heard() {
        let mut tokens = Tokens::new(A, None);
        assert!(tokens.accept(&A) && !tokens.accept(&B));
        tokens = Tokens::rotated(A, B);
        assert!(tokens.accept(&A) && tokens.accept(&B));
        tokens = Tokens::rotated(A, C);
        assert!(tokens.accept(&A) && !tokens.accept(&B) && tokens.accept(&C));
        assert!(tokens.heard() && !tokens.heard());
        assert!(!tokens.accept(&A) && tokens.accept(&C));
    }

    /// [ARCP 6.3-1] who shows the newer token has it, and the older one is gone.
    #[test]
    fn who_shows_the_newer_token_gives_up_the_older() {
        let tokens = Tokens::rotated(A, B);
        assert!(tokens.accept(&B));
        let tokens = Tokens::rotated(B, C);
        assert!(!tokens.accept(&A) && tokens.accept(&B) && tokens.accept(&C));
        assert_eq!(tokens.iter().copied().collect::<Vec<_>>(), [C, B]);
    }

    /// The tokens do what is drawn above them: every event in every phase.
    #[test]
    fn the_tokens_are_as_drawn() {
        crate::drawing::walk(include_str!("tokens.rs"), |phase, event| {
            let mut tokens = match phase {
                "Settled" => Tokens::new(A, None),
                "Offered" => Tokens::rotated(A, B),
                other => panic!("{other} is no phase"),
            };
            match event {
                "rotated" => tokens = Tokens::rotated(*tokens.current(), C),
                "heard" => {
                    tokens.heard();
                }
                other => panic!("{other} is no event"),
            }
            if tokens.previous().is_some() {
                "Offered".to_owned()
            } else {
                "Settled".to_owned()
            }
        });
    }
}
