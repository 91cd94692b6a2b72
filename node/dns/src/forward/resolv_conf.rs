//! The servers that a resolv.conf(5) names. Search domains and options are the clients' own affair.

use super::SERVERS_MAX;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
};

const PORT: u16 = 53;

/// The servers but ourselves: a node may use the cluster's DNS. A host without the file has none.
pub(super) fn servers(path: &Path, own: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let (own, others): (Vec<_>, Vec<_>) = parse(&text).partition(|server| own.contains(server));
    for server in own {
        tracing::warn!(%server, path = %path.display(), "is this server itself, which is not asked");
    }
    Ok(others.into_iter().take(SERVERS_MAX).collect())
}

fn parse(text: &str) -> impl Iterator<Item = SocketAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let word = (words.next()? == "nameserver").then(|| words.next())??;
        match word.parse::<IpAddr>() {
            Ok(address) => Some(SocketAddr::new(address, PORT)),
            Err(_) => {
                tracing::warn!(nameserver = word, "is no address that can be asked");
                None
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_taken_in_order_and_what_is_none_is_left_out() {
        let text = "# nameserver 192.0.2.9\nsearch example.org\nnameserver 192.0.2.1\n  nameserver\t2001:db8::1 x\n\
                    nameserver\nnameserver fe80::1%eth0\nnameserver 192.0.2.2\noptions ndots:1\n";
        let found: Vec<_> = parse(text).map(|server| server.to_string()).collect();
        assert_eq!(found, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
    }

    #[test]
    fn itself_is_left_out_and_a_missing_file_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        let own = "10.96.0.10:53".parse().unwrap();
        assert!(servers(&path, &[own]).unwrap().is_empty());
        std::fs::write(&path, "nameserver 10.96.0.10\nnameserver 192.0.2.1\n").unwrap();
        assert_eq!(servers(&path, &[own]).unwrap(), ["192.0.2.1:53".parse().unwrap()]);
        assert!(servers(folder.path(), &[own]).is_err(), "a failed read is not an empty one");
    }
}
