//! The user that the headers ask for, as they say it: nothing is added.

use http::{HeaderMap, HeaderValue};
use keelson_auth::UserInfo;
use keelson_registry::status::Status;
use percent_encoding::percent_decode_str;
use std::fmt::Write;

/// All headers that count begin so.
pub(super) const PREFIX: &str = "impersonate-";
const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// None where no header asks for anything. Groups, UID or extra without a user are a bad request.
pub(super) fn read(headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let mut wanted = UserInfo::default();
    let first = |name: &'static str| headers.get(name).map_or(Ok(""), |value| text(name, value));
    first(USER)?.clone_into(&mut wanted.name);
    first(UID)?.clone_into(&mut wanted.uid);
    for value in headers.get_all(GROUP) {
        wanted.groups.push(text(GROUP, value)?.to_owned());
    }
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA_PREFIX) {
            let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
            wanted.extra.entry(key).or_default().push(text(name.as_str(), value)?.to_owned());
        }
    }
    if !wanted.name.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", in_go(&wanted))))
}

fn text<'v>(name: &str, value: &'v HeaderValue) -> Result<&'v str, Status> {
    value.to_str().map_err(|_| Status::bad_request(format!("the header {name} is not text")))
}

/// As upstream's answer shows it, which clients compare.
fn in_go(user: &UserInfo) -> String {
    let list = |values: &[String]| match values {
        [] => "[]string(nil)".to_owned(),
        values => {
            let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            format!("[]string{{{}}}", quoted.join(", "))
        }
    };
    let mut extra = "map[string][]string".to_owned();
    if user.extra.is_empty() {
        extra.push_str("(nil)");
    } else {
        let entries: Vec<String> =
            user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
        let _ = write!(extra, "{{{}}}", entries.join(", "));
    }
    format!(
        "&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{}, Extra:{extra}}}",
        user.name,
        user.uid,
        list(&user.groups)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;

    fn headers(rows: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        headers
    }

    #[test]
    fn what_is_asked_for_without_a_user_is_told_as_upstream_tells_it() {
        let rows: [(&[(&'static str, &str)], &str); 2] = [
            (
                &[(GROUP, "x")],
                r#"requested &user.DefaultInfo{Name:"", UID:"", Groups:[]string{"x"}, Extra:map[string][]string(nil)} without impersonating a user name"#,
            ),
            (
                &[("impersonate-extra-a.io%2fb", "v"), ("impersonate-extra-a.io%2fb", "w"), (UID, "7")],
                r#"requested &user.DefaultInfo{Name:"", UID:"7", Groups:[]string(nil), Extra:map[string][]string{"a.io/b":[]string{"v", "w"}}} without impersonating a user name"#,
            ),
        ];
        for (given, said) in rows {
            let refused = read(&headers(given)).unwrap_err();
            assert_eq!((refused.code, &*refused.message), (400, said));
        }
    }

    #[test]
    fn the_first_user_counts_and_what_is_empty_asks_for_nothing() {
        let two = read(&headers(&[(USER, "ann"), (USER, "bob"), (UID, "1"), (UID, "2")])).unwrap().unwrap();
        assert_eq!((&*two.name, &*two.uid), ("ann", "1"));
        for nothing in [(USER, ""), (UID, ""), ("impersonate-foo", "x")] {
            assert_eq!(read(&headers(&[nothing])).unwrap(), None, "{nothing:?}");
        }
    }
}
