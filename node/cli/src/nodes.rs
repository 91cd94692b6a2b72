//! The cluster's nodes, asked through the API server's node proxy.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures::{AsyncBufRead, future::join_all};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

/// Where the cluster is, in kubectl's words.
#[derive(Args)]
pub(crate) struct Access {
    /// Path to the kubeconfig file [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, global = true)]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    context: Option<String>,
    /// Namespace [default: the context's]
    #[arg(short, long, global = true)]
    namespace: Option<String>,
}

/// An open way to the API server.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// What `-n` or the context says.
    pub(crate) namespace: String,
}

impl Cluster {
    pub(crate) async fn connect(access: &Access) -> Result<Self> {
        let file = match &access.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let options = KubeConfigOptions { context: access.context.clone(), ..KubeConfigOptions::default() };
        let mut config =
            kube::Config::from_custom_kubeconfig(file.context("reading the kubeconfig")?, &options)
                .await
                .context("the kubeconfig cannot be used")?;
        // A stream of flows is silent for as long as nothing happens.
        config.read_timeout = None;
        let namespace = access.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Ok(Self { client: Client::try_from(config)?, namespace })
    }

    /// Names of all nodes.
    pub(crate) async fn names(&self) -> Result<Vec<String>> {
        let nodes = Api::<Node>::all(self.client.clone()).list_metadata(&Default::default()).await;
        let names: Vec<String> =
            nodes.context("listing the nodes")?.items.iter().map(ResourceExt::name_any).collect();
        if names.is_empty() {
            bail!("the cluster has no node");
        }
        Ok(names)
    }

    /// Asks one node.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, node: &str, path: &str) -> Result<T> {
        let answer = self.client.request::<T>(request(node, path)?).await;
        answer.with_context(|| format!("asking node {node} for {path}"))
    }

    /// Asks every node; the answers of those that gave one, and a line on stderr for each that did not. Fails when none did.
    pub(crate) async fn ask_all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>> {
        let names = self.names().await?;
        let asked = join_all(names.iter().map(|node| self.ask::<T>(node, path))).await;
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        for answer in asked {
            match answer {
                Ok(answer) => answers.push(answer),
                Err(error) => failures.push(error),
            }
        }
        if answers.is_empty()
            && let Some(error) = failures.pop()
        {
            return Err(error);
        }
        failures.iter().for_each(|error| eprintln!("warning: left out: {error:#}"));
        Ok(answers)
    }

    /// Opens a stream of lines from a node.
    pub(crate) async fn follow(&self, node: &str, path: &str) -> Result<impl AsyncBufRead + use<>> {
        let stream = self.client.request_stream(request(node, path)?).await;
        stream.with_context(|| format!("asking node {node} for {path}"))
    }
}

fn request(node: &str, path: &str) -> Result<http::Request<Vec<u8>>> {
    let uri = format!("/api/v1/nodes/{node}/proxy/keelson/{path}");
    Ok(http::Request::get(uri).body(Vec::new())?)
}

/// Values of a query, escaped.
pub(crate) fn query(path: &str, pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
    format!("{path}?{}", pairs.join("&"))
}
