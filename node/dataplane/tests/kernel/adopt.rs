//! A daemon that goes and comes back: what is pinned keeps working and is taken over, what does not fit is not.

use std::{net::TcpStream, process::Command};

use keelson_dataplane::{Dataplane, plan::Protocol, remove_all};
use keelson_ebpf_common::layout;
use keelson_sys::bpf::Map;

use crate::{
    change::Load,
    support::{Lab, Servers, ask, frontend},
};

const SERVICE: &str = "10.96.0.7:80";

#[test]
fn without_a_daemon_everything_goes_on_and_the_next_one_takes_over() {
    let Some(lab) = Lab::new("restart") else { return };
    let servers = Servers::tcp("127.0.0.1", 3);
    let service = frontend(Protocol::Tcp, SERVICE, &servers.addresses);
    let dataplane = lab.dataplane(std::slice::from_ref(&service));
    let before = dataplane.status().unwrap();
    let load = Load::start(SERVICE, 0..3);
    let open = TcpStream::connect(SERVICE).unwrap();
    drop(dataplane);
    load.more(200);
    assert_eq!(open.peer_addr().unwrap(), SERVICE.parse().unwrap());

    for _ in 0..3 {
        let mut again = Dataplane::open(&lab.options).unwrap();
        assert_eq!(again.status().unwrap().frontends, before.frontends);
        assert!(!again.replace(std::slice::from_ref(&service)).unwrap().changed, "all is there already");
        let attached = again.attach().unwrap();
        assert_eq!((attached.adopted, attached.created), (12, 0));
        load.more(100);
    }
    assert_eq!(open.peer_addr().unwrap(), SERVICE.parse().unwrap());
    assert_eq!(load.finish(), [""; 0]);
}

#[test]
fn what_changed_while_no_daemon_ran_is_made_right() {
    let Some(lab) = Lab::new("meanwhile") else { return };
    let servers = Servers::tcp("127.0.0.1", 3);
    drop(lab.dataplane(&[
        frontend(Protocol::Tcp, SERVICE, &servers.addresses),
        frontend(Protocol::Tcp, "10.96.0.8:80", &servers.addresses),
    ]));
    let mut again = Dataplane::open(&lab.options).unwrap();
    assert!(again.replace(&[frontend(Protocol::Tcp, SERVICE, &servers.addresses[2..])]).unwrap().changed);
    assert_eq!((0..20).map(|_| ask(SERVICE.parse().unwrap()).unwrap()).max(), Some(2));
    assert!(ask("10.96.0.8:80".parse().unwrap()).is_err());
    assert_eq!(again.status().unwrap().frontends, 1);
}

#[test]
fn an_outgrown_state_map_is_copied_and_a_foreign_map_is_replaced() {
    let Some(lab) = Lab::new("misfit") else { return };
    let servers = Servers::tcp("127.0.0.1", 1);
    let service = frontend(Protocol::Tcp, SERVICE, &servers.addresses);
    drop(lab.dataplane(std::slice::from_ref(&service)));
    let open = TcpStream::connect(SERVICE).unwrap();

    let state = lab.pins().join("state/CONNECTIONS-2");
    let record = Map::open_pinned(&state).unwrap().unwrap().entries().unwrap();
    let taken = record.values.chunks_exact(64).find(|slot| slot[..8] != [0; 8]).unwrap();
    remove_pin(&state);
    if !make_map(&state, "array", ["4", "64", "64"], "0x400") {
        return eprintln!("skipped: no bpftool");
    }
    let small = Map::open_pinned(&state).unwrap().unwrap();
    small.update_batch(&[7, 0, 0, 0], taken).unwrap();
    let config = std::fs::read_dir(lab.pins()).unwrap().map(|e| e.unwrap().path());
    let config = config.into_iter().find(|p| p.to_string_lossy().contains("maps-")).unwrap();
    let other_version = lab.pins().join("state/CONNECTIONS-0");
    assert!(make_map(&other_version, "array", ["4", "8", "1"], "0"));
    remove_pin(&config.join("FRONTENDS4"));
    assert!(make_map(&config.join("FRONTENDS4"), "hash", ["8", "4", "64"], "1"));

    let _dataplane = lab.dataplane(std::slice::from_ref(&service));
    assert!(Map::open_pinned(&state).unwrap().unwrap().info().max_entries > 64);
    assert_eq!(open.peer_addr().unwrap(), SERVICE.parse().unwrap());
    assert_eq!(ask(SERVICE.parse().unwrap()).unwrap(), 0);
    let left: Vec<_> =
        std::fs::read_dir(lab.pins().join("state")).unwrap().map(|e| e.unwrap().file_name()).collect();
    let kept = layout::MAPS.iter().filter(|shape| shape.keeping != layout::Keeping::Config).count();
    assert_eq!(left.len(), kept, "nothing set aside is left: {left:?}");
}

#[test]
fn removing_all_detaches_at_once_and_leaves_no_pin() {
    let Some(lab) = Lab::new("remove") else { return };
    let servers = Servers::tcp("127.0.0.1", 1);
    let _dataplane = lab.dataplane(&[frontend(Protocol::Tcp, SERVICE, &servers.addresses)]);
    assert!(ask(SERVICE.parse().unwrap()).is_ok());
    remove_all(&lab.options.bpffs, &lab.options.node).unwrap();
    assert!(ask(SERVICE.parse().unwrap()).is_err());
    assert!(!lab.pins().exists());
    remove_all(&lab.options.bpffs, &lab.options.node).unwrap();
}

#[test]
fn the_memory_of_every_map_is_known() {
    let Some(lab) = Lab::new("memory") else { return };
    let dataplane = lab.dataplane(&[]);
    let memory = dataplane.status().unwrap().memory_bytes;
    assert_eq!(memory.len(), keelson_ebpf_common::layout::MAPS.len());
    assert!(memory.iter().all(|(_, bytes)| *bytes > 0));
    let total: u64 = memory.iter().map(|(_, bytes)| bytes).sum();
    eprintln!("{memory:?}: {total} bytes");
    assert!(total < 16 << 20, "what empty maps take is bounded: {total}");
}

fn remove_pin(path: &std::path::Path) {
    keelson_sys::bpf::unpin(path).unwrap();
}

fn make_map(path: &std::path::Path, kind: &str, [key, value, entries]: [&str; 3], flags: &str) -> bool {
    let made = Command::new("bpftool")
        .args(["map", "create"])
        .arg(path)
        .args([
            "type", kind, "key", key, "value", value, "entries", entries, "name", "misfit", "flags", flags,
        ])
        .status();
    made.is_ok_and(|status| status.success())
}
