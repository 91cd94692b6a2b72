//! Addresses and ranges in fields that have always taken them as texts.
//!
//! Rules: upstream's `IsValidIPForLegacyField`, `IsValidCIDRForLegacyField` and `ValidateEndpointIP`. What was there
//! before a change is never refused for its form.

use super::Errors;
use ipnet::IpNet;
use keelson_schema::{FieldError, Path};
use std::net::{IpAddr, Ipv4Addr};

const NO_IP: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// An address, unless it is one of `existing`.
pub fn address(path: &Path, text: &str, existing: &[&str]) -> Errors {
    if existing.contains(&text) {
        return Errors::new();
    }
    let detail = match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            "must not be an IPv4-mapped IPv6 address"
        }
        Ok(_) => return Errors::new(),
        Err(_) if has_leading_zeros(text) => "must not have leading 0s",
        Err(_) => NO_IP,
    };
    vec![FieldError::invalid(path, text, detail)]
}

/// A range, unless it is one of `existing`.
pub fn range(path: &Path, text: &str, existing: &[&str]) -> Errors {
    if existing.contains(&text) {
        return Errors::new();
    }
    let detail = match text.parse::<IpNet>() {
        Ok(_) if has_leading_zeros_in_range(text) => {
            "must not have leading 0s in IP or prefix length".to_owned()
        }
        Ok(IpNet::V6(range)) if range.addr().to_ipv4_mapped().is_some() => {
            "must not have an IPv4-mapped IPv6 address".to_owned()
        }
        Ok(range) if range.trunc() != range => {
            format!(
                "must not have bits set beyond the prefix length (was this meant to be \"{}\"?)",
                range.trunc()
            )
        }
        Ok(_) => return Errors::new(),
        Err(_) => NO_RANGE.to_owned(),
    };
    vec![FieldError::invalid(path, text, detail)]
}

fn has_leading_zeros(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |part: &&str| part.parse::<u8>().is_ok();
    parts.len() == 4
        && parts.iter().all(number)
        && parts.iter().any(|part| part.len() > 1 && part.starts_with('0'))
}

/// What is read as a range all the same; the standard library's parser is strict about an address.
fn has_leading_zeros_in_range(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        address.parse::<IpAddr>().is_err() || bits.len() > 1 && bits.starts_with('0')
    })
}

/// An address that packets can be sent to from elsewhere.
pub fn reachable(path: &Path, text: &str) -> Errors {
    let Ok(address) = text.parse::<IpAddr>() else { return vec![FieldError::invalid(path, text, NO_IP)] };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4 & Ipv4Addr::new(255, 255, 255, 0) == Ipv4Addr::new(224, 0, 0, 0),
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    let rows = [
        (address.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    rows.into_iter()
        .filter(|(is, _)| *is)
        .map(|(_, detail)| FieldError::invalid(path, text, detail))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_said() {
        let rows = [
            ("10.0.0.1", None),
            ("fd00::1", None),
            ("010.0.0.1", Some("leading 0s")),
            ("::ffff:10.0.0.1", Some("IPv4-mapped")),
            ("x", Some("must be a valid IP address")),
        ];
        for (text, expected) in rows {
            let errors = address(&"f".into(), text, &[]);
            match expected {
                None => assert!(errors.is_empty(), "{text}: {errors:?}"),
                Some(word) => assert!(errors[0].detail.contains(word), "{text}: {errors:?}"),
            }
            assert!(address(&"f".into(), text, &[text]).is_empty(), "{text} was there before");
        }
    }

    #[test]
    fn special_addresses_are_not_endpoints() {
        let refused = ["0.0.0.0", "::", "127.0.0.1", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1"];
        for text in refused {
            assert_eq!(reachable(&"f".into(), text).len(), 1, "{text}");
        }
        for text in ["10.0.0.1", "fd00::1", "224.0.1.1"] {
            assert!(reachable(&"f".into(), text).is_empty(), "{text}");
        }
    }

    #[test]
    fn ranges_are_whole() {
        let rows = [
            ("10.0.0.0/8", true),
            ("::/0", true),
            ("10.0.0.1/8", false),
            ("10.0.0.1", false),
            ("010.0.0.0/8", false),
            ("10.0.0.0/08", false),
            ("::ffff:10.0.0.0/104", false),
        ];
        for (text, good) in rows {
            assert_eq!(range(&"f".into(), text, &[]).is_empty(), good, "{text}");
        }
    }
}
