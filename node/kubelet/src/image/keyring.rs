//! Which credentials are tried for a repository, and in which order. Pure; upstream's rules:
//! <https://kubernetes.io/docs/concepts/containers/images/#config-json>.

use super::reference;

/// Under this key lie the credentials of images that name no registry.
const DEFAULT_KEY: &str = "index.docker.io";

/// One registry's user and password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credential {
    /// `host[:port][/path]`, as [`key`] makes it.
    pub key: String,
    /// The user.
    pub username: String,
    /// Its password.
    pub password: String,
    /// Uid of the secret that it comes from.
    pub secret: String,
}

/// Entry of a registry in a pull secret, without its scheme and Docker's API path.
pub(super) fn key(location: &str) -> String {
    let location = location.strip_prefix("https://").unwrap_or(location);
    let location = location.strip_prefix("http://").unwrap_or(location);
    let (host, path) = split(location);
    let path = match path.get(..4) {
        Some("/v1/" | "/v2/") => &path[3..],
        _ => path,
    };
    if path == "/" { host.to_owned() } else { format!("{host}{path}") }
}

/// Credentials for a repository in full ([`reference::repository`]): the longest of alike keys first, so that a path
/// goes before its registry; credentials of one key in the order of the pod's secrets. Empty: none fits.
pub(super) fn choose(mut credentials: Vec<Credential>, repository: &str) -> Vec<Credential> {
    let default = reference::is_default_registry(repository)
        .then(|| credentials.iter().filter(|c| c.key == DEFAULT_KEY).cloned().collect::<Vec<_>>());
    credentials.retain(|credential| fits(&credential.key, repository));
    if credentials.is_empty() {
        return default.unwrap_or_default();
    }
    credentials.sort_by(|a, b| b.key.cmp(&a.key));
    credentials
}

fn split(location: &str) -> (&str, &str) {
    location.split_at(location.find('/').unwrap_or(location.len()))
}

/// Labels of the host, and the port. An IPv6 address before a port is in brackets, which are not a glob's.
fn labels(host: &str) -> (Vec<&str>, &str) {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => {
            let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
            (address.filter(|address| address.contains(':')).unwrap_or(name), port)
        }
        _ => (host, ""),
    };
    (name.split('.').collect(), port)
}

/// Same port, as many labels, each label by its glob, and the key's path begins the repository's.
fn fits(key: &str, repository: &str) -> bool {
    let ((key_host, key_path), (host, path)) = (split(key), split(repository));
    let ((globs, key_port), (names, port)) = (labels(key_host), labels(host));
    let alike = || globs.iter().zip(&names).all(|(glob, name)| is_match(glob.as_bytes(), name.as_bytes()));
    key_port == port && globs.len() == names.len() && path.starts_with(key_path) && alike()
}

/// Globs of one label: `*`, `?`, `[a-z]`, `[^a-z]`. One that is not well formed matches nothing.
fn is_match(glob: &[u8], text: &[u8]) -> bool {
    match (glob.split_first(), text.split_first()) {
        (None, rest) => rest.is_none(),
        (Some((b'*', glob)), _) => (0..=text.len()).any(|from| is_match(glob, &text[from..])),
        (Some((b'?', glob)), Some((_, text))) => is_match(glob, text),
        (Some((b'[', class)), Some((byte, text))) => {
            let Some(end) = class.iter().skip(1).position(|b| *b == b']').map(|at| at + 1) else {
                return false;
            };
            in_class(&class[..end], *byte) && is_match(&class[end + 1..], text)
        }
        (Some((literal, glob)), Some((byte, text))) => literal == byte && is_match(glob, text),
        (Some(_), None) => false,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, mut class) = match class.split_first() {
        Some((b'^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut found = false;
    while let Some((low, rest)) = class.split_first() {
        (found, class) = match rest {
            [b'-', high, rest @ ..] => (found || (*low..=*high).contains(&byte), rest),
            rest => (found || *low == byte, rest),
        };
    }
    found != negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(location: &str, username: &str) -> Credential {
        let (password, secret) = (String::new(), String::new());
        Credential { key: key(location), username: username.to_owned(), password, secret }
    }

    #[test]
    fn credentials_go_only_to_the_registry_that_they_are_for() {
        for (location, image, expected) in [
            ("https://index.docker.io/v1/", "nginx", true),
            ("docker.io", "nginx", true),
            ("registry-1.docker.io", "nginx", false),
            ("ghcr.io", "ghcr.io/a/b:1", true),
            ("http://ghcr.io/v2/", "ghcr.io/a/b:1", true),
            ("ghcr.io/a", "ghcr.io/a/b:1", true),
            ("ghcr.io/v2/a", "ghcr.io/a/b:1", true),
            ("ghcr.io/c", "ghcr.io/a/b:1", false),
            ("ghcr.io", "nginx", false),
            ("localhost:5000", "localhost:5000/x", true),
            ("localhost:5001", "localhost:5000/x", false),
            ("localhost", "localhost:5000/x", false),
            ("[fd00::1]:5000", "[fd00::1]:5000/x", true),
            ("*.example.org", "r1.example.org/x", true),
            ("r?.*.org", "r1.example.org/x", true),
            ("r[0-4].example.org", "r1.example.org/x", true),
            ("r[^0-4].example.org", "r1.example.org/x", false),
            ("r[0.example.org", "r1.example.org/x", false),
            ("*.example.org", "example.org/x", false),
            ("*.org", "r1.example.org/x", false),
            ("*.example.org:5000", "r1.example.org/x", false),
        ] {
            let chosen = choose(vec![credential(location, "")], &reference::repository(image));
            assert_eq!(chosen.len(), usize::from(expected), "{location} for {image}");
        }
    }

    #[test]
    fn the_most_specific_is_first_and_secrets_keep_their_order() {
        let all = vec![
            credential("ghcr.io", "first"),
            credential("ghcr.io/team/app", "app"),
            credential("ghcr.io/team", "team"),
            credential("ghcr.io", "second"),
            credential("ghcr.io/other", "other"),
        ];
        let chosen = choose(all, "ghcr.io/team/app");
        let names: Vec<&str> = chosen.iter().map(|c| c.username.as_str()).collect();
        assert_eq!(names, ["app", "team", "first", "second"]);
    }
}
