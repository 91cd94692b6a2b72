//! A node whose certificates are about to end gets others, by itself and without a restart, and goes on with them.

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_tests::{Cluster, api, eventually};
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use time::OffsetDateTime;

/// A minute until the daemon looks, a minute if the controllers could not tell at first.
const RENEWED_MAX: Duration = Duration::from_secs(180);

/// The cluster's authority signs a pair of an hour that has ten minutes left.
fn ending(
    cluster: &Cluster,
    node: &str,
    names: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(String, String)> {
    let pki = cluster.folder().join("control-plane/pki");
    let read = |name: &str| fs::read_to_string(pki.join(name)).with_context(|| format!("reading {name}"));
    let issuer = Issuer::from_ca_cert_pem(&read("ca.crt")?, KeyPair::from_pem(&read("ca.key")?)?)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(50 * 60);
    params.not_after = params.not_before + Duration::from_secs(60 * 60);
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

/// Replaces a file in one step.
fn replace(file: &Path, content: &str) -> Result<()> {
    let draft = file.with_extension("test");
    fs::write(&draft, content)?;
    fs::rename(&draft, file).with_context(|| format!("replacing {}", file.display()))
}

fn kubeconfig(cluster: &Cluster, node: &str) -> PathBuf {
    cluster.folder().join("nodes").join(node).join("kubeconfig")
}

fn read(file: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

fn renewed_at(node: &str) -> Result<String> {
    let lease = api::get(&format!("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}"))?;
    Ok(lease["spec"]["renewTime"].as_str().context("a lease that was renewed")?.to_owned())
}

/// Requests of this signer that the node made and that were signed.
fn issued(node: &str, signer: &str) -> Result<usize> {
    let requests = api::list("/apis/certificates.k8s.io/v1/certificatesigningrequests")?;
    let of_node = |request: &&Value| {
        request["spec"]["username"] == format!("system:node:{node}")
            && request["spec"]["signerName"] == format!("kubernetes.io/{signer}")
            && request["status"]["certificate"].is_string()
    };
    Ok(requests.iter().filter(of_node).count())
}

#[test]
fn a_client_certificate_that_is_about_to_end_is_replaced_and_used() -> Result<()> {
    const SIGNER: &str = "kube-apiserver-client-kubelet";
    let cluster = Cluster::require_any()?;
    let node = &cluster.nodes()[0];
    let (daemon, before) = (cluster.daemon(node, "node")?, issued(node, SIGNER)?);
    let (cert, key) = ending(&cluster, node, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth)?;
    let file = kubeconfig(&cluster, node);
    let mut config = read(&file)?;
    let (cert, key) = (BASE64_STANDARD.encode(cert), BASE64_STANDARD.encode(key));
    config["users"][0]["user"]["client-certificate-data"] = cert.as_str().into();
    config["users"][0]["user"]["client-key-data"] = key.into();
    replace(&file, &config.to_string())?;
    eventually(RENEWED_MAX, "the kubeconfig has another certificate", || {
        let now = read(&file)?;
        ensure!(
            now["users"][0]["user"]["client-certificate-data"] != cert.as_str(),
            "it is the one that ends"
        );
        Ok(())
    })?;
    ensure!(issued(node, SIGNER)? > before, "it came by a signing request");
    let last = renewed_at(node)?;
    eventually(Duration::from_secs(60), "the node renews its lease with it", || {
        ensure!(renewed_at(node)? != last, "it has not yet");
        Ok(())
    })?;
    ensure!(cluster.daemon(node, "node")? == daemon, "the daemon was restarted");
    Ok(())
}

#[test]
fn a_serving_certificate_that_is_about_to_end_is_replaced_and_served() -> Result<()> {
    let cluster = Cluster::require_any()?;
    let node = &cluster.nodes()[0];
    let daemon = cluster.daemon(node, "node")?;
    let object = api::get(&format!("/api/v1/nodes/{node}"))?;
    let addresses = object["status"]["addresses"].as_array().into_iter().flatten();
    let ips = addresses.filter(|address| address["type"] == "InternalIP");
    let ips = ips.filter_map(|address| Some(address["address"].as_str()?.to_owned()));
    let names = [node.clone()].into_iter().chain(ips).collect();
    let (cert, key) = ending(&cluster, node, names, ExtendedKeyUsagePurpose::ServerAuth)?;
    let pki = cluster.folder().join("nodes").join(node).join("pki");
    replace(&pki.join("kubelet.key"), &key)?;
    replace(&pki.join("kubelet.crt"), &cert)?;
    eventually(RENEWED_MAX, "there is another certificate", || {
        ensure!(fs::read_to_string(pki.join("kubelet.crt"))? != cert, "it is the one that ends");
        Ok(())
    })?;
    ensure!(issued(node, "kubelet-serving")? > 0, "it came by a signing request");
    // A new connection each time, which the API server verifies.
    eventually(Duration::from_secs(20), "the API server reaches the kubelet", || {
        let answer =
            api::send("GET", &format!("/api/v1/nodes/{node}/proxy/healthz"), "application/json", "")?;
        ensure!(answer.code == 200, "{answer:?}");
        Ok(())
    })?;
    ensure!(cluster.daemon(node, "node")? == daemon, "the daemon was restarted");
    Ok(())
}
