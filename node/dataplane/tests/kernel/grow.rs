//! More Services than the tables hold: larger ones take their place under load.

use std::net::{SocketAddr, TcpStream};

use keelson_dataplane::{
    Dataplane,
    plan::{Frontend, Protocol},
};
use keelson_ebpf_common::limits;

use crate::{
    change::Load,
    support::{Lab, Servers, ask, frontend},
};

const SERVICE: &str = "10.96.0.7:80";
const HELD: &str = "10.96.0.8:80";

/// Services of other addresses than those above, without backends.
fn many(count: u32) -> Vec<Frontend> {
    let address = |n: u32| SocketAddr::new((0x0a61_0000 + n).to_be_bytes().into(), 80);
    (0..count).map(|n| frontend(Protocol::Tcp, &address(n).to_string(), &[])).collect()
}

#[test]
fn tables_grow_under_load_and_a_client_keeps_its_backend_and_its_peer() {
    let Some(lab) = Lab::new("grow") else { return };
    let servers = Servers::tcp("127.0.0.1", 4);
    let held = Frontend { affinity_s: 600, ..frontend(Protocol::Tcp, HELD, &servers.addresses) };
    let mut dataplane = lab.dataplane(&[frontend(Protocol::Tcp, SERVICE, &servers.addresses[..2]), held]);
    assert_eq!(dataplane.status().unwrap().scale, 0);
    let small_bytes: u64 = dataplane.status().unwrap().memory_bytes.iter().map(|(_, bytes)| bytes).sum();
    let open = TcpStream::connect(SERVICE).unwrap();
    let mine = ask(HELD.parse().unwrap()).unwrap();
    let load = Load::start(SERVICE, 0..2);

    for scale in 1..=3 {
        let services = many(limits::frontends4(scale - 1));
        assert_eq!(dataplane.change(&[], &services).unwrap().full, []);
        let status = dataplane.status().unwrap();
        assert_eq!((status.scale, status.frontends), (scale, services.len() + 2));
        load.more(200);
        assert!((0..50).all(|_| ask(HELD.parse().unwrap()).unwrap() == mine), "affinity outlives the tables");
        assert!(ask(services.last().unwrap().key.socket()).is_err(), "refused: it has no backend");
    }
    assert_eq!(open.peer_addr().unwrap(), SERVICE.parse().unwrap());
    assert_eq!(load.finish(), [""; 0]);
    let large_bytes: u64 = dataplane.status().unwrap().memory_bytes.iter().map(|(_, bytes)| bytes).sum();
    assert!(small_bytes < large_bytes);
    let folders = std::fs::read_dir(lab.pins()).unwrap().filter_map(Result::ok);
    let maps = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with("maps-"));
    assert_eq!(maps.count(), 1, "the smaller tables are gone");

    drop(dataplane);
    let again = Dataplane::open(&lab.options).unwrap().status().unwrap();
    assert_eq!((again.scale, again.frontends), (3, limits::frontends4(2) as usize + 2));
}

#[test]
fn what_fits_no_table_stays_as_it_was_while_they_grow() {
    let Some(lab) = Lab::new("stays") else { return };
    let servers = Servers::tcp("127.0.0.1", 2);
    let mut dataplane = lab.dataplane(&[frontend(Protocol::Tcp, SERVICE, &servers.addresses)]);
    let too_many: Vec<SocketAddr> = (0..=limits::BACKENDS_PER_SERVICE_MAX)
        .map(|n| SocketAddr::new((0x0af4_0000 + n).to_be_bytes().into(), 80))
        .collect();
    let mut services = many(limits::frontends4(0) + 1);
    services.push(frontend(Protocol::Tcp, SERVICE, &too_many));
    let full = dataplane.change(&[], &services).unwrap().full;
    assert_eq!((full.len(), full[0].what), (1, "backends of one Service"));
    assert_eq!(dataplane.status().unwrap().scale, 1);
    assert!(ask(SERVICE.parse().unwrap()).is_ok(), "its backends of before still answer");
}

#[test]
fn a_first_list_that_is_large_goes_straight_to_its_size() {
    let Some(lab) = Lab::new("large") else { return };
    let services = many(limits::FRONTENDS4_MAX + 1);
    let mut dataplane = Dataplane::open(&lab.options).unwrap();
    let full = dataplane.replace(&services).unwrap().full;
    assert_eq!((full.len(), full[0].what, full[0].limit), (1, "frontends", limits::FRONTENDS4_MAX as usize));
    let status = dataplane.status().unwrap();
    assert_eq!((status.scale, status.frontends), (limits::SCALE_MAX, limits::FRONTENDS4_MAX as usize));
}
