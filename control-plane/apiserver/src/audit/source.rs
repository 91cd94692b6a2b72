//! Where a request came from: the proxies that it passed, as they say, and the other end of the connection.

use crate::pipeline::text;
use http::{HeaderMap, HeaderName};
use std::net::IpAddr;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Addresses of one request; a client may write what it likes.
const IPS_MAX: usize = 32;

/// The addresses, the nearest last: all of them but that one may be made up.
pub(super) fn ips(headers: &HeaderMap, peer: Option<IpAddr>) -> Vec<IpAddr> {
    let parse = |text: &str| text.trim().parse::<IpAddr>().ok();
    let forwarded = text(headers, &FORWARDED_FOR).unwrap_or_default().split(',');
    let mut all: Vec<IpAddr> = forwarded.filter_map(parse).take(IPS_MAX).collect();
    if let Some(real) = text(headers, &REAL_IP).and_then(parse).filter(|real| !all.contains(real)) {
        all.push(real);
    }
    if let Some(peer) = peer.map(|peer| peer.to_canonical()).filter(|peer| all.last() != Some(peer)) {
        all.push(peer);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_are_in_the_order_of_the_way() {
        // X-Forwarded-For, X-Real-Ip, the other end; what is recorded
        let rows = [
            ("", "", "192.0.2.9", "192.0.2.9"),
            ("192.0.2.1, nonsense,2001:db8::1", "", "192.0.2.9", "192.0.2.1 2001:db8::1 192.0.2.9"),
            ("192.0.2.1", "192.0.2.2", "192.0.2.9", "192.0.2.1 192.0.2.2 192.0.2.9"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("", "", "::ffff:192.0.2.9", "192.0.2.9"),
        ];
        for (forwarded, real, peer, wanted) in rows {
            let mut headers = HeaderMap::new();
            for (name, value) in [(FORWARDED_FOR, forwarded), (REAL_IP, real)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            let all: Vec<String> =
                ips(&headers, Some(peer.parse().unwrap())).iter().map(ToString::to_string).collect();
            assert_eq!(all.join(" "), wanted, "{forwarded} {real} {peer}");
        }
        assert!(ips(&HeaderMap::new(), None).is_empty());
    }
}
