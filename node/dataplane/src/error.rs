//! What can go wrong in the data plane, and what to do about it.

use std::{io, path::PathBuf};

use keelson_sys::{
    bpf::{BatchError, BpfError},
    net::NetError,
};

/// An error of the data plane. `Display` says what we were doing, the source says why it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No object file with the programs.
    #[error(
        "no eBPF programs at {path}: build them with `cargo xtask ebpf`, or name the file in the configuration"
    )]
    NoObject {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it could not be read.
        source: io::Error,
    },
    /// The object was compiled from another layout than this binary.
    #[error(
        "the eBPF programs at {origin} are of another layout than this binary: build both from one source"
    )]
    ForeignObject {
        /// File, or "this binary".
        origin: String,
    },
    /// The kernel or the object's parser refused the programs.
    #[error("loading the eBPF programs")]
    Load(#[from] Box<aya::EbpfError>),
    /// The verifier refused a program.
    #[error("loading the eBPF program {name}")]
    Program {
        /// The program.
        name: &'static str,
        /// The verifier's words.
        source: Box<aya::programs::ProgramError>,
    },
    /// The object lacks a part.
    #[error("the eBPF object has no {what} named {name}")]
    Missing {
        /// "map" or "program".
        what: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A map that the kernel made is not what the table says.
    #[error("map {name} is {found}, it should be {wanted}")]
    Shape {
        /// The map.
        name: &'static str,
        /// What the kernel says.
        found: String,
        /// What `keelson_ebpf_common::layout` says.
        wanted: String,
    },
    /// A size of the table of known flows that is none.
    #[error("the table of known flows cannot have {lines} lines: give a power of two from 2 to 524288")]
    KnownLines {
        /// What was asked for.
        lines: u32,
    },
    /// Nobody would hear what the programs say.
    #[error("listening to what the programs say: {reason}")]
    Talk {
        /// Why not.
        reason: String,
    },
    /// No XDP at all.
    #[error("attaching XDP to {device}: neither its driver nor the kernel's generic path takes it")]
    NoWire {
        /// The device.
        device: String,
    },
    /// The folder for pins is not on a bpffs.
    #[error("{path} is not on a bpffs: mount one there (`mount -t bpf bpf {path}`)")]
    NoBpffs {
        /// The configured folder.
        path: PathBuf,
    },
    /// A file operation.
    #[error("{doing} {path}")]
    File {
        /// What we were doing.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The node's network namespace, by which programs tell its own sockets.
    #[error("asking for the cookie of the node's network namespace")]
    Namespace {
        /// Why it failed.
        source: io::Error,
    },
    /// A pod's network namespace.
    #[error("asking for the cookie of the network namespace {path}")]
    PodNamespace {
        /// Where it is.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The addresses of the node's links.
    #[error("reading the addresses of the node's links")]
    Addresses {
        /// Why it failed.
        source: io::Error,
    },
    /// Word of their changes.
    #[error("asking to be told when the addresses of the node's links change")]
    AddressChanges {
        /// Why it failed.
        source: NetError,
    },
    /// A `bpf(2)` call.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// A batch of elements.
    #[error("writing map {name}")]
    Batch {
        /// The map.
        name: &'static str,
        /// How far it came.
        source: BatchError,
    },
    /// The flow stream's ring.
    #[error("opening the ring of the flow stream")]
    Ring(#[source] Box<aya::maps::MapError>),
    /// Options leave it out.
    #[error("connections are not measured on this node: it runs with --without metrics")]
    NotMeasured,
    /// A device that is named is not there.
    #[error("there is no network device {name} in the namespace of this process")]
    NoDevice {
        /// Its name.
        name: String,
    },
    /// The kernel's range of local ports cannot be read.
    #[error("net.ipv4.ip_local_port_range is {text:?}, not two ports")]
    PortRange {
        /// What it holds.
        text: String,
    },
    /// A filter of a device could not be put or removed.
    #[error("the filter of network device {device}")]
    Filter {
        /// The device.
        device: String,
        /// Why.
        source: Box<aya::programs::ProgramError>,
    },
    /// A name that cannot be a folder.
    #[error("node name {name:?} cannot name a folder of pins: it must be a DNS subdomain")]
    NodeName {
        /// The configured name.
        name: String,
    },
    /// The blocking task that applies changes ended by a panic.
    #[error("the task that writes the maps ended: {reason}")]
    Task {
        /// Its words.
        reason: String,
    },
}
