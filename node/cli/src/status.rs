//! `status` and `maps`: the data plane of each node.

use anyhow::Result;
use keelson_observer::StatusReply;

use crate::{
    Form,
    nodes::Cluster,
    table::{Table, terminal_width},
    units::bytes,
};

/// Whether each node follows the API.
pub(crate) async fn status(cluster: &Cluster, form: Form) -> Result<()> {
    let replies: Vec<StatusReply> = cluster.ask_all("status").await?;
    if form == Form::Json {
        println!("{}", serde_json::to_string_pretty(&replies)?);
        return Ok(());
    }
    let mut table = Table::new(&["NODE", "READY", "FRONTENDS", "BACKENDS", "MEMORY", "ERROR"]);
    for reply in &replies {
        let memory: u64 = reply.maps.iter().map(|map| map.bytes).sum();
        table.push(vec![
            reply.node.clone(),
            if reply.ready { "yes" } else { "no" }.to_owned(),
            reply.frontends.to_string(),
            reply.backends.to_string(),
            bytes(memory),
            if reply.error.is_empty() { "-".to_owned() } else { reply.error.clone() },
        ]);
    }
    print!("{}", table.render(terminal_width()));
    let policies = policies(&replies);
    let (mut drops, mut missing) =
        (Table::new(&["NODE", "DROPS", "COUNT"]), Table::new(&["NAMESPACE", "SERVICE", "NOT PROGRAMMED"]));
    for reply in &replies {
        for drop in reply.drops.iter().filter(|drop| drop.count > 0) {
            drops.push(vec![reply.node.clone(), drop.reason.clone(), drop.count.to_string()]);
        }
    }
    // The same on every node: it follows from the Services alone.
    for service in replies.iter().take(1).flat_map(|reply| &reply.unprogrammed) {
        missing.push(vec![service.namespace.clone(), service.service.clone(), service.what.join("; ")]);
    }
    for table in
        [wires(&replies), bounds(&replies), policies, drops, missing].iter().filter(|table| !table.is_empty())
    {
        print!("\n{}", table.render(terminal_width()));
    }
    Ok(())
}

/// What XDP does on each node's uplink.
fn wires(replies: &[StatusReply]) -> Table {
    let mut table = Table::new(&["NODE", "XDP", "PACKETS"]);
    for reply in replies {
        let (mode, verdicts) = match &reply.wire {
            Some(wire) => (wire.mode.as_str(), wire.verdicts.as_slice()),
            None => ("off", &[][..]),
        };
        let counted = verdicts.iter().filter(|verdict| verdict.count > 0);
        let counts: Vec<_> = counted.map(|v| format!("{} {}", v.name.replace('_', " "), v.count)).collect();
        let said = match (&reply.wire, counts.is_empty()) {
            (None, _) => "no --uplink, or --without packets or xdp".to_owned(),
            (Some(_), true) => "-".to_owned(),
            (Some(_), false) => counts.join(", "),
        };
        table.push(vec![reply.node.clone(), mode.to_owned(), said]);
    }
    table
}

/// How bounds of what pods send are kept.
fn bounds(replies: &[StatusReply]) -> Table {
    let mut table = Table::new(&["NODE", "EGRESS BANDWIDTH"]);
    for reply in replies.iter().filter(|reply| !reply.bounds.is_empty()) {
        table.push(vec![reply.node.clone(), reply.bounds.clone()]);
    }
    table
}

/// Network policies, and what of them a node does not do.
fn policies(replies: &[StatusReply]) -> Table {
    let mut table =
        Table::new(&["NODE", "POLICIES", "READY", "GROUPS", "PEERS", "ADDRESSES", "ENTRIES", "PROBLEM"]);
    for reply in replies {
        let Some(policies) = &reply.policies else {
            let mut row = vec![reply.node.clone(), "not enforced".to_owned(), "no".to_owned()];
            row.resize_with(8, || "-".to_owned());
            table.push(row);
            continue;
        };
        let mut problems = policies.without_room.clone();
        problems.extend((!policies.error.is_empty()).then(|| policies.error.clone()));
        table.push(vec![
            reply.node.clone(),
            policies.policies.to_string(),
            if policies.ready { "yes" } else { "no" }.to_owned(),
            policies.groups.to_string(),
            policies.peers.to_string(),
            policies.addresses.to_string(),
            policies.entries.to_string(),
            if problems.is_empty() { "-".to_owned() } else { problems.join("; ") },
        ]);
    }
    table
}

/// The tables and their memory.
pub(crate) async fn maps(cluster: &Cluster, form: Form) -> Result<()> {
    let replies: Vec<StatusReply> = cluster.ask_all("status").await?;
    if form == Form::Json {
        let maps: Vec<_> =
            replies.iter().map(|r| serde_json::json!({ "node": r.node, "maps": r.maps })).collect();
        println!("{}", serde_json::to_string_pretty(&maps)?);
        return Ok(());
    }
    let mut table = Table::new(&["NODE", "MAP", "ENTRIES MAX", "MEMORY"]);
    for reply in &replies {
        for map in &reply.maps {
            table.push(vec![
                reply.node.clone(),
                map.name.clone(),
                map.entries_max.to_string(),
                bytes(map.bytes),
            ]);
        }
    }
    print!("{}", table.render(terminal_width()));
    Ok(())
}
