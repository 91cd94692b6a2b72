//! What lasts, as its operator sees it: snapshots of a running server, moving to another store, encryption at rest, and
//! several servers over one etcd.

use super::{APISERVER, Backend, Server, missing, text};
use crate::support::keelson;
use std::{
    path::Path,
    process::Output,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn store(args: &[&str]) -> Output {
    keelson().arg("store").args(args).output().expect("keelson runs")
}

fn ok(args: &[&str]) -> String {
    let output = store(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn refused(args: &[&str]) -> String {
    let output = store(args);
    assert!(!output.status.success(), "{args:?} was not refused: {}", text(&output.stdout));
    text(&output.stderr)
}

fn can_run(backend: Backend) -> bool {
    let missing = missing(backend);
    if let Some(reason) = missing {
        eprintln!("skipped: {reason}");
    }
    missing.is_none()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// The one thing that a cluster's objects need and a snapshot has not.
fn keep_key(server: &Server, folder: &Path) {
    let key = "pki/encryption.key";
    std::fs::copy(server.path(key), folder.join(key)).expect("a key to copy");
}

fn make(server: &Server, name: &str) -> u64 {
    let made = server.ok(&["create", "configmap", name, "--from-literal=a=1", "-o", "json"]);
    let made: serde_json::Value = serde_json::from_str(&made).expect("kubectl prints JSON");
    made["metadata"]["resourceVersion"].as_str().expect("it has one").parse().expect("it is a number")
}

/// Whether any file of the embedded store, or the one given, has the text.
fn has(at: &Path, needle: &str) -> bool {
    if at.is_dir() {
        return std::fs::read_dir(at)
            .expect("a folder")
            .any(|entry| has(&entry.expect("an entry").path(), needle));
    }
    let bytes = std::fs::read(at).expect("a file");
    bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
}

#[test]
fn a_snapshot_of_a_running_server_is_restored() {
    if !can_run(Backend::Embedded) {
        return;
    }
    let server = Server::start(Backend::Embedded, APISERVER);
    let (file, data) = (server.path("a.snap"), server.path(""));
    let before = make(&server, "before");
    server.ok(&["create", "secret", "generic", "hidden", "--from-literal=word=swordfish"]);
    let revision = std::thread::scope(|scope| {
        let writer =
            scope.spawn(|| (0..12).map(|n| make(&server, &format!("during-{n}"))).collect::<Vec<_>>());
        let said = ok(&["snapshot", path(&file), "--data", path(&data), "-o", "json"]);
        let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        writer.join().expect("kubectl works");
        assert!(said["keys"].as_u64() > Some(2) && said["bytes"].as_u64() > Some(500), "{said}");
        said["revision"].as_u64().expect("a number")
    });
    assert!(revision > before);
    assert!(!has(&file, "c3dvcmRmaXNo"), "the snapshot gives the secret away");
    assert!(refused(&["snapshot", path(&file), "--data", path(&data)]).contains("is there already"));
    let running = refused(&["restore", path(&file), "--data", path(&data)]);
    assert!(running.contains("a server runs on"), "{running}");
    let after = make(&server, "after");
    assert!(after > revision);

    let restored = Server::start_after(Backend::Embedded, APISERVER, &[], |folder, _| {
        let said = ok(&["import", path(&file), "--data", path(folder)]);
        assert!(said.contains(&format!("of revision {revision}")), "{said}");
        keep_key(&server, folder);
        assert!(refused(&["import", path(&file), "--data", path(folder)]).contains("has a store already"));
    });
    let found = restored.ok(&["get", "configmaps", "-o", "name"]);
    assert!(found.contains("configmap/before") && !found.contains("configmap/after"), "{found}");
    let version = restored.ok(&["get", "configmap", "before", "-o", "jsonpath={.metadata.resourceVersion}"]);
    assert_eq!(version, before.to_string());
    assert_eq!(restored.ok(&["get", "secret", "hidden", "-o", "jsonpath={.data.word}"]), "c3dvcmRmaXNo");
}

#[test]
fn a_cluster_moves_to_etcd() {
    if !can_run(Backend::Etcd) {
        return;
    }
    let mut server = Server::start(Backend::Embedded, APISERVER);
    make(&server, "one");
    make(&server, "two");
    server.ok(&["create", "secret", "generic", "hidden", "--from-literal=word=swordfish"]);
    server.stop();
    let file = server.path("a.snap");
    ok(&["export", path(&file), "--data", path(&server.path(""))]);
    let moved = Server::start_after(Backend::Etcd, APISERVER, &[], |folder, options| {
        keep_key(&server, folder);
        ok(&["import", path(&file), "--etcd", &options[3]]);
        let again = refused(&["import", path(&file), "--etcd", &options[3]]);
        assert!(again.contains("is not empty"), "{again}");
    });
    let versions =
        moved.ok(&["get", "configmaps", "one", "two", "-o", "jsonpath={.items[*].metadata.resourceVersion}"]);
    let versions: Vec<u64> = versions.split(' ').map(|text| text.parse().expect("a number")).collect();
    assert!(versions[0] < versions[1], "{versions:?}");
    assert_eq!(moved.ok(&["get", "secret", "hidden", "-o", "jsonpath={.data.word}"]), "c3dvcmRmaXNo");
    let damaged = server.path("damaged.snap");
    let mut bytes = std::fs::read(&file).expect("the snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).expect("a file");
    let text = refused(&["import", path(&damaged), "--data", path(&server.path("elsewhere"))]);
    assert!(text.contains("damaged.snap at byte"), "{text}");
}

fn encryption(keys: &[(&str, char)]) -> String {
    use std::fmt::Write as _;
    let mut text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
                    - resources: [secrets, configmaps]\n  providers:\n"
        .to_owned();
    for (name, letter) in keys {
        // 32 bytes in base64.
        let secret = format!("{}A=", letter.to_string().repeat(42));
        writeln!(text, "  - aesgcm: {{keys: [{{name: {name}, secret: {secret}}}]}}").expect("text grows");
    }
    text + "  - identity: {}\n"
}

#[test]
fn secrets_are_encrypted_at_rest_and_keys_rotate_while_it_runs() {
    if !can_run(Backend::Embedded) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("encryption.yaml");
    std::fs::write(&config, encryption(&[("one", 'A')])).expect("a file");
    let options = ["--encryption-provider-config", path(&config)];
    let mut server = Server::start_with(Backend::Embedded, APISERVER, &options);
    server.ok(&["create", "secret", "generic", "hidden", "--from-literal=word=swordfish"]);
    make(&server, "settings");
    server.ok(&["create", "namespace", "plain"]);
    let at = server.path("store");
    assert!(!has(&at, "c3dvcmRmaXNo") && has(&at, "k8s:enc:aesgcm:v1:one:") && has(&at, "\"plain\""));

    std::fs::write(&config, "kind: Nothing").expect("a file");
    wait(&server, "the old encryption configuration is kept");
    std::fs::write(&config, encryption(&[("two", 'B'), ("one", 'A')])).expect("a file");
    wait(&server, "written again with today's encryption");
    // Without the old key.
    std::fs::write(&config, encryption(&[("two", 'B')])).expect("a file");
    server.kill_and_restart();
    assert_eq!(server.ok(&["get", "secret", "hidden", "-o", "jsonpath={.data.word}"]), "c3dvcmRmaXNo");
    assert_eq!(server.ok(&["get", "configmap", "settings", "-o", "jsonpath={.data.a}"]), "1");
}

fn wait(server: &Server, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !server.log().contains(line) {
        assert!(Instant::now() < deadline, "no {line:?}: {}", server.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_servers_over_one_etcd_show_each_others_writes_at_once() {
    if !can_run(Backend::Etcd) {
        return;
    }
    let first = Server::start(Backend::Etcd, APISERVER);
    let second = first.second();
    for n in 0..10 {
        let (writer, reader) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        let name = format!("n{n}");
        let version = make(writer, &name).to_string();
        let list = reader.ok(&["get", "configmaps", "-o", "name"]);
        assert!(list.contains(&name), "{list}");
        let read = reader.ok(&["get", "configmap", &name, "-o", "jsonpath={.metadata.resourceVersion}"]);
        assert_eq!(read, version);
        reader.ok(&["annotate", "configmap", &name, "seen=yes"]);
        let seen = writer.ok(&["get", "configmap", &name, "-o", "jsonpath={.metadata.annotations.seen}"]);
        assert_eq!(seen, "yes");
    }
}
