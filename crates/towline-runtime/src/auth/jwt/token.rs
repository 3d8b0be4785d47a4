//! A compact JWS (RFC 7515) taken apart, before anything of it is believed.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::auth::AuthRefusal;

/// A token in its three parts.
pub(super) struct Token<'a> {
    pub(super) header: Header,
    /// What is signed: header and payload as they came.
    pub(super) signed: &'a str,
    payload: &'a str,
    pub(super) signature: Vec<u8>,
}

/// What a header may tell: which key, and how it was signed. Nothing in it is ever followed (`jku`, `x5u`) or used as a
/// key (`jwk`, `x5c`).
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    #[serde(default)]
    pub(super) kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

/// The claims of a token whose signature is good.
pub(super) type Claims = serde_json::Map<String, serde_json::Value>;

/// What is wrong with a token; the words are for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenFault {
    #[error("the token is no JWT")]
    Malformed,
    #[error("the token's header names critical fields this runtime does not know")]
    Critical,
    #[error("the token is not signed with a key known here")]
    Signature,
    #[error("the token has no `exp`")]
    NoExpiry,
    #[error("the token's `{0}` is not a time")]
    BadTime(&'static str),
    #[error("the token has expired, get a fresh one")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token's `iss` is not the issuer expected here")]
    Issuer,
    #[error("the token's `aud` does not name this runtime")]
    Audience,
    #[error("the token's claim `{0}` does not name a principal")]
    Principal(String),
    #[error("the token's claim `{0}` does not name a role, a role is a text")]
    Role(String),
}

impl TokenFault {
    pub(super) fn refusal(self) -> AuthRefusal {
        AuthRefusal::new(self.to_string())
    }
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, TokenFault> {
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
        if payload.contains('.') {
            return Err(TokenFault::Malformed);
        }
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenFault::Critical);
        }
        Ok(Self {
            header,
            signed,
            payload,
            signature: decode(signature)?,
        })
    }

    /// The claims. Only for a token whose signature was found good.
    pub(super) fn claims(&self) -> Result<Claims, TokenFault> {
        serde_json::from_slice(&decode(self.payload)?).map_err(|_| TokenFault::Malformed)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<TokenFault> {
        Token::parse(text).err()
    }

    #[test]
    fn what_is_no_jwt_is_refused() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        assert_eq!(fault(&format!("{header}.e30.AA")), None);
        let broken = [
            "",
            ".",
            "..",
            "a.b",
            "a.b.c.d",
            "a.b.c",
            "e30.e30.AA",
            &format!("{header}.e30.A=="),
            "\u{e9}.é.é",
        ];
        for text in broken {
            assert_eq!(fault(text), Some(TokenFault::Malformed), "{text:?}");
        }
        let critical = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","crit":["exp"]}"#);
        assert_eq!(
            fault(&format!("{critical}.e30.AA")),
            Some(TokenFault::Critical)
        );
    }
}
