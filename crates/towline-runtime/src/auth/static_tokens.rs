//! A fixed list of bearer tokens.

use std::{fmt, path::Path};

use futures_util::future::{BoxFuture, ready};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};
use towline_store::Principal;
use towline_wire::{Shown, stands_as_it_is};

use super::{AuthRefusal, Authenticator, Credentials, Proof, Proven, proof::hex};

/// Bearer tokens known from the start.
///
/// Only their SHA-256 is kept, and a token is compared with every entry in constant time, so neither memory nor timing
/// tells a token [ARCP 6.1-4]. A plain hash is enough for tokens that are random; do not use passwords people made up.
/// A principal may have several tokens, which is how one is replaced without an interruption.
#[derive(Clone)]
pub struct StaticTokens {
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    hash: [u8; 32],
    /// The name of the token in proofs.
    key: String,
    principal: Principal,
}

impl StaticTokens {
    /// Takes pairs of principal and token.
    ///
    /// # Errors
    /// [`StaticTokensError`] when a name or a token is empty, or the same token is given twice.
    pub fn new<P, T>(tokens: impl IntoIterator<Item = (P, T)>) -> Result<Self, StaticTokensError>
    where
        P: AsRef<str>,
        T: AsRef<str>,
    {
        let mut known = Self {
            entries: Vec::new(),
        };
        for (principal, token) in tokens {
            known.add(principal.as_ref(), token.as_ref())?;
        }
        Ok(known)
    }

    /// Reads a file with one `principal:token` a line, split at the first colon; white space around both, empty lines
    /// and lines that begin with `#` do not count.
    ///
    /// # Errors
    /// [`StaticTokensError`] naming the file and the line, never its content.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, StaticTokensError> {
        let path = path.as_ref();
        let unreadable = |cause| StaticTokensError::Unreadable {
            path: path.display().to_string(),
            cause,
        };
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        warn_when_others_can_read(path);
        let mut known = Self {
            entries: Vec::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = line.split_once(':').ok_or(StaticTokensError::NoColon);
            let added =
                parsed.and_then(|(principal, token)| known.add(principal.trim(), token.trim()));
            let place = || format!("{}:{}", path.display(), index + 1);
            added.map_err(|cause| StaticTokensError::Line {
                place: place(),
                cause: Box::new(cause),
            })?;
        }
        Ok(known)
    }

    fn add(&mut self, principal: &str, token: &str) -> Result<(), StaticTokensError> {
        if principal.is_empty() {
            return Err(StaticTokensError::NoPrincipal);
        }
        if !stands_as_it_is(principal) {
            return Err(StaticTokensError::BadPrincipal {
                principal: Shown::new(principal).to_string(),
            });
        }
        if token.is_empty() {
            return Err(StaticTokensError::NoToken {
                principal: principal.to_owned(),
            });
        }
        let hash = hash(token);
        if let Some(other) = self.entries.iter().find(|entry| entry.hash == hash) {
            let (first, second) = (other.principal.to_string(), principal.to_owned());
            return Err(StaticTokensError::Twice { first, second });
        }
        self.entries.push(Entry {
            hash,
            key: format!("token:{}", hex(&hash)),
            principal: Principal::new(principal),
        });
        Ok(())
    }

    /// Whose token it is. Looks at every entry, wherever the match is.
    fn find(&self, token: &str) -> Option<&Entry> {
        let presented = hash(token);
        let mut found = u64::MAX;
        for (index, entry) in (0_u64..).zip(&self.entries) {
            found.conditional_assign(&index, difference(&presented, &entry.hash).ct_eq(&0));
        }
        let index = usize::try_from(found).ok()?;
        self.entries.get(index)
    }

    fn check(&self, credentials: &Credentials) -> Result<&Entry, AuthRefusal> {
        let unknown = || AuthRefusal::new("the token is not known here");
        credentials
            .token()
            .and_then(|token| self.find(token).ok_or_else(unknown))
    }
}

impl Authenticator for StaticTokens {
    fn authenticate<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Principal, AuthRefusal>> {
        let found = self.check(credentials);
        Box::pin(ready(found.map(|entry| entry.principal.clone())))
    }

    fn prove<'a>(
        &'a self,
        credentials: &'a Credentials,
    ) -> BoxFuture<'a, Result<Proven, AuthRefusal>> {
        let found = self.check(credentials);
        Box::pin(ready(found.map(|entry| Proven {
            principal: entry.principal.clone(),
            proof: Proof::by(&entry.key),
        })))
    }

    /// A proof without a name is one that was kept before proofs had names; then the principal has to be known.
    fn still_knows(&self, principal: &Principal, proof: &Proof) -> bool {
        let mut own = self
            .entries
            .iter()
            .filter(|entry| entry.principal == *principal);
        own.any(|entry| proof.key.as_ref().is_none_or(|key| *key == entry.key))
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let principals = self.entries.iter().map(|entry| &entry.principal);
        f.debug_list().entries(principals).finish()
    }
}

/// Why a list of tokens is not accepted. No message holds a token.
#[derive(Debug, thiserror::Error)]
pub enum StaticTokensError {
    /// A token without anybody it stands for.
    #[error("a token has no principal, write principal:token")]
    NoPrincipal,
    /// A principal that would be shown as another one is, or do something to a terminal.
    #[error(
        "the principal `{principal}` has control characters, or turns text around; write it without"
    )]
    BadPrincipal {
        /// The principal, with those escaped.
        principal: String,
    },
    /// A principal without a token would be let in with an empty one.
    #[error("the token of `{principal}` is empty, write principal:token")]
    NoToken {
        /// Whose.
        principal: String,
    },
    /// A token has to tell who is calling.
    #[error("`{first}` and `{second}` have the same token, give each its own")]
    Twice {
        /// Who had it first.
        first: String,
        /// Who has it too.
        second: String,
    },
    /// A line of a file without a colon.
    #[error("there is no colon, write principal:token")]
    NoColon,
    /// A line of a file.
    #[error("{place}: {cause}")]
    Line {
        /// The file and the line.
        place: String,
        /// What is wrong with it.
        #[source]
        cause: Box<StaticTokensError>,
    },
    /// The file.
    #[error("cannot read the tokens in {path}: {cause}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// 0 when two hashes are the same. Eight bytes at a time and all of them, whatever they are.
fn difference(left: &[u8; 32], right: &[u8; 32]) -> u64 {
    let (left, right) = (left.as_chunks::<8>().0, right.as_chunks::<8>().0);
    left.iter().zip(right).fold(0, |seen, (left, right)| {
        seen | (u64::from_ne_bytes(*left) ^ u64::from_ne_bytes(*right))
    })
}

#[cfg(unix)]
fn warn_when_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "the token file can be read by others, make its mode 600");
    }
}

#[cfg(not(unix))]
fn warn_when_others_can_read(_path: &Path) {}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn ask(tokens: &StaticTokens, token: &str) -> Option<String> {
        let principal = tokens.authenticate(&Credentials::bearer(token)).await;
        principal.ok().map(|principal| principal.to_string())
    }

    /// [ARCP 6.1-1, 6.1-4] A known token is its principal, wherever it stands in the list; anything else is refused.
    #[tokio::test]
    async fn a_known_token_names_its_principal() {
        let tokens =
            StaticTokens::new([("alice", "one"), ("bob", "two"), ("alice", "three")]).unwrap();
        for (token, principal) in [("one", "alice"), ("two", "bob"), ("three", "alice")] {
            assert_eq!(ask(&tokens, token).await.as_deref(), Some(principal));
        }
        for wrong in ["", "on", "onee", "ONE", "one ", "alice"] {
            assert_eq!(ask(&tokens, wrong).await, None, "{wrong:?}");
        }
        let none = StaticTokens::new::<&str, &str>([]).unwrap();
        assert_eq!(ask(&none, "one").await, None);
    }

    /// [ARCP 14-7] A proof is known as long as its very token is, and is that principal's.
    #[tokio::test]
    async fn a_proof_is_one_token_of_one_principal() {
        let all = [("alice", "horse"), ("alice", "two"), ("bob", "three")];
        let tokens = StaticTokens::new(all).unwrap();
        let proven = tokens.prove(&Credentials::bearer("horse")).await.unwrap();
        let knows = |list: &[(&str, &str)]| {
            let tokens = StaticTokens::new(list.iter().copied()).unwrap();
            tokens.still_knows(&proven.principal, &proven.proof)
        };
        assert!(knows(&all));
        assert!(!knows(&all[1..]));
        assert!(!knows(&[("bob", "horse")]));
        assert!(!format!("{:?}", proven.proof).contains("horse"));
        let unnamed = Proof::default();
        assert!(tokens.still_knows(&Principal::new("alice"), &unnamed));
        assert!(!tokens.still_knows(&Principal::new("carol"), &unnamed));
    }

    /// [ARCP 6.1-4] Every byte of a hash counts.
    #[test]
    fn hashes_differ_wherever_they_differ() {
        let hash: [u8; 32] = std::array::from_fn(|at| at as u8);
        assert_eq!(difference(&hash, &hash), 0);
        for at in 0..hash.len() {
            let mut other = hash;
            other[at] ^= 0x80;
            assert_ne!(difference(&hash, &other), 0, "byte {at}");
        }
    }

    /// [ARCP 6.1-4] Tokens are stored hashed: nothing of them is left to be shown.
    #[test]
    fn only_hashes_are_kept() {
        let tokens = StaticTokens::new([("alice", "correct horse")]).unwrap();
        assert_eq!(
            tokens.entries[0].hash,
            <[u8; 32]>::from(Sha256::digest("correct horse"))
        );
        assert_eq!(format!("{tokens:?}"), "[alice]");
    }

    #[test]
    fn bad_lists_are_refused_without_showing_a_token() {
        let refuse = |pairs: &[(&str, &str)]| {
            let message = StaticTokens::new(pairs.iter().copied())
                .expect_err("bad list")
                .to_string();
            assert!(!message.contains("hush"), "{message}");
            message
        };
        assert!(refuse(&[("", "hush")]).contains("no principal"));
        assert!(refuse(&[("alice", "")]).contains("`alice` is empty"));
        assert!(refuse(&[("alice", "hush"), ("bob", "hush")]).contains("`alice` and `bob`"));
        assert!(refuse(&[("alice", "hush"), ("alice", "hush")]).contains("same token"));
    }

    #[tokio::test]
    async fn a_file_has_a_pair_a_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"# operators\n\nalice:to:ken\r\n  bob : two  \n")
            .unwrap();
        let tokens = StaticTokens::from_file(file.path()).unwrap();
        assert_eq!(ask(&tokens, "to:ken").await.as_deref(), Some("alice"));
        assert_eq!(ask(&tokens, "two").await.as_deref(), Some("bob"));
    }

    /// [ARCP 14-8] A principal is shown as it is, and looks like nobody else.
    #[test]
    fn principals_have_names_that_can_be_shown() {
        for name in [
            "a\u{202e}ecila",
            "a\u{2066}",
            "a\nb",
            "a\u{9b}m",
            "\u{1b}[2J",
        ] {
            let refused = StaticTokens::new([(name, "t")]).expect_err("no name");
            let message = refused.to_string();
            assert!(
                message.contains("\\u{") || message.contains("\\n"),
                "{message}"
            );
        }
        StaticTokens::new([("Ünal 漢 @example", "t")]).expect("a name");
    }

    #[test]
    fn a_bad_file_is_named_with_its_line() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"alice:hush\nhush2\n").unwrap();
        let message = StaticTokens::from_file(file.path())
            .expect_err("no colon")
            .to_string();
        assert!(
            message.contains(":2: there is no colon") && !message.contains("hush"),
            "{message}"
        );
        let missing = file.path().with_extension("missing");
        let message = StaticTokens::from_file(missing)
            .expect_err("no file")
            .to_string();
        assert!(message.contains("cannot read"), "{message}");
    }
}
