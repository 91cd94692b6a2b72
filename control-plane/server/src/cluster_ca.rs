//! The cluster's authority as the controllers know it: what `ca.crt` says goes to every namespace, and `ca.key`, where it is,
//! signs certificate requests. Both are read again when they change.

use anyhow::Context;
use keelson_auth::pki::{Authority, names};
use keelson_controllers::ClusterCa;
use keelson_watched::Watched;
use std::{path::Path, sync::Arc};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the data folder holds now, and what it comes to hold until `stop`. Controllers elsewhere may have the certificate alone.
/// What cannot be used changes nothing: a pair is two files, and one is written before the other.
///
/// # Errors
/// What is there cannot be used.
pub(crate) fn follow(
    data: &Path,
    signs: bool,
    stop: CancellationToken,
) -> anyhow::Result<watch::Receiver<ClusterCa>> {
    let files = [names::CA_CERT, names::CA_KEY].map(|name| names::pki_file(data, name));
    let mut watched = Watched::new(files.clone());
    let (current, followed) = watch::channel(read(&files, signs)?);
    tokio::spawn(async move {
        while watched.changed_until(&stop).await {
            match read(&files, signs) {
                Ok(new) => {
                    current.send_replace(new);
                    tracing::info!("the cluster's authority was read again");
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    tracing::warn!(error, "the cluster's authority changed and cannot be used yet");
                }
            }
        }
    });
    Ok(followed)
}

fn read([cert, key]: &[std::path::PathBuf; 2], signs: bool) -> anyhow::Result<ClusterCa> {
    let pem = std::fs::read_to_string(cert)
        .with_context(|| format!("cannot read {} (run `keelson init` first)", cert.display()))?;
    let authority = if signs && key.exists() {
        let loaded = Authority::load(cert, key, OffsetDateTime::now_utc());
        Some(Arc::new(loaded.context("the authority that signs certificate requests")?))
    } else {
        None
    };
    Ok(ClusterCa { pem, authority })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_auth::pki::{self, InitConfig};
    use std::time::Duration;

    fn init(data: &Path) {
        let config = InitConfig {
            data: data.to_owned(),
            advertise: vec!["127.0.0.1".parse().unwrap()],
            port: 6443,
            service_addresses: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
        };
        pki::init(&config, OffsetDateTime::now_utc()).unwrap();
    }

    #[tokio::test]
    async fn another_authority_is_taken_over_once_it_is_whole() {
        let (own, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        init(own.path());
        init(other.path());
        let stop = CancellationToken::new();
        let mut followed = follow(own.path(), true, stop.clone()).unwrap();
        let file = |folder: &Path, name| names::pki_file(folder, name);
        let text = |name| std::fs::read_to_string(file(other.path(), name)).unwrap();
        let first = followed.borrow_and_update().pem.clone();
        // A bundle of both goes to the namespaces while the first of it still signs.
        let both = format!("{first}{}", text(names::CA_CERT));
        std::fs::write(file(own.path(), names::CA_CERT), &both).unwrap();
        let wait = async |followed: &mut watch::Receiver<ClusterCa>, pem: &str| {
            let seen = followed.wait_for(|ca| ca.pem == pem);
            tokio::time::timeout(Duration::from_secs(20), seen).await.expect("in time").unwrap().clone()
        };
        let bundled = wait(&mut followed, &both).await;
        assert!(bundled.authority.is_some_and(|authority| authority.cert_pem().starts_with(&first)));
        for name in [names::CA_KEY, names::CA_CERT] {
            std::fs::write(file(own.path(), name), text(name)).unwrap();
        }
        let second = wait(&mut followed, &text(names::CA_CERT)).await;
        assert_eq!(second.authority.unwrap().cert_pem(), text(names::CA_CERT));
        stop.cancel();
        assert!(follow(own.path(), false, stop).unwrap().borrow().authority.is_none(), "who does not sign");
    }
}
