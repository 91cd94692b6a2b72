//! From the path of a proxy request to the other end: pure, with upstream's refusals.

use crate::request::info::RequestInfo;
use http::{Method, Uri};
use keelson_registry::{meta, status::Status};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

/// Ports of a pod that names none.
const HTTP_PORT: u16 = 80;

/// `[scheme:]name[:port]`, as the path names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    pub(super) https: bool,
    pub(super) name: &'a str,
    /// A number or a port's name; "" where it is left to the server.
    pub(super) port: &'a str,
}

impl<'a> Target<'a> {
    /// `singular` is the kind's, for the message.
    pub(super) fn parse(singular: &str, id: &'a str) -> Result<Self, Status> {
        let parts: Vec<&str> = id.split(':').collect();
        let (scheme, name, port) = match parts[..] {
            [name] => ("", name, ""),
            [name, port] => ("", name, port),
            [scheme, name, port] => (scheme, name, port),
            _ => ("?", "", ""),
        };
        if name.is_empty() || !matches!(scheme, "" | "http" | "https") {
            return Err(Status::bad_request(format!("invalid {singular} request {id:?}")));
        }
        Ok(Self { https: scheme == "https", name, port })
    }
}

/// Err for an address that leads back into the server's own host or to its neighbours: whoever may write a pod's status or
/// a slice must not speak to them through the server (upstream's `IsProxyableIP`).
pub(super) fn check_address(ip: IpAddr) -> Result<(), Status> {
    let ip = ip.to_canonical();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let refused = local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    if refused { Err(not_allowed()) } else { Ok(()) }
}

fn not_allowed() -> Status {
    Status::bad_request("address not allowed")
}

/// Where the pod takes connections.
pub(super) fn pod_address(pod: &Value, port: &str) -> Result<SocketAddr, Status> {
    let ip: Option<IpAddr> = meta::text(pod, &["status", "podIP"]).parse().ok();
    let ip = ip.filter(|ip| check_address(*ip).is_ok()).ok_or_else(not_allowed)?;
    let port = match port {
        "" => first_port(pod).unwrap_or(HTTP_PORT),
        text => text.parse().map_err(|_| {
            Status::bad_request(format!("invalid pod request: the port {text:?} is no number"))
        })?,
    };
    Ok(SocketAddr::new(ip, port))
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = meta::items(pod, &["spec", "containers"]).iter();
    let mut ports = containers.flat_map(|container| meta::items(container, &["ports"]).first());
    u16::try_from(meta::number(ports.next()?, &["containerPort"])?).ok()
}

/// The path of a proxy request, cut where the other end's begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rest<'a> {
    /// Up to and with `proxy`.
    pub(super) prefix: &'a str,
    /// What follows, as it was written; empty or with its slash.
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Rest<'a> {
    pub(super) fn of(info: &RequestInfo, uri: &'a Uri) -> Result<Self, Status> {
        let (prefix, path) = info.cut(uri.path()).map_err(|error| Status::bad_request(error.to_string()))?;
        Ok(Self { prefix, path, query: uri.query() })
    }

    /// Where a reader is sent whose address ends with `proxy`.
    pub(super) fn redirect(&self, method: &Method) -> Option<String> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        (self.path.is_empty() && reads).then(|| format!("{}/{}", self.prefix, self.query_part()))
    }

    pub(super) fn path_and_query(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { self.path };
        format!("{path}{}", self.query_part())
    }

    fn query_part(&self) -> String {
        self.query.map(|query| format!("?{query}")).unwrap_or_default()
    }
}

/// How the other end is called, by itself and through this server.
pub(super) struct Site {
    /// Its `host:port`.
    pub(super) own: String,
    /// As whom the client called us.
    pub(super) asked: Option<String>,
    /// The path that stands for its root here.
    pub(super) prefix: String,
}

impl Site {
    /// A link of the other end as the client can follow it (upstream's `rewriteURL`): paths on the other end are put behind the
    /// prefix; None for what leads elsewhere.
    pub(super) fn rewritten(&self, link: &str) -> Option<String> {
        rewritten(link, &self.own, self.asked.as_deref(), &self.prefix)
    }
}

fn rewritten(location: &str, own: &str, asked: Option<&str>, prefix: &str) -> Option<String> {
    let (scheme, rest) = match location.split_once("//") {
        Some((scheme, rest)) if scheme.is_empty() || (scheme.ends_with(':') && !scheme.contains('/')) => {
            (Some(scheme), rest)
        }
        _ => (None, location),
    };
    let (host, path) = match scheme {
        Some(_) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", rest),
    };
    let is_asked = !host.is_empty() && Some(host) == asked;
    if !path.starts_with('/') || !(host.is_empty() || host == own || is_asked) {
        return None;
    }
    // Who is called as the client calls us is called so further on.
    let kept = scheme.filter(|_| is_asked).map(|scheme| format!("{scheme}//{host}")).unwrap_or_default();
    let prefix = if path.starts_with(prefix) { "" } else { prefix };
    Some(format!("{kept}{prefix}{path}")).filter(|made| made != location)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::query::Query;
    use serde_json::json;

    #[test]
    fn a_target_has_a_name_and_perhaps_scheme_and_port() {
        let target = |https, name, port| Some(Target { https, name, port });
        let rows = [
            ("a", target(false, "a", "")),
            ("a:80", target(false, "a", "80")),
            ("https:a:web", target(true, "a", "web")),
            ("http:a:", target(false, "a", "")),
            ("ftp:a:1", None),
            ("a:b:c:d", None),
            ("", None),
            (":80", None),
        ];
        for (id, wanted) in rows {
            assert_eq!(Target::parse("pod", id).ok(), wanted, "{id}");
        }
        assert_eq!(Target::parse("pod", ":1").unwrap_err().message, r#"invalid pod request ":1""#);
    }

    #[test]
    fn a_pod_is_met_at_its_first_port_and_never_on_the_host() {
        let pod = |ip: &str| json!({"spec": {"containers": [{}, {"ports": [{"containerPort": 8080}]}]}, "status": {"podIP": ip}});
        let address = |ip: &str, port| pod_address(&pod(ip), port).map(|found| found.to_string()).ok();
        assert_eq!(address("192.0.2.1", "").as_deref(), Some("192.0.2.1:8080"));
        assert_eq!(address("2001:db8::1", "81").as_deref(), Some("[2001:db8::1]:81"));
        for ip in ["", "127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fe80::1", "224.0.0.1"] {
            assert_eq!(address(ip, "80"), None, "{ip}");
        }
    }

    #[test]
    fn the_path_behind_proxy_goes_on_as_it_was_written() {
        let own = "/api/v1/namespaces/n/services/https:s:p/proxy";
        let rows = [
            ("", "/", Some("/")),
            ("?a=b", "/?a=b", Some("/?a=b")),
            ("/", "/", None),
            ("/x%2Fy/z?a=b", "/x%2Fy/z?a=b", None),
        ];
        for (rest, path, redirect) in rows {
            let uri: Uri = format!("{own}{rest}").parse().unwrap();
            let info = RequestInfo::parse(&Method::GET, uri.path(), &Query::default()).unwrap();
            let got = Rest::of(&info, &uri).unwrap();
            assert_eq!((got.prefix, got.path_and_query().as_str()), (own, path));
            assert_eq!(got.redirect(&Method::GET), redirect.map(|to| format!("{own}{to}")), "{rest}");
            assert_eq!(got.redirect(&Method::POST), None);
        }
    }

    #[test]
    fn a_location_on_the_other_end_is_put_behind_the_proxy() {
        let rows = [
            ("/a", Some("/p/a")),
            ("/a/?b#c", Some("/p/a/?b#c")),
            ("http://192.0.2.1:80/a", Some("/p/a")),
            ("//192.0.2.1:80/a", Some("/p/a")),
            // As the client calls us: by "kubectl proxy" this server is localhost:8001.
            ("http://localhost:8001/a", Some("http://localhost:8001/p/a")),
            ("http://localhost:8001/p/a", None),
            ("http://192.0.2.1:80/p/a", Some("/p/a")),
            ("/p/a", None),
            ("a", None),
            ("http://192.0.2.1:80", None),
            ("https://elsewhere.example/a", None),
            ("//elsewhere.example/a", None),
            ("mailto:a@example.com", None),
            ("/a?next=https://elsewhere.example/", Some("/p/a?next=https://elsewhere.example/")),
        ];
        for (location, wanted) in rows {
            let got = rewritten(location, "192.0.2.1:80", Some("localhost:8001"), "/p");
            assert_eq!(got.as_deref(), wanted, "{location}");
        }
    }
}
