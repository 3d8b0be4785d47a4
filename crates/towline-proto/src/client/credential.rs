//! What a client does with the credentials of a job (§9.8).

use towline_wire::{Secret, payload::Credential};
use url::Url;

/// What goes into the `Authorization` header of a request to `url`: the credential's value, when the URL is at or below the
/// credential's own endpoint, and nothing for any other URL, so that a value is never shown to somebody else [ARCP 9.8-1].
///
/// The URL is compared as WHATWG URLs are, by scheme, host, port and whole path segments.
pub fn authorization(credential: &Credential, url: &str) -> Option<Secret> {
    let value = credential.value.as_ref().filter(|_| is_known(credential))?;
    let (endpoint, url) = (
        Url::parse(&credential.endpoint).ok()?,
        Url::parse(url).ok()?,
    );
    let same_origin = endpoint.origin().is_tuple() && endpoint.origin() == url.origin();
    let base = endpoint.path().trim_end_matches('/');
    let below = url
        .path()
        .strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (same_origin && below).then(|| Secret::new(format!("Bearer {}", value.expose())))
}

/// Lets go of the credentials nothing can be done with: those of a scheme this client does not know, and those without a
/// value [ARCP 9.8-1].
pub(super) fn keep_usable(credentials: &mut Option<Vec<Credential>>) {
    if let Some(listed) = credentials {
        listed.retain(|credential| is_known(credential) && credential.value.is_some());
        if listed.is_empty() {
            *credentials = None;
        }
    }
}

fn is_known(credential: &Credential) -> bool {
    credential.scheme.eq_ignore_ascii_case("bearer")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(scheme: &str, endpoint: &str) -> Credential {
        let json = serde_json::json!({"id": "cred_1", "scheme": scheme, "value": "v", "endpoint": endpoint});
        serde_json::from_value(json).unwrap()
    }

    /// [ARCP 9.8-1] a value goes to the credential's own endpoint only.
    #[test]
    fn a_value_goes_to_its_own_endpoint_only() {
        let table = [
            (
                "https://models.example/v1",
                "https://models.example/v1",
                true,
            ),
            (
                "https://models.example/v1",
                "https://models.example/v1/chat?x=1",
                true,
            ),
            (
                "https://models.example/v1/",
                "https://MODELS.example:443/v1/chat",
                true,
            ),
            ("https://models.example", "https://models.example/any", true),
            (
                "https://models.example/v1",
                "https://models.example/v10",
                false,
            ),
            (
                "https://models.example/v1",
                "https://models.example/v1/../admin",
                false,
            ),
            (
                "https://models.example/v1",
                "http://models.example/v1",
                false,
            ),
            (
                "https://models.example/v1",
                "https://models.example:8443/v1",
                false,
            ),
            (
                "https://models.example/v1",
                "https://models.example.evil/v1",
                false,
            ),
            (
                "https://models.example/v1",
                "https://models.example@evil.example/v1",
                false,
            ),
            ("no url", "no url", false),
            ("data:x", "data:x", false),
        ];
        for (endpoint, url, shown) in table {
            let value = authorization(&credential("Bearer", endpoint), url);
            assert_eq!(
                value.as_ref().map(Secret::expose),
                shown.then_some("Bearer v"),
                "{endpoint} {url}"
            );
        }
        let other = credential("mtls", "https://models.example");
        assert!(authorization(&other, "https://models.example").is_none());
    }

    /// [ARCP 9.8-1] credentials of a scheme nobody here knows, or without a value, are ignored.
    #[test]
    fn unknown_schemes_are_ignored() {
        let bare = Credential {
            value: None,
            ..credential("bearer", "https://a.example")
        };
        let mut some = Some(vec![
            credential("mtls", "https://a.example"),
            bare.clone(),
            credential("bearer", "https://a.example"),
        ]);
        keep_usable(&mut some);
        assert_eq!(some.map(|kept| kept.len()), Some(1));
        let mut none = Some(vec![bare]);
        keep_usable(&mut none);
        assert!(none.is_none());
    }
}
