//! What the claims of a well-signed token have to say.

use std::time::Duration;

use serde_json::Value;
use towline_store::Principal;
use towline_wire::{Timestamp, stands_as_it_is};

use super::token::{Claims, TokenFault};

#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) issuer: Option<String>,
    pub(super) audiences: Vec<String>,
    pub(super) leeway: Duration,
    pub(super) principal_claim: String,
    pub(super) principal_prefix: String,
    pub(super) role_claim: Option<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
            leeway: Duration::from_secs(60),
            principal_claim: "sub".to_owned(),
            principal_prefix: String::new(),
            role_claim: None,
        }
    }
}

impl Rules {
    /// Whom the claims name, when they hold at `now`.
    pub(super) fn principal(
        &self,
        claims: &Claims,
        now: Timestamp,
    ) -> Result<Principal, TokenFault> {
        self.check_times(claims, now)?;
        if self
            .issuer
            .as_deref()
            .is_some_and(|issuer| claims.get("iss").and_then(Value::as_str) != Some(issuer))
        {
            return Err(TokenFault::Issuer);
        }
        self.check_audience(claims)?;
        let named = claims
            .get(&self.principal_claim)
            .and_then(Value::as_str)
            .filter(|name| is_name(name));
        let name = named.ok_or_else(|| TokenFault::Principal(self.principal_claim.clone()))?;
        Ok(Principal::new(format!("{}{name}", self.principal_prefix)))
    }

    /// The role the claims name, where one of them may.
    pub(super) fn role(&self, claims: &Claims) -> Result<Option<String>, TokenFault> {
        let Some(claim) = &self.role_claim else {
            return Ok(None);
        };
        match claims.get(claim) {
            None => Ok(None),
            Some(Value::String(name)) if is_name(name) => Ok(Some(name.clone())),
            Some(_) => Err(TokenFault::Role(claim.clone())),
        }
    }

    /// From when on the token is not taken any more.
    pub(super) fn expires_at(&self, claims: &Claims) -> Result<Option<Timestamp>, TokenFault> {
        let expires = numeric_date(claims, "exp")?;
        let end = expires.map(|at| (at + self.leeway.as_secs_f64()) * 1e6);
        // Beyond what a timestamp can say is never; the conversion stops at its ends.
        Ok(end.map(|micros| Timestamp::from_unix_micros(micros as i64)))
    }

    fn check_times(&self, claims: &Claims, now: Timestamp) -> Result<(), TokenFault> {
        let now = now.unix_micros() as f64 / 1e6;
        let leeway = self.leeway.as_secs_f64();
        let expires = numeric_date(claims, "exp")?.ok_or(TokenFault::NoExpiry)?;
        if now >= expires + leeway {
            return Err(TokenFault::Expired);
        }
        match numeric_date(claims, "nbf")? {
            Some(begins) if now + leeway < begins => Err(TokenFault::NotYet),
            _ => Ok(()),
        }
    }

    /// RFC 7519, 4.1.3: who is not in the `aud` of a token has to refuse it, so without an audience of our own any `aud`
    /// is somebody else's.
    fn check_audience(&self, claims: &Claims) -> Result<(), TokenFault> {
        let ours = |value: &Value| {
            value
                .as_str()
                .is_some_and(|text| self.audiences.iter().any(|ours| ours == text))
        };
        let accepted = match claims.get("aud") {
            None => self.audiences.is_empty(),
            Some(Value::Array(several)) => several.iter().any(ours),
            Some(one) => ours(one),
        };
        if accepted {
            Ok(())
        } else {
            Err(TokenFault::Audience)
        }
    }
}

/// Seconds since 1970, perhaps with a fraction.
fn numeric_date(claims: &Claims, claim: &'static str) -> Result<Option<f64>, TokenFault> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite());
    seconds.map(Some).ok_or(TokenFault::BadTime(claim))
}

/// Principals stand in logs and listings: nothing that is obeyed or makes one name look like another, and no novels.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_PRINCIPAL_BYTES && stands_as_it_is(text)
}

const MAX_PRINCIPAL_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn check(rules: &Rules, claims: Value) -> Result<String, TokenFault> {
        let Value::Object(claims) = claims else {
            panic!("claims are an object")
        };
        let now = Timestamp::from_unix_micros(NOW * 1_000_000);
        rules
            .principal(&claims, now)
            .map(|principal| principal.to_string())
    }

    /// [ARCP 14-8] A principal is shown as it is, and looks like nobody else.
    #[test]
    fn principals_have_names_that_can_be_shown() {
        for name in [
            "",
            "a\u{202e}ecila",
            "a\u{2067}b",
            "a\u{2028}",
            "a\nb",
            "a\u{9b}m",
        ] {
            assert!(!is_name(name), "{name:?}");
        }
        assert!(is_name("Ünal 漢 @example"));
    }

    #[test]
    fn times_bound_a_token_with_leeway() {
        let rules = Rules::default();
        let fault = |claims: Value| check(&rules, claims).err();
        assert_eq!(fault(json!({"sub": "a", "exp": NOW + 1})), None);
        assert_eq!(fault(json!({"sub": "a", "exp": NOW as f64 - 59.5})), None);
        assert_eq!(
            fault(json!({"sub": "a", "exp": NOW - 60})),
            Some(TokenFault::Expired)
        );
        assert_eq!(
            fault(json!({"sub": "a", "exp": 0})),
            Some(TokenFault::Expired)
        );
        assert_eq!(fault(json!({"sub": "a"})), Some(TokenFault::NoExpiry));
        assert_eq!(
            fault(json!({"sub": "a", "exp": "tomorrow"})),
            Some(TokenFault::BadTime("exp"))
        );
        assert_eq!(
            fault(json!({"sub": "a", "exp": null})),
            Some(TokenFault::BadTime("exp"))
        );
        assert_eq!(
            fault(json!({"sub": "a", "exp": NOW + 600, "nbf": NOW + 60})),
            None
        );
        assert_eq!(
            fault(json!({"sub": "a", "exp": NOW + 600, "nbf": NOW + 61})),
            Some(TokenFault::NotYet)
        );
        let strict = Rules {
            leeway: Duration::ZERO,
            ..Rules::default()
        };
        assert_eq!(
            check(&strict, json!({"sub": "a", "exp": NOW})),
            Err(TokenFault::Expired)
        );
    }

    #[test]
    fn issuer_and_audience_are_heeded() {
        let rules = Rules {
            issuer: Some("i".into()),
            audiences: vec!["x".into(), "y".into()],
            ..Rules::default()
        };
        let fault = |issuer: Value, audience: Value| {
            check(
                &rules,
                json!({"sub": "a", "exp": NOW + 1, "iss": issuer, "aud": audience}),
            )
            .err()
        };
        assert_eq!(fault(json!("i"), json!("x")), None);
        assert_eq!(fault(json!("i"), json!(["z", "y"])), None);
        assert_eq!(fault(json!("j"), json!("x")), Some(TokenFault::Issuer));
        assert_eq!(fault(json!(["i"]), json!("x")), Some(TokenFault::Issuer));
        for audience in [
            json!("z"),
            json!([]),
            json!(null),
            json!({"x": 1}),
            json!(["xy"]),
        ] {
            assert_eq!(fault(json!("i"), audience), Some(TokenFault::Audience));
        }
        assert_eq!(
            check(&rules, json!({"sub": "a", "exp": NOW + 1, "iss": "i"})),
            Err(TokenFault::Audience)
        );
        let none = Rules::default();
        assert_eq!(
            check(&none, json!({"sub": "a", "exp": NOW + 1, "aud": "x"})),
            Err(TokenFault::Audience)
        );
    }

    #[test]
    fn the_principal_is_a_decent_string() {
        let rules = Rules {
            principal_prefix: "jwt:".into(),
            ..Rules::default()
        };
        let name = |subject: Value| check(&rules, json!({"sub": subject, "exp": NOW + 1})).ok();
        assert_eq!(name(json!("alice")).as_deref(), Some("jwt:alice"));
        for bad in [
            json!(""),
            json!(7),
            json!(null),
            json!(["alice"]),
            json!("a\nb"),
            json!("x".repeat(257)),
        ] {
            assert_eq!(name(bad), None);
        }
        let by_mail = Rules {
            principal_claim: "email".into(),
            ..Rules::default()
        };
        let claims = json!({"sub": "1", "email": "a@example.com", "exp": NOW + 1});
        assert_eq!(check(&by_mail, claims).as_deref(), Ok("a@example.com"));
    }
}
