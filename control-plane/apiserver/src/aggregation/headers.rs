//! `X-Remote-*`: who asks, told by a front proxy to the server behind it. Written towards aggregated servers, read from
//! those whose certificate the front proxy's authority has signed.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy>

use http::{HeaderMap, HeaderName, HeaderValue};
use keelson_auth::{UserInfo, user::names};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA_PREFIX: &str = "x-remote-extra-";

/// What a header's name cannot have (RFC 9110, `token`), and the escape itself.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The headers that tell who asks.
pub(super) fn of(user: &UserInfo) -> Vec<(HeaderName, HeaderValue)> {
    let mut out = Vec::new();
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            out.push((name, value));
        }
    };
    put(USER, &user.name);
    if !user.uid.is_empty() {
        put(UID, &user.uid);
    }
    for group in &user.groups {
        put(GROUP, group);
    }
    for (key, values) in &user.extra {
        let name = format!("{EXTRA_PREFIX}{}", utf8_percent_encode(&key.to_lowercase(), ESCAPED));
        let Ok(name) = name.to_ascii_lowercase().parse::<HeaderName>() else { continue };
        for value in values {
            put(name.clone(), value);
        }
    }
    out
}

/// Whether a header is of those that a client may not bring along.
pub(crate) fn is_remote(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-remote-")
}

/// The user that a front proxy names; None when it names nobody.
pub(crate) fn remote_user(headers: &HeaderMap) -> Option<UserInfo> {
    let text = |value: &HeaderValue| String::from_utf8(value.as_bytes().to_vec()).ok();
    let name = headers.get(USER).and_then(text).filter(|name| !name.is_empty())?;
    let groups: Vec<String> = headers.get_all(GROUP).iter().filter_map(text).collect();
    let mut user = UserInfo { name, groups, ..UserInfo::default() };
    user.uid = headers.get(UID).and_then(text).unwrap_or_default();
    for (key, value) in headers {
        let Some(key) = key.as_str().strip_prefix(EXTRA_PREFIX) else { continue };
        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
        if let Some(value) = text(value) {
            user.extra.entry(key).or_default().push(value);
        }
    }
    let known = [names::AUTHENTICATED_GROUP, names::UNAUTHENTICATED_GROUP];
    if user.name != names::ANONYMOUS_USER && !known.iter().any(|group| user.in_group(group)) {
        user.groups.push(names::AUTHENTICATED_GROUP.to_owned());
    }
    Some(user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut user = UserInfo::authenticated("jané", ["dev", "ops"]);
        user.uid = "7".to_owned();
        user.extra.insert("example.com/scope%".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let headers: HeaderMap = of(&user).into_iter().fold(HeaderMap::new(), |mut all, (name, value)| {
            all.append(name, value);
            all
        });
        assert!(
            headers.keys().all(is_remote) && headers.contains_key("x-remote-extra-example.com%2fscope%25")
        );
        assert_eq!(remote_user(&headers), Some(user));
        assert_eq!(remote_user(&HeaderMap::new()), None);
    }
}
