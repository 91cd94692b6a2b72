//! Where a certificate and its key are kept, and how both are replaced so that a crash at any moment leaves a pair.
//!
//! In a kubeconfig, or in one file for both, that is one rename. Where they are two files the new ones are written beside
//! them first, and then renamed, the key and then the certificate; [`Place::recover`] ends what a crash interrupted.
//!
//! ```text
//! .key.next   .cert.next   found at start
//!    yes          no       a pair that was not whole: removed
//!    yes         yes       renamed, both
//!     no         yes       renamed
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kube::config::{AuthInfo, Kubeconfig};

use crate::client;

/// A certificate chain and its key, PEM.
pub(crate) struct Pair {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

/// Where a pair is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Inside of a kubeconfig, this user's.
    Inline { kubeconfig: PathBuf, user: String },
    /// In files; one file may hold both.
    Files { cert: PathBuf, key: PathBuf },
}

impl Place {
    /// Of the client certificate of a kubeconfig's current context; none where it uses none.
    pub(crate) fn of_client(kubeconfig: &Path) -> anyhow::Result<Option<Self>> {
        let config = client::read(kubeconfig)?;
        let Some(user) = current_user(&config) else { return Ok(None) };
        let Some(info) = auth_info(&config, &user) else { return Ok(None) };
        Ok(match (&info.client_certificate_data, &info.client_certificate, &info.client_key) {
            (Some(_), ..) => Some(Self::Inline { kubeconfig: kubeconfig.to_owned(), user }),
            (None, Some(cert), Some(key)) => Some(Self::Files { cert: cert.into(), key: key.into() }),
            _ => None,
        })
    }

    /// The certificate, PEM.
    pub(super) fn read(&self) -> anyhow::Result<String> {
        match self {
            Self::Inline { kubeconfig, user } => {
                let config = client::read(kubeconfig)?;
                let data = auth_info(&config, user).and_then(|info| info.client_certificate_data.as_deref());
                let data = data.with_context(|| format!("the user {user} has no client certificate"))?;
                let pem = BASE64_STANDARD.decode(data).context("client-certificate-data is not base64")?;
                String::from_utf8(pem).context("client-certificate-data is not PEM")
            }
            Self::Files { cert, .. } => {
                fs::read_to_string(cert).with_context(|| format!("reading {}", cert.display()))
            }
        }
    }

    /// Replaces the pair, durably.
    pub(super) fn write(&self, pair: &Pair) -> anyhow::Result<()> {
        match self {
            Self::Inline { kubeconfig, user } => write_inline(kubeconfig, user, pair)
                .with_context(|| format!("writing the kubeconfig {}", kubeconfig.display())),
            Self::Files { cert, key } if cert == key => {
                write_whole(&target(cert), &format!("{}{}", pair.cert_pem, pair.key_pem))
                    .with_context(|| format!("writing {}", cert.display()))
            }
            Self::Files { cert, key } => {
                let prepared = write_whole(&next(key), &pair.key_pem)
                    .and_then(|()| write_whole(&next(cert), &pair.cert_pem));
                prepared
                    .with_context(|| format!("writing beside {} and {}", cert.display(), key.display()))?;
                self.recover()
            }
        }
    }

    /// Ends an interrupted [`Place::write`]. To be called before the pair is read for the first time.
    pub(crate) fn recover(&self) -> anyhow::Result<()> {
        let Self::Files { cert, key } = self else { return Ok(()) };
        let end = || -> io::Result<()> {
            if !next(cert).try_exists()? {
                return if_there(fs::remove_file(next(key)));
            }
            if_there(fs::rename(next(key), target(key)))?;
            sync_folder(&target(key))?;
            fs::rename(next(cert), target(cert))?;
            sync_folder(&target(cert))
        };
        end().with_context(|| format!("replacing {} and {}", cert.display(), key.display()))
    }
}

fn current_user(config: &Kubeconfig) -> Option<String> {
    let context = config.current_context.as_ref()?;
    config.contexts.iter().find(|named| &named.name == context)?.context.as_ref()?.user.clone()
}

fn auth_info<'a>(config: &'a Kubeconfig, user: &str) -> Option<&'a AuthInfo> {
    config.auth_infos.iter().find(|named| named.name == user)?.auth_info.as_ref()
}

/// As JSON, which is YAML too. Relative paths stay as they are.
fn write_inline(kubeconfig: &Path, user: &str, pair: &Pair) -> anyhow::Result<()> {
    let mut config = Kubeconfig::from_yaml(&fs::read_to_string(kubeconfig)?)?;
    let mut users = config.auth_infos.iter_mut().filter(|named| named.name == user);
    let info = users.find_map(|named| named.auth_info.as_mut());
    ensure!(info.is_some(), "it has no user {user}");
    if let Some(info) = info {
        info.client_certificate_data = Some(BASE64_STANDARD.encode(&pair.cert_pem));
        info.client_key_data = Some(BASE64_STANDARD.encode(&pair.key_pem).into());
        (info.client_certificate, info.client_key) = (None, None);
    }
    Ok(write_whole(&target(kubeconfig), &format!("{:#}\n", serde_json::to_value(&config)?))?)
}

/// Behind links: they stay.
fn target(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Where a new file waits to take the place of one.
fn next(path: &Path) -> PathBuf {
    beside(&target(path), "next")
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{what}"))
}

/// Replaces a file in one step (a reader sees the old or the new content), mode 0600, synced.
fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    let draft = beside(path, "draft");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

fn if_there(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
