//! SCTP: addresses change, ports and checksum never do; an association lives from its INIT to its ABORT or SHUTDOWN COMPLETE.

use keelson_dataplane::plan::Protocol::Sctp;
use keelson_ebpf_common::drop::Reason;

use crate::{
    altered::fragments,
    lab::{Fate, Lab, external, frontend, pass, redirect},
    packet::{sctp, tell},
};

const CLIENT: &str = "10.244.1.2:4000";
const SERVICE: &str = "10.96.0.7:9";

fn ask(lab: &mut Lab, chunk: &str) -> Fate {
    lab.run("from_pod", "pod1", &sctp(CLIENT, SERVICE, chunk))
}

fn answer(lab: &mut Lab, chunk: &str) -> Fate {
    lab.run("from_pod", "pod2", &sctp("10.244.1.3:9", CLIENT, chunk))
}

#[test]
fn an_association_is_translated_both_ways_in_both_families() {
    let Some(mut lab) = Lab::new("sctp") else { return };
    lab.frontends(&[
        frontend(Sctp, SERVICE, &["10.244.1.3:9"]),
        frontend(Sctp, "[fd00:96::7]:9", &["[fd00:2::9]:9"]),
    ]);
    for (there, back) in [("INIT", "INIT-ACK"), ("COOKIE-ECHO", "COOKIE-ACK"), ("DATA", "SACK")] {
        assert_eq!(ask(&mut lab, there), redirect(&format!("sctp {CLIENT} > 10.244.1.3:9 {there} hops 63")));
        assert_eq!(answer(&mut lab, back), redirect(&format!("sctp {SERVICE} > {CLIENT} {back} hops 63")));
        let packet = sctp("[fd00:1::2]:4000", "[fd00:96::7]:9", there);
        let fate = redirect(&format!("sctp [fd00:1::2]:4000 > [fd00:2::9]:9 {there} hops 63"));
        assert_eq!(lab.run("from_pod", "pod1", &packet), fate);
        let packet = sctp("[fd00:2::9]:9", "[fd00:1::2]:4000", back);
        let fate = redirect(&format!("sctp [fd00:96::7]:9 > [fd00:1::2]:4000 {back} hops 63"));
        assert_eq!(lab.run("from_uplink", "uplink", &packet), fate);
    }
}

#[test]
fn an_association_stays_with_its_backend_until_it_is_over() {
    for end in ["ABORT", "SHUTDOWN-COMPLETE"] {
        let Some(mut lab) = Lab::new("sctp-stays") else { return };
        lab.frontends(&[frontend(Sctp, SERVICE, &["10.244.1.3:9"])]);
        let there = |chunk: &str| redirect(&format!("sctp {CLIENT} > 10.244.1.3:9 {chunk} hops 63"));
        assert_eq!(ask(&mut lab, "INIT"), there("INIT"));
        answer(&mut lab, "INIT-ACK");
        ask(&mut lab, "COOKIE-ECHO");
        answer(&mut lab, "COOKIE-ACK");
        lab.frontends(&[frontend(Sctp, SERVICE, &["10.244.2.9:9"])]);
        assert_eq!(ask(&mut lab, "DATA"), there("DATA"));
        // An end that begins anew, as after a crash, is of the association that there is (RFC 9260, 5.2).
        assert_eq!(ask(&mut lab, "INIT"), there("INIT"));
        assert_eq!(ask(&mut lab, end), there(end));
        assert_eq!(ask(&mut lab, "INIT"), redirect(&format!("sctp {CLIENT} > 10.244.2.9:9 INIT hops 63")));
    }
}

#[test]
fn an_association_is_established_when_its_cookie_has_come_back() {
    let Some(mut lab) = Lab::new("sctp-state") else { return };
    lab.frontends(&[frontend(Sctp, SERVICE, &["10.244.1.3:9"])]);
    let count = |lab: &mut Lab| {
        lab.dataplane.packets().unwrap().collect().unwrap();
        let count = lab.dataplane.packets().unwrap().collect().unwrap();
        (count.established, count.half_open)
    };
    ask(&mut lab, "INIT");
    assert_eq!(count(&mut lab), (0, 1));
    answer(&mut lab, "INIT-ACK");
    assert_eq!(count(&mut lab), (0, 1));
    ask(&mut lab, "COOKIE-ECHO");
    assert_eq!(count(&mut lab), (1, 0));
}

#[test]
fn a_service_without_backends_is_unreachable() {
    let Some(mut lab) = Lab::new("sctp-refuse") else { return };
    lab.frontends(&[frontend(Sctp, SERVICE, &[]), frontend(Sctp, "[fd00:96::7]:9", &[])]);
    let told = redirect(&format!("error 3.3 10.96.0.7 > 10.244.1.2 about [sctp {CLIENT} > {SERVICE}]"));
    assert_eq!(ask(&mut lab, "INIT"), told);
    assert_eq!(
        lab.run("from_pod", "pod1", &sctp("[fd00:1::2]:4000", "[fd00:96::7]:9", "INIT")),
        redirect("error 1.4 fd00:96::7 > fd00:1::2 about [sctp [fd00:1::2]:4000 > [fd00:96::7]:9]")
    );
    assert_eq!(lab.dropped(Reason::Refused), 2);
}

#[test]
fn the_nodes_address_is_lent_without_a_port_and_to_one_at_a_time() {
    let Some(mut lab) = Lab::new("sctp-node") else { return };
    lab.external(&[external(Sctp, "198.51.100.1:9", &["10.244.2.9:9"])]);
    // From outside to a backend elsewhere.
    let there = lab.run("from_uplink", "uplink", &sctp("192.0.2.7:4000", "198.51.100.1:9", "INIT"));
    assert_eq!(there, redirect("sctp 172.30.0.11:4000 > 10.244.2.9:9 INIT hops 63"));
    let back = lab.run("from_uplink", "uplink", &sctp("10.244.2.9:9", "172.30.0.11:4000", "INIT-ACK"));
    assert_eq!(back, redirect("sctp 198.51.100.1:9 > 192.0.2.7:4000 INIT-ACK hops 63"));
    let other = lab.run("from_uplink", "uplink", &sctp("192.0.2.8:4000", "198.51.100.1:9", "INIT"));
    assert_eq!((other, lab.dropped(Reason::NoConntrack)), (Fate::Drop, 1));
    // Out into the world.
    let out = lab.run("to_uplink", "uplink", &sctp(CLIENT, "203.0.113.9:9", "INIT"));
    assert_eq!(out, pass("sctp 172.30.0.11:4000 > 203.0.113.9:9 INIT"));
    let back = lab.run("from_uplink", "uplink", &sctp("203.0.113.9:9", "172.30.0.11:4000", "INIT-ACK"));
    assert_eq!(back, redirect(&format!("sctp 203.0.113.9:9 > {CLIENT} INIT-ACK hops 63")));
    // A pod that reaches itself.
    lab.frontends(&[frontend(Sctp, SERVICE, &["10.244.1.2:9"])]);
    assert_eq!(ask(&mut lab, "INIT"), redirect("sctp 172.30.0.11:4000 > 10.244.1.2:9 INIT hops 63"));
}

#[test]
fn later_fragments_follow_the_first() {
    let Some(mut lab) = Lab::new("sctp-fragments") else { return };
    lab.frontends(&[frontend(Sctp, SERVICE, &["10.244.1.3:9"])]);
    ask(&mut lab, "INIT");
    let [first, later] = fragments(&sctp(CLIENT, SERVICE, "DATA"), 16, 1);
    lab.bytes("from_pod", "pod1", &first);
    let (_, two) = lab.bytes("from_pod", "pod1", &later);
    assert_eq!(tell(&two), "later 10.244.1.2 > 10.244.1.3 hops 63");
}
