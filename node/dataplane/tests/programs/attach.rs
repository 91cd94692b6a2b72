//! Programs at devices: both ways of attaching, adoption by a later daemon, removal.

use std::process::Command;

use aya::programs::{SchedClassifier, TcAttachType};
use keelson_dataplane::plan::Protocol::Tcp;
use keelson_dataplane::{Dataplane, packet::Method, remove_all};

use crate::{
    lab::{Lab, explain, frontend, ip, redirect},
    packet::{ACK, SYN, tcp},
};

/// Programs at a device: linked ones as the kernel tells them, filters as its tool does.
fn attached(device: &str) -> Vec<String> {
    let linked = [(TcAttachType::Ingress, "tcx/ingress"), (TcAttachType::Egress, "tcx/egress")];
    let linked = linked.into_iter().flat_map(|(hook, name)| {
        let (_, programs) = SchedClassifier::query_tcx(device, hook).unwrap();
        programs.into_iter().map(move |program| format!("{name} {}", program.name_as_str().unwrap()))
    });
    let told = Command::new("bpftool").args(["-j", "net", "show", "dev", device]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let mut names: Vec<String> = told
        .as_array()
        .into_iter()
        .flatten()
        .flat_map(|all| all["tc"].as_array().cloned().unwrap_or_default())
        .filter(|program| program["kind"].as_str().is_some_and(|kind| kind.starts_with("clsact")))
        .map(|program| format!("{} {}", program["kind"].as_str().unwrap(), program["name"].as_str().unwrap()))
        .chain(linked)
        .collect();
    names.sort_unstable();
    names
}

fn has_bpftool() -> bool {
    let there = Command::new("bpftool").arg("version").output().is_ok();
    if !there {
        eprintln!("skipped: no bpftool to look with");
    }
    there
}

#[test]
fn a_later_daemon_takes_over_what_is_attached_and_removal_leaves_nothing() {
    let Some(mut lab) = Lab::new("adopt") else { return };
    lab.frontends(&[frontend(Tcp, "10.96.0.7:80", &["10.244.1.3:8080"])]);
    lab.run("from_pod", "pod1", &tcp("10.244.1.2:4000", "10.96.0.7:80", SYN));
    let pins = std::fs::read_dir(lab.dataplane.packets().unwrap().pins()).unwrap().count();
    assert_eq!(pins, 4, "two programs at each of two links");
    if lab.dataplane.packets().unwrap().method() != Some(Method::Tcx) || !has_bpftool() {
        return;
    }
    assert_eq!(attached("pod1"), ["tcx/egress to_pod", "tcx/ingress from_pod"]);
    // The flow goes on with the next daemon's programs; a link that is gone is left out.
    let options = lab.options().clone();
    lab.dataplane = Dataplane::open(&options).unwrap_or_else(|e| panic!("{}", explain(&e)));
    let pods = [crate::lab::pod("10.244.1.2", "pod1"), crate::lab::pod("10.244.1.3", "pod2")];
    ip("link delete pod2");
    lab.dataplane.packets().unwrap().replace_endpoints(&pods).unwrap();
    assert_eq!(attached("pod1").len(), 2);
    let packet = tcp("10.244.1.2:4000", "10.96.0.7:80", ACK);
    // Its pod is gone, so the packet is not redirected into it.
    assert_eq!(
        lab.run("from_pod", "pod1", &packet),
        redirect("tcp 10.244.1.2:4000 > 10.244.1.3:8080 A hops 63")
    );
    remove_all(&options.bpffs, &options.node).unwrap();
    assert_eq!(attached("pod1"), [""; 0]);
}

#[test]
fn without_tcx_filters_do_the_same() {
    let Some(lab) = Lab::with("clsact", |options| options.without_tcx = true) else { return };
    if !has_bpftool() {
        return;
    }
    assert_eq!(attached("pod1"), ["clsact/egress to_pod", "clsact/ingress from_pod"]);
    // A later daemon replaces them in place once its tables are filled, another way if it likes that better.
    let mut options = lab.options().clone();
    let again = |options: &keelson_dataplane::Options| {
        let mut dataplane = Dataplane::open(options).unwrap();
        let pod = crate::lab::pod("10.244.1.2", "pod1");
        dataplane.packets().unwrap().add_endpoint(&pod).unwrap();
        dataplane.attach().unwrap();
    };
    again(&options);
    assert_eq!(attached("pod1"), ["clsact/egress to_pod", "clsact/ingress from_pod"]);
    options.packets.as_mut().unwrap().without_tcx = false;
    again(&options);
    assert_eq!(attached("pod1").len(), 2, "never two at one hook: {:?}", attached("pod1"));
    options.packets.as_mut().unwrap().without_tcx = true;
    again(&options);
    assert_eq!(attached("pod1"), ["clsact/egress to_pod", "clsact/ingress from_pod"]);
    remove_all(&options.bpffs, &options.node).unwrap();
    assert_eq!(attached("pod1"), [""; 0]);
    assert_eq!(attached("pod2"), [""; 0]);
}
