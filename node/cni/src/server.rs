//! The daemon's side of the plugin: gives pods their wires and takes them away.

use crate::{
    conf,
    ipam::{Ipam, IpamError},
    link::{self, PodLink},
};
use ipnet::Ipv4Net;
use keelson_cni_agent::{
    AddReply, Attachment, CheckReply, DeleteReply,
    cni_agent_server::{CniAgent, CniAgentServer},
};
use keelson_sys::net::{Mac, NetError, Netns, Network};
use parking_lot::Mutex;
use std::{collections::BTreeSet, io, net::Ipv4Addr, path::PathBuf, sync::Arc};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Whether something in the kernel (a Service's map) still names an address; then it is not given out again yet.
pub type Named = Arc<dyn Fn(Ipv4Addr) -> bool + Send + Sync>;

/// Whoever takes the pods' packets from link to link is told of each pod: when its link is there, and before it goes.
#[async_trait::async_trait]
pub trait Endpoints: Send + Sync + 'static {
    /// A pod has its link. Its network is not ready before this returns.
    async fn add(&self, pod: PodEnd) -> Result<(), EndpointError>;
    /// A pod's link is about to be removed; it may never have been added.
    async fn remove(&self, pod: PodEnd) -> Result<(), EndpointError>;
    /// After a start: exactly these pods have links.
    async fn replace(&self, pods: Vec<PodEnd>) -> Result<(), EndpointError>;
}

/// Why it did not.
pub type EndpointError = Box<dyn std::error::Error + Send + Sync>;

/// A pod as its node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEnd {
    /// Its address.
    pub address: Ipv4Addr,
    /// The host's end of its link.
    pub link: String,
    /// Hardware address of the pod's end.
    pub mac: Mac,
    /// Hardware address of the host's end.
    pub host_mac: Mac,
}

impl PodEnd {
    fn new(sandbox: &str, address: Ipv4Addr) -> PodEnd {
        let (link, mac) = (link::host_interface(sandbox), link::pod_mac(address));
        PodEnd { address, link, mac, host_mac: link::HOST_MAC }
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
    /// The node's pods have addresses of this range.
    pub pod_cidr: Ipv4Net,
    /// Bytes of an IP packet on the nodes' wires.
    pub mtu: u32,
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
    named: Named,
}

impl Server {
    /// Opens the journal. `network` is the kernel's, or a test's recorder.
    pub fn open(
        config: Config,
        network: Arc<dyn Network>,
        endpoints: Arc<dyn Endpoints>,
        named: Named,
    ) -> Result<Arc<Server>, CniServerError> {
        let ipam = Ipam::open(&config.root.join("ipam.journal"), config.pod_cidr)?;
        Ok(Arc::new(Server { config, ipam: Arc::new(Mutex::new(ipam)), network, endpoints, named }))
    }

    /// Compares the leases with the sandboxes that the runtime has, after a start: what belongs to none is released, and
    /// its link, if it is still there, removed. Answers how many.
    pub async fn reconcile(&self, sandboxes: &BTreeSet<String>) -> Result<usize, CniServerError> {
        let gone = self.ipam.lock().retain(sandboxes)?;
        let there: Vec<PodEnd> =
            self.ipam.lock().leases().map(|lease| PodEnd::new(&lease.sandbox, lease.address)).collect();
        self.endpoints.replace(there).await.map_err(CniServerError::Endpoint)?;
        for lease in &gone {
            tracing::info!(address = %lease.address, pod = lease.pod, "released the address of a sandbox that is gone");
            self.network.apply(&Netns::Own, &link::plan_delete(&lease.sandbox)).await?;
        }
        Ok(gone.len())
    }

    /// Listens, tells the runtime that the network is there, and serves until `shutdown`. The configuration stays when the
    /// daemon goes: the runtime keeps its network, and the plugin answers "try again" meanwhile.
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
        conf::publish(&self.config.conf_dir, &socket).map_err(failed("writing to", &self.config.conf_dir))?;
        tonic::transport::Server::builder()
            .add_service(CniAgentServer::from_arc(self))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown.cancelled_owned())
            .await
            .map_err(|e| failed("serving", &socket)(io::Error::other(e)))
    }

    async fn attach(&self, attachment: &Attachment) -> Result<AddReply, CniServerError> {
        let link = PodLink {
            sandbox: attachment.container_id.clone(),
            netns: attachment.netns.clone().into(),
            interface: attachment.interface.clone(),
            address: self.acquire(attachment).await?,
            mtu: self.config.mtu,
        };
        let (host_ops, pod_ops) = link::plan_add(&link);
        self.network.apply(&Netns::Own, &host_ops).await?;
        self.network.apply(&Netns::Path(link.netns.clone()), &pod_ops).await?;
        let end = PodEnd::new(&link.sandbox, link.address);
        self.endpoints.add(end).await.map_err(CniServerError::Endpoint)?;
        Ok(AddReply {
            mac: link::mac_text(link::pod_mac(link.address)),
            address: format!("{}/32", link.address),
            gateway: link::GATEWAY.to_string(),
            host_interface: link::host_interface(&link.sandbox),
            host_mac: link::mac_text(link::HOST_MAC),
        })
    }

    async fn acquire(&self, attachment: &Attachment) -> Result<Ipv4Addr, IpamError> {
        let (ipam, named) = (self.ipam.clone(), self.named.clone());
        let sandbox = attachment.container_id.clone();
        let pod = format!("{}/{}", attachment.pod_namespace, attachment.pod_name);
        on_disk(move || ipam.lock().acquire(&sandbox, &pod, &*named)).await
    }

    async fn detach(&self, attachment: &Attachment) -> Result<(), CniServerError> {
        let lease = self.ipam.lock().lease_of(&attachment.container_id).cloned();
        if let Some(lease) = lease {
            let end = PodEnd::new(&lease.sandbox, lease.address);
            self.endpoints.remove(end).await.map_err(CniServerError::Endpoint)?;
        }
        // Then the link: an address that rests is on no link.
        self.network.apply(&Netns::Own, &link::plan_delete(&attachment.container_id)).await?;
        let (ipam, sandbox) = (self.ipam.clone(), attachment.container_id.clone());
        on_disk(move || ipam.lock().release(&sandbox)).await?;
        Ok(())
    }
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
                if let Err(undo) = self.detach(&attachment).await {
                    tracing::warn!(error = %chain(&undo), "undoing a failed CNI ADD");
                }
                Err(status(&error))
            }
        }
    }

    async fn delete(&self, request: Request<Attachment>) -> Result<Response<DeleteReply>, Status> {
        self.detach(request.get_ref()).await.map_err(|error| status(&error))?;
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
mod tests {
    use super::*;
    use keelson_sys::net::{NetOp, Recorder};

    fn server(folder: &tempfile::TempDir) -> (Arc<Server>, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::default());
        let config = Config {
            root: folder.path().into(),
            socket: folder.path().join("cni.sock"),
            conf_dir: folder.path().join("conf"),
            pod_cidr: "10.244.1.0/29".parse().unwrap(),
            mtu: 1500,
        };
        (
            Server::open(config, recorder.clone(), Arc::new(NoEndpoints), Arc::new(|_| false)).unwrap(),
            recorder,
        )
    }

    fn attachment(sandbox: &str) -> Request<Attachment> {
        Request::new(Attachment {
            container_id: sandbox.into(),
            netns: format!("/run/netns/{sandbox}"),
            interface: "eth0".into(),
            pod_namespace: "default".into(),
            pod_name: sandbox.into(),
            pod_uid: "u".into(),
        })
    }

    #[tokio::test]
    async fn add_tells_the_kernel_both_namespaces_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let (server, recorder) = server(&folder);
        let reply = server.add(attachment("a")).await.unwrap().into_inner();
        assert_eq!(reply.address, "10.244.1.2/32");
        let calls = recorder.calls();
        let pod = Netns::Path("/run/netns/a".into());
        let spaces: Vec<&Netns> = calls.iter().map(|(netns, _)| netns).collect();
        assert_eq!(
            spaces,
            [&Netns::Own, &Netns::Own, &Netns::Own, &Netns::Own, &pod, &pod, &pod, &pod, &pod]
        );
        assert!(matches!(&calls[0].1, NetOp::AddVeth { peer_name, .. } if peer_name == "eth0"));
    }

    #[tokio::test]
    async fn add_twice_answers_the_same_address() {
        let folder = tempfile::tempdir().unwrap();
        let (server, _) = server(&folder);
        let first = server.add(attachment("a")).await.unwrap().into_inner();
        assert_eq!(server.add(attachment("a")).await.unwrap().into_inner(), first);
    }

    #[tokio::test]
    async fn a_full_range_is_refused_with_the_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let (server, _) = server(&folder);
        for sandbox in ["a", "b", "c", "d", "e"] {
            server.add(attachment(sandbox)).await.unwrap();
        }
        let refusal = server.add(attachment("f")).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert!(refusal.message().contains("5 leased"), "{}", refusal.message());
    }

    #[tokio::test]
    async fn delete_removes_the_link_and_check_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let (server, recorder) = server(&folder);
        server.add(attachment("a")).await.unwrap();
        server.check(attachment("a")).await.unwrap();
        server.delete(attachment("a")).await.unwrap();
        server.delete(attachment("a")).await.unwrap();
        assert!(recorder.links().await.unwrap().is_empty());
        assert_eq!(server.check(attachment("a")).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}
