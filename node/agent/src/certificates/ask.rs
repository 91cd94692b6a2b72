//! A CertificateSigningRequest's life as its maker sees it: made, approved by whoever may, signed; each seen by a watch.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};

/// A request that waits for longer than this is told of: where nobody approves by himself a person has to.
const PATIENCE: Duration = Duration::from_secs(30);

/// A built-in signer, and what its certificates are for.
/// (<https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers>)
#[derive(Clone, Copy, Debug)]
pub(super) struct Signer {
    pub(super) name: &'static str,
    pub(super) usages: [&'static str; 2],
}

pub(super) const CLIENT: Signer = Signer {
    name: "kubernetes.io/kube-apiserver-client-kubelet",
    usages: ["digital signature", "client auth"],
};
pub(super) const SERVING: Signer =
    Signer { name: "kubernetes.io/kubelet-serving", usages: ["digital signature", "server auth"] };

/// Makes a request and waits until it is answered, however long that takes.
///
/// # Errors
/// It cannot be made, or was denied, or failed, or was removed before it was signed.
pub(super) async fn ask(client: &kube::Client, signer: Signer, request_pem: &str) -> anyhow::Result<String> {
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let object = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(request_pem.as_bytes().to_vec()),
            signer_name: signer.name.to_owned(),
            usages: Some(signer.usages.map(str::to_owned).to_vec()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let made = api.create(&PostParams::default(), &object).await.with_context(|| {
        format!(
            "no certificate signing request of {} can be made (a node needs `create`, `list` and `watch`)",
            signer.name
        )
    })?;
    let name = made.name_any();
    tracing::info!(name, signer = signer.name, "a certificate was asked for");
    let mut answer = pin!(answered(&api, &name));
    if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut answer).await {
        return answer;
    }
    tracing::warn!(
        name,
        signer = signer.name,
        "the request for a certificate waits for an approval: `kubectl certificate approve {name}`"
    );
    answer.await
}

async fn answered(api: &Api<CertificateSigningRequest>, name: &str) -> anyhow::Result<String> {
    let mut changes = keelson_watch::watch_object(api.clone(), name);
    let mut told = false;
    while let Some(change) = changes.next().await {
        match change {
            Ok(Some(request)) => {
                if let Some(answer) = decided(&request) {
                    return answer;
                }
            }
            Ok(None) => bail!("the request {name} was removed before it was signed"),
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::warn!(name, %error, "the request for a certificate cannot be watched; it is tried again");
            }
            Err(_) => {}
        }
    }
    bail!("the watch of the request {name} ended")
}

/// The certificate, or why there will be none; nothing while it waits.
fn decided(request: &CertificateSigningRequest) -> Option<anyhow::Result<String>> {
    let status = request.status.as_ref()?;
    let refusal = status.conditions.iter().flatten().find(|c| matches!(&*c.type_, "Denied" | "Failed"));
    if let Some(refusal) = refusal {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        return Some(Err(anyhow::anyhow!(
            "the request {} is {}: {} ({})",
            request.name_any(),
            refusal.type_,
            text(&refusal.message),
            text(&refusal.reason)
        )));
    }
    let certificate = status.certificate.as_ref().filter(|certificate| !certificate.0.is_empty())?;
    Some(String::from_utf8(certificate.0.clone()).context("the certificate is not PEM"))
}
