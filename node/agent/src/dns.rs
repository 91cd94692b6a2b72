//! `keelson-node dns`: cluster DNS of this node. Its address must be on a link here; `keelson-node run` sees to it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use axum::{Router, extract::State, http::StatusCode, routing::get};
use clap::Args;
use hickory_proto::rr::Name;
use keelson_dns::{Config, Handle, PORT, Server, Stub, Upstream};
use tokio_util::sync::CancellationToken;

/// Settings of the DNS server.
#[derive(Args, Debug)]
pub(crate) struct DnsArgs {
    /// Addresses to answer on
    #[arg(long, value_delimiter = ',', required = true)]
    listen: Vec<IpAddr>,
    /// Domain of Services' names
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Address and credentials of the API server
    #[arg(long)]
    kubeconfig: PathBuf,
    /// Servers to ask for other names, as ADDRESS or ADDRESS:PORT; `none` refuses such names [default: those of resolv.conf]
    #[arg(long, value_delimiter = ',', value_name = "SERVER")]
    upstream: Vec<String>,
    /// Where the node's own servers are read from, at the start
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// A zone with servers of its own, as ZONE=SERVER[,SERVER]; can be given several times
    #[arg(long, value_parser = stub, value_name = "ZONE=SERVERS")]
    stub: Vec<Stub>,
    /// Where /metrics and /readyz are served, unencrypted; `none` for nowhere
    #[arg(long, default_value = "127.0.0.1:9153")]
    metrics: String,
}

impl DnsArgs {
    fn config(&self) -> anyhow::Result<Config> {
        let upstream = match self.upstream.as_slice() {
            [] => Upstream::ResolvConf(self.resolv_conf.clone()),
            [none] if none == "none" => Upstream::Nobody,
            given => {
                let servers = given.iter().map(|text| server(text)).collect::<anyhow::Result<_>>();
                Upstream::Servers(servers.context("--upstream")?)
            }
        };
        Ok(Config {
            listen: self.listen.iter().map(|address| SocketAddr::new(*address, PORT)).collect(),
            cluster_domain: self.cluster_domain.clone(),
            upstream,
            stubs: self.stub.clone(),
        })
    }

    fn metrics(&self) -> anyhow::Result<Option<SocketAddr>> {
        if self.metrics == "none" {
            return Ok(None);
        }
        let address = self
            .metrics
            .parse()
            .with_context(|| format!("--metrics {} is not ADDRESS:PORT", self.metrics))?;
        Ok(Some(address))
    }
}

fn server(text: &str) -> anyhow::Result<SocketAddr> {
    match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
        (Ok(address), _) => Ok(SocketAddr::new(address, PORT)),
        (_, Ok(address)) => Ok(address),
        _ => bail!("`{text}` is neither ADDRESS nor ADDRESS:PORT"),
    }
}

fn stub(text: &str) -> anyhow::Result<Stub> {
    let (zone, servers) = text.split_once('=').context("it has to be ZONE=SERVER[,SERVER]")?;
    let mut name = Name::from_utf8(zone).with_context(|| format!("`{zone}` is not a DNS name"))?;
    ensure!(name.num_labels() > 0, "for all names there is --upstream");
    name.set_fqdn(true);
    let servers = servers.split(',').map(server).collect::<anyhow::Result<_>>()?;
    Ok(Stub { zone: name.to_lowercase(), servers })
}

pub(crate) async fn run(args: DnsArgs) -> anyhow::Result<()> {
    let client = crate::client::client(&args.kubeconfig, "keelson-dns").await?;
    let shutdown = CancellationToken::new();
    let dns = Server::bind(&args.config()?)?;
    if let Some(address) = args.metrics()? {
        // Shared like the others: a successor starts before we end.
        let listener =
            keelson_dns::listener(address).with_context(|| format!("listening on {address} (metrics)"))?;
        tokio::spawn(axum::serve(listener, routes(dns.handle())).into_future());
    }
    let stop = shutdown.clone();
    tokio::spawn(async move {
        crate::run::asked_to_stop().await;
        stop.cancel();
    });
    dns.run(client, shutdown).await;
    Ok(())
}

fn routes(handle: Handle) -> Router {
    let ready = async |State(handle): State<Handle>| {
        if handle.is_ready() {
            (StatusCode::OK, "ok")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not listed yet")
        }
    };
    Router::new()
        .route("/metrics", get(async |State(handle): State<Handle>| handle.metrics()))
        .route("/readyz", get(ready))
        .with_state(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_the_usual_port_unless_it_says_another() {
        let rows = [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("192.0.2.1:5353", Some("192.0.2.1:5353")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:5353", Some("[2001:db8::1]:5353")),
            ("example.com", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(server(text).ok().map(|server| server.to_string()).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_stub_is_a_zone_and_its_servers() {
        let found = stub("Consul.Local=192.0.2.1,192.0.2.2:8600").unwrap();
        assert_eq!(found.zone.to_string(), "consul.local.");
        assert_eq!(found.servers.len(), 2);
        for wrong in ["consul", "consul=", "=192.0.2.1", ".=192.0.2.1", "consul=192.0.2.1,", "a..b=192.0.2.1"]
        {
            assert!(stub(wrong).is_err(), "{wrong}");
        }
    }
}
