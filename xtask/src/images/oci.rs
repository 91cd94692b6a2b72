//! One OCI image layout as a tar archive (image-spec 1.0: image-layout.md), with one layer.

use super::Config;
use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{fs::File, io::Write, path::Path};

/// Writes the folder `root` as an image of these names.
pub(crate) fn write(archive: &Path, root: &Path, names: &[&str], config: &Config) -> Result<()> {
    let layer = layer(root)?;
    let diff_id = digest(&layer);
    let packed = gzip(&layer)?;
    let config = image_config(config, &diff_id);
    let config = serde_json::to_vec(&config)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &packed)],
    });
    let manifest = serde_json::to_vec(&manifest)?;
    let manifests: Vec<Value> = names.iter().map(|name| named(&manifest, name)).collect();
    let index = json!({"schemaVersion": 2, "manifests": manifests});

    // Under another name first, so that an archive which is there is whole.
    let partial = archive.with_extension("partial");
    let mut tar = tar::Builder::new(File::create(&partial)?);
    entry(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    entry(&mut tar, "index.json", &serde_json::to_vec(&index)?)?;
    for blob in [&manifest, &config, &packed] {
        entry(&mut tar, &format!("blobs/sha256/{}", hex(blob)), blob)?;
    }
    tar.into_inner()?.flush()?;
    std::fs::rename(&partial, archive).with_context(|| format!("finishing {}", archive.display()))
}

fn image_config(config: &Config, diff_id: &str) -> Value {
    let mut run = json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/"});
    if !config.entrypoint.is_empty() {
        run["Entrypoint"] = json!(config.entrypoint);
    }
    if !config.cmd.is_empty() {
        run["Cmd"] = json!(config.cmd);
    }
    if let Some(signal) = config.stop_signal {
        run["StopSignal"] = json!(signal);
    }
    if !config.ports.is_empty() {
        run["ExposedPorts"] = config.ports.iter().map(|port| (port.to_string(), json!({}))).collect();
    }
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    })
}

/// Owned by root and without times, so that the same files give the same image.
fn layer(root: &Path) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.mode(tar::HeaderMode::Deterministic);
    tar.follow_symlinks(false);
    tar.append_dir_all(".", root).with_context(|| format!("packing {}", root.display()))?;
    if root.join("tmp").exists() {
        // The deterministic mode knows 755 and 644 alone.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_size(0);
        header.set_mode(0o1777);
        tar.append_data(&mut header, "./tmp", std::io::empty())?;
    }
    Ok(tar.into_inner()?)
}

fn gzip(data: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data)?;
    Ok(encoder.finish()?)
}

fn named(manifest: &[u8], name: &str) -> Value {
    let mut descriptor = descriptor("application/vnd.oci.image.manifest.v1+json", manifest);
    let tag = name.rsplit(':').next().unwrap_or("latest");
    // The first is containerd's, which imports under the full name; the second is the specification's.
    descriptor["annotations"] =
        json!({"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag});
    descriptor
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(blob), "size": blob.len()})
}

fn digest(blob: &[u8]) -> String {
    format!("sha256:{}", hex(blob))
}

fn hex(blob: &[u8]) -> String {
    Sha256::digest(blob).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry<W: Write>(tar: &mut tar::Builder<W>, name: &str, data: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    Ok(tar.append_data(&mut header, name, data)?)
}
