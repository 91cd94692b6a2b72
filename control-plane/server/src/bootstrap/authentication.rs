//! ConfigMap kube-system/extension-apiserver-authentication: by which an API server behind ours knows whose certificates
//! and whose `X-Remote-*` headers to believe. Made and mended at each start.

use keelson_apiserver::FRONT_PROXIES;
use serde_json::{Value, json};

/// The authorities that are published, PEM.
pub(crate) struct Authorities {
    /// Of clients.
    pub(crate) client_ca_pem: String,
    /// Of front proxies.
    pub(crate) front_proxy_ca_pem: String,
}

/// The object, with upstream's keys.
pub(super) fn config_map(authorities: &Authorities) -> Value {
    let list = |values: &[&str]| json!(values).to_string();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": authorities.client_ca_pem,
            "requestheader-client-ca-file": authorities.front_proxy_ca_pem,
            "requestheader-allowed-names": list(&FRONT_PROXIES),
            "requestheader-username-headers": list(&["X-Remote-User"]),
            "requestheader-uid-headers": list(&["X-Remote-Uid"]),
            "requestheader-group-headers": list(&["X-Remote-Group"]),
            "requestheader-extra-headers-prefix": list(&["X-Remote-Extra-"]),
        },
    })
}

/// The existing object with our data in it; None where it has them.
pub(super) fn mended(existing: &Value, wanted: &Value) -> Option<Value> {
    let mut mended = existing.clone();
    for (key, value) in wanted["data"].as_object().into_iter().flatten() {
        mended["data"][key] = value.clone();
    }
    (mended != *existing).then_some(mended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_authority_is_mended_and_what_others_added_stays() {
        let authorities = |ca: &str| Authorities { client_ca_pem: ca.into(), front_proxy_ca_pem: "f".into() };
        let mut existing = config_map(&authorities("old"));
        existing["data"]["other"] = json!("x");
        let found = mended(&existing, &config_map(&authorities("new"))).unwrap();
        assert_eq!((&found["data"]["client-ca-file"], &found["data"]["other"]), (&json!("new"), &json!("x")));
        assert_eq!(mended(&found, &config_map(&authorities("new"))), None);
    }
}
