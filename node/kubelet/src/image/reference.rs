//! Image references, as far as the node reads them: `[host[:port]/]path[:tag][@digest]`.
//! Grammar and texts: the distribution project's `reference` package.

/// Registry of references that name none.
const DEFAULT_HOST: &str = "docker.io";
/// Its older name.
const LEGACY_HOST: &str = "index.docker.io";
/// Fewest hexadecimal digits of a digest.
const DIGEST_DIGITS_MIN: usize = 32;

const INVALID: &str = "invalid reference format";

/// Refuses what no runtime would take.
pub(super) fn check(reference: &str) -> Result<(), String> {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return Err(INVALID.to_owned());
    }
    let tag = split_tag(name).1;
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.chars().all(is_word)) {
        return Err(INVALID.to_owned());
    }
    let repository = repository(reference);
    let path = repository.split_once('/').map_or("", |(_, path)| path);
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(format!("{INVALID}: repository name ({path}) must be lowercase"));
    }
    let part = |part: &str| !part.is_empty() && part.chars().all(is_word);
    if name.is_empty() || !path.split('/').all(part) {
        return Err(INVALID.to_owned());
    }
    Ok(())
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

fn is_digest(digest: &str) -> bool {
    let parts = digest.split_once(':');
    parts.is_some_and(|(algorithm, digits)| {
        !algorithm.is_empty()
            && digits.len() >= DIGEST_DIGITS_MIN
            && digits.chars().all(|c| c.is_ascii_hexdigit())
    })
}

/// Name and tag. A colon before a slash is a port's.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    }
}

/// `host[:port]/path` in full, without tag and digest: `nginx` is `docker.io/library/nginx`.
pub(super) fn repository(reference: &str) -> String {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let (name, _) = split_tag(name);
    let (host, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DEFAULT_HOST, name),
    };
    let host = if host == LEGACY_HOST { DEFAULT_HOST } else { host };
    let official = if host == DEFAULT_HOST && !path.contains('/') { "library/" } else { "" };
    format!("{host}/{official}{path}")
}

/// Whether a repository in full is of the registry that needs no name.
pub(super) fn is_default_registry(repository: &str) -> bool {
    repository.strip_prefix(DEFAULT_HOST).is_some_and(|rest| rest.starts_with('/'))
}

fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.chars().any(|c| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_judged_by_the_grammar() {
        for good in [
            "nginx",
            "nginx:1.25",
            "library/nginx",
            "localhost:5000/a/b:tag",
            "registry.example/a_b/c-d@sha256:0123456789abcdef0123456789abcdef",
            "keelson.local/busybox:1",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ":tag", "nginx:", "a//b", "nginx@sha256", "nginx@sha256:01", "nginx:la test", "!"] {
            assert_eq!(check(bad), Err(INVALID.to_owned()), "{bad}");
        }
        let lowercase = "invalid reference format: repository name (library/Nginx) must be lowercase";
        assert_eq!(check("Nginx:1"), Err(lowercase.to_owned()));
    }

    #[test]
    fn a_repository_in_full_has_its_registry_and_neither_tag_nor_digest() {
        for (reference, full) in [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.25", "docker.io/library/nginx"),
            ("index.docker.io/nginx", "docker.io/library/nginx"),
            ("someone/nginx@sha256:0123", "docker.io/someone/nginx"),
            ("localhost:5000/x", "localhost:5000/x"),
            ("ghcr.io/x/y:1@sha256:0123", "ghcr.io/x/y"),
        ] {
            assert_eq!(repository(reference), full, "{reference}");
        }
        assert!(is_default_registry("docker.io/library/nginx"));
        assert!(!is_default_registry("docker.io.example/nginx"));
    }
}
