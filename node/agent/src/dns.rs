//! `keelson-node dns`: cluster DNS of this node. Its address must be on a link here; `keelson-node run` sees to it.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

/// Settings of the DNS server.
#[derive(Args, Debug)]
pub(crate) struct DnsArgs {
    /// Address to answer on
    #[arg(long)]
    listen: Ipv4Addr,
    /// Domain of Services' names
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// Address and credentials of the API server
    #[arg(long)]
    kubeconfig: PathBuf,
}

pub(crate) async fn run(args: DnsArgs) -> anyhow::Result<()> {
    let client = crate::run::client(&args.kubeconfig).await?;
    let shutdown = CancellationToken::new();
    let config = keelson_dns::Config { listen: args.listen, cluster_domain: args.cluster_domain };
    let server = keelson_dns::run(client, config, shutdown.clone());
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = crate::run::asked_to_stop() => shutdown.cancel(),
    }
    Ok(server.await?)
}
