//! What the kernel is told and what the plugin answers, over a recorder.

use super::*;
use keelson_sys::net::{NetOp, Recorder};

fn known(nets: &[&str]) -> PodRanges {
    PodRanges::Known(nets.iter().map(|net| net.parse().unwrap()).collect())
}

fn server(folder: &tempfile::TempDir) -> (Arc<Server>, Arc<Recorder>) {
    let (_, ranges) = watch::channel(known(&["10.244.1.0/29", "fd00:244:1::/64"]));
    server_with(folder, ranges)
}

fn server_with(
    folder: &tempfile::TempDir,
    ranges: watch::Receiver<PodRanges>,
) -> (Arc<Server>, Arc<Recorder>) {
    server_of(folder, ranges, Arc::new(NoEndpoints), false)
}

fn server_of(
    folder: &tempfile::TempDir,
    ranges: watch::Receiver<PodRanges>,
    endpoints: Arc<dyn Endpoints>,
    departures: bool,
) -> (Arc<Server>, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let config = Config {
        root: folder.path().into(),
        socket: folder.path().join("cni.sock"),
        conf_dir: folder.path().join("conf"),
        mtu: watch::channel(1500).1,
        departures,
    };
    (Server::open(config, recorder.clone(), endpoints, ranges, Arc::new(|_| false)).unwrap(), recorder)
}

fn attachment(sandbox: &str) -> Request<Attachment> {
    Request::new(Attachment {
        container_id: sandbox.into(),
        netns: format!("/run/netns/{sandbox}"),
        interface: "eth0".into(),
        pod_namespace: "default".into(),
        pod_name: sandbox.into(),
        pod_uid: "u".into(),
        bandwidth: None,
    })
}

#[tokio::test]
async fn add_tells_the_kernel_both_namespaces_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (server, recorder) = server(&folder);
    let reply = server.add(attachment("a")).await.unwrap().into_inner();
    let told: Vec<&str> = reply.addresses.iter().map(|of| of.address.as_str()).collect();
    assert_eq!(told, ["10.244.1.2/32", "fd00:244:1::2/128"]);
    let calls = recorder.calls();
    let pod = Netns::Path("/run/netns/a".into());
    let inside = calls.iter().position(|(netns, _)| *netns == pod).unwrap();
    assert!(calls[..inside].iter().all(|(netns, _)| *netns == Netns::Own));
    assert!(calls[inside..].iter().all(|(netns, _)| *netns == pod));
    assert!(matches!(&calls[0].1, NetOp::AddVeth { peer_name, .. } if peer_name == "eth0"));
    assert_eq!(calls[inside].1, NetOp::EnableIpv6, "before any address");
    let routes =
        |calls: &[(Netns, NetOp)]| calls.iter().filter(|(_, op)| matches!(op, NetOp::PutRoute(_))).count();
    assert_eq!(
        (routes(&calls[..inside]), routes(&calls[inside..])),
        (2, 2),
        "of each family one on either side"
    );
}

/// Remembers how fast pods may send.
#[derive(Default)]
struct Told(Mutex<Vec<u64>>);

#[async_trait::async_trait]
impl Endpoints for Told {
    async fn add(&self, pod: PodEnd) -> Result<(), EndpointError> {
        self.0.lock().push(pod.paced_bytes_per_s);
        Ok(())
    }

    async fn remove(&self, _pod: PodEnd) -> Result<(), EndpointError> {
        Ok(())
    }

    async fn replace(&self, _pods: Vec<PodEnd>) -> Result<(), EndpointError> {
        Ok(())
    }

    async fn tunnel(&self, _addresses: Option<Vec<IpAddr>>) -> Result<(), EndpointError> {
        Ok(())
    }
}

#[tokio::test]
async fn what_a_pod_sends_is_bounded_by_times_of_departure_where_they_are_kept_and_else_by_a_queue() {
    for departures in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let told = Arc::new(Told::default());
        let (_, ranges) = watch::channel(known(&["10.244.1.0/29"]));
        let (server, recorder) = server_of(&folder, ranges, told.clone(), departures);
        let mut request = attachment("a");
        let bandwidth = keelson_cni_agent::Bandwidth { ingress_rate: 8_000, egress_rate: 16_001 };
        request.get_mut().bandwidth = Some(bandwidth);
        server.add(request).await.unwrap();
        assert_eq!(*told.0.lock(), [if departures { 2_001 } else { 0 }]);
        let calls = recorder.calls();
        let queues = calls.iter().filter_map(|(netns, op)| match op {
            NetOp::LimitRate { limit, .. } => Some((netns.clone(), limit.bytes_per_s)),
            _ => None,
        });
        let (host, pod) = ((Netns::Own, 1_000), (Netns::Path("/run/netns/a".into()), 2_001));
        let expected = if departures { vec![host] } else { vec![host, pod] };
        assert_eq!(queues.collect::<Vec<_>>(), expected, "the bound of what comes to it stays a queue");
    }
}

#[tokio::test(start_paused = true)]
async fn without_ranges_add_waits_and_then_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let message = "spec.podCIDRs of Node n1 is empty".to_string();
    let (tell, ranges) = watch::channel(PodRanges::Unknown { reason: "PodCIDRsMissing", message });
    let (server, recorder) = server_with(&folder, ranges);
    let refusal = server.add(attachment("a")).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::Unavailable);
    assert!(refusal.message().contains("podCIDRs of Node n1 is empty"), "{}", refusal.message());
    assert!(recorder.links().await.unwrap().is_empty());
    let waiting = tokio::spawn({
        let server = server.clone();
        async move { server.add(attachment("a")).await }
    });
    tokio::task::yield_now().await;
    tell.send(known(&["10.244.1.0/29"])).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().into_inner().addresses[0].address, "10.244.1.2/32");
}

#[tokio::test]
async fn add_twice_answers_the_same_address() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = server(&folder);
    let first = server.add(attachment("a")).await.unwrap().into_inner();
    assert_eq!(server.add(attachment("a")).await.unwrap().into_inner(), first);
}

#[tokio::test]
async fn a_full_range_is_refused_with_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = server(&folder);
    for sandbox in ["a", "b", "c", "d", "e"] {
        server.add(attachment(sandbox)).await.unwrap();
    }
    let refusal = server.add(attachment("f")).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
    assert!(refusal.message().contains("5 leased"), "{}", refusal.message());
}

#[tokio::test]
async fn delete_removes_the_link_and_check_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (server, recorder) = server(&folder);
    server.add(attachment("a")).await.unwrap();
    server.check(attachment("a")).await.unwrap();
    server.delete(attachment("a")).await.unwrap();
    server.delete(attachment("a")).await.unwrap();
    assert!(recorder.links().await.unwrap().is_empty());
    assert_eq!(server.check(attachment("a")).await.unwrap_err().code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn after_a_start_a_sandbox_that_is_unknown_keeps_its_addresses_while_it_has_its_link() {
    let folder = tempfile::tempdir().unwrap();
    let (server, recorder) = server(&folder);
    for sandbox in ["made", "in-the-making", "gone"] {
        server.add(attachment(sandbox)).await.unwrap();
    }
    recorder.apply(&Netns::Own, &link::plan_delete("gone")).await.unwrap();
    let unmade = server.adopt(&BTreeSet::from(["made".to_owned()])).await.unwrap();
    assert_eq!(unmade, ["in-the-making"]);
    let leases = || {
        let mut all: Vec<_> = server.ipam.lock().leases().map(|lease| lease.sandbox.clone()).collect();
        all.sort();
        all
    };
    assert_eq!(leases(), ["in-the-making", "made"]);
    server.release(&unmade).await.unwrap();
    assert_eq!(leases(), ["made"]);
    assert!(!recorder.links().await.unwrap().contains(&link::host_interface("in-the-making")));
}
