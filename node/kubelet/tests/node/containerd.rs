//! A kubelet with a real containerd of its own, and the images that `cargo xtask images` makes. Needs root,
//! containerd and runc; without them it says why it is skipped. Pods are in the host's network: no CNI.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use keelson_kubelet::{NoDrain, Parts};
use keelson_runtime::{CriRuntime, Runtime};
use keelson_sys::cgroups::{Cgroups, Hierarchies};
use keelson_sys::mounts::KernelMounts;
use serde_json::json;
use tokio::sync::mpsc;

use crate::fake::config;
use crate::support::{Api, PATIENCE, condition, container};

/// Parent of the test's cgroups in every hierarchy.
const CGROUP: &str = "/keelson-kubelet-test";

/// A containerd that ends with the test, however it ends.
struct Containerd {
    process: Child,
    dir: tempfile::TempDir,
}

impl Containerd {
    fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    fn start(images: &[PathBuf]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let text = format!(
            "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
             [grpc]\n  address = \"{at}/containerd.sock\"\n\
             [ttrpc]\n  address = \"{at}/containerd.sock.ttrpc\"\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"keelson.local/pause:1\"\n\
             \x20 restrict_oom_score_adj = true\n"
        );
        std::fs::write(dir.path().join("config.toml"), text).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new("containerd")
            .arg("--config")
            .arg(dir.path().join("config.toml"))
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let containerd = Self { process, dir };
        let begin = std::time::Instant::now();
        while std::os::unix::net::UnixStream::connect(containerd.socket()).is_err() {
            assert!(begin.elapsed() < PATIENCE, "containerd does not come up");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for image in images {
            let mut ctr = Command::new("ctr");
            ctr.args(["-n", "k8s.io", "-a"]).arg(containerd.socket()).args(["images", "import"]).arg(image);
            let output = ctr.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        containerd
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let left = Hierarchies::read().map(|trees| trees.remove(CGROUP));
        if !matches!(left, Ok(Ok(()))) {
            eprintln!("the cgroups of the test could not be removed: {left:?}");
        }
    }
}

/// Why the test cannot run here.
fn missing(images: &[PathBuf]) -> Option<String> {
    if std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) != 0) {
        return Some("it needs root".to_owned());
    }
    for program in ["containerd", "runc", "ctr"] {
        if Command::new(program).arg("--version").output().is_err() {
            return Some(format!("it needs the program {program}"));
        }
    }
    let absent = images.iter().find(|image| !image.exists())?;
    Some(format!("it needs {}: run cargo xtask images", absent.display()))
}

#[tokio::test]
async fn a_real_container_runs_restarts_and_leaves_nothing_behind() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/images");
    let images = ["pause.tar", "busybox.tar"].map(|name| folder.join(name));
    if let Some(reason) = missing(&images) {
        eprintln!("skipped: {reason}");
        return;
    }
    let containerd = Containerd::start(&images);
    let api = Api::new();
    let runtime: Arc<dyn Runtime> = Arc::new(CriRuntime::new(&containerd.socket()));
    let (sender, events) = mpsc::channel(64);
    let follower = tokio::spawn(keelson_runtime::follow(containerd.socket(), sender));
    let root = containerd.dir.path().join("kubelet");
    let parts = Parts {
        client: api.client(),
        runtime: Arc::clone(&runtime),
        events,
        drain: Arc::new(NoDrain),
        network: None,
        mounts: Arc::new(KernelMounts),
        cgroups: Arc::new(Hierarchies::read().unwrap()),
    };
    let config = keelson_kubelet::Config { cgroup_parent: CGROUP.into(), ..config(&root) };
    let _kubelet = keelson_kubelet::start(config, parts).await.unwrap();

    api.create(
        "real",
        json!({
            "hostNetwork": true, "terminationGracePeriodSeconds": 3,
            "volumes": [{ "name": "m", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }],
            "containers": [{
                "name": "app", "image": "busybox:1.35",
                "command": ["sh", "-c", "trap 'exit 0' TERM; test -e /m/again || { touch /m/again; echo first > /dev/termination-log; exit 7; }; while true; do sleep 0.1; done"],
                "resources": { "limits": { "memory": "32Mi" } },
                "readinessProbe": { "exec": { "command": ["test", "-e", "/m/again"] }, "periodSeconds": 1 },
                "volumeMounts": [{ "name": "m", "mountPath": "/m" }],
            }],
        }),
    );
    api.wait("the restart", |state| container(state, "real")["restartCount"] == 1).await;
    api.wait("Ready", |state| condition(state, "real", "Ready").as_deref() == Some("True")).await;
    {
        let state = api.state.lock();
        let last = &container(&state, "real")["lastState"]["terminated"];
        assert_eq!((&last["exitCode"], &last["message"]), (&json!(7), &json!("first\n")));
    }
    api.delete("real", 3);
    api.wait("the end", |state| state.pods.is_empty()).await;
    assert!(runtime.sandboxes().await.unwrap().is_empty());
    assert_eq!(std::fs::read_dir(root.join("pods")).unwrap().count(), 0, "folders and mounts are gone");
    follower.abort();
}
