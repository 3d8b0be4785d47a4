use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use towline_env::ManualClock;
use towline_wire::Timestamp;

use super::{
    samples::{Issuer, NOW, RSA, SECRET, claims, key_set},
    *,
};

fn at_now(verifier: JwtVerifier) -> JwtVerifier {
    verifier.clock(Arc::new(ManualClock::at(Timestamp::from_unix_micros(
        NOW * 1_000_000,
    ))))
}

async fn check(verifier: &JwtVerifier, token: &str) -> Result<String, String> {
    let verified = verifier.authenticate(&Credentials::bearer(token)).await;
    verified
        .map(|principal| principal.to_string())
        .map_err(|refusal| refusal.message().to_owned())
}

const FOREIGN: &str = "the token is not signed with a key known here";

/// [ARCP 6.1-4] HS256, RS256, ES256 and EdDSA tokens name their principal, and no other key's token does.
#[tokio::test]
async fn the_four_algorithms() {
    let (p256, ed25519, hmac) = (Issuer::p256(), Issuer::ed25519(), Issuer::hmac(SECRET));
    let verifiers = [
        (JwtVerifier::public_key_pem(&RSA.public_pem), &*RSA),
        (JwtVerifier::public_key_pem(&p256.public_pem), &p256),
        (JwtVerifier::public_key_pem(&ed25519.public_pem), &ed25519),
        (JwtVerifier::hs256(SECRET), &hmac),
    ];
    for (index, (verifier, _)) in verifiers.iter().enumerate() {
        let verifier = verifier.as_ref().unwrap();
        for (other, (_, issuer)) in verifiers.iter().enumerate() {
            let verdict = check_at_now(verifier, &issuer.token(None, &claims("alice"))).await;
            let expected = if index == other {
                Ok("alice".to_owned())
            } else {
                Err(FOREIGN.to_owned())
            };
            assert_eq!(verdict, expected, "token {other}, verifier {index}");
        }
    }
}

/// As `check`, for a verifier that is borrowed.
async fn check_at_now(verifier: &JwtVerifier, token: &str) -> Result<String, String> {
    let token = Token::parse(token).map_err(|fault| fault.to_string())?;
    let Keys::Fixed(keys) = &verifier.keys else {
        panic!("these keys are fixed")
    };
    let (claims, _) = keys.verify(&token).map_err(|fault| fault.to_string())?;
    let principal = verifier
        .rules
        .principal(&claims, Timestamp::from_unix_micros(NOW * 1_000_000));
    principal
        .map(|principal| principal.to_string())
        .map_err(|fault| fault.to_string())
}

/// [ARCP 14-7, 20-1] A proof names the key by what it is made of, ends with the token, and brings the role of its claim; a
/// verifier with another key does not know it.
#[tokio::test]
async fn a_proof_has_a_key_an_end_and_a_role() {
    let (issuer, other) = (Issuer::ed25519(), Issuer::p256());
    let verifier =
        at_now(JwtVerifier::public_key_pem(&issuer.public_pem).unwrap()).role_claim("role");
    let prove = async |extra: Value| {
        let mut claims = claims("alice");
        claims["role"] = extra;
        claims["exp"] = json!(NOW + 10);
        let token = issuer.token(None, &claims);
        verifier.prove(&Credentials::bearer(token)).await
    };
    let proven = prove(json!("dev")).await.unwrap();
    let (principal, proof) = (proven.principal, proven.proof);
    assert_eq!(proof.role.as_deref(), Some("dev"));
    let end = Timestamp::from_unix_micros((NOW + 70) * 1_000_000);
    assert_eq!(proof.expires_at, Some(end));
    assert!(verifier.still_knows(&principal, &proof));
    let elsewhere = JwtVerifier::public_key_pem(&other.public_pem).unwrap();
    assert!(!elsewhere.still_knows(&principal, &proof));
    assert!(!verifier.still_knows(&principal, &Proof::default()));
    let refused = prove(json!(7)).await.unwrap_err();
    assert!(refused.message().contains("`role`"), "{refused}");
}

/// [ARCP 6.1-4] The algorithm is the key's, not the token's: `none`, and a public key used as an HMAC secret, are refused.
#[tokio::test]
async fn the_token_does_not_choose_its_algorithm() {
    let verifier = at_now(JwtVerifier::public_key_pem(&RSA.public_pem).unwrap());
    let unsigned = |alg: &str| {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.", part(json!({"alg": alg})), part(claims("mallory")))
    };
    for alg in ["none", "None", "", "RS256", "HS256"] {
        assert_eq!(
            check(&verifier, &unsigned(alg)).await,
            Err(FOREIGN.to_owned()),
            "{alg}"
        );
    }
    let confused = Issuer::hmac(RSA.public_pem.as_bytes());
    for alg in ["HS256", "RS256"] {
        let token = confused.sign(Algorithm::HS256, &json!({"alg": alg}), &claims("mallory"));
        assert_eq!(
            check(&verifier, &token).await,
            Err(FOREIGN.to_owned()),
            "{alg}"
        );
    }
    let stronger = RSA.sign(Algorithm::RS512, &json!({"alg": "RS512"}), &claims("alice"));
    assert_eq!(check(&verifier, &stronger).await, Err(FOREIGN.to_owned()));
    let own_key =
        json!({"alg": "ES256", "jwk": Issuer::p256().jwk("x"), "jku": "https://evil.example/jwks"});
    let brought = Issuer::p256().sign(Algorithm::ES256, &own_key, &claims("mallory"));
    assert_eq!(check(&verifier, &brought).await, Err(FOREIGN.to_owned()));
}

/// [ARCP 6.1-1, 6.1-4] A changed token, an expired one and one for somebody else are refused, each with its reason.
#[tokio::test]
async fn bad_tokens_are_refused_with_a_reason() {
    let issuer = Issuer::ed25519();
    let verifier = at_now(JwtVerifier::public_key_pem(&issuer.public_pem).unwrap())
        .issuer("us")
        .audience("here");
    let good = json!({"sub": "alice", "exp": NOW + 60, "iss": "us", "aud": "here"});
    let with = |claim: &str, value: Value| {
        let mut claims = good.clone();
        claims[claim] = value;
        issuer.token(None, &claims)
    };
    assert_eq!(
        check(&verifier, &issuer.token(None, &good))
            .await
            .as_deref(),
        Ok("alice")
    );
    for (token, reason) in [
        (with("exp", json!(NOW - 61)), "expired"),
        (with("nbf", json!(NOW + 90)), "not valid yet"),
        (with("iss", json!("them")), "`iss`"),
        (with("aud", json!("there")), "`aud`"),
        (with("sub", json!("")), "`sub`"),
        ("nonsense".to_owned(), "no JWT"),
    ] {
        let refused = check(&verifier, &token).await.expect_err(reason);
        assert!(refused.contains(reason), "{refused}");
    }
    let (signed, _) = issuer
        .token(None, &good)
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let (_, other_signature) = with("sub", json!("bob"))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert_eq!(
        check(&verifier, &format!("{signed}.{other_signature}")).await,
        Err(FOREIGN.to_owned())
    );
    assert!(verifier.authenticate(&Credentials::none()).await.is_err());
}

/// [ARCP 6.1-4] A local key set: the token's `kid` chooses the key, keys for other uses are passed over.
#[tokio::test]
async fn a_local_key_set() {
    let (first, second, hmac) = (Issuer::p256(), Issuer::ed25519(), Issuer::hmac(SECRET));
    let mut encryption = RSA.jwk("enc");
    encryption["use"] = json!("enc");
    let mut other_algorithm = RSA.jwk("rs512");
    other_algorithm["alg"] = json!("RS512");
    let nonsense = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "bad"});
    let set = [
        json!(7),
        nonsense,
        encryption,
        other_algorithm,
        first.jwk("one"),
        second.jwk("two"),
        hmac.jwk("three"),
        RSA.jwk("five"),
    ];

    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(key_set(&set).as_bytes()).unwrap();
    let verifier = at_now(JwtVerifier::jwks_file(file.path()).unwrap());
    let usable = [
        (&first, "one"),
        (&second, "two"),
        (&hmac, "three"),
        (&*RSA, "five"),
    ];
    for (issuer, id) in usable {
        for good in [Some(id), None] {
            assert_eq!(
                check(&verifier, &issuer.token(good, &claims("alice")))
                    .await
                    .as_deref(),
                Ok("alice"),
                "{good:?}"
            );
        }
        assert_eq!(
            check(&verifier, &issuer.token(Some("four"), &claims("alice"))).await,
            Err(FOREIGN.to_owned())
        );
    }
    for id in ["enc", "rs512"] {
        assert_eq!(
            check(&verifier, &RSA.token(Some(id), &claims("alice"))).await,
            Err(FOREIGN.to_owned()),
            "{id}"
        );
    }
}

#[test]
fn bad_keys_are_refused_when_the_verifier_is_made() {
    let refuse =
        |made: Result<JwtVerifier, JwtConfigError>| made.expect_err("not usable").to_string();
    assert!(refuse(JwtVerifier::hs256(b"short")).contains("at least 32"));
    assert!(refuse(JwtVerifier::public_key_pem("hello")).contains("no PUBLIC KEY"));
    for issuer in [&*RSA, &Issuer::p256(), &Issuer::ed25519()] {
        assert!(refuse(JwtVerifier::public_key_pem(&issuer.private_pem)).contains("private key"));
    }
    let garbage = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert!(refuse(JwtVerifier::public_key_pem(garbage)).contains("no RSA, P-256 or Ed25519"));
    assert!(refuse(JwtVerifier::jwks("[]")).contains("keys"));
    assert!(
        refuse(JwtVerifier::jwks(r#"{"keys":[{"kty":"RSA"}]}"#)).contains("none of its 1 keys")
    );
    assert!(
        refuse(JwtVerifier::jwks_file("/nonexistent/jwks.json")).contains("/nonexistent/jwks.json")
    );
}

#[test]
fn keys_come_over_https_or_loopback_only() {
    let refuse = |url: &str| {
        JwtVerifier::jwks_url(url)
            .err()
            .map(|cause| cause.to_string())
    };
    for good in [
        "https://id.example/jwks",
        "http://127.0.0.1:1/jwks",
        "http://[::1]:1/jwks",
        "http://localhost/jwks",
    ] {
        assert_eq!(refuse(good), None, "{good}");
    }
    for bad in [
        "http://id.example/jwks",
        "http://127.0.0.1.example/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "jwks",
    ] {
        assert!(refuse(bad).is_some(), "{bad}");
    }
    let shown = refuse("http://user:hush@id.example/jwks").unwrap();
    assert!(!shown.contains("hush"), "{shown}");
}
