//! Not one netfilter rule: the machine's are as they were before `up`, the nodes have none.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Cluster, Namespace,
    kubectl::{Answer, run},
    manifest,
};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// Where `up` puts what it found.
const BEFORE: &str = "/run/keelson/netfilter-before";

const NFT: [&str; 4] = ["nft", "-j", "list", "ruleset"];
const IPTABLES: [&str; 1] = ["iptables-save"];

fn before(file: &str) -> Result<String> {
    let file = Path::new(BEFORE).join(file);
    fs::read_to_string(&file).with_context(|| {
        format!("reading {}, which `cargo xtask up` writes before it starts anything", file.display())
    })
}

fn now(words: &[&str]) -> Result<String> {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    let Answer { stdout, stderr, code } = run(command, None)?;
    ensure!(code == Some(0), "{words:?} ended with {code:?}: {stderr}");
    Ok(stdout)
}

/// The rules of nft without its own version, handles, comments and counts.
fn nft_rules(text: &str) -> Result<Vec<Value>> {
    let mut list: Value = serde_json::from_str(text).context("parsing nft's JSON")?;
    let Value::Array(entries) = list["nftables"].take() else { return Ok(vec![]) };
    let mut rules: Vec<Value> = entries.into_iter().filter(|entry| entry["metainfo"].is_null()).collect();
    rules.iter_mut().for_each(strip);
    Ok(rules)
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !["handle", "comment", "packets", "bytes"].contains(&name.as_str()));
            fields.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The rules of iptables-save without comments and counts.
fn iptables_rules(text: &str) -> Vec<String> {
    let rules = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rules.map(|line| line.split(" [").next().unwrap_or(line).to_string()).collect()
}

#[test]
fn services_leave_no_netfilter_rule_anywhere() -> Result<()> {
    let (cluster, namespace) = (Cluster::require()?, Namespace::create("netfilter")?);
    // While there is something that another kube-proxy would have written rules for.
    namespace.apply_all(&[
        manifest::deployment("web", 2, manifest::answering("$HOSTNAME")),
        manifest::service("web", "web"),
    ])?;
    namespace.endpoints("web", 2)?;
    ensure!(
        nft_rules(&now(&NFT)?)? == nft_rules(&before("nft.json")?)?,
        "nft's rules of this machine changed"
    );
    let (now_rules, then) = (iptables_rules(&now(&IPTABLES)?), iptables_rules(&before("iptables")?));
    ensure!(now_rules == then, "iptables' rules of this machine changed: {then:#?} became {now_rules:#?}");
    for node in cluster.nodes() {
        let rules = nft_rules(&cluster.enter(&node, &NFT)?)?;
        ensure!(rules.is_empty(), "{node} has rules of nft: {rules:#?}");
        let rules = iptables_rules(&cluster.enter(&node, &IPTABLES)?);
        // The tables of a kernel that has iptables of its own are there with their chains, but empty.
        let made: Vec<&String> = rules.iter().filter(|line| line.starts_with("-A")).collect();
        ensure!(made.is_empty(), "{node} has rules of iptables: {made:#?}");
    }
    Ok(())
}

#[test]
fn counters_comments_and_handles_do_not_count_as_a_change() -> Result<()> {
    let rule = |handle: u32, packets: u32| {
        format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1"}}}}, {{"rule": {{"handle": {handle}, "expr": [{{"counter": {{"packets": {packets}}}}}, {{"accept": null}}]}}}}]}}"#
        )
    };
    ensure!(nft_rules(&rule(1, 7))? == nft_rules(&rule(2, 9))?);
    ensure!(
        iptables_rules("# Generated\n:INPUT ACCEPT [1:2]\n-A INPUT -j DROP\n")
            == [":INPUT ACCEPT", "-A INPUT -j DROP"]
    );
    Ok(())
}
