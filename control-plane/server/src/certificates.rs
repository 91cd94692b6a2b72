//! The certificates of the data folder while the server runs: renewed by us before they end, and read again when they
//! change, whoever changed them.
//!
//! ```text
//! keelson_auth::pki::renew ──> pki/*.crt, *.key ──Watched──> ApiServer::set_certificates, extension-apiserver-authentication
//!                 somebody else ──┘
//! ```

use crate::bootstrap::{self, Authorities};
use anyhow::Context;
use keelson_apiserver::{ApiServer, Certificates, StartStep};
use keelson_auth::pki::{self, names};
use keelson_watched::Watched;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

/// Between two looks at what is due, if nothing is sooner: a clock may jump.
const LOOK_AFTER_MAX: Duration = Duration::from_secs(3600);
/// At least; and after a look that failed.
const LOOK_AFTER_MIN: Duration = Duration::from_secs(1);
const LOOK_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// All files that [`Certificates`] is made of.
const FILES: [&str; 8] = [
    names::APISERVER_CERT,
    names::APISERVER_KEY,
    names::CA_CERT,
    names::FRONT_PROXY_CA_CERT,
    names::FRONT_PROXY_CLIENT_CERT,
    names::FRONT_PROXY_CLIENT_KEY,
    names::KUBELET_CLIENT_CERT,
    names::KUBELET_CLIENT_KEY,
];

/// To be made before the files are read for the first time, so that no change is missed.
pub(crate) fn watch(data: &Path) -> Watched {
    Watched::new(FILES.map(|name| names::pki_file(data, name)))
}

/// Renews what is due, until `stop`. Where a key of an authority is not in the folder somebody else must.
pub(crate) async fn renew(data: PathBuf, stop: CancellationToken) {
    loop {
        let folder = data.clone();
        let look = tokio::task::spawn_blocking(move || pki::renew(&folder, OffsetDateTime::now_utc())).await;
        let pause = match look {
            Ok(Ok(look)) => {
                if !look.renewed.is_empty() {
                    tracing::info!(files = ?look.renewed, "certificates were renewed");
                }
                let due =
                    look.next_due.and_then(|due| Duration::try_from(due - OffsetDateTime::now_utc()).ok());
                due.unwrap_or(LOOK_AFTER_MAX).clamp(LOOK_AFTER_MIN, LOOK_AFTER_MAX)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "certificates cannot be renewed");
                LOOK_AFTER_FAILURE
            }
            Err(error) => {
                tracing::error!(%error, "renewing certificates panicked");
                LOOK_AFTER_FAILURE
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Takes over what the files come to hold, until `stop`. What cannot be used changes nothing: a pair is two files, and
/// one is written before the other.
pub(crate) async fn follow(
    data: PathBuf,
    mut watched: Watched,
    server: ApiServer,
    client: kube::Client,
    stop: CancellationToken,
) {
    server.finished(StartStep::ProxyCertificate);
    while watched.changed_until(&stop).await {
        let taken = async {
            let new = read(&data)?;
            server.set_certificates(&new)?;
            let authorities =
                Authorities { client_ca_pem: new.client_ca_pem, front_proxy_ca_pem: new.front_proxy_ca_pem };
            bootstrap::publish_authorities(client.clone(), &authorities).await
        };
        match taken.await {
            Ok(()) => tracing::info!("certificates were read again"),
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "certificates changed and cannot be used yet");
            }
        }
    }
}

fn read(data: &Path) -> anyhow::Result<Certificates> {
    let read = |name| {
        let path = names::pki_file(data, name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(Certificates {
        serving_cert_pem: read(names::APISERVER_CERT)?,
        serving_key_pem: read(names::APISERVER_KEY)?,
        client_ca_pem: read(names::CA_CERT)?,
        front_proxy_ca_pem: read(names::FRONT_PROXY_CA_CERT)?,
        front_proxy_client_cert_pem: read(names::FRONT_PROXY_CLIENT_CERT)?,
        front_proxy_client_key_pem: read(names::FRONT_PROXY_CLIENT_KEY)?,
        kubelet_client_cert_pem: read(names::KUBELET_CLIENT_CERT)?,
        kubelet_client_key_pem: read(names::KUBELET_CLIENT_KEY)?,
    })
}
