//! Bounds of what a pod sends out of its node, as times of departure. That they are kept is the affair of the uplink's queue, which is
//! not asked here.

use keelson_ebpf_common::{drop::Reason, layout, packet::Pace};
use keelson_sys::{
    bpf::{Map, Ran},
    net::link_index,
};

use crate::{
    lab::{Lab, explain, pod},
    packet::{ACK, tcp_with},
};

const OUT: &str = "10.244.2.9:80";
const OUT6: &str = "[fd00:2::9]:80";

fn packet(from: &str, to: &str) -> Vec<u8> {
    tcp_with(from, to, ACK, &[0; 1000])
}

/// As the pod's link gives it to the program.
fn sent(lab: &mut Lab, link: &str, packet: &[u8]) -> Ran {
    let ifindex = link_index(link).unwrap().unwrap();
    let ran = lab.dataplane.packets().unwrap().run("from_pod", ifindex, packet);
    ran.unwrap_or_else(|e| panic!("{}", explain(&e)))
}

fn pace(lab: &mut Lab, bytes_per_s: u64) {
    let packets = lab.dataplane.packets().unwrap();
    packets.pace("pod1", bytes_per_s).unwrap();
    for address in ["10.244.1.2", "fd00:1::2"] {
        packets.add_endpoint(&pod(address, "pod1")).unwrap();
    }
}

/// `TC_ACT_REDIRECT`, `TC_ACT_SHOT`.
const GOES: i32 = 7;
const SHOT: i32 = 2;

#[test]
fn packets_that_come_too_fast_leave_one_after_the_other_and_those_beyond_the_horizon_never() {
    let Some(mut lab) = Lab::new("pace") else { return };
    let (v4, v6) = (packet("10.244.1.2:4000", OUT), packet("[fd00:1::2]:4000", OUT6));
    // Each takes nine tenths of a second.
    let rate = v4.len() as u64 * 10 / 9;
    pace(&mut lab, rate);
    let first = sent(&mut lab, "pod1", &v4);
    assert_eq!((first.verdict, first.departs_ns), (GOES, 0), "at once");
    let (second, third) = (sent(&mut lab, "pod1", &v4), sent(&mut lab, "pod1", &v4));
    assert_eq!((second.verdict, third.verdict), (GOES, GOES));
    assert_eq!(third.departs_ns - second.departs_ns, Pace::takes_ns(v4.len() as u64, rate));
    // Both families share what the pod has.
    for late in [&v4, &v6] {
        assert_eq!(sent(&mut lab, "pod1", late).verdict, SHOT);
    }
    assert_eq!(lab.dropped(Reason::TooFast), 2);
    // What stays on the node waits for nobody, nor does another pod.
    for (link, from, to) in [
        ("pod1", "10.244.1.2:4000", "10.244.1.3:80"),
        ("pod1", "10.244.1.2:4000", "172.30.0.11:10250"),
        ("pod2", "10.244.1.3:4000", OUT),
    ] {
        let ran = sent(&mut lab, link, &packet(from, to));
        assert!(
            ran.verdict != SHOT && ran.departs_ns == 0,
            "{from} to {to}: {} {}",
            ran.verdict,
            ran.departs_ns
        );
    }
    // The next daemon knows of it by the table alone.
    pace(&mut lab, rate);
    lab.reopen();
    let verdicts: Vec<i32> = (0..4).map(|_| sent(&mut lab, "pod1", &v4).verdict).collect();
    assert_eq!(verdicts, [GOES, GOES, GOES, SHOT]);
    assert_eq!(lab.dropped(Reason::TooFast), 3);
    // And it goes with the pod.
    let (bpffs, node) = (&lab.options().bpffs, &lab.options().node);
    let pin = bpffs.join("keelson").join(node).join("state").join(format!("{}-1", layout::PACES.name));
    let map = Map::open_pinned(&pin).unwrap().unwrap();
    assert_eq!(map.keys(2).unwrap().len(), 1);
    lab.dataplane.packets().unwrap().remove_endpoint(&pod("10.244.1.2", "pod1")).unwrap();
    assert!(map.keys(2).unwrap().is_empty());
}

#[test]
fn packets_within_the_bound_leave_at_once() {
    let Some(mut lab) = Lab::new("pace-slow") else { return };
    let v4 = packet("10.244.1.2:4000", OUT);
    // Each takes a nanosecond.
    pace(&mut lab, v4.len() as u64 * 1_000_000_000);
    for _ in 0..3 {
        let ran = sent(&mut lab, "pod1", &v4);
        assert_eq!((ran.verdict, ran.departs_ns), (GOES, 0));
    }
    assert_eq!(lab.dropped(Reason::TooFast), 0);
}
