//! One number space for what a program decided against a client or could not do for it.
//!
//! Programs count by these numbers, metrics and tools print their names. A number, once released, keeps its meaning.

/// Index into the counters; a new reason goes to the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Reason {
    /// The Service has no backend: the connection was refused (ECONNREFUSED).
    NoBackend = 0,
    /// A frontend named a record or slot that does not exist: refused. Always a bug.
    BadRecord = 1,
    /// The connection was made, but there was no room for its record: getpeername() will answer the backend.
    ConnectionsFull = 2,
    /// The datagram was sent, but its answer will come from the backend: `DATAGRAMS` could not take the flow.
    DatagramsFull = 3,
    /// A connection was counted among all others: there was no row left for its Service and backend.
    TotalsFull = 4,
    /// An event of the flow stream was lost: nobody read fast enough.
    FlowsFull = 5,
    /// A packet to a Service without a backend: answered by RST or ICMP "port unreachable".
    Refused = 6,
    /// A packet to a Service without a backend to which no answer could be made: dropped.
    Unanswered = 7,
    /// No room for a new connection, or no port for its source: dropped.
    NoConntrack = 8,
    /// A connection was answered but stays half-open, where others may displace it: the table of established ones is full.
    ConntrackFull = 9,
    /// The kernel refused to change a packet: dropped.
    Unwritable = 10,
    /// A translated packet has no way out by the uplink: dropped.
    NoRoute = 11,
    /// A client outside of the Service's `loadBalancerSourceRanges`: dropped.
    SourceRange = 12,
    /// `externalTrafficPolicy: Local`, and no backend on this node: dropped.
    NoLocalBackend = 13,
    /// No network policy lets the pod have the connection that it asks for: dropped.
    PolicyEgress = 14,
    /// No network policy lets anybody have that connection to the pod: dropped.
    PolicyIngress = 15,
    /// While there are network policies: a pod sent from an address that is not its own, or someone outside from one of this
    /// node's: dropped.
    ForeignSource = 16,
    /// A pod with a bound of what it sends is so far ahead of it that its packet could leave only in two seconds: dropped.
    TooFast = 17,
}

/// How many reasons there are.
pub const REASONS: u32 = 18;

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; REASONS as usize] = [
        Self::NoBackend,
        Self::BadRecord,
        Self::ConnectionsFull,
        Self::DatagramsFull,
        Self::TotalsFull,
        Self::FlowsFull,
        Self::Refused,
        Self::Unanswered,
        Self::NoConntrack,
        Self::ConntrackFull,
        Self::Unwritable,
        Self::NoRoute,
        Self::SourceRange,
        Self::NoLocalBackend,
        Self::PolicyEgress,
        Self::PolicyIngress,
        Self::ForeignSource,
        Self::TooFast,
    ];

    /// The name in metrics and tools.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::BadRecord => "bad_record",
            Self::ConnectionsFull => "connections_full",
            Self::DatagramsFull => "datagrams_full",
            Self::TotalsFull => "totals_full",
            Self::FlowsFull => "flows_full",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::NoConntrack => "no_conntrack",
            Self::ConntrackFull => "conntrack_full",
            Self::Unwritable => "unwritable",
            Self::NoRoute => "no_route",
            Self::SourceRange => "source_range",
            Self::NoLocalBackend => "no_local_backend",
            Self::PolicyEgress => "policy_egress",
            Self::PolicyIngress => "policy_ingress",
            Self::ForeignSource => "foreign_source",
            Self::TooFast => "too_fast",
        }
    }
}
