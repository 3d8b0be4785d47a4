//! What proved a session, kept so that access ends when it is taken away [ARCP 14-7].

use serde::{Deserialize, Serialize};
use towline_store::Principal;
use towline_wire::Timestamp;

/// Who somebody was found to be, and what proved it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Who.
    pub principal: Principal,
    /// By what.
    pub proof: Proof,
}

impl From<Principal> for Proven {
    /// Proved by something that has no name and never ends.
    fn from(principal: Principal) -> Self {
        Self {
            principal,
            proof: Proof::default(),
        }
    }
}

/// What proved a principal. It holds no secret: a key is named by a hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Proof {
    /// The token or key, by a name that only its authenticator understands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The role that the proof itself gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// From when on it proves nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Proof {
    /// A proof by a key of this name.
    pub fn by(key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..Self::default()
        }
    }

    /// What proves nothing to anybody.
    pub(crate) fn revoked() -> Self {
        Self::by(REVOKED)
    }

    /// Whether an administrator ended what it proved.
    pub(crate) fn is_revoked(&self) -> bool {
        self.key.as_deref() == Some(REVOKED)
    }

    /// As a session keeps it.
    pub(crate) fn text(&self) -> Option<String> {
        if *self == Self::default() {
            return None;
        }
        serde_json::to_string(self).ok()
    }

    /// What a session kept. What cannot be read is a proof by a key that nobody knows.
    pub(crate) fn kept(text: Option<&str>) -> Self {
        text.map_or_else(Self::default, |text| {
            serde_json::from_str(text).unwrap_or_else(|_| Self::by("unreadable"))
        })
    }
}

/// The name of no key: theirs have a kind and a colon.
const REVOKED: &str = "revoked";

/// A hash as part of a key's name.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [ARCP 14-7] What a session keeps of its proof goes round; what cannot be read is known to nobody.
    #[test]
    fn proofs_go_round() {
        let full = Proof {
            key: Some("token:1".to_owned()),
            role: Some("dev".to_owned()),
            expires_at: "2026-01-31T12:00:00.000Z".parse().ok(),
        };
        for proof in [full, Proof::by("x"), Proof::default()] {
            assert_eq!(Proof::kept(proof.text().as_deref()), proof);
        }
        assert_eq!(Proof::default().text(), None);
        assert_eq!(Proof::kept(Some("{")), Proof::by("unreadable"));
    }
}
