//! `keelson kubeconfig` and `keelson node-serving`: further identities drawn from the cluster's CA.

use clap::Args;
use keelson_auth::pki::{self, ClientKubeconfig};
use std::{net::IpAddr, path::PathBuf};
use time::OffsetDateTime;

/// The options of `kubeconfig`.
#[derive(Args)]
pub(crate) struct KubeconfigArgs {
    /// The data folder that `init` made.
    #[arg(long)]
    data: PathBuf,
    /// User name, e.g. `system:node:a` for a node.
    #[arg(long)]
    user: String,
    /// A group of the user; may be given several times.
    #[arg(long)]
    group: Vec<String>,
    /// URL of the API server.
    #[arg(long)]
    server: String,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
}

/// Runs `kubeconfig`.
pub(crate) fn run(args: &KubeconfigArgs) -> anyhow::Result<()> {
    let wanted =
        ClientKubeconfig { user: args.user.clone(), groups: args.group.clone(), server: args.server.clone() };
    pki::client_kubeconfig(&args.data, &wanted, &args.out, OffsetDateTime::now_utc())?;
    Ok(())
}

/// The options of `node-serving`.
#[derive(Args)]
pub(crate) struct NodeServingArgs {
    /// The data folder that `init` made.
    #[arg(long)]
    data: PathBuf,
    /// The node's name.
    #[arg(long)]
    node: String,
    /// The node's addresses.
    #[arg(long, value_delimiter = ',', required = true)]
    ip: Vec<IpAddr>,
    /// The folder to write kubelet.crt, kubelet.key and ca.crt to.
    #[arg(long)]
    out: PathBuf,
}

/// Runs `node-serving`.
pub(crate) fn node_serving(args: &NodeServingArgs) -> anyhow::Result<()> {
    pki::node_serving(&args.data, &args.node, &args.ip, &args.out, OffsetDateTime::now_utc())?;
    Ok(())
}
