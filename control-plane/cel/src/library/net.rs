//! IP addresses and CIDRs. Addresses that could be read in two ways (leading zeros, IPv4 in IPv6) are none.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Args, Row};
use crate::EvalError;
use crate::value::Value;

pub(crate) const ROWS: &[Row] = &[
    ("ip", &["(string) -> IP", "CIDR.() -> IP"], |args| match args.values {
        [Value::String(text)] => ip(text).map(Value::Ip),
        [Value::Cidr(cidr)] => Ok(Value::Ip(cidr.addr())),
        _ => Err(EvalError::NoOverload),
    }),
    ("isIP", &["(string) -> bool"], |args| Ok(Value::Bool(ip(text(args)?).is_ok()))),
    ("ip.isCanonical", &["(string) -> bool"], |args| {
        let text = text(args)?;
        Ok(Value::Bool(ip(text)?.to_string() == text))
    }),
    ("family", &["IP.() -> int"], |args| Ok(Value::Int(if address(args)?.is_ipv4() { 4 } else { 6 }))),
    ("isUnspecified", &["IP.() -> bool"], |args| Ok(Value::Bool(address(args)?.is_unspecified()))),
    ("isLoopback", &["IP.() -> bool"], |args| Ok(Value::Bool(address(args)?.is_loopback()))),
    ("isLinkLocalMulticast", &["IP.() -> bool"], |args| {
        Ok(Value::Bool(match address(args)? {
            IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }))
    }),
    ("isLinkLocalUnicast", &["IP.() -> bool"], |args| Ok(Value::Bool(is_link_local(address(args)?)))),
    ("isGlobalUnicast", &["IP.() -> bool"], |args| {
        let ip = address(args)?;
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        let special =
            ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || is_link_local(ip) || broadcast;
        Ok(Value::Bool(!special))
    }),
    ("cidr", &["(string) -> CIDR"], |args| cidr(text(args)?).map(Value::Cidr)),
    ("isCIDR", &["(string) -> bool"], |args| Ok(Value::Bool(cidr(text(args)?).is_ok()))),
    ("containsIP", &["CIDR.(IP) -> bool", "CIDR.(string) -> bool"], |args| match args.values {
        [Value::Cidr(cidr), Value::Ip(ip)] => Ok(Value::Bool(cidr.contains(ip))),
        [Value::Cidr(cidr), Value::String(text)] => Ok(Value::Bool(cidr.contains(&ip(text)?))),
        _ => Err(EvalError::NoOverload),
    }),
    ("containsCIDR", &["CIDR.(CIDR) -> bool", "CIDR.(string) -> bool"], |args| {
        let (outer, inner) = match args.values {
            [Value::Cidr(outer), Value::Cidr(inner)] => (outer, *inner),
            [Value::Cidr(outer), Value::String(text)] => (outer, cidr(text)?),
            _ => return Err(EvalError::NoOverload),
        };
        Ok(Value::Bool(outer.trunc().contains(&inner.trunc())))
    }),
    ("masked", &["CIDR.() -> CIDR"], |args| Ok(Value::Cidr(net(args)?.trunc()))),
    ("prefixLength", &["CIDR.() -> int"], |args| Ok(Value::Int(net(args)?.prefix_len().into()))),
];

fn text<'r>(args: &Args<'r, '_, '_>) -> std::result::Result<&'r str, EvalError> {
    args.values.first().and_then(Value::as_str).ok_or(EvalError::NoOverload)
}

fn address(args: &Args<'_, '_, '_>) -> std::result::Result<IpAddr, EvalError> {
    match args.values {
        [Value::Ip(ip)] => Ok(*ip),
        _ => Err(EvalError::NoOverload),
    }
}

fn net(args: &Args<'_, '_, '_>) -> std::result::Result<IpNet, EvalError> {
    match args.values {
        [Value::Cidr(cidr)] => Ok(*cidr),
        _ => Err(EvalError::NoOverload),
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn ip(text: &str) -> std::result::Result<IpAddr, EvalError> {
    let wrong = |why: &str| EvalError::other(format!("IP Address {text:?} {why}"));
    if text.contains('%') {
        return Err(wrong("with zone value is not allowed"));
    }
    let ip: IpAddr = text.parse().map_err(|_| wrong("parse error during conversion from string"))?;
    match ip {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => {
            Err(wrong("is an IPv4-mapped IPv6 address, which is not allowed"))
        }
        ip => Ok(ip),
    }
}

fn cidr(text: &str) -> std::result::Result<IpNet, EvalError> {
    let wrong =
        || EvalError::other(format!("network address parse error during conversion from string: {text:?}"));
    let (address, _) = text.split_once('/').ok_or_else(wrong)?;
    ip(address)?;
    text.parse().map_err(|_| wrong())
}
