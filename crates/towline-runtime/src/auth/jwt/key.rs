//! Keys, each pinned to one algorithm.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{
    super::proof::hex,
    JwtConfigError, signature,
    token::{Claims, Token, TokenFault},
};

/// The keys a verifier knows.
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// One key and the one algorithm it is good for, so that a token cannot have an RSA key used as an HMAC secret.
struct Key {
    /// Its name in proofs.
    name: String,
    id: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
}

/// Whether a key set may hold shared secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symmetric {
    /// It came from our own configuration.
    Allowed,
    /// It came over the network, where a shared secret would be none.
    PassedOver,
}

impl KeySet {
    pub(super) fn of_secret(secret: &[u8]) -> Result<Self, JwtConfigError> {
        if secret.len() < MIN_SECRET_BYTES {
            return Err(JwtConfigError::ShortSecret(secret.len()));
        }
        Ok(Self::of(Key {
            name: name_of(Algorithm::HS256, [secret]),
            id: None,
            algorithm: Algorithm::HS256,
            material: DecodingKey::from_secret(secret),
        }))
    }

    pub(super) fn of_pem(pem: &str) -> Result<Self, JwtConfigError> {
        // Editors of some systems begin a file with a mark.
        let pem = pem.trim_start_matches('\u{feff}');
        if pem.contains("PRIVATE KEY-----") {
            return Err(JwtConfigError::Pem(
                "it is a private key, give its public half",
            ));
        }
        if !pem.contains("PUBLIC KEY-----") {
            return Err(JwtConfigError::Pem("it holds no PUBLIC KEY"));
        }
        let key = |algorithm, material| {
            Ok(Self::of(Key {
                name: name_of(algorithm, [pem.trim().as_bytes()]),
                id: None,
                algorithm,
                material,
            }))
        };
        let bytes = pem.as_bytes();
        // Each of these refuses keys of the other kinds, `from_rsa_pem` too: the reader looks at the key's own identifier.
        if let Ok(material) = DecodingKey::from_ec_pem(bytes) {
            return if has_length(&material, P256_POINT_BYTES) {
                key(Algorithm::ES256, material)
            } else {
                Err(JwtConfigError::Pem(
                    "its curve is not P-256, which ES256 needs",
                ))
            };
        }
        if let Ok(material) = DecodingKey::from_ed_pem(bytes) {
            return if has_length(&material, ED25519_BYTES) {
                key(Algorithm::EdDSA, material)
            } else {
                Err(JwtConfigError::Pem(
                    "its curve is not Ed25519, which EdDSA needs here",
                ))
            };
        }
        match DecodingKey::from_rsa_pem(bytes) {
            Ok(material) => key(Algorithm::RS256, material),
            Err(_) => Err(JwtConfigError::Pem(
                "it is no RSA, P-256 or Ed25519 public key",
            )),
        }
    }

    /// Reads a key set. Keys we cannot use are passed over one by one: issuers publish keys for others too.
    pub(super) fn of_jwks(json: &[u8], symmetric: Symmetric) -> Result<Self, JwtConfigError> {
        #[derive(Deserialize)]
        struct Document<'a> {
            #[serde(borrow)]
            keys: Vec<&'a RawValue>,
        }
        let json = json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json);
        let document: Document<'_> = serde_json::from_slice(json)
            .map_err(|_| JwtConfigError::Jwks("it is not {\"keys\":[…]}".to_owned()))?;
        let given = document.keys.len();
        if given > MAX_KEYS {
            return Err(JwtConfigError::Jwks(format!(
                "it has {given} keys, at most {MAX_KEYS} are read"
            )));
        }
        let read = document
            .keys
            .iter()
            .filter_map(|key| serde_json::from_str::<Jwk>(key.get()).ok());
        let keys: Vec<Key> = read.filter_map(|key| key.usable(symmetric)).collect();
        if keys.is_empty() {
            return Err(JwtConfigError::Jwks(format!(
                "none of its {given} keys is for RS256, ES256 or EdDSA signatures"
            )));
        }
        Ok(Self { keys })
    }

    fn of(key: Key) -> Self {
        Self { keys: vec![key] }
    }

    /// Whether a key of this set may have signed the token. A token that names a key has to mean that one, except that
    /// keys configured without a name are tried for any.
    pub(super) fn covers(&self, token: &Token<'_>) -> bool {
        self.candidates(token).next().is_some()
    }

    /// The claims, when one of the keys signed them, and that key's name.
    pub(super) fn verify(&self, token: &Token<'_>) -> Result<(Claims, String), TokenFault> {
        let key = self.candidates(token).find(|key| key.signed(token));
        let key = key.ok_or(TokenFault::Signature)?;
        Ok((token.claims()?, key.name.clone()))
    }

    /// Whether a key of this name is among them.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }

    fn candidates<'a>(&'a self, token: &'a Token<'_>) -> impl Iterator<Item = &'a Key> {
        self.keys
            .iter()
            .filter(|key| key.may_have_signed(token))
            .take(MAX_TRIES)
    }
}

impl Key {
    fn may_have_signed(&self, token: &Token<'_>) -> bool {
        let named = match (&self.id, &token.header.kid) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        named && token.header.alg == algorithm_name(self.algorithm)
    }

    fn signed(&self, token: &Token<'_>) -> bool {
        let message = token.signed.as_bytes();
        signature::is_good(self.algorithm, &self.material, message, &token.signature)
    }
}

/// A key as RFC 7517 and 7518 write it.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
}

impl Jwk {
    fn usable(self, symmetric: Symmetric) -> Option<Key> {
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self
                .key_ops
                .as_ref()
                .is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
        let (algorithm, material) = self.material(symmetric).filter(|_| for_signatures)?;
        let meant = self
            .alg
            .as_deref()
            .is_none_or(|meant| meant == algorithm_name(algorithm));
        let parts = [&self.n, &self.e, &self.x, &self.y, &self.k];
        let parts = parts.into_iter().flatten().map(String::as_bytes);
        meant.then_some(Key {
            name: name_of(algorithm, parts),
            id: self.kid,
            algorithm,
            material,
        })
    }

    // What a key is made of decides its name, so another key under the same `kid` is another key.
    fn material(&self, symmetric: Symmetric) -> Option<(Algorithm, DecodingKey)> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => {
                let key = DecodingKey::from_rsa_components(self.n.as_deref()?, self.e.as_deref()?)
                    .ok()?;
                Some((Algorithm::RS256, key))
            }
            ("EC", Some("P-256")) => {
                let key =
                    DecodingKey::from_ec_components(self.x.as_deref()?, self.y.as_deref()?).ok()?;
                has_length(&key, P256_POINT_BYTES).then_some((Algorithm::ES256, key))
            }
            ("OKP", Some("Ed25519")) => {
                let key = DecodingKey::from_ed_components(self.x.as_deref()?).ok()?;
                has_length(&key, ED25519_BYTES).then_some((Algorithm::EdDSA, key))
            }
            ("oct", _) if symmetric == Symmetric::Allowed => {
                let secret = URL_SAFE_NO_PAD.decode(self.k.as_deref()?).ok()?;
                (secret.len() >= MIN_SECRET_BYTES)
                    .then(|| (Algorithm::HS256, DecodingKey::from_secret(&secret)))
            }
            _ => None,
        }
    }
}

/// What a key is called in proofs: its algorithm and a hash of what it is made of.
fn name_of<'a>(algorithm: Algorithm, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    format!(
        "{PREFIX}{}:{}",
        algorithm_name(algorithm),
        hex(&hash.finalize())
    )
}

/// Whether a proof's key is one of a token of ours.
pub(super) fn is_name(name: &str) -> bool {
    name.starts_with(PREFIX)
}

const PREFIX: &str = "jwt:";

/// As JOSE writes it. Only those we pin keys to have a name here.
fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::RS256 => "RS256",
        Algorithm::ES256 => "ES256",
        Algorithm::EdDSA => "EdDSA",
        _ => "",
    }
}

fn has_length(key: &DecodingKey, bytes: usize) -> bool {
    key.try_get_as_bytes()
        .is_ok_and(|material| material.len() == bytes)
}

const MIN_SECRET_BYTES: usize = 32;
/// Uncompressed: a tag and two coordinates.
const P256_POINT_BYTES: usize = 65;
const ED25519_BYTES: usize = 32;
const MAX_KEYS: usize = 200;
/// How many keys are tried for a token that names none.
const MAX_TRIES: usize = 16;
