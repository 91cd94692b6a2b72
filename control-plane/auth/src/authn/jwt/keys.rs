//! An issuer's public keys (RFC 7517), and whether one of them signed a token (RFC 7515).
//!
//! The signatures are checked by `jsonwebtoken`, those over the curve P-521, which it does not know, by `p521`. A key is
//! used only with the algorithms of its own kind, so that no token can choose how its signature is read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, crypto};
use p521::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use serde::Deserialize;
use serde_json::Value;

use crate::authn::token::TOKEN_BYTES_MAX;

/// Keys of one set; of more, the rest is not looked at.
pub const KEYS_MAX: usize = 256;

/// A signature algorithm of RFC 7518 that upstream believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the RFC's")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    PS256,
    PS384,
    PS512,
}

impl Algorithm {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
    ];

    /// By the name in a token's header.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| format!("{algorithm:?}") == name)
    }

    /// The names, for messages.
    pub fn names() -> String {
        Self::ALL.map(|algorithm| format!("{algorithm:?}")).join(", ")
    }

    /// As the library has it; None where it has not.
    fn library(self) -> Option<jsonwebtoken::Algorithm> {
        use jsonwebtoken::Algorithm as Theirs;
        Some(match self {
            Self::RS256 => Theirs::RS256,
            Self::RS384 => Theirs::RS384,
            Self::RS512 => Theirs::RS512,
            Self::ES256 => Theirs::ES256,
            Self::ES384 => Theirs::ES384,
            Self::ES512 => return None,
            Self::PS256 => Theirs::PS256,
            Self::PS384 => Theirs::PS384,
            Self::PS512 => Theirs::PS512,
        })
    }
}

/// Why a token is not its issuer's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Too long, not three parts, not base64, not JSON.
    #[error("malformed jwt")]
    Malformed,
    /// Its header asks for what must be understood and is not.
    #[error("unsupported header \"crit\"")]
    Critical,
    /// Not an algorithm that is believed of this issuer.
    #[error("id token signed with unsupported algorithm {0:?}")]
    Algorithm(String),
    /// None of the issuer's keys.
    #[error("failed to verify signature: failed to verify id token signature")]
    Signature,
}

/// A token taken apart; nothing of it is believed.
#[derive(Debug)]
pub struct Parts<'a> {
    signed: &'a str,
    signature: &'a str,
    algorithm: String,
    is_critical: bool,
    /// The key that it says it was signed with.
    pub key_id: Option<String>,
    /// What it says.
    pub claims: Value,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'a> Parts<'a> {
    /// Takes a token apart.
    pub fn of(token: &'a str) -> Result<Self, SignatureError> {
        let malformed = SignatureError::Malformed;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed.clone())?;
        let (header, claims) = signed.split_once('.').ok_or(malformed.clone())?;
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| SignatureError::Malformed);
        let header: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| malformed.clone())?;
        let claims: Value = serde_json::from_slice(&decoded(claims)?).map_err(|_| malformed.clone())?;
        if !claims.is_object() {
            return Err(malformed);
        }
        let is_critical = header.crit.is_some();
        Ok(Self { signed, signature, algorithm: header.alg, is_critical, key_id: header.kid, claims })
    }

    /// The issuer that it says it is of.
    pub fn issuer(&self) -> &str {
        self.claims["iss"].as_str().unwrap_or_default()
    }
}

enum Public {
    Library(DecodingKey),
    P521(Box<VerifyingKey>),
}

struct Key {
    id: Option<String>,
    /// What its kind and curve can be used with.
    algorithms: &'static [Algorithm],
    /// What its issuer says that it is to be used with.
    only: Option<Algorithm>,
    public: Public,
}

/// The keys that an issuer publishes.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a JWK set. Keys that are for encryption, or of no kind that is known here, are passed over.
    pub fn parse(document: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(document)?;
        Ok(Self(document.keys.iter().take(KEYS_MAX).filter_map(Key::read).collect()))
    }

    /// How many can be used.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is there a key that the token can have been signed with, as far as it says?
    pub fn has(&self, key_id: Option<&str>) -> bool {
        self.0.iter().any(|key| key.is_called(key_id))
    }

    /// Did one of the keys sign, by one of these algorithms?
    pub fn verify(&self, parts: &Parts<'_>, believed: &[Algorithm]) -> Result<(), SignatureError> {
        let algorithm = Algorithm::parse(&parts.algorithm).filter(|algorithm| believed.contains(algorithm));
        let algorithm = algorithm.ok_or_else(|| SignatureError::Algorithm(parts.algorithm.clone()))?;
        if parts.is_critical {
            return Err(SignatureError::Critical);
        }
        let fits = |key: &&Key| key.is_called(parts.key_id.as_deref()) && key.is_for(algorithm);
        match self.0.iter().filter(fits).any(|key| key.signed(parts, algorithm)) {
            true => Ok(()),
            false => Err(SignatureError::Signature),
        }
    }
}

impl Key {
    fn read(jwk: &Value) -> Option<Self> {
        use Algorithm::{ES256, ES384, ES512, PS256, PS384, PS512, RS256, RS384, RS512};
        let text = |key: &str| jwk[key].as_str().unwrap_or_default();
        if !matches!(text("use"), "" | "sig") {
            return None;
        }
        let (algorithms, public): (&'static [Algorithm], _) = match (text("kty"), text("crv")) {
            ("RSA", _) => {
                let key = DecodingKey::from_rsa_components(text("n"), text("e")).ok()?;
                (&[RS256, RS384, RS512, PS256, PS384, PS512], Public::Library(key))
            }
            ("EC", curve @ ("P-256" | "P-384")) => {
                let key = DecodingKey::from_ec_components(text("x"), text("y")).ok()?;
                (if curve == "P-256" { &[ES256] } else { &[ES384] }, Public::Library(key))
            }
            ("EC", "P-521") => {
                // SEC 1: uncompressed, X, Y.
                let mut point = vec![4];
                for half in [text("x"), text("y")] {
                    point.extend(URL_SAFE_NO_PAD.decode(half).ok().filter(|half| half.len() == 66)?);
                }
                (&[ES512], Public::P521(Box::new(VerifyingKey::from_sec1_bytes(&point).ok()?)))
            }
            _ => return None,
        };
        let only = match text("alg") {
            "" => None,
            // One that is for another algorithm than we know is for none of ours.
            name => Some(Algorithm::parse(name)?),
        };
        Some(Self { id: jwk["kid"].as_str().map(str::to_owned), algorithms, only, public })
    }

    /// A token that names no key may be of any.
    fn is_called(&self, id: Option<&str>) -> bool {
        id.is_none_or(|id| id.is_empty() || self.id.as_deref() == Some(id))
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm) && self.only.is_none_or(|only| only == algorithm)
    }

    fn signed(&self, parts: &Parts<'_>, algorithm: Algorithm) -> bool {
        match &self.public {
            Public::Library(key) => algorithm.library().is_some_and(|algorithm| {
                crypto::verify(parts.signature, parts.signed.as_bytes(), key, algorithm).unwrap_or(false)
            }),
            Public::P521(key) => {
                let bytes = URL_SAFE_NO_PAD.decode(parts.signature).ok();
                let signature = bytes.and_then(|bytes| Signature::from_slice(&bytes).ok());
                signature.is_some_and(|signature| key.verify(parts.signed.as_bytes(), &signature).is_ok())
            }
        }
    }
}
