//! `flows`: connections of all nodes as they open and end.

use anyhow::{Context, Result};
use clap::Args;
use futures::{AsyncBufReadExt, StreamExt, TryStreamExt, stream::select_all};
use keelson_observer::Flow;

use crate::{
    Form,
    nodes::{Cluster, query},
    units::{bytes, time},
};

/// Which to show.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  kubectl keelson flows\n  kubectl keelson flows -A --node n2\n  kubectl keelson flows --service web -o json\n\nWhat network policies deny is shown with -A, by address. Ends with Ctrl-C. Nodes that see many connections tell of one in so many (1/N at the end of a line)."
)]
pub(crate) struct Options {
    /// Only of this Service
    #[arg(long)]
    service: Option<String>,
    /// Only of clients on this node
    #[arg(long)]
    node: Option<String>,
    /// All namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Output: table, or json (one object a line)
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
}

pub(crate) async fn run(cluster: &Cluster, options: &Options) -> Result<()> {
    let names = match &options.node {
        Some(node) => vec![node.clone()],
        None => cluster.names().await?,
    };
    let namespace = if options.all_namespaces { "" } else { &cluster.namespace };
    let service = options.service.as_deref().unwrap_or_default();
    let path = query("flows", &[("namespace", namespace), ("service", service)]);
    let mut streams = Vec::new();
    for node in &names {
        streams.push(cluster.follow(node, &path).await?.lines().boxed());
    }
    let mut lines = select_all(streams);
    while let Some(text) = lines.try_next().await.context("a node's stream broke")? {
        if options.output == Form::Json {
            println!("{text}");
        } else {
            let flow: Flow = serde_json::from_str(&text).with_context(|| format!("a node sent {text:?}"))?;
            println!("{}", line(&flow));
        }
    }
    Ok(())
}

fn line(flow: &Flow) -> String {
    if flow.missed > 0 {
        return format!("{}: {} events were missed: this listener is too slow", flow.node, flow.missed);
    }
    let port = if flow.port_name.is_empty() { String::new() } else { format!(":{}", flow.port_name) };
    let service = if flow.service.is_empty() {
        flow.frontend.clone()
    } else {
        format!("{}/{}{port}", flow.namespace, flow.service)
    };
    let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
    let (client, backend) = (or(&flow.client, "?"), or(&flow.backend, "no backend"));
    if flow.what == "denied" {
        return format!("{} {:<7} {client} -> {service} by {}", flow.node, flow.what, flow.reason);
    }
    let mut line = format!("{} {:<7} {client} -> {service} -> {backend}", flow.node, flow.what);
    match flow.what.as_str() {
        "opened" => line += &format!(" in {}", time(flow.connect_ns)),
        "failed" => line += &format!(" after {}", time(flow.connect_ns)),
        "closed" | "reset" | "aborted" => {
            line += &format!(
                " after {}, sent {} received {}, srtt {}, {} retransmitted",
                time(flow.lasted_ms * 1_000_000),
                bytes(flow.sent_bytes),
                bytes(flow.received_bytes),
                time(flow.srtt_us * 1_000),
                flow.retransmits
            );
        }
        _ => {}
    }
    if flow.sampled_one_in > 1 {
        line += &format!(" 1/{}", flow.sampled_one_in);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_asked_for_what_and_how_it_went() {
        let flow = Flow {
            node: "n1".into(),
            what: "opened".into(),
            namespace: "default".into(),
            service: "web".into(),
            backend: "10.244.1.7:8080".into(),
            client: "10.244.0.3:40000".into(),
            connect_ns: 14_230,
            ..Flow::default()
        };
        assert_eq!(line(&flow), "n1 opened  10.244.0.3:40000 -> default/web -> 10.244.1.7:8080 in 14.2us");
        let refused = Flow { what: "refused".into(), backend: String::new(), client: String::new(), ..flow };
        assert_eq!(line(&refused), "n1 refused ? -> default/web -> no backend");
        let denied = Flow {
            node: "n1".into(),
            what: "denied".into(),
            frontend: "10.244.1.7:8080".into(),
            client: "10.244.0.3:40000".into(),
            reason: "policy_ingress".into(),
            ..Flow::default()
        };
        assert_eq!(line(&denied), "n1 denied  10.244.0.3:40000 -> 10.244.1.7:8080 by policy_ingress");
    }
}
