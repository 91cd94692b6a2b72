//! `trace`: what the kernel of a pod's node would do with its connection to a Service, from that node's own tables. To another
//! pod: [`crate::path`].

use anyhow::{Context, Result};
use clap::Args;
use k8s_openapi::api::core::v1::{Pod, Service};
use keelson_observer::{TraceReply, TraceRequest};
use kube::{Api, ResourceExt};

use crate::{
    Form,
    nodes::{Cluster, query},
    path::{self, PortSpec},
};

/// From where to where.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  kubectl keelson trace client web                        to a Service\n  kubectl keelson trace client other-namespace/web\n  kubectl keelson trace client web-0                      to a pod, each port that it declares\n  kubectl keelson trace client shop/db-0 --port 5432\n  kubectl keelson trace client dns-0 --port 53/UDP\n  kubectl keelson trace -n shop cart-0 db -o json\n\nTo a pod, the nodes of both are asked for their network policies: which select the pods, which entry lets the\nconnection pass, or that none does."
)]
pub(crate) struct Options {
    /// The pod that connects
    pod: String,
    /// The Service that it connects to, or, if there is none of that name, the pod: NAME or NAMESPACE/NAME
    #[arg(value_name = "SERVICE|POD")]
    to: String,
    /// Port of a pod that it connects to, and if need be which pod is meant: N, N/UDP, N/SCTP, or ICMP [default: those
    /// that its containers declare]
    #[arg(long, value_name = "N/PROTO")]
    port: Option<PortSpec>,
    /// Output: table or json
    #[arg(short, long, value_enum, default_value = "table")]
    output: Form,
}

pub(crate) async fn run(cluster: &Cluster, options: &Options) -> Result<()> {
    let (namespace, name) = options.to.split_once('/').unwrap_or((&cluster.namespace, &options.to));
    let pods = Api::<Pod>::namespaced(cluster.client.clone(), &cluster.namespace);
    let pod = pods.get(&options.pod).await.with_context(|| format!("reading pod {}", options.pod))?;
    let services = Api::<Service>::namespaced(cluster.client.clone(), namespace);
    let service = match options.port {
        Some(_) => None,
        None => {
            services.get_opt(name).await.with_context(|| format!("reading Service {namespace}/{name}"))?
        }
    };
    let Some(service) = service else {
        let pods = Api::<Pod>::namespaced(cluster.client.clone(), namespace);
        let other = pods.get_opt(name).await.with_context(|| format!("reading pod {namespace}/{name}"))?;
        let what = if options.port.is_some() { "pod" } else { "Service and no pod" };
        let other = other.with_context(|| format!("there is no {what} {namespace}/{name}"))?;
        return path::run(cluster, (&pod, &other), options.port, options.output).await;
    };
    let node = node_of(&pod)?;
    let request = TraceRequest { namespace: namespace.to_owned(), service: name.to_owned() };
    let path = query("trace", &[("namespace", &request.namespace), ("service", &request.service)]);
    let reply: TraceReply = cluster.ask(&node, &path).await?;
    if options.output == Form::Json {
        println!("{}", serde_json::to_string_pretty(&reply)?);
        return Ok(());
    }
    println!("Pod {}/{} is on node {}.", cluster.namespace, options.pod, reply.node);
    explain(&service, &reply).iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// Where a pod runs.
pub(crate) fn node_of(pod: &Pod) -> Result<String> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    node.with_context(|| format!("pod {} runs on no node yet", pod.name_any()))
}

/// What happens, a line each.
fn explain(service: &Service, reply: &TraceReply) -> Vec<String> {
    let spec = service.spec.clone().unwrap_or_default();
    let mut lines = Vec::new();
    if spec.type_.as_deref() == Some("ExternalName") {
        let to = spec.external_name.unwrap_or_default();
        return vec![format!(
            "The Service is an alias of {to}: DNS answers with that name, the kernel does nothing."
        )];
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return vec![
            "The Service is headless: DNS answers with the pods' own addresses, the kernel does nothing."
                .to_owned(),
        ];
    }
    if !reply.known {
        lines.push("The node does not know the Service: connections go on unchanged and are lost. See `kubectl keelson status`.".to_owned());
    }
    for frontend in &reply.frontends {
        let port =
            if frontend.port_name.is_empty() { String::new() } else { format!(" ({})", frontend.port_name) };
        lines.push(format!("connect() to {}/{}{port}:", frontend.frontend, frontend.protocol));
        lines.push(if !frontend.programmed {
            "  is not in the kernel's table: it goes on unchanged and is lost. See `kubectl keelson status`.".to_owned()
        } else if frontend.backends.is_empty() {
            "  is refused at once (ECONNREFUSED, counted as no_backend): the Service has no ready endpoint for this node.".to_owned()
        } else if frontend.affinity_s > 0 {
            format!("  goes to the backend that the pod had within the last {} s, else to one of these at random:", frontend.affinity_s)
        } else {
            "  goes to one of these, each with the same chance:".to_owned()
        });
        lines.extend(frontend.backends.iter().map(|backend| format!("    {backend}")));
    }
    lines.extend(reply.unprogrammed.iter().map(|what| format!("Not done: {what}.")));
    lines
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ServiceSpec;
    use keelson_observer::TracedFrontend;

    use super::*;

    fn lines(spec: ServiceSpec, frontends: Vec<TracedFrontend>) -> String {
        let service = Service { spec: Some(spec), ..Service::default() };
        let reply = TraceReply { known: true, frontends, ..TraceReply::default() };
        explain(&service, &reply).join("\n")
    }

    #[test]
    fn each_fate_of_a_connection_has_its_words() {
        let frontend = TracedFrontend {
            frontend: "10.96.0.7:80".into(),
            protocol: "TCP".into(),
            programmed: true,
            backends: vec!["10.244.0.3:8080".into()],
            ..TracedFrontend::default()
        };
        let rows = [
            (frontend.clone(), "same chance"),
            (TracedFrontend { affinity_s: 60, ..frontend.clone() }, "within the last 60 s"),
            (TracedFrontend { backends: vec![], ..frontend.clone() }, "ECONNREFUSED"),
            (TracedFrontend { programmed: false, ..frontend }, "not in the kernel's table"),
        ];
        for (frontend, words) in rows {
            let text = lines(ServiceSpec::default(), vec![frontend]);
            assert!(text.contains("10.96.0.7:80/TCP") && text.contains(words), "{words}: {text}");
        }
        let headless = ServiceSpec { cluster_ip: Some("None".into()), ..ServiceSpec::default() };
        assert!(lines(headless, vec![]).contains("headless"));
    }
}
