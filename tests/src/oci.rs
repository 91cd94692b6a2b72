//! The pause image as a registry takes it. Each read gives an image that no node has yet: the same files, under a label of
//! its own. It is the one image that every local cluster was made with, whatever registries the machine reaches.

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

/// An image: its manifest, and the blobs that the manifest names.
pub struct Image {
    /// Media type of the manifest.
    pub media_type: String,
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// Content by digest.
    pub blobs: Vec<(String, Bytes)>,
}

impl Image {
    /// Reads target/images/pause.tar, an OCI layout with one image.
    pub fn pause() -> Result<Image> {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/images/pause.tar");
        let mut files = files(&archive)?;
        let index: Value = serde_json::from_slice(take(&mut files, "index.json")?.as_ref())?;
        let manifest = blob(&mut files, &index["manifests"][0]["digest"])?;
        let mut manifest: Value = serde_json::from_slice(&manifest)?;
        let mut config: Value = serde_json::from_slice(&blob(&mut files, &manifest["config"]["digest"])?)?;
        config["config"]["Labels"] = json!({"keelson.test": rand::random::<u64>().to_string()});
        let config = Bytes::from(serde_json::to_vec(&config)?);
        manifest["config"]["digest"] = json!(digest(&config));
        manifest["config"]["size"] = json!(config.len());
        let mut blobs = vec![(digest(&config), config)];
        for layer in manifest["layers"].as_array().context("a manifest without layers")? {
            let text = layer["digest"].as_str().context("a layer without digest")?;
            blobs.push((text.to_string(), blob(&mut files, &layer["digest"])?));
        }
        let media_type = manifest["mediaType"].as_str().context("a manifest without media type")?.to_string();
        Ok(Image { media_type, manifest: serde_json::to_vec(&manifest)?.into(), blobs })
    }

    /// The digest by which the image is pulled.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }
}

fn digest(content: &[u8]) -> String {
    let hex: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn files(archive: &Path) -> Result<BTreeMap<String, Bytes>> {
    let file = File::open(archive)
        .with_context(|| format!("opening {}; `cargo xtask images` makes it", archive.display()))?;
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        let (path, mut content) = (entry.path()?.display().to_string(), Vec::new());
        entry.read_to_end(&mut content)?;
        found.insert(path, content.into());
    }
    Ok(found)
}

fn take(files: &mut BTreeMap<String, Bytes>, path: &str) -> Result<Bytes> {
    files.remove(path).with_context(|| format!("the archive has no {path}"))
}

fn blob(files: &mut BTreeMap<String, Bytes>, digest: &Value) -> Result<Bytes> {
    let digest = digest.as_str().context("a descriptor without digest")?;
    take(files, &format!("blobs/{}", digest.replace(':', "/")))
}
