//! Which stream protocol a client offers when it asks for an upgrade, and which of them the nodes speak.
//!
//! Nodes speak SPDY/3.1 and WebSocket with `v4.channel.k8s.io` and older (containerd 1.6 knows nothing newer). A client
//! that offers only what is newer is refused before anything is switched, upon which kubectl falls back to SPDY.

use http::{HeaderMap, HeaderName, header};

/// The SPDY upgrade token.
const SPDY: &str = "SPDY/3.1";
/// What port-forward over WebSocket offers: SPDY frames inside WebSocket messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// WebSocket subprotocols that the nodes understand, for exec and attach.
const EXEC_PROTOCOLS: [&str; 7] = [
    "",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "v2.channel.k8s.io",
    "v3.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
];

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// No upgrade at all.
    Missing,
    /// Can be spliced to the node as it is.
    Passable,
    /// Names what is offered and not spoken.
    Refused(String),
}

/// Reads the upgrade headers.
pub(crate) fn read_handshake(headers: &HeaderMap) -> Handshake {
    let upgrade = all(headers, header::UPGRADE);
    let asks = all(headers, header::CONNECTION).iter().any(|token| token.eq_ignore_ascii_case("upgrade"));
    if !asks || upgrade.is_empty() {
        return Handshake::Missing;
    }
    if upgrade.iter().any(|token| token.eq_ignore_ascii_case(SPDY)) {
        return Handshake::Passable;
    }
    if !upgrade.iter().any(|token| token.eq_ignore_ascii_case("websocket")) {
        return Handshake::Refused(format!("unable to upgrade: unsupported protocol {}", upgrade.join(", ")));
    }
    let offered = all(headers, header::SEC_WEBSOCKET_PROTOCOL);
    if offered.is_empty() || offered.iter().any(|p| EXEC_PROTOCOLS.contains(&p.as_str())) {
        return Handshake::Passable;
    }
    let why = if offered.iter().any(|p| p == TUNNEL) {
        "tunnelling SPDY in WebSocket is not supported, use SPDY/3.1"
    } else {
        "the nodes speak SPDY/3.1 and v4.channel.k8s.io or older"
    };
    Handshake::Refused(format!(
        "unable to upgrade: unsupported WebSocket subprotocol {}: {why}",
        offered.join(", ")
    ))
}

fn all(headers: &HeaderMap, name: HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(rows: &[(&'static str, &'static str)]) -> HeaderMap {
        rows.iter().map(|(k, v)| (HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_what_the_nodes_speak_passes() {
        use Handshake::{Missing, Passable};
        let ws = |protocol| {
            headers(&[
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-protocol", protocol),
            ])
        };
        assert_eq!(read_handshake(&headers(&[])), Missing);
        assert_eq!(read_handshake(&headers(&[("upgrade", "SPDY/3.1")])), Missing);
        assert_eq!(read_handshake(&headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")])), Passable);
        assert_eq!(read_handshake(&ws("v4.channel.k8s.io")), Passable);
        assert_eq!(read_handshake(&ws("v5.channel.k8s.io, v4.channel.k8s.io")), Passable);
        assert!(
            matches!(read_handshake(&ws("v5.channel.k8s.io")), Handshake::Refused(why) if why.contains("v5.channel.k8s.io"))
        );
        assert!(
            matches!(read_handshake(&ws("SPDY/3.1+portforward.k8s.io")), Handshake::Refused(why) if why.contains("tunnelling"))
        );
        assert!(matches!(
            read_handshake(&headers(&[("connection", "Upgrade"), ("upgrade", "h2c")])),
            Handshake::Refused(_)
        ));
    }
}
