//! Image references, as far as the node reads them: `[host[:port]/]path[:tag][@digest]`.
//! Grammar: the distribution project's `reference` package.

/// Registry of references that name none.
const DEFAULT_HOST: &str = "docker.io";

/// Refuses what no runtime would take. The texts are those of the reference grammar's own parser.
pub(super) fn check(reference: &str) -> Result<(), &'static str> {
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    if digest.is_some_and(|digest| !digest.contains(':')) {
        return Err("invalid reference format");
    }
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !tag.chars().all(word)) {
        return Err("invalid reference format");
    }
    let repository = match path.split_once('/') {
        Some((first, rest)) if is_host(first) => rest,
        _ => path,
    };
    if repository.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("invalid reference format: repository name (repository) must be lowercase");
    }
    let part = |part: &str| !part.is_empty() && part.chars().all(word);
    if repository.is_empty() || !repository.split('/').all(part) {
        return Err("invalid reference format");
    }
    Ok(())
}

/// Host of the registry, with its port.
pub(super) fn host(reference: &str) -> &str {
    match reference.split_once('/') {
        Some((first, _)) if is_host(first) => first,
        _ => DEFAULT_HOST,
    }
}

fn is_host(first: &str) -> bool {
    first == "localhost" || first.contains('.') || first.contains(':')
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
            "registry.example/a_b/c-d@sha256:0123",
            "keelson.local/busybox:1",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "Nginx", "nginx:", "a//b", "nginx@sha256", "nginx:la test", "!"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_registry_is_the_part_that_looks_like_a_host() {
        assert_eq!(host("nginx"), "docker.io");
        assert_eq!(host("library/nginx"), "docker.io");
        assert_eq!(host("localhost:5000/x"), "localhost:5000");
        assert_eq!(host("ghcr.io/x/y"), "ghcr.io");
    }
}
