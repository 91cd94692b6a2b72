//! Addresses and ranges that are read, but not written as they should be (KEP-4858).
//!
//! Rules: upstream's `GetWarningsForIP` and `GetWarningsForCIDR`. What is no address at all is validation's.

use super::{Notes, Place};
use ipnet::IpNet;
use keelson_schema::field::quote;
use std::net::{IpAddr, Ipv4Addr};

/// An address.
pub(super) fn address(place: &Place<'_>, text: &str, notes: &mut Notes) {
    let (plain, is_standard) = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => return,
        Ok(IpAddr::V6(v6)) => match v6.to_ipv4_mapped() {
            Some(v4) => (IpAddr::V4(v4), false),
            None => (IpAddr::V6(v6), true),
        },
        Err(_) => match padded(text) {
            Some(v4) => (IpAddr::V4(v4), false),
            None => return,
        },
    };
    let (own, plain) = (quote(text), plain.to_string());
    if !is_standard {
        notes.add(
            place,
            format_args!(
                "non-standard IP address {own} will be considered invalid in a future Kubernetes release: use \"{plain}\""
            ),
        );
    } else if plain != text {
        notes.add(
            place,
            format_args!("IPv6 address {own} should be in RFC 5952 canonical format (\"{plain}\")"),
        );
    }
}

/// A range.
pub(super) fn range(place: &Place<'_>, text: &str, notes: &mut Notes) {
    let Some((range, is_standard)) = read_range(text) else { return };
    let (own, plain) = (quote(text), range.trunc());
    let mut is_told = false;
    if plain != range {
        let single = IpNet::from(range.addr());
        notes.add(
            place,
            format_args!(
                "CIDR value {own} is ambiguous in this context (should be \"{plain}\" or \"{single}\"?)"
            ),
        );
        is_told = true;
    }
    if !is_standard {
        notes.add(
            place,
            format_args!(
                "non-standard CIDR value {own} will be considered invalid in a future Kubernetes release: use \"{plain}\""
            ),
        );
        is_told = true;
    }
    if !is_told && range.addr().is_ipv6() && plain.to_string() != text {
        notes.add(
            place,
            format_args!("IPv6 CIDR value {own} should be in RFC 5952 canonical format (\"{plain}\")"),
        );
    }
}

/// A range, and whether it is written in a standard form.
fn read_range(text: &str) -> Option<(IpNet, bool)> {
    let (address, length) = text.split_once('/')?;
    // Zeros in front are an error in an address and none in a range, for those who parse them here.
    if address.parse::<IpAddr>().is_err() {
        return Some((IpNet::new(IpAddr::V4(padded(address)?), length.parse().ok()?).ok()?, false));
    }
    let range = text.parse().ok()?;
    if let IpNet::V6(mapped) = range
        && let Some(v4) = mapped.addr().to_ipv4_mapped()
        && let Some(length) = mapped.prefix_len().checked_sub(96)
    {
        return Some((IpNet::new(IpAddr::V4(v4), length).ok()?, false));
    }
    Some((range, true))
}

/// An IPv4 address whose numbers have zeros in front, read as decimal as it always was.
fn padded(text: &str) -> Option<Ipv4Addr> {
    let mut numbers = [0; 4];
    let mut parts = text.split('.');
    for number in &mut numbers {
        let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then(|| numbers.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(check: impl Fn(&Place<'_>, &str, &mut Notes), text: &str) -> String {
        let mut notes = Notes::default();
        check(&Place::Root.field("f"), text, &mut notes);
        notes.into_texts().join("; ")
    }

    #[test]
    fn addresses_are_told_how_to_be_written() {
        let rows = [
            ("1.2.3.4", ""),
            ("fd00::1", ""),
            ("nonsense", ""),
            (
                "05.06.07.08",
                r#"f: non-standard IP address "05.06.07.08" will be considered invalid in a future Kubernetes release: use "5.6.7.8""#,
            ),
            (
                "::ffff:1.2.3.4",
                r#"f: non-standard IP address "::ffff:1.2.3.4" will be considered invalid in a future Kubernetes release: use "1.2.3.4""#,
            ),
            (
                "FD00:0::1",
                r#"f: IPv6 address "FD00:0::1" should be in RFC 5952 canonical format ("fd00::1")"#,
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(told(address, text), expected);
        }
    }

    #[test]
    fn ranges_are_told_how_to_be_written() {
        let rows = [
            ("10.0.0.0/8", ""),
            ("fd00::/64", ""),
            ("nonsense", ""),
            (
                "10.0.0.1/8",
                r#"f: CIDR value "10.0.0.1/8" is ambiguous in this context (should be "10.0.0.0/8" or "10.0.0.1/32"?)"#,
            ),
            (
                "010.0.0.0/8",
                r#"f: non-standard CIDR value "010.0.0.0/8" will be considered invalid in a future Kubernetes release: use "10.0.0.0/8""#,
            ),
            (
                "::ffff:10.0.0.0/104",
                r#"f: non-standard CIDR value "::ffff:10.0.0.0/104" will be considered invalid in a future Kubernetes release: use "10.0.0.0/8""#,
            ),
            (
                "FD00::/64",
                r#"f: IPv6 CIDR value "FD00::/64" should be in RFC 5952 canonical format ("fd00::/64")"#,
            ),
        ];
        for (text, expected) in rows {
            assert_eq!(told(range, text), expected);
        }
    }
}
