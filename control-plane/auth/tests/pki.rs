//! The folder that `keelson init` makes, seen from outside: what is in it, and when it is made anew.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use keelson_auth::authn::x509;
use keelson_auth::pki::{self, ClientKubeconfig, InitConfig, PkiError, RENEW_BEFORE, init, names};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};

fn config(data: &Path) -> InitConfig {
    InitConfig {
        data: data.to_owned(),
        advertise: vec!["192.0.2.1".parse().unwrap()],
        port: 6443,
        service_addresses: vec!["10.96.0.1".parse().unwrap()],
        cluster_domain: "cluster.local".to_owned(),
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn contents(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in [data.to_owned(), data.join("pki")] {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

fn with_cert<T>(path: &Path, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let der = CertificateDer::from_pem_slice(&fs::read(path).unwrap()).unwrap();
    look(&X509Certificate::from_der(&der).unwrap().1)
}

#[test]
fn a_second_init_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    let first = init(&config(data.path()), now()).unwrap();
    assert!(first.made.contains(&names::CA_CERT) && first.made.contains(&names::ADMIN_KUBECONFIG));
    let before = contents(data.path());
    let second = init(&config(data.path()), now()).unwrap();
    assert_eq!(second, Default::default());
    assert_eq!(contents(data.path()), before);
}

#[test]
fn every_file_is_there_and_for_its_owner_only() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    for name in [
        "ca.crt",
        "ca.key",
        "apiserver.crt",
        "apiserver.key",
        "apiserver-kubelet-client.crt",
        "apiserver-kubelet-client.key",
        "front-proxy-ca.crt",
        "front-proxy-ca.key",
        "front-proxy-client.crt",
        "front-proxy-client.key",
        "sa.key",
        "sa.pub",
        "encryption.key",
        "../admin.conf",
    ] {
        let mode = fs::metadata(data.path().join("pki").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn the_serving_certificate_names_every_way_to_the_apiserver() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    with_cert(&names::pki_file(data.path(), names::APISERVER_CERT), |cert| {
        let names = cert.subject_alternative_name().unwrap().unwrap().value.general_names.clone();
        let text = format!("{names:?}");
        for name in ["\"kubernetes\"", "kubernetes.default.svc.cluster.local", "localhost"] {
            assert!(text.contains(name), "{name} in {text}");
        }
        assert_eq!(names.len(), 5 + 4);
        let days = (cert.validity().not_after.timestamp() - cert.validity().not_before.timestamp()) / 86_400;
        assert_eq!(days, 365);
    });
    with_cert(&names::pki_file(data.path(), names::CA_CERT), |cert| {
        assert!(cert.is_ca());
        let days = (cert.validity().not_after.timestamp() - cert.validity().not_before.timestamp()) / 86_400;
        assert_eq!(days, 3650);
    });
}

#[test]
fn leaves_are_renewed_before_they_expire_and_the_authority_stays() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    let before = contents(data.path());
    let later = now() + Duration::days(365) - RENEW_BEFORE + Duration::hours(1);
    let report = init(&config(data.path()), later).unwrap();
    let renewed: Vec<_> = report.renewed.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        renewed,
        [
            names::APISERVER_CERT,
            names::KUBELET_CLIENT_CERT,
            names::FRONT_PROXY_CLIENT_CERT,
            names::ADMIN_KUBECONFIG
        ]
    );
    let after = contents(data.path());
    for kept in ["ca.crt", "ca.key", "sa.key", "sa.pub", "encryption.key", "front-proxy-ca.crt"] {
        assert_eq!(before[kept], after[kept], "{kept}");
    }
    assert_ne!(before["apiserver.crt"], after["apiserver.crt"]);
}

#[test]
fn a_new_address_makes_a_new_serving_certificate_only() {
    let data = tempfile::tempdir().unwrap();
    let mut config = config(data.path());
    init(&config, now()).unwrap();
    config.advertise.push("192.0.2.9".parse::<IpAddr>().unwrap());
    let report = init(&config, now()).unwrap();
    assert_eq!(report.renewed, [(names::APISERVER_CERT, "its names changed")]);
}

#[test]
fn a_leaf_of_another_authority_is_replaced() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    init(&config(data.path()), now()).unwrap();
    init(&config(other.path()), now()).unwrap();
    for name in [names::CA_CERT, names::CA_KEY] {
        fs::copy(names::pki_file(other.path(), name), names::pki_file(data.path(), name)).unwrap();
    }
    let report = init(&config(data.path()), now()).unwrap();
    assert!(report.renewed.contains(&(names::APISERVER_CERT, "another authority signed it")), "{report:?}");
    assert!(report.renewed.contains(&(names::ADMIN_KUBECONFIG, "the authority changed")), "{report:?}");
}

#[test]
fn an_authority_without_its_key_is_refused_with_what_to_do() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    fs::remove_file(names::pki_file(data.path(), names::CA_KEY)).unwrap();
    let error = init(&config(data.path()), now()).unwrap_err();
    assert!(matches!(error, PkiError::AuthorityWithoutKey { .. }));
    assert!(error.to_string().contains("copy its key"), "{error}");
}

#[test]
fn a_crash_between_key_and_certificate_is_repaired() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    fs::remove_file(names::pki_file(data.path(), names::CA_CERT)).unwrap();
    fs::remove_file(names::pki_file(data.path(), names::APISERVER_KEY)).unwrap();
    let report = init(&config(data.path()), now()).unwrap();
    assert!(report.made.contains(&names::CA_CERT), "{report:?}");
    assert!(report.renewed.contains(&(names::APISERVER_CERT, "half of the pair was missing")), "{report:?}");
}

#[test]
fn an_old_signing_key_still_verifies_after_it_was_replaced() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    let public = names::pki_file(data.path(), names::SERVICE_ACCOUNT_PUBLIC);
    let old = fs::read_to_string(&public).unwrap();
    fs::remove_file(names::pki_file(data.path(), names::SERVICE_ACCOUNT_KEY)).unwrap();
    init(&config(data.path()), now()).unwrap();
    let both = fs::read_to_string(&public).unwrap();
    assert!(both.ends_with(&old) && both.len() > old.len());
}

#[test]
fn a_kubeconfig_carries_user_and_groups() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    let wanted = ClientKubeconfig {
        user: "jane".to_owned(),
        groups: vec!["dev".to_owned(), "ops".to_owned()],
        server: "https://192.0.2.1:6443".to_owned(),
    };
    let out = data.path().join("jane.conf");
    pki::client_kubeconfig(data.path(), &wanted, &out, now()).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(document["clusters"][0]["cluster"]["server"], "https://192.0.2.1:6443");
    let pem = document["users"][0]["user"]["client-certificate-data"].as_str().unwrap();
    let pem = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, pem).unwrap();
    let user = x509::user(&CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    assert_eq!(user.name, "jane");
    assert_eq!(user.groups, ["dev", "ops", "system:authenticated"]);

    let many = ClientKubeconfig { groups: vec!["a".into(), "b".into(), "c".into()], ..wanted };
    let error = pki::client_kubeconfig(data.path(), &many, &out, now()).unwrap_err();
    assert!(error.to_string().contains("at most 2 groups"), "{error}");
}

#[test]
fn a_node_gets_a_serving_certificate_for_its_name_and_addresses() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    let out = data.path().join("node-1");
    let files =
        pki::node_serving(data.path(), "node-1", &["192.0.2.2".parse().unwrap()], &out, now()).unwrap();
    with_cert(&files.cert, |cert| {
        assert!(cert.extended_key_usage().unwrap().unwrap().value.server_auth);
        assert_eq!(cert.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2);
        let common_name = cert.subject().iter_common_name().next().unwrap().as_str().unwrap();
        assert_eq!(common_name, "system:node:node-1");
    });
    let elsewhere = tempfile::tempdir().unwrap();
    let error = pki::node_serving(elsewhere.path(), "n", &[], &out, now()).unwrap_err();
    assert!(matches!(error, PkiError::NotInitialised { .. }), "{error}");
}

#[test]
fn what_is_due_is_renewed_and_says_the_same_as_before() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    let before = contents(data.path());
    let look = pki::renew(data.path(), now()).unwrap();
    assert!(look.renewed.is_empty(), "{look:?}");
    assert_eq!(contents(data.path()), before);
    let due = look.next_due.unwrap();
    let wanted = now() + pki::LEAF_LIFETIME - RENEW_BEFORE;
    assert!((due - wanted).abs() < Duration::minutes(5), "{due} is not about {wanted}");

    let later = due + Duration::days(1);
    let renewed = pki::renew(data.path(), later).unwrap();
    let all = ["apiserver.crt", "apiserver-kubelet-client.crt", "front-proxy-client.crt", "admin.conf"];
    assert_eq!(renewed.renewed, all);
    assert!(renewed.next_due.unwrap() > later + Duration::days(200));
    let after = contents(data.path());
    for (name, content) in &before {
        let is_leaf = all.contains(&&**name) || all.contains(&&*name.replace(".key", ".crt"));
        assert_eq!(after[name] == *content, !is_leaf, "{name}");
    }
    // `init` finds nothing to do: the names are those that it would have written.
    let second = init(&config(data.path()), later).unwrap();
    assert_eq!(second, Default::default());
}

#[test]
fn a_short_life_is_renewed_with_a_third_left_and_others_certificates_never() {
    let data = tempfile::tempdir().unwrap();
    init(&config(data.path()), now()).unwrap();
    let file = |name: &str| names::pki_file(data.path(), name);
    let authority = pki::Authority::load(&file(names::CA_CERT), &file(names::CA_KEY), now()).unwrap();
    let leaf = pki::server_names(&config(data.path()));
    let pair = authority.sign_for(&leaf, now(), Duration::seconds(60)).unwrap();
    fs::write(file(names::APISERVER_CERT), &pair.cert_pem).unwrap();
    fs::write(file(names::APISERVER_KEY), &pair.key_pem).unwrap();
    let began = now();
    let look = pki::renew(data.path(), began + Duration::seconds(30)).unwrap();
    assert!(look.renewed.is_empty(), "{look:?}");
    let due = look.next_due.unwrap() - began;
    assert!((due - Duration::seconds(40)).abs() <= Duration::seconds(2), "{due}");
    assert_eq!(
        pki::renew(data.path(), began + Duration::seconds(45)).unwrap().renewed,
        [names::APISERVER_CERT]
    );

    // Of another authority, and of one whose key is elsewhere.
    let other = tempfile::tempdir().unwrap();
    init(&config(other.path()), now()).unwrap();
    for name in [names::APISERVER_CERT, names::APISERVER_KEY] {
        fs::copy(names::pki_file(other.path(), name), file(name)).unwrap();
    }
    fs::remove_file(file(names::FRONT_PROXY_CA_KEY)).unwrap();
    let later = now() + pki::LEAF_LIFETIME;
    let renewed = pki::renew(data.path(), later).unwrap().renewed;
    assert_eq!(renewed, ["apiserver-kubelet-client.crt", "admin.conf"]);
}
