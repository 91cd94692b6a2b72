//! Names and addresses, asked from pods.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Cluster, Namespace, PATIENCE, eventually, manifest};
use serde_json::json;

/// Asks the cluster's DNS from the pod `client`; answers what nslookup printed after its server.
fn lookup(namespace: &Namespace, name: &str) -> Result<String> {
    let said = namespace.shell("client", &format!("nslookup {name} 2>&1 || true"))?;
    let answer = said.split_once("\n\n").map_or("", |(_, answer)| answer);
    Ok(answer.to_string())
}

/// The same for records of one type, of the server of an address.
fn lookup_of(namespace: &Namespace, kind: &str, name: &str, server: &str) -> Result<String> {
    let said = namespace.shell("client", &format!("nslookup -type={kind} {name} {server} 2>&1 || true"))?;
    let answer = said.split_once("\n\n").map_or("", |(_, answer)| answer);
    Ok(answer.to_string())
}

/// Waits until an answer of this type holds all of the words.
fn answers_of(namespace: &Namespace, kind: &str, name: &str, server: &str, words: &[&str]) -> Result<String> {
    eventually(PATIENCE, &format!("the {kind} answer of {server} for {name} holds {words:?}"), || {
        let said = lookup_of(namespace, kind, name, server)?;
        ensure!(words.iter().all(|word| said.contains(word)), "{said}");
        Ok(said)
    })
}

/// Waits until the answer holds all of the words: the server learns of objects by a watch.
fn answers(namespace: &Namespace, name: &str, words: &[&str]) -> Result<String> {
    eventually(PATIENCE, &format!("the answer for {name} holds {words:?}"), || {
        let said = lookup(namespace, name)?;
        ensure!(words.iter().all(|word| said.contains(word)), "{said}");
        Ok(said)
    })
}

fn serving(namespace: &Namespace) -> Result<()> {
    namespace.apply_all(&[
        manifest::shell("client"),
        manifest::deployment("web", 2, manifest::answering("$HOSTNAME")),
        manifest::service("web", "web"),
    ])?;
    namespace.ready("client")?;
    namespace.endpoints("web", 2).map(drop)
}

#[test]
fn a_service_has_a_name_and_its_address_leads_back() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    serving(&namespace)?;
    let (address, name) = (namespace.cluster_ip("web")?, namespace.dns_name("web"));
    answers(&namespace, &name, &[&address])?;
    answers(&namespace, &address, &[&name])?;
    answers(&namespace, "kubernetes.default.svc.cluster.local", &["10.96.0.1"])?;
    Ok(())
}

#[test]
fn every_short_form_is_found_by_the_search_path() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    serving(&namespace)?;
    answers(&namespace, &namespace.dns_name("web"), &["10.96."])?;
    let space = &namespace.name;
    for host in [
        "web".into(),
        format!("web.{space}"),
        format!("web.{space}.svc"),
        format!("web.{space}.svc.cluster.local."),
    ] {
        let said = namespace.shell("client", &format!("timeout 5 wget -q -O - http://{host}/"))?;
        ensure!(said.starts_with("web-"), "{host} answered {said}");
    }
    Ok(())
}

#[test]
fn a_headless_service_is_its_pods() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    serving(&namespace)?;
    let mut headless = manifest::service("headless", "web");
    headless["spec"]["clusterIP"] = json!("None");
    namespace.apply_all(&[headless])?;
    let addresses = namespace.endpoints("headless", 2)?;
    let words: Vec<&str> = addresses.iter().map(String::as_str).collect();
    answers(&namespace, &namespace.dns_name("headless"), &words)?;
    Ok(())
}

#[test]
fn a_pod_with_host_name_and_subdomain_has_a_name() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    let mut pod = manifest::shell("member");
    pod["spec"]["hostname"] = json!("first");
    pod["spec"]["subdomain"] = json!("group");
    let mut headless = manifest::service("group", "member");
    headless["spec"]["clusterIP"] = json!("None");
    namespace.apply_all(&[pod, headless, manifest::shell("client")])?;
    namespace.ready("client")?;
    let address = namespace.ready("member")?["status"]["podIP"].as_str().context("an address")?.to_string();
    let name = format!("first.{}", namespace.dns_name("group"));
    answers(&namespace, &name, &[&address])?;
    answers(&namespace, &address, &[&name])?;
    let full = namespace.shell("member", "hostname -f")?;
    ensure!(full.trim() == name, "{full}");
    Ok(())
}

#[test]
fn what_is_not_there_is_said_to_be_not_there() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    serving(&namespace)?;
    let said =
        namespace.shell("client", &format!("nslookup {} 2>&1 || true", namespace.dns_name("nothing")))?;
    ensure!(said.contains("NXDOMAIN") || said.contains("does not resolve"), "{said}");
    answers(&namespace, &namespace.dns_name("web"), &["10.96."])?;
    namespace.kubectl("delete service web")?;
    eventually(PATIENCE, "the name goes with its Service", || {
        let said = lookup(&namespace, &namespace.dns_name("web"))?;
        ensure!(!said.contains("10.96."), "{said}");
        Ok(())
    })
}

/// A Service on port 80 that has a name for it, without an address of its own.
fn headless(name: &str, app: &str) -> serde_json::Value {
    let mut service = manifest::service(name, app);
    service["spec"]["clusterIP"] = json!("None");
    service["spec"]["ports"][0]["name"] = json!("http");
    service
}

/// The cluster's own server.
const DNS: &str = "10.96.0.10";

#[test]
fn a_named_port_has_a_record_for_each_endpoint_and_the_other_family_has_none() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    serving(&namespace)?;
    namespace.apply_all(&[headless("headless", "web")])?;
    let addresses = namespace.endpoints("headless", 2)?;
    let service = namespace.dns_name("headless");
    let targets: Vec<String> =
        addresses.iter().map(|address| format!("80 {}.{service}", address.replace('.', "-"))).collect();
    let words: Vec<&str> = targets.iter().map(String::as_str).collect();
    answers_of(&namespace, "srv", &format!("_http._tcp.{service}"), DNS, &words)?;
    for target in &targets {
        let name = target.trim_start_matches("80 ");
        answers(&namespace, name, &[&name.split('.').next().unwrap_or_default().replace('-', ".")])?;
    }
    // There is such a name, but it has no IPv6 address (NODATA): the server answers, with neither a record nor an error.
    let said = namespace.shell("client", &format!("nslookup -type=aaaa {service} {DNS} 2>&1 || true"))?;
    ensure!(said.contains("Server:"), "{said}");
    for word in ["NXDOMAIN", "SERVFAIL", "timed out", "no servers", "has AAAA", "10.244."] {
        ensure!(!said.contains(word), "{word} in: {said}");
    }
    let said = lookup_of(&namespace, "a", &format!("_smtp._tcp.{service}"), DNS)?;
    ensure!(said.contains("NXDOMAIN"), "{said}");
    Ok(())
}

#[test]
fn an_external_name_is_answered_with_what_it_stands_for() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    serving(&namespace)?;
    let target = namespace.dns_name("web");
    let alias = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "alias"},
        "spec": {"type": "ExternalName", "externalName": target},
    });
    namespace.apply_all(&[alias])?;
    let address = namespace.cluster_ip("web")?;
    answers_of(&namespace, "a", &namespace.dns_name("alias"), DNS, &[&target, &address])?;
    let said = namespace.shell("client", "timeout 5 wget -q -O - http://alias/")?;
    ensure!(said.starts_with("web-"), "{said}");
    Ok(())
}

#[test]
fn a_pod_that_is_not_ready_has_a_name_where_it_is_asked_for() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    let mut pod = manifest::shell("member");
    pod["spec"]["hostname"] = json!("first");
    pod["spec"]["subdomain"] = json!("early");
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"exec": {"command": ["false"]}});
    let mut early = headless("early", "member");
    early["spec"]["publishNotReadyAddresses"] = json!(true);
    namespace.apply_all(&[pod, early, headless("late", "member"), manifest::shell("client")])?;
    namespace.ready("client")?;
    answers(&namespace, &format!("first.{}", namespace.dns_name("early")), &["10.244."])?;
    let said = lookup_of(&namespace, "a", &namespace.dns_name("late"), DNS)?;
    ensure!(said.contains("NXDOMAIN"), "{said}");
    Ok(())
}

/// Two clusters that know each other: the second's server asks the first's about the first's names.
#[test]
fn a_stub_zone_is_asked_of_its_own_servers() -> Result<()> {
    let namespace = Namespace::create("dns")?;
    let cluster = Cluster::require()?;
    let mut client = manifest::on_node(manifest::shell("client"), "n1");
    client["spec"]["hostNetwork"] = json!(true);
    namespace.apply_all(&[client, manifest::service("web", "web")])?;
    namespace.ready("client")?;
    let second = "127.96.0.10";
    let flags = [
        "--listen",
        second,
        "--cluster-domain",
        "second.local",
        "--upstream",
        "none",
        "--stub",
        "cluster.local=10.96.0.10",
    ];
    let _server = cluster.dns_server("n1", &flags)?;
    let address = namespace.cluster_ip("web")?;
    let name = namespace.dns_name("web");
    answers_of(&namespace, "a", &name, second, &[&address])?;
    answers_of(&namespace, "a", &name.replace("cluster.local", "second.local"), second, &[&address])?;
    let said = lookup_of(&namespace, "a", "example.com", second)?;
    ensure!(said.contains("REFUSED"), "nobody to ask: {said}");
    Ok(())
}
