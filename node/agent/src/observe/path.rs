//! What this node would do with a connection between two pods, as a message.

use std::net::IpAddr;

use ipnet::IpNet;
use keelson_dataplane::packet::{End, Judgement, Path, With};
use keelson_dataplane::policy::{Connection, Selecting};
use keelson_ebpf_common::packet::protocol;
use keelson_ebpf_common::policy::Direction;
use keelson_observer as proto;
use keelson_sys::net::{NetError, Netlink, Network, Route};

use super::Observer;

/// Why a path is not told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathError {
    /// The caller's.
    #[error("`{field}` is no IP address: {text:?}")]
    Address {
        /// Of the request.
        field: &'static str,
        /// What it says.
        text: String,
    },
    /// The caller's.
    #[error("`protocol` is TCP, UDP, SCTP or ICMP, not {0:?}", .name)]
    Protocol {
        /// What it says.
        name: String,
    },
    /// The caller's.
    #[error("`port` is below 65536, not {port}")]
    Port {
        /// What it says.
        port: u32,
    },
    /// The kernel's.
    #[error("the node's routes could not be read")]
    Routes(#[source] NetError),
    /// The kernel's.
    #[error(transparent)]
    Tables(#[from] keelson_dataplane::Error),
}

impl Observer {
    pub(crate) async fn path(&self, request: &proto::PathRequest) -> Result<proto::PathReply, PathError> {
        let connection = read(request)?;
        let node = self.node.to_string();
        let Some(path) = self.dataplane.path(connection).await? else {
            return Ok(proto::PathReply { node, without_packets: true, ..proto::PathReply::default() });
        };
        let routes = match path.to {
            Some(_) => Vec::new(),
            None => Netlink::open().map_err(PathError::Routes)?.routes().await.map_err(PathError::Routes)?,
        };
        let judgement = async |judged: &Judgement, direction| match judged {
            Judgement::NotHere => None,
            judged => Some(message(judged, self.dataplane.policies_about(connection, direction).await)),
        };
        Ok(proto::PathReply {
            node,
            without_packets: false,
            route: route(&routes, connection.to, &path),
            egress: judgement(&path.egress, Direction::Egress).await,
            ingress: judgement(&path.ingress, Direction::Ingress).await,
            from: path.from.map(end),
            to: path.to.map(end),
        })
    }
}

fn read(request: &proto::PathRequest) -> Result<Connection, PathError> {
    let address = |field, text: &String| {
        text.parse::<IpAddr>().map_err(|_| PathError::Address { field, text: text.clone() })
    };
    let (from, to) = (address("from", &request.from)?, address("to", &request.to)?);
    let protocol = match (request.protocol.as_str(), to) {
        ("TCP", _) => protocol::TCP,
        ("UDP", _) => protocol::UDP,
        ("SCTP", _) => protocol::SCTP,
        ("ICMP", IpAddr::V4(_)) => protocol::ICMP,
        ("ICMP", IpAddr::V6(_)) => protocol::ICMP6,
        (name, _) => return Err(PathError::Protocol { name: name.to_owned() }),
    };
    let port = u16::try_from(request.port).map_err(|_| PathError::Port { port: request.port })?;
    Ok(Connection { from, to, protocol, port })
}

fn end(end: End) -> proto::PathEnd {
    match end {
        End::Node => proto::PathEnd { is_node: true, ..proto::PathEnd::default() },
        End::Pod { link, shaped } => proto::PathEnd { is_node: false, link, shaped },
    }
}

/// The closest of Keelson's routes that leads there.
fn route(routes: &[Route], to: IpAddr, path: &Path) -> Option<proto::PathRoute> {
    let leading = routes.iter().filter(|route| IpNet::contains(&route.destination, &to));
    let route = leading.max_by_key(|route| route.destination.prefix_len())?;
    Some(proto::PathRoute {
        destination: route.destination.to_string(),
        gateway: route.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        redirected: route.link.is_some() && route.link == path.uplink,
        device: route.link.clone().unwrap_or_default(),
    })
}

fn message(judged: &Judgement, selecting: Option<Selecting>) -> proto::PathJudgement {
    let named = selecting.is_some();
    let Selecting { policies, letting } = selecting.unwrap_or_default();
    let texts = |names: Vec<Box<str>>| names.into_iter().map(String::from).collect();
    let mut message = proto::PathJudgement {
        named,
        policies: texts(policies),
        letting: texts(letting),
        ..proto::PathJudgement::default()
    };
    let verdict = match judged {
        Judgement::NotHere | Judgement::Exempt => "exempt",
        Judgement::Open => "open",
        Judgement::Closed => "closed",
        Judgement::Allowed { group, entry } => {
            message.group = group.to_string();
            let (with, class) = match entry.with {
                With::Anyone => ("anyone", String::new()),
                With::Pods(class) => ("pods", class.to_string()),
                With::Blocks(class) => ("blocks", class.to_string()),
            };
            (message.with, message.class) = (with.to_owned(), class);
            message.entry = covers(entry.protocol, entry.ports);
            "allowed"
        }
        Judgement::Denied { group, classes } => {
            message.group = group.to_string();
            message.classes = classes.iter().map(ToString::to_string).collect();
            "denied"
        }
    };
    message.verdict = verdict.to_owned();
    message
}

/// What an entry lets pass, in words.
fn covers(protocol: Option<u8>, ports: Option<(u16, u16)>) -> String {
    let protocol = match protocol {
        None => return "everything".to_owned(),
        Some(protocol::TCP) => "TCP".to_owned(),
        Some(protocol::UDP) => "UDP".to_owned(),
        Some(protocol::SCTP) => "SCTP".to_owned(),
        Some(number) => format!("protocol {number}"),
    };
    match ports {
        None => protocol,
        Some((first, last)) if first == last => format!("{protocol} {first}"),
        Some((first, last)) => format!("{protocol} {first}-{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(from: &str, protocol: &str, port: u32) -> Result<Connection, PathError> {
        let (from, to, protocol) = (from.to_owned(), "10.244.2.3".to_owned(), protocol.to_owned());
        read(&proto::PathRequest { from, to, protocol, port })
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        assert_eq!(asked("10.244.1.2", "UDP", 53).unwrap().protocol, protocol::UDP);
        let said = |asked: Result<Connection, PathError>| asked.unwrap_err().to_string();
        assert_eq!(said(asked("web", "TCP", 80)), "`from` is no IP address: \"web\"");
        assert!(said(asked("10.244.1.2", "tcp", 80)).contains("not \"tcp\""));
        assert!(said(asked("10.244.1.2", "TCP", 65_536)).contains("65536"));
    }

    #[test]
    fn the_closest_route_counts_and_the_uplink_is_redirected_to() {
        let path = Path {
            from: None,
            to: None,
            uplink: Some("eth0".into()),
            egress: Judgement::NotHere,
            ingress: Judgement::NotHere,
        };
        let of = |destination: &str, gateway: &str, link: &str| Route {
            destination: destination.parse().unwrap(),
            gateway: Some(gateway.parse().unwrap()),
            link: Some(link.into()),
            onlink: false,
        };
        let routes = [of("10.244.0.0/16", "172.30.0.1", "eth1"), of("10.244.2.0/24", "172.30.0.12", "eth0")];
        let found = route(&routes, [10, 244, 2, 3].into(), &path).unwrap();
        assert_eq!((found.gateway.as_str(), found.redirected), ("172.30.0.12", true));
        let found = route(&routes, [10, 244, 3, 3].into(), &path).unwrap();
        assert_eq!((found.device.as_str(), found.redirected), ("eth1", false));
        assert!(route(&routes, [10, 96, 0, 1].into(), &path).is_none());
    }

    #[test]
    fn entries_are_told_in_words() {
        assert_eq!(covers(None, None), "everything");
        assert_eq!(covers(Some(6), Some((80, 80))), "TCP 80");
        assert_eq!(covers(Some(17), Some((8000, 8003))), "UDP 8000-8003");
        assert_eq!(covers(Some(132), None), "SCTP");
    }
}
