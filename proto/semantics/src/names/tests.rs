//! Good and bad names by rule, and the wording of the complaints.

use super::*;

type Check = fn(&str) -> Vec<String>;

#[test]
fn good_names_bring_no_complaint() {
    let table: [(Check, &[&str]); 9] = [
        (dns1123_label, &["a", "my-name", "123-abc", "0"]),
        (dns1123_subdomain, &["example.com", "a.b-c.d", "1"]),
        (dns1035_label, &["a", "abc-123"]),
        (qualified_name, &["MyName", "my.name", "example.com/MyName", "a_b"]),
        (label_value, &["", "MyValue", "a.b_c-d", "1"]),
        (port_name, &["http", "a-1", "1a"]),
        (config_map_key, &["key.name", "KEY_NAME", "_", ".hidden"]),
        (env_var_name, &["PATH", "my.env", "1A", "a b"]),
        (path_segment, &["system:node", "Admin", "a.b"]),
    ];
    for (check, names) in table {
        for name in names {
            assert_eq!(check(name), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn bad_names_bring_a_complaint() {
    let table: [(Check, &[&str]); 9] = [
        (dns1123_label, &["", "-a", "a-", "A", "a.b", "a_b"]),
        (dns1123_subdomain, &["", ".a", "a..b", "A.b", "a.-b"]),
        (dns1035_label, &["", "1a", "a.b", "a-"]),
        (qualified_name, &["", "/a", "a/", "a/b/c", "-a", "A.B/c"]),
        (label_value, &["-a", "a-", "a b", "a/b"]),
        (port_name, &["", "1", "a--b", "-a", "a-", "A", "abcdefghijklmnop"]),
        (config_map_key, &["", ".", "..", "..a", "a/b"]),
        (env_var_name, &["", "a=b", "\u{e9}"]),
        (path_segment, &[".", "..", "a/b", "a%b"]),
    ];
    for (check, names) in table {
        for name in names {
            assert!(!check(name).is_empty(), "{name}");
        }
    }
}

#[test]
fn complaints_are_the_servers_words() {
    assert_eq!(
        dns1123_subdomain("Bad_Name"),
        [
            r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        ]
    );
    assert_eq!(
        dns1123_label("Bad_Name"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(dns1123_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
    assert_eq!(qualified_name("/a"), ["prefix part must be non-empty"]);
}
