//! The daemon's side of the plugin: gives pods their wires and takes them away.

use crate::{
    bandwidth::Bandwidth,
    conf,
    ipam::{Ipam, IpamError, Lease},
    link::{self, PodLink},
    ranges::PodRanges,
};
use ipnet::IpNet;
use keelson_cni_agent::{
    AddReply, Address, Attachment, CheckReply, DeleteReply,
    cni_agent_server::{CniAgent, CniAgentServer},
};
use keelson_sys::net::{Mac, NetError, Netns, Network};
use parking_lot::Mutex;
use std::{collections::BTreeSet, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{net::UnixListener, sync::watch};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Whether something in the kernel (a Service's map) still names an address; then it is not given out again yet.
pub type Named = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// How long an ADD waits for the node's ranges, below the plugin's patience.
const RANGES_WAIT: Duration = Duration::from_secs(10);

/// Whoever takes the pods' packets from link to link is told of each pod: when its link is there, and before it goes.
#[async_trait::async_trait]
pub trait Endpoints: Send + Sync + 'static {
    /// A pod has its link. Its network is not ready before this returns.
    async fn add(&self, pod: PodEnd) -> Result<(), EndpointError>;
    /// A pod's link is about to be removed; it may never have been added.
    async fn remove(&self, pod: PodEnd) -> Result<(), EndpointError>;
    /// After a start: exactly these pods have links.
    async fn replace(&self, pods: Vec<PodEnd>) -> Result<(), EndpointError>;
    /// The tunnel's device is there, with these addresses of the node, or it is about to go.
    async fn tunnel(&self, addresses: Option<Vec<IpAddr>>) -> Result<(), EndpointError>;
}

/// Why it did not.
pub type EndpointError = Box<dyn std::error::Error + Send + Sync>;

/// A pod as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEnd {
    /// Its addresses, one of each family.
    pub addresses: Vec<IpAddr>,
    /// The host's end of its link.
    pub link: String,
    /// Hardware address of the pod's end.
    pub mac: Mac,
    /// Hardware address of the host's end.
    pub host_mac: Mac,
    /// Packets to it must pass the host's end, where their rate is bounded.
    pub shaped: bool,
    /// What it may send out of the node in a second, where packets get times of departure for it ([`Config::departures`]); 0: no bound, or
    /// one that is known already.
    pub paced_bytes_per_s: u64,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Its network namespace; empty as the uid.
    pub netns: PathBuf,
    /// Its uid; empty where the journal of addresses is all that is known of it.
    pub uid: String,
}

impl PodEnd {
    /// A pod by its lease.
    fn of(lease: &Lease) -> PodEnd {
        let (namespace, name) = lease.pod.split_once('/').unwrap_or_default();
        PodEnd {
            addresses: lease.addresses.clone(),
            link: link::host_interface(&lease.sandbox),
            mac: link::pod_mac(&lease.addresses),
            host_mac: link::HOST_MAC,
            shaped: lease.shaped,
            paced_bytes_per_s: 0,
            namespace: namespace.into(),
            name: name.into(),
            netns: PathBuf::new(),
            uid: String::new(),
        }
    }

    /// A pod that gets its link.
    fn new(attachment: &Attachment, addresses: &[IpAddr], paced_bytes_per_s: u64) -> PodEnd {
        PodEnd {
            addresses: addresses.to_vec(),
            link: link::host_interface(&attachment.container_id),
            mac: link::pod_mac(addresses),
            host_mac: link::HOST_MAC,
            shaped: is_shaped(attachment),
            paced_bytes_per_s,
            namespace: attachment.pod_namespace.clone(),
            name: attachment.pod_name.clone(),
            netns: attachment.netns.clone().into(),
            uid: attachment.pod_uid.clone(),
        }
    }
}

/// Nobody: the host's own routes do it all.
pub struct NoEndpoints;

#[async_trait::async_trait]
impl Endpoints for NoEndpoints {
    async fn add(&self, _pod: PodEnd) -> Result<(), EndpointError> {
        Ok(())
    }

    async fn remove(&self, _pod: PodEnd) -> Result<(), EndpointError> {
        Ok(())
    }

    async fn replace(&self, _pods: Vec<PodEnd>) -> Result<(), EndpointError> {
        Ok(())
    }

    async fn tunnel(&self, _addresses: Option<Vec<IpAddr>>) -> Result<(), EndpointError> {
        Ok(())
    }
}

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node daemon's folder: holds the journal of addresses.
    pub root: PathBuf,
    /// The socket to listen on.
    pub socket: PathBuf,
    /// Where the runtime looks for networks.
    pub conf_dir: PathBuf,
    /// Bytes of an IP packet of a pod that starts now.
    pub mtu: watch::Receiver<u32>,
    /// What leaves the node keeps its times of departure, and whoever is told of the pods sets them: then what a pod sends is bounded by
    /// those, else by a queue of its own.
    pub departures: bool,
}

/// What kept the server from starting or a call from succeeding.
#[derive(Debug, thiserror::Error)]
pub enum CniServerError {
    /// The addresses' journal.
    #[error("the addresses of this node's pods")]
    Ipam(#[from] IpamError),
    /// The kernel.
    #[error("the pod's network")]
    Net(#[from] NetError),
    /// The programs that take packets from link to link.
    #[error("the short way of the pod's packets")]
    Endpoint(#[source] EndpointError),
    /// The node's pods can have no addresses now.
    #[error("{0}")]
    NoRanges(String),
    /// The socket or the configuration's folder.
    #[error("{doing} {}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

/// The state behind the socket.
pub struct Server {
    config: Config,
    ipam: Arc<Mutex<Ipam>>,
    network: Arc<dyn Network>,
    endpoints: Arc<dyn Endpoints>,
    ranges: watch::Receiver<PodRanges>,
    named: Named,
}

impl Server {
    /// Opens the journal. `network` is the kernel's, or a test's recorder; `ranges` may change, and be unknown at first.
    pub fn open(
        config: Config,
        network: Arc<dyn Network>,
        endpoints: Arc<dyn Endpoints>,
        ranges: watch::Receiver<PodRanges>,
        named: Named,
    ) -> Result<Arc<Server>, CniServerError> {
        let ipam = Ipam::open(&config.root.join("ipam.journal"))?;
        Ok(Arc::new(Server { config, ipam: Arc::new(Mutex::new(ipam)), network, endpoints, ranges, named }))
    }

    /// After a start: the pods that have leases have their links. Leases of sandboxes that the runtime does not have and whose
    /// links are gone are released. Answers the sandboxes that it does not have and that have links: they may be about to be
    /// made, as the runtime tells of a sandbox when that is done, which is after its network. See [`Server::release`].
    pub async fn adopt(&self, sandboxes: &BTreeSet<String>) -> Result<Vec<String>, CniServerError> {
        let there: Vec<PodEnd> = self.ipam.lock().leases().map(PodEnd::of).collect();
        self.endpoints.replace(there).await.map_err(CniServerError::Endpoint)?;
        let links = self.network.links().await?;
        let unknown: Vec<String> = self.ipam.lock().leases().map(|lease| lease.sandbox.clone()).collect();
        let unknown = unknown.into_iter().filter(|sandbox| !sandboxes.contains(sandbox));
        let (unmade, gone): (Vec<_>, Vec<_>) =
            unknown.partition(|sandbox| links.contains(&link::host_interface(sandbox)));
        self.release(&gone).await?;
        Ok(unmade)
    }

    /// Takes their links and addresses from sandboxes that are gone.
    pub async fn release(&self, gone: &[String]) -> Result<(), CniServerError> {
        for sandbox in gone {
            tracing::info!(sandbox, "released the addresses of a sandbox that is gone");
            self.detach(sandbox).await?;
        }
        Ok(())
    }

    /// Listens, tells the runtime that the network is there as soon as the ranges are known, and serves until `shutdown`. The
    /// configuration stays when the daemon goes: the runtime keeps its network, and the plugin answers "try again" meanwhile.
    pub async fn serve(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), CniServerError> {
        let socket = self.config.socket.clone();
        let failed = |doing, path: &PathBuf| {
            let path = path.clone();
            move |source| CniServerError::Io { doing, path, source }
        };
        // A socket left by a daemon that was killed: nobody listens on it, binding needs it away.
        match std::fs::remove_file(&socket) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed("removing", &socket)(e)),
            _ => {}
        }
        let listener = UnixListener::bind(&socket).map_err(failed("listening on", &socket))?;
        let published = async {
            self.known_ranges().await;
            conf::publish(&self.config.conf_dir, &socket).map_err(failed("writing to", &self.config.conf_dir))
        };
        let serving = tonic::transport::Server::builder()
            .add_service(CniAgentServer::from_arc(Arc::clone(&self)))
            .serve_with_incoming_shutdown(
                UnixListenerStream::new(listener),
                shutdown.clone().cancelled_owned(),
            );
        let serving = async { serving.await.map_err(|e| failed("serving", &socket)(io::Error::other(e))) };
        tokio::pin!(serving);
        tokio::select! {
            done = &mut serving => return done,
            written = published => written?,
        }
        serving.await
    }

    /// Waits for the ranges; for ever if nobody can tell them any more.
    async fn known_ranges(&self) -> Vec<IpNet> {
        let mut ranges = self.ranges.clone();
        let known =
            ranges.wait_for(|ranges| matches!(ranges, PodRanges::Known(_))).await.map(|found| found.clone());
        match known {
            Ok(PodRanges::Known(nets)) => nets,
            _ => std::future::pending().await,
        }
    }

    async fn ranges(&self) -> Result<Vec<IpNet>, CniServerError> {
        tokio::time::timeout(RANGES_WAIT, self.known_ranges()).await.map_err(|_| {
            let text = match &*self.ranges.borrow() {
                PodRanges::Unknown { message, .. } => message.clone(),
                PodRanges::Known(_) => "they were told just now: try again".into(),
            };
            CniServerError::NoRanges(text)
        })
    }

    async fn attach(&self, attachment: &Attachment) -> Result<AddReply, CniServerError> {
        let mut bandwidth = bandwidth(attachment);
        let paced =
            if self.config.departures { std::mem::take(&mut bandwidth.egress_rate).div_ceil(8) } else { 0 };
        let link = PodLink {
            sandbox: attachment.container_id.clone(),
            netns: attachment.netns.clone().into(),
            interface: attachment.interface.clone(),
            addresses: self.acquire(attachment).await?,
            mtu: *self.config.mtu.borrow(),
            bandwidth,
        };
        let (host_ops, pod_ops) = link::plan_add(&link);
        self.network.apply(&Netns::Own, &host_ops).await?;
        self.network.apply(&Netns::Path(link.netns.clone()), &pod_ops).await?;
        let end = PodEnd::new(attachment, &link.addresses, paced);
        self.endpoints.add(end).await.map_err(CniServerError::Endpoint)?;
        Ok(AddReply {
            mac: link::mac_text(link::pod_mac(&link.addresses)),
            addresses: link.addresses.iter().map(told).collect(),
            host_interface: link::host_interface(&link.sandbox),
            host_mac: link::mac_text(link::HOST_MAC),
        })
    }

    async fn acquire(&self, attachment: &Attachment) -> Result<Vec<IpAddr>, CniServerError> {
        let ranges = self.ranges().await?;
        let (ipam, named) = (self.ipam.clone(), self.named.clone());
        let (sandbox, shaped) = (attachment.container_id.clone(), is_shaped(attachment));
        let pod = format!("{}/{}", attachment.pod_namespace, attachment.pod_name);
        let acquire = move || {
            let mut ipam = ipam.lock();
            ipam.set_ranges(&ranges);
            ipam.acquire(&sandbox, &pod, shaped, &*named)
        };
        Ok(on_disk(acquire).await?)
    }

    async fn detach(&self, sandbox: &str) -> Result<(), CniServerError> {
        let lease = self.ipam.lock().lease_of(sandbox).cloned();
        if let Some(lease) = lease {
            let end = PodEnd::of(&lease);
            self.endpoints.remove(end).await.map_err(CniServerError::Endpoint)?;
        }
        // Then the link: an address that rests is on no link.
        self.network.apply(&Netns::Own, &link::plan_delete(sandbox)).await?;
        let (ipam, sandbox) = (self.ipam.clone(), sandbox.to_owned());
        on_disk(move || ipam.lock().release(&sandbox)).await?;
        Ok(())
    }
}

fn bandwidth(attachment: &Attachment) -> Bandwidth {
    let given = attachment.bandwidth.as_ref();
    given.map_or_else(Bandwidth::default, |of| Bandwidth {
        ingress_rate: of.ingress_rate,
        egress_rate: of.egress_rate,
    })
}

fn is_shaped(attachment: &Attachment) -> bool {
    bandwidth(attachment).ingress_rate != 0
}

/// An address as the plugin is told it: alone, behind its family's next hop.
fn told(address: &IpAddr) -> Address {
    Address { address: IpNet::from(*address).to_string(), gateway: link::gateway(*address).to_string() }
}

/// The journal syncs: off the threads that serve others.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IpamError> + Send + 'static,
) -> Result<T, IpamError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

#[tonic::async_trait]
impl CniAgent for Server {
    async fn add(&self, request: Request<Attachment>) -> Result<Response<AddReply>, Status> {
        let attachment = request.into_inner();
        match self.attach(&attachment).await {
            Ok(reply) => Ok(Response::new(reply)),
            Err(error) => {
                // The runtime calls DEL after a failed ADD only by courtesy; a half-made wire does not wait for it.
                if let Err(undo) = self.detach(&attachment.container_id).await {
                    tracing::warn!(error = %chain(&undo), "undoing a failed CNI ADD");
                }
                Err(status(&error))
            }
        }
    }

    async fn delete(&self, request: Request<Attachment>) -> Result<Response<DeleteReply>, Status> {
        self.detach(&request.get_ref().container_id).await.map_err(|error| status(&error))?;
        Ok(Response::new(DeleteReply {}))
    }

    async fn check(&self, request: Request<Attachment>) -> Result<Response<CheckReply>, Status> {
        let sandbox = &request.get_ref().container_id;
        if self.ipam.lock().lease_of(sandbox).is_none() {
            return Err(Status::not_found(format!("sandbox {sandbox} has no address on this node")));
        }
        let link = link::host_interface(sandbox);
        let links = self.network.links().await.map_err(|error| status(&error.into()))?;
        if !links.contains(&link) {
            return Err(Status::not_found(format!("the link {link} of sandbox {sandbox} is gone")));
        }
        Ok(Response::new(CheckReply {}))
    }
}

fn status(error: &CniServerError) -> Status {
    let text = chain(error);
    match error {
        CniServerError::Ipam(IpamError::Exhausted(_)) => Status::resource_exhausted(text),
        CniServerError::NoRanges(_) => Status::unavailable(text),
        _ => Status::internal(text),
    }
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
