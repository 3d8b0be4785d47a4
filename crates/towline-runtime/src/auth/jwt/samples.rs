//! Keys and tokens for tests.

use std::sync::LazyLock;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::Algorithm;
use ring::{
    hmac,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
    },
};
use serde_json::{Value, json};

/// What [`claims`] is good at.
pub(super) const NOW: i64 = 1_800_000_000;

pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Somebody who makes tokens.
pub(super) struct Issuer {
    algorithm: Algorithm,
    key: SigningKey,
    /// Empty for a shared secret.
    pub(super) public_pem: String,
    pub(super) private_pem: String,
}

enum SigningKey {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Secret(Vec<u8>),
}

/// ring makes no RSA keys, so this one was made by OpenSSL, for these tests and nothing else.
pub(super) static RSA: LazyLock<Issuer> = LazyLock::new(|| {
    let private_pem = include_str!("samples/rsa.pem").to_owned();
    let der: String = private_pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    Issuer {
        algorithm: Algorithm::RS256,
        key: SigningKey::Rsa(pair),
        public_pem: include_str!("samples/rsa-public.pem").to_owned(),
        private_pem,
    }
});

impl Issuer {
    pub(super) fn p256() -> Self {
        let (signing, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let private = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(signing, private.as_ref(), &random).unwrap();
        let public = [P256_HEAD, pair.public_key().as_ref()].concat();
        Self {
            algorithm: Algorithm::ES256,
            key: SigningKey::P256(pair),
            public_pem: pem("PUBLIC KEY", &public),
            private_pem: pem("PRIVATE KEY", private.as_ref()),
        }
    }

    pub(super) fn ed25519() -> Self {
        let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(private.as_ref()).unwrap();
        let public = [ED25519_HEAD, pair.public_key().as_ref()].concat();
        Self {
            algorithm: Algorithm::EdDSA,
            key: SigningKey::Ed25519(pair),
            public_pem: pem("PUBLIC KEY", &public),
            private_pem: pem("PRIVATE KEY", private.as_ref()),
        }
    }

    pub(super) fn hmac(secret: &[u8]) -> Self {
        Self {
            algorithm: Algorithm::HS256,
            key: SigningKey::Secret(secret.to_vec()),
            public_pem: String::new(),
            private_pem: String::new(),
        }
    }

    /// The key for a key set.
    pub(super) fn jwk(&self, id: &str) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.key {
            SigningKey::Rsa(pair) => {
                let public = rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({"kty": "RSA", "n": text(&public.n), "e": text(&public.e)})
            }
            SigningKey::P256(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y)})
            }
            SigningKey::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref())})
            }
            SigningKey::Secret(secret) => json!({"kty": "oct", "k": text(secret)}),
        };
        jwk["alg"] = json!(format!("{:?}", self.algorithm));
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
        let signature = URL_SAFE_NO_PAD.encode(self.signature(algorithm, signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn signature(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            SigningKey::Rsa(pair) => {
                let padding = match algorithm {
                    Algorithm::RS512 => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            SigningKey::P256(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            SigningKey::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            SigningKey::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
        }
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

/// What stands before the point of a P-256 key, and the bytes of an Ed25519 key, in a SubjectPublicKeyInfo (RFC 5480, 8410).
const P256_HEAD: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const ED25519_HEAD: &[u8] = &[
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
