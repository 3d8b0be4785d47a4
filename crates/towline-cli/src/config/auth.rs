//! `[auth]`: who is let in.

use std::path::PathBuf;

use serde::Deserialize;

use super::file::File;
use crate::{failure::Outcome, values::PrincipalToken};

/// `[auth]`
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct AuthSection {
    pub(crate) tokens: Vec<TokenSection>,
    pub(crate) jwt: Option<JwtSection>,
}

/// `[[auth.tokens]]`
#[derive(PartialEq, Deserialize)]
pub(crate) struct TokenSection {
    principal: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    token_file: Option<PathBuf>,
    #[serde(default)]
    role: Option<String>,
}

impl std::fmt::Debug for TokenSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:[redacted]", self.principal)
    }
}

/// `[auth.jwt]`: one of `secret_file`, `public_key_file`, `jwks_file`, `jwks_url`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct JwtSection {
    pub(crate) secret_file: Option<PathBuf>,
    pub(crate) public_key_file: Option<PathBuf>,
    pub(crate) jwks_file: Option<PathBuf>,
    pub(crate) jwks_url: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) principal_claim: Option<String>,
    pub(crate) role_claim: Option<String>,
    /// What its principals begin with, to keep them apart from those of tokens.
    pub(crate) principal_prefix: Option<String>,
}

impl AuthSection {
    /// The files that say who somebody is: secrets, and what proves tokens. Whoever could write a public key would prove his
    /// own tokens with it.
    pub(super) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let jwt = self.jwt.iter().flat_map(|jwt| {
            let files = [&jwt.secret_file, &jwt.public_key_file, &jwt.jwks_file];
            files.into_iter().flatten()
        });
        let tokens = self.tokens.iter();
        jwt.chain(tokens.filter_map(|token| token.token_file.as_ref()))
    }

    pub(super) fn validate(&self, file: &File) -> Outcome<()> {
        let Some(jwt) = &self.jwt else {
            return Ok(());
        };
        let files = [&jwt.secret_file, &jwt.public_key_file, &jwt.jwks_file];
        let given = files.into_iter().flatten().count() + usize::from(jwt.jwks_url.is_some());
        if given != 1 {
            return Err(file.wrong(
                "auth.jwt",
                "needs exactly one of secret_file, public_key_file, jwks_file, jwks_url",
            ));
        }
        Ok(())
    }

    /// Each token's principal and its role.
    pub(super) fn roles(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.tokens
            .iter()
            .map(|token| (token.principal.as_str(), token.role.as_deref()))
    }

    /// The tokens of the file, with those that stand in files of their own.
    pub(super) fn tokens(&self, file: &File) -> Outcome<Vec<PrincipalToken>> {
        self.tokens
            .iter()
            .enumerate()
            .map(|(index, section)| section.token(index, file))
            .collect()
    }
}

impl TokenSection {
    fn token(&self, index: usize, file: &File) -> Outcome<PrincipalToken> {
        let key = format!("auth.tokens[{index}]");
        let token = match (&self.token, &self.token_file) {
            (Some(token), None) => token.clone(),
            (None, Some(path)) => file.secret(&format!("{key}.token_file"), path)?,
            _ => return Err(file.wrong(&key, "needs exactly one of token and token_file")),
        };
        if self.principal.is_empty() || token.is_empty() {
            return Err(file.wrong(&key, "needs a principal and a token that are not empty"));
        }
        Ok(PrincipalToken {
            principal: self.principal.clone(),
            token,
        })
    }
}
