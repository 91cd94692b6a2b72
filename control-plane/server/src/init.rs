//! `keelson init`: the cluster's identity on disk. The work is done by `keelson_auth::pki`.

use anyhow::Context;
use clap::Args;
use ipnet::IpNet;
use keelson_auth::pki::{self, DEFAULT_API_PORT, InitConfig};
use std::{net::IpAddr, path::PathBuf};
use time::OffsetDateTime;

/// The options of `init`.
#[derive(Args)]
pub(crate) struct InitArgs {
    /// The data folder; keys go to its `pki`, the administrator's kubeconfig to `admin.conf`.
    #[arg(long)]
    data: PathBuf,
    /// Addresses that clients reach the API server at; the first goes into admin.conf.
    #[arg(long, value_delimiter = ',', required = true)]
    advertise: Vec<IpAddr>,
    /// The port that goes into admin.conf.
    #[arg(long, default_value_t = DEFAULT_API_PORT)]
    port: u16,
    /// Ranges of Service addresses; the first address of each goes into the serving certificate.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/16")]
    service_cidr: Vec<IpNet>,
    /// The DNS domain of the cluster.
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
}

/// Runs the command.
pub(crate) fn run(args: &InitArgs) -> anyhow::Result<()> {
    let service_addresses =
        args.service_cidr.iter().map(first_address).collect::<anyhow::Result<Vec<_>>>()?;
    let config = InitConfig {
        data: args.data.clone(),
        advertise: args.advertise.clone(),
        port: args.port,
        service_addresses,
        cluster_domain: args.cluster_domain.clone(),
    };
    let report = pki::init(&config, OffsetDateTime::now_utc())?;
    for name in &report.made {
        println!("made {name}");
    }
    for (name, reason) in &report.renewed {
        println!("renewed {name}: {reason}");
    }
    if report.made.is_empty() && report.renewed.is_empty() {
        println!("everything is there already");
    }
    Ok(())
}

/// The address of Service default/kubernetes: the first of the range after the network's own.
pub(crate) fn first_address(range: &IpNet) -> anyhow::Result<IpAddr> {
    // IPv6 has no broadcast address, so that the network's own counts as a host's; it is that of all its routers.
    range
        .hosts()
        .find(|address| *address != range.network())
        .with_context(|| format!("the Service range {range} has no address to give"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_is_the_one_behind_the_networks_own() {
        for (range, first) in [("10.96.0.0/16", "10.96.0.1"), ("fd00:10:96::/112", "fd00:10:96::1")] {
            let range: IpNet = range.parse().unwrap();
            assert_eq!(first_address(&range).unwrap().to_string(), first);
        }
    }
}
