//! Names and addresses, asked from pods.

use anyhow::{Context, Result, ensure};
use keelson_tests::{Namespace, PATIENCE, eventually, manifest};
use serde_json::json;

/// Asks the cluster's DNS from the pod `client`; answers what nslookup printed after its server.
fn lookup(namespace: &Namespace, name: &str) -> Result<String> {
    let said = namespace.shell("client", &format!("nslookup {name} 2>&1 || true"))?;
    let answer = said.split_once("\n\n").map_or("", |(_, answer)| answer);
    Ok(answer.to_string())
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
