//! Which keys seal which resource. A value begins with `k8s:enc:PROVIDER:v1:KEY:`, as upstream's do; the first provider of
//! a resource writes, all of them read. Resources are groups and names, nothing is known of kinds.

use super::cipher::{Algorithm, Cipher};
use crate::{contract::StoreError, limits::SEALED};
use std::fmt;

/// A key's name: with all else that is added to a value it stays within `SEAL_BYTES_MAX`.
const NAME_BYTES_MAX: usize = 60;

/// One of a resource's providers.
pub enum Provider {
    /// As it is.
    Identity,
    /// Sealed.
    Key {
        /// `k8s:enc:aesgcm:v1:key1:`
        prefix: String,
        /// The cipher with its key.
        #[doc(hidden)]
        cipher: SealedCipher,
    },
}

/// A cipher that shows nothing of its key.
pub struct SealedCipher(Cipher);

impl Provider {
    /// A key by its name.
    ///
    /// # Errors
    /// What is wrong with name or key, without showing it.
    pub fn key(algorithm: Algorithm, name: &str, key: &[u8]) -> Result<Self, String> {
        if name.is_empty() || name.contains(':') || name.len() > NAME_BYTES_MAX {
            return Err(format!(
                "the key name {name:?} must not be empty, nor longer than {NAME_BYTES_MAX} bytes, nor have a colon"
            ));
        }
        let cipher = Cipher::new(algorithm, key).map_err(|lengths| {
            format!("key {name:?} has {} bytes, {} takes {lengths}", key.len(), algorithm.name())
        })?;
        let prefix = format!("k8s:enc:{}:v1:{name}:", algorithm.name());
        Ok(Self::Key { prefix, cipher: SealedCipher(cipher) })
    }

    fn prefix(&self) -> &str {
        match self {
            Self::Identity => "",
            Self::Key { prefix, .. } => prefix,
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.prefix())
    }
}

/// Some resources and their providers.
#[derive(Debug)]
pub struct Rule {
    /// `secrets`, `deployments.apps`, `*.apps`, `*.` (the core group), `*.*`.
    pub resources: Vec<String>,
    /// The first writes, all read.
    pub providers: Vec<Provider>,
}

impl Rule {
    fn covers(&self, group: &str, resource: &str) -> bool {
        self.resources.iter().any(|pattern| {
            let (name, of) = pattern.split_once('.').unwrap_or((pattern, ""));
            match (name, of) {
                ("*", "*") => true,
                ("*", of) => of == group,
                (name, of) => name == resource && of == group,
            }
        })
    }
}

/// All rules, in order: of those that cover a resource the first counts. A resource without one is not sealed.
#[derive(Debug, Default)]
pub struct Keyring {
    rules: Vec<Rule>,
}

impl Keyring {
    /// From rules in their order.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }

    /// Whether nothing is ever sealed.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    fn providers(&self, key: &str) -> &[Provider] {
        let Some((group, resource)) = resource_of(key) else { return &[] };
        let rule = self.rules.iter().find(|rule| rule.covers(group, resource));
        rule.map_or(&[], |rule| &rule.providers)
    }

    /// The value as it is to be stored; `None`: as it is.
    pub(super) fn seal(&self, key: &str, value: &[u8]) -> Option<Vec<u8>> {
        match self.providers(key).first()? {
            Provider::Identity => None,
            Provider::Key { prefix, cipher } => {
                let mut sealed = prefix.as_bytes().to_vec();
                sealed.extend(cipher.0.seal(key, value));
                Some(sealed)
            }
        }
    }

    /// The value as it was given; `None`: as it is.
    pub(super) fn open(&self, key: &str, stored: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let providers = self.providers(key);
        if !stored.starts_with(SEALED) {
            let plain = providers.is_empty() || providers.iter().any(|p| matches!(p, Provider::Identity));
            return match plain {
                true => Ok(None),
                false => {
                    Err(unreadable(key, "it is not encrypted, and its resource has no identity provider"))
                }
            };
        }
        let mut reason = "it is encrypted with a key that the configuration does not name";
        for provider in providers {
            let Provider::Key { prefix, cipher } = provider else { continue };
            let Some(sealed) = stored.strip_prefix(prefix.as_bytes()) else { continue };
            // Two keys may have one name while they are exchanged.
            match cipher.0.open(key, sealed) {
                Some(value) => return Ok(Some(value)),
                None => reason = "it is damaged, or its key is another one of the same name",
            }
        }
        let shown = stored.split(|byte| *byte == b':').take(5).map(|part| part.escape_ascii().to_string());
        Err(unreadable(key, &format!("{reason} ({})", shown.collect::<Vec<_>>().join(":"))))
    }

    /// Whether the value would be written otherwise today.
    pub(super) fn is_stale(&self, key: &str, stored: &[u8]) -> bool {
        match self.providers(key).first() {
            Some(Provider::Key { prefix, .. }) => !stored.starts_with(prefix.as_bytes()),
            Some(Provider::Identity) | None => stored.starts_with(SEALED),
        }
    }
}

/// Group (the core group has no name) and resource (none: empty) of `/registry/GROUP/RESOURCE/…`.
fn resource_of(key: &str) -> Option<(&str, &str)> {
    let mut parts = key.strip_prefix('/')?.split('/').skip(1);
    let (group, resource) = (parts.next()?, parts.next().unwrap_or_default());
    Some((if group == "core" { "" } else { group }, resource))
}

fn unreadable(key: &str, why: &str) -> StoreError {
    StoreError::Corrupt(format!("{key} cannot be decrypted: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_what_upstreams_do() {
        let table = [
            ("secrets", "", "secrets", true),
            ("secrets", "apps", "secrets", false),
            ("deployments.apps", "apps", "deployments", true),
            ("deployments.apps", "", "deployments", false),
            ("*.apps", "apps", "deployments", true),
            ("*.apps", "", "pods", false),
            ("*.", "", "pods", true),
            ("*.", "apps", "deployments", false),
            ("*.*", "apps", "deployments", true),
            ("*.*", "", "pods", true),
            ("leases.coordination.k8s.io", "coordination.k8s.io", "leases", true),
        ];
        for (pattern, group, resource, expected) in table {
            let rule = Rule { resources: vec![pattern.to_owned()], providers: vec![] };
            assert_eq!(rule.covers(group, resource), expected, "{pattern} {resource}.{group}");
        }
    }

    fn ring(providers: Vec<Provider>) -> Keyring {
        Keyring::new(vec![Rule { resources: vec!["secrets".to_owned()], providers }])
    }

    fn key(name: &str, byte: u8) -> Provider {
        Provider::key(Algorithm::AesGcm, name, &[byte; 32]).unwrap()
    }

    const PATH: &str = "/registry/core/secrets/ns/a";

    #[test]
    fn the_first_writes_all_read_and_what_is_not_its_is_stale() {
        let old = ring(vec![key("one", 1)]);
        let sealed = old.seal(PATH, b"{}").unwrap();
        assert!(sealed.starts_with(b"k8s:enc:aesgcm:v1:one:"));
        let rotated = ring(vec![key("two", 2), key("one", 1)]);
        assert_eq!(rotated.open(PATH, &sealed).unwrap().as_deref(), Some(&b"{}"[..]));
        assert!(rotated.is_stale(PATH, &sealed) && !old.is_stale(PATH, &sealed));
        let off = ring(vec![Provider::Identity, key("one", 1)]);
        assert_eq!(off.seal(PATH, b"{}"), None);
        assert!(off.is_stale(PATH, &sealed) && !off.is_stale(PATH, b"{}"));
        assert_eq!(off.seal("/registry/core/pods/ns/a", b"{}"), None);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_says_why() {
        let sealed = ring(vec![key("one", 1)]).seal(PATH, b"{}").unwrap();
        let table = [
            (ring(vec![key("two", 2)]), &sealed[..], "does not name (k8s:enc:aesgcm:v1:one)"),
            (ring(vec![key("one", 2)]), &sealed[..], "its key is another one of the same name"),
            (ring(vec![key("one", 1)]), &sealed[..30], "it is damaged"),
            (ring(vec![key("one", 1)]), b"{}", "has no identity provider"),
            (Keyring::default(), &sealed[..], "does not name"),
        ];
        for (ring, stored, expected) in table {
            let error = ring.open(PATH, stored).unwrap_err().to_string();
            assert!(error.contains(PATH) && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn names_and_lengths_are_checked() {
        for (name, bytes, expected) in
            [("a:b", 32, "colon"), ("", 32, "empty"), ("a", 31, "16, 24 or 32 bytes")]
        {
            let error = Provider::key(Algorithm::AesGcm, name, &vec![1; bytes]).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
