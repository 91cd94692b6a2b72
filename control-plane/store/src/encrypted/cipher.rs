//! One provider: how a value is sealed and opened, byte for byte as Kubernetes' own encryption at rest does it
//! (<https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/#providers>). No prefixes, no choice of key.

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::{
    Aes128Gcm, Aes256Gcm, AesGcm,
    aead::{Aead, KeyInit, Payload, consts::U12},
};
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit, block_padding::Pkcs7};
use crypto_secretbox::XSalsa20Poly1305;
use rand::RngCore;

const GCM_NONCE_BYTES: usize = 12;
const CBC_IV_BYTES: usize = 16;
const SECRETBOX_NONCE_BYTES: usize = 24;

/// A cipher with its key.
pub(super) enum Cipher {
    /// AES-GCM: nonce, text, tag; the key in the store is authenticated with it. Nonces are random, so that a key must not
    /// seal more than 2^32 values (NIST SP 800-38D, section 8.3): rotate it before.
    Gcm(Gcm),
    /// AES-CBC with PKCS #7 padding: initial vector, text. Not authenticated.
    Cbc(Vec<u8>),
    /// XSalsa20 and Poly1305: nonce, tag, text. Random nonces of 24 bytes need no rotation.
    Secretbox(Box<XSalsa20Poly1305>),
}

/// AES-GCM by the length of its key.
pub(super) enum Gcm {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

/// Which providers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `aesgcm`.
    AesGcm,
    /// `aescbc`.
    AesCbc,
    /// `secretbox`.
    Secretbox,
}

impl Algorithm {
    /// The provider's name in configurations and prefixes.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aesgcm",
            Self::AesCbc => "aescbc",
            Self::Secretbox => "secretbox",
        }
    }
}

impl Cipher {
    /// `Err`: what lengths the key may have.
    pub(super) fn new(algorithm: Algorithm, key: &[u8]) -> Result<Self, &'static str> {
        let gcm = |gcm| Ok(Self::Gcm(gcm));
        match (algorithm, key.len()) {
            (Algorithm::AesGcm, 16) => gcm(Gcm::Aes128(Box::new(Aes128Gcm::new(key.into())))),
            (Algorithm::AesGcm, 24) => gcm(Gcm::Aes192(Box::new(AesGcm::new(key.into())))),
            (Algorithm::AesGcm, 32) => gcm(Gcm::Aes256(Box::new(Aes256Gcm::new(key.into())))),
            (Algorithm::AesCbc, 16 | 24 | 32) => Ok(Self::Cbc(key.to_vec())),
            (Algorithm::Secretbox, 32) => Ok(Self::Secretbox(Box::new(XSalsa20Poly1305::new(key.into())))),
            (Algorithm::Secretbox, _) => Err("32 bytes"),
            _ => Err("16, 24 or 32 bytes"),
        }
    }

    /// The sealed value. `context` is the key that it is stored under.
    pub(super) fn seal(&self, context: &str, value: &[u8]) -> Vec<u8> {
        // Their failures are lengths beyond 64 GiB; a transaction is bounded by far less.
        const BOUNDED: &str = "values are bounded by TXN_BYTES_MAX";
        match self {
            Self::Gcm(gcm) => {
                let nonce = random::<GCM_NONCE_BYTES>();
                let payload = Payload { msg: value, aad: context.as_bytes() };
                let at = (&nonce).into();
                let sealed = match gcm {
                    Gcm::Aes128(cipher) => cipher.encrypt(at, payload),
                    Gcm::Aes192(cipher) => cipher.encrypt(at, payload),
                    Gcm::Aes256(cipher) => cipher.encrypt(at, payload),
                };
                [&nonce[..], &sealed.expect(BOUNDED)].concat()
            }
            Self::Cbc(key) => {
                let iv = random::<CBC_IV_BYTES>();
                [&iv[..], &cbc_encrypt(key, &iv, value)].concat()
            }
            Self::Secretbox(cipher) => {
                let nonce = random::<SECRETBOX_NONCE_BYTES>();
                let sealed = cipher.encrypt((&nonce).into(), value).expect(BOUNDED);
                [&nonce[..], &sealed].concat()
            }
        }
    }

    /// `None`: sealed with another key, for another place, or damaged.
    pub(super) fn open(&self, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Gcm(gcm) => {
                let (nonce, text) = sealed.split_at_checked(GCM_NONCE_BYTES)?;
                let payload = Payload { msg: text, aad: context.as_bytes() };
                let at = nonce.into();
                match gcm {
                    Gcm::Aes128(cipher) => cipher.decrypt(at, payload),
                    Gcm::Aes192(cipher) => cipher.decrypt(at, payload),
                    Gcm::Aes256(cipher) => cipher.decrypt(at, payload),
                }
                .ok()
            }
            Self::Cbc(key) => {
                let (iv, text) = sealed.split_at_checked(CBC_IV_BYTES)?;
                cbc_decrypt(key, iv, text)
            }
            Self::Secretbox(cipher) => {
                let (nonce, text) = sealed.split_at_checked(SECRETBOX_NONCE_BYTES)?;
                cipher.decrypt(nonce.into(), text).ok()
            }
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

fn cbc_encrypt(key: &[u8], iv: &[u8], value: &[u8]) -> Vec<u8> {
    match key.len() {
        16 => cbc::Encryptor::<Aes128>::new(key.into(), iv.into()).encrypt_padded_vec_mut::<Pkcs7>(value),
        24 => cbc::Encryptor::<Aes192>::new(key.into(), iv.into()).encrypt_padded_vec_mut::<Pkcs7>(value),
        _ => cbc::Encryptor::<Aes256>::new(key.into(), iv.into()).encrypt_padded_vec_mut::<Pkcs7>(value),
    }
}

fn cbc_decrypt(key: &[u8], iv: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    match key.len() {
        16 => cbc::Decryptor::<Aes128>::new(key.into(), iv.into()).decrypt_padded_vec_mut::<Pkcs7>(text),
        24 => cbc::Decryptor::<Aes192>::new(key.into(), iv.into()).decrypt_padded_vec_mut::<Pkcs7>(text),
        _ => cbc::Decryptor::<Aes256>::new(key.into(), iv.into()).decrypt_padded_vec_mut::<Pkcs7>(text),
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_again_and_every_time_looks_different() {
        use Algorithm::{AesCbc, AesGcm, Secretbox};
        for (algorithm, key_bytes) in [
            (AesGcm, 16),
            (AesGcm, 24),
            (AesGcm, 32),
            (AesCbc, 16),
            (AesCbc, 24),
            (AesCbc, 32),
            (Secretbox, 32),
        ] {
            let cipher = Cipher::new(algorithm, &vec![7; key_bytes]).unwrap();
            let other = Cipher::new(algorithm, &vec![8; key_bytes]).unwrap();
            for value in [&b""[..], b"{}", &[b'x'; 1_000]] {
                let sealed = cipher.seal("/a", value);
                assert_eq!(cipher.open("/a", &sealed).as_deref(), Some(value), "{algorithm:?} {key_bytes}");
                assert_ne!(cipher.seal("/a", value), sealed);
                assert_ne!(other.open("/a", &sealed).as_deref(), Some(value));
                assert_eq!(cipher.open("/a", &sealed[..5]), None);
                if algorithm != AesCbc {
                    let mut damaged = sealed.clone();
                    *damaged.last_mut().unwrap() ^= 1;
                    assert_eq!(cipher.open("/a", &damaged), None);
                }
            }
        }
        assert_eq!(Cipher::new(Secretbox, &[0; 16]).err(), Some("32 bytes"));
        assert_eq!(Cipher::new(AesGcm, &[0; 31]).err(), Some("16, 24 or 32 bytes"));
    }

    #[test]
    fn aes_gcm_holds_a_value_to_its_place() {
        let cipher = Cipher::new(Algorithm::AesGcm, &[7; 32]).unwrap();
        assert_eq!(cipher.open("/b", &cipher.seal("/a", b"1")), None);
    }

    /// NIST SP 800-38A, F.2.1: the first block of AES-128 in CBC.
    #[test]
    fn aes_cbc_is_the_standards() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let key = hex("2b7e151628aed2a6abf7158809cf4f3c");
        let iv = hex("000102030405060708090a0b0c0d0e0f");
        let sealed = cbc_encrypt(&key, &iv, &hex("6bc1bee22e409f96e93d7e117393172a"));
        assert_eq!(sealed[..16], hex("7649abac8119b246cee98e9b12e9197d"));
    }
}
