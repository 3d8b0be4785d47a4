//! Keys and tokens for tests.

use std::sync::LazyLock;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, crypto::aws_lc::DEFAULT_PROVIDER as CRYPTO, jwk::Jwk};
use serde_json::{Value, json};

/// What [`claims`] is good at.
pub(super) const NOW: i64 = 1_800_000_000;

pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Somebody who makes tokens.
pub(super) struct Issuer {
    algorithm: Algorithm,
    key: EncodingKey,
    /// Empty for a shared secret.
    pub(super) public_pem: String,
    pub(super) private_pem: String,
}

/// Making one takes a moment, so all tests share it.
pub(super) static RSA: LazyLock<Issuer> = LazyLock::new(|| {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Issuer::of_pair(Algorithm::RS256, private.as_ref(), public.as_ref())
});

impl Issuer {
    pub(super) fn p256() -> Self {
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let private = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self::of_pair(Algorithm::ES256, private.as_ref(), public.as_ref())
    }

    pub(super) fn ed25519() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self::of_pair(Algorithm::EdDSA, private.as_ref(), public.as_ref())
    }

    pub(super) fn hmac(secret: &[u8]) -> Self {
        let key = EncodingKey::from_secret(secret);
        Self {
            algorithm: Algorithm::HS256,
            key,
            public_pem: String::new(),
            private_pem: String::new(),
        }
    }

    fn of_pair(algorithm: Algorithm, private: &[u8], public: &[u8]) -> Self {
        let private_pem = pem("PRIVATE KEY", private);
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(private_pem.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(private_pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(private_pem.as_bytes()),
        };
        Self {
            algorithm,
            key: key.unwrap(),
            public_pem: pem("PUBLIC KEY", public),
            private_pem,
        }
    }

    /// The key for a key set.
    pub(super) fn jwk(&self, id: &str) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap())
                .unwrap();
        jwk["kid"] = json!(id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with an honest header.
    pub(super) fn token(&self, key_id: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT"});
        if let Some(id) = key_id {
            header["kid"] = json!(id);
        }
        self.sign(self.algorithm, &header, claims)
    }

    /// A token with any header, signed with this key.
    pub(super) fn sign(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signer = (CRYPTO.signer_factory)(&algorithm, &self.key).unwrap();
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

/// Claims of somebody, good for a minute.
pub(super) fn claims(subject: &str) -> Value {
    json!({"sub": subject, "exp": NOW + 60})
}

pub(super) fn key_set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        STANDARD.encode(der)
    )
}
