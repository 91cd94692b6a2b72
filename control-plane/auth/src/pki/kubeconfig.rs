//! kubeconfig files with the client certificate inside.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::files::{read_if_there, write_secret};
use super::init::Change;
use super::leaf::reason_to_renew;
use super::{Authority, Leaf, PkiError, RENEW_BEFORE, Signed, names};

/// Whose kubeconfig, for which server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientKubeconfig {
    /// The user name.
    pub user: String,
    /// The user's groups, see [`super::GROUPS_MAX`].
    pub groups: Vec<String>,
    /// The apiserver's URL, `https://host:port`.
    pub server: String,
}

/// Writes a kubeconfig with a fresh client certificate, signed by the authority in `data`.
pub fn client_kubeconfig(
    data: &Path,
    wanted: &ClientKubeconfig,
    out: &Path,
    now: OffsetDateTime,
) -> Result<(), PkiError> {
    if !wanted.server.starts_with("https://") {
        return Err(PkiError::Argument {
            what: "server",
            value: wanted.server.clone(),
            why: "it must be an https:// URL",
        });
    }
    let authority =
        Authority::load(&names::pki_file(data, names::CA_CERT), &names::pki_file(data, names::CA_KEY), now)?;
    write_kubeconfig(out, &authority, wanted, now).map(drop)
}

/// Writes the file unless it says the same already and lasts.
pub(super) fn ensure_kubeconfig(
    path: &Path,
    authority: &Authority,
    wanted: &ClientKubeconfig,
    now: OffsetDateTime,
) -> Result<Change, PkiError> {
    let Some(text) = read_if_there(path)? else {
        write_kubeconfig(path, authority, wanted, now)?;
        return Ok(Change::Made);
    };
    let Some(reason) = reason_to_rewrite(&text, authority, wanted, now) else { return Ok(Change::None) };
    write_kubeconfig(path, authority, wanted, now)?;
    Ok(Change::Renewed(reason))
}

pub(super) fn write_kubeconfig(
    path: &Path,
    authority: &Authority,
    wanted: &ClientKubeconfig,
    now: OffsetDateTime,
) -> Result<Signed, PkiError> {
    let pair = authority.sign(&leaf(wanted), now)?;
    let document = render(wanted, authority.cert_pem(), &pair);
    write_secret(path, &format!("{document:#}\n"))?;
    Ok(pair)
}

/// What is in a kubeconfig of ours.
pub(super) struct Embedded {
    pub(super) cert_pem: String,
    pub(super) server: String,
    pub(super) user: String,
}

/// None where the file was not written by `init`.
pub(super) fn embedded(text: &str) -> Option<Embedded> {
    let document: Value = serde_json::from_str(text).ok()?;
    let at = |pointer| document.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let cert = BASE64.decode(at("/users/0/user/client-certificate-data")?).ok()?;
    Some(Embedded {
        cert_pem: String::from_utf8(cert).ok()?,
        server: at("/clusters/0/cluster/server")?,
        user: at("/users/0/name")?,
    })
}

fn leaf(wanted: &ClientKubeconfig) -> Leaf {
    Leaf::client(wanted.user.as_str(), wanted.groups.iter().map(String::as_str))
}

/// JSON, which is YAML too: no client tells the difference.
fn render(wanted: &ClientKubeconfig, ca_pem: &str, pair: &Signed) -> Value {
    const CLUSTER: &str = "kubernetes";
    let context = format!("{}@{CLUSTER}", wanted.user);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": CLUSTER,
            "cluster": { "server": wanted.server, "certificate-authority-data": BASE64.encode(ca_pem) },
        }],
        "users": [{
            "name": wanted.user,
            "user": {
                "client-certificate-data": BASE64.encode(&pair.cert_pem),
                "client-key-data": BASE64.encode(&pair.key_pem),
            },
        }],
        "contexts": [{ "name": context, "context": { "cluster": CLUSTER, "user": wanted.user } }],
        "current-context": context,
        "preferences": {},
    })
}

/// What is in the file that a renewed one must not lose is nothing: it is ours alone.
fn reason_to_rewrite(
    text: &str,
    authority: &Authority,
    wanted: &ClientKubeconfig,
    now: OffsetDateTime,
) -> Option<&'static str> {
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        return Some("it was not written by init");
    };
    let text_at = |pointer| document.pointer(pointer).and_then(Value::as_str);
    let pem_at = |pointer| {
        text_at(pointer)
            .and_then(|data| BASE64.decode(data).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok())
    };
    if text_at("/clusters/0/cluster/server") != Some(&wanted.server) {
        return Some("the server's address changed");
    }
    if pem_at("/clusters/0/cluster/certificate-authority-data").as_deref() != Some(authority.cert_pem()) {
        return Some("the authority changed");
    }
    let (Some(cert_pem), Some(key_pem)) =
        (pem_at("/users/0/user/client-certificate-data"), pem_at("/users/0/user/client-key-data"))
    else {
        return Some("it holds no client certificate");
    };
    let until = (now + RENEW_BEFORE).min(authority.not_after() - RENEW_BEFORE).max(now);
    reason_to_renew(&Signed { cert_pem, key_pem }, &leaf(wanted), authority.cert_der(), until)
}
