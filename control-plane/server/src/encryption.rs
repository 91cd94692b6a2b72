//! Encryption at rest: the keys from an EncryptionConfiguration file, or else from the key that `keelson init` made; and
//! keeping up with the file.
//!
//! Without a file Secrets are encrypted, other than upstream, which leaves them plain: the key is there already, and a
//! snapshot or a member of etcd then gives nothing away. Provider secretbox, whose keys do not wear out; what is plain from
//! before is still read. The key is `pki/encryption.key`: a cluster restored elsewhere needs it.

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use keelson_auth::pki::names;
use keelson_store::encrypted::{Algorithm, Encrypted, Keyring, Provider, Rule};
use serde::Deserialize;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A changed file is noticed within this.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The key's name where no file gives one.
const OWN_KEY: &str = "keelson";

/// <https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-EncryptionConfiguration>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EncryptionConfiguration {
    api_version: String,
    kind: String,
    resources: Vec<ResourceConfiguration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceConfiguration {
    resources: Vec<String>,
    providers: Vec<ProviderConfiguration>,
}

/// One of them is there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProviderConfiguration {
    aesgcm: Option<Keys>,
    aescbc: Option<Keys>,
    secretbox: Option<Keys>,
    identity: Option<Identity>,
    kms: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    /// Base64.
    secret: String,
}

/// The keys of the file, or without one those of the data folder.
pub(crate) fn keyring(file: Option<&Path>, data: &Path) -> anyhow::Result<Keyring> {
    let Some(file) = file else { return own(data) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("the encryption configuration {} cannot be used", file.display()))
}

fn own(data: &Path) -> anyhow::Result<Keyring> {
    let path = names::pki_file(data, names::ENCRYPTION_KEY);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {} (run `keelson init` first)", path.display()))?;
    let key = BASE64.decode(text.trim()).with_context(|| format!("{} is not base64", path.display()))?;
    let key = Provider::key(Algorithm::Secretbox, OWN_KEY, &key).map_err(anyhow::Error::msg)?;
    Ok(Keyring::new(vec![Rule {
        resources: vec!["secrets".to_owned()],
        providers: vec![key, Provider::Identity],
    }]))
}

fn parse(text: &str) -> anyhow::Result<Keyring> {
    let config: EncryptionConfiguration = serde_saphyr::from_str(text)?;
    ensure!(
        config.api_version == "apiserver.config.k8s.io/v1" && config.kind == "EncryptionConfiguration",
        "it is a {} {}, not an apiserver.config.k8s.io/v1 EncryptionConfiguration",
        config.api_version,
        config.kind
    );
    let rules = config
        .resources
        .into_iter()
        .enumerate()
        .map(|(at, resource)| rule(resource).with_context(|| format!("resources[{at}]")));
    Ok(Keyring::new(rules.collect::<anyhow::Result<_>>()?))
}

fn rule(config: ResourceConfiguration) -> anyhow::Result<Rule> {
    ensure!(!config.resources.is_empty(), "resources: at least one is needed");
    ensure!(!config.providers.is_empty(), "providers: at least one is needed");
    for resource in &config.resources {
        ensure!(resource != "*", "resources: \"*\" is ambiguous, write \"*.*\" or \"*.\" (the core group)");
    }
    let mut providers = Vec::new();
    for (at, provider) in config.providers.into_iter().enumerate() {
        add(provider, &mut providers).with_context(|| format!("providers[{at}]"))?;
    }
    Ok(Rule { resources: config.resources, providers })
}

fn add(config: ProviderConfiguration, providers: &mut Vec<Provider>) -> anyhow::Result<()> {
    ensure!(config.kms.is_none(), "kms: not supported, use aesgcm, aescbc, secretbox or identity");
    let keys = [
        (Algorithm::AesGcm, config.aesgcm),
        (Algorithm::AesCbc, config.aescbc),
        (Algorithm::Secretbox, config.secretbox),
    ];
    let mut given = keys.into_iter().filter_map(|(algorithm, keys)| keys.map(|keys| (algorithm, keys)));
    match (given.next(), given.next(), config.identity) {
        (None, None, Some(Identity {})) => providers.push(Provider::Identity),
        (Some((algorithm, keys)), None, None) => {
            ensure!(!keys.keys.is_empty(), "{}.keys: at least one is needed", algorithm.name());
            for key in keys.keys {
                let secret = BASE64.decode(key.secret.trim());
                // The error of the decoder would show a part of the key.
                let secret =
                    secret.ok().with_context(|| format!("the secret of key {:?} is not base64", key.name))?;
                let provider = Provider::key(algorithm, &key.name, &secret);
                providers.push(provider.map_err(anyhow::Error::msg)?);
            }
        }
        (None, None, None) => bail!("a provider is needed: aesgcm, aescbc, secretbox or identity"),
        _ => bail!("one provider an item, here are several"),
    }
    Ok(())
}

/// Writes again what is sealed with yesterday's key, at first and whenever the file has changed. A file that cannot be used
/// changes nothing.
pub(crate) async fn keep(store: Arc<Encrypted>, file: Option<PathBuf>, stop: CancellationToken) {
    let mut seen = file.as_deref().and_then(|file| std::fs::read(file).ok());
    loop {
        match store.rewrite().await {
            Ok(0) => (),
            Ok(values) => tracing::info!(values, "values are written again with today's encryption"),
            Err(error) => {
                tracing::error!(%error, "not every value could be written again with today's encryption")
            }
        }
        let Some(file) = &file else { return };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_AGAIN) => (),
            }
            let now = std::fs::read(file).ok();
            if now.is_none() || now == seen {
                continue;
            }
            seen = now;
            match keyring(Some(file), Path::new("")) {
                Ok(ring) => {
                    store.set(ring);
                    tracing::info!(file = %file.display(), "the encryption configuration was read again");
                    break;
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the old encryption configuration is kept")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(provider: &str) -> String {
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
             - resources: [secrets, configmaps]\n  providers:\n  - {provider}\n  - identity: {{}}\n"
        )
    }

    const KEY: &str = "{keys: [{name: key1, secret: MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=}]}";

    #[test]
    fn every_provider_is_read_and_what_is_wrong_is_named() {
        let table = [
            (format!("aesgcm: {KEY}"), ""),
            (format!("aescbc: {KEY}"), ""),
            (format!("secretbox: {KEY}"), ""),
            ("identity: {}".to_owned(), ""),
            ("kms: {apiVersion: v2, name: x, endpoint: unix:///x}".to_owned(), "kms: not supported"),
            ("aesgcm: {keys: []}".to_owned(), "aesgcm.keys: at least one"),
            ("aesgcm: {keys: [{name: a, secret: AAAA}]}".to_owned(), "has 3 bytes"),
            ("aesgcm: {keys: [{name: a, secret: '???'}]}".to_owned(), "is not base64"),
            (format!("{{aesgcm: {KEY}, aescbc: {KEY}}}"), "here are several"),
            ("rot13: {}".to_owned(), "rot13"),
        ];
        for (provider, expected) in table {
            match parse(&config(&provider)) {
                Ok(_) => assert_eq!(expected, "", "{provider}"),
                Err(error) => {
                    let error = format!("{error:#}");
                    assert!(!expected.is_empty() && error.contains(expected), "{provider}: {error}");
                }
            }
        }
        let error = parse("apiVersion: v1\nkind: Pod\nresources: []\n").unwrap_err();
        assert!(error.to_string().contains("it is a v1 Pod"), "{error}");
    }
}
