//! What names may look like: DNS labels and subdomains, label keys and values, ports, environment variables.
//!
//! Each check answers with the complaints that the API server makes (empty: the name is good), so that a caller
//! only adds the path of the field. Texts and rules: "Object Names and IDs" and "Labels and Selectors" in the
//! Kubernetes documentation.

/// Longest DNS label, label value and name part of a label key, in bytes.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain, in bytes.
pub const SUBDOMAIN_MAX: usize = 253;
/// Longest port name, in bytes.
pub const PORT_NAME_MAX: usize = 15;

const DNS1123_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const DNS1123_SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const DNS1035_LABEL: &str = "[a-z]([-a-z0-9]*[a-z0-9])?";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_VALUE: &str = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const HTTP_HEADER: &str = "[-A-Za-z0-9]+";
const PERCENT: &str = "[0-9]+%";
const C_IDENTIFIER: &str = "[A-Za-z_][A-Za-z0-9_]*";
const LABEL_KEY_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// "must be no more than N bytes".
#[must_use]
pub fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// "must be between LOW and HIGH, inclusive".
#[must_use]
pub fn out_of_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn pattern(rule: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}', ")).collect();
    let hint = if examples.is_empty() { String::new() } else { format!("e.g. {}", examples.join(" or ")) };
    format!("{rule} ({hint}regex used for validation is '{regex}')")
}

const fn is_lower_alnum(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// `first` and last are alphanumeric, the middle may also be in `extra`; not empty.
fn framed(text: &str, edge: fn(u8) -> bool, extra: &[u8]) -> bool {
    match text.as_bytes() {
        [] => false,
        [only] => edge(*only),
        [first, middle @ .., last] => {
            edge(*first) && edge(*last) && middle.iter().all(|b| edge(*b) || extra.contains(b))
        }
    }
}

fn is_dns1123_label(text: &str) -> bool {
    framed(text, is_lower_alnum, b"-")
}

fn is_dns1123_subdomain(text: &str) -> bool {
    text.split('.').all(is_dns1123_label)
}

/// A DNS label of RFC 1123: names of namespaces, containers and volumes.
#[must_use]
pub fn dns1123_label(value: &str) -> Vec<String> {
    let mut errors = length(value, LABEL_MAX);
    if is_dns1123_label(value) {
    } else if is_dns1123_subdomain(value) {
        errors.push("must not contain dots".to_owned());
    } else {
        errors.push(pattern(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
            DNS1123_LABEL,
            &["my-name", "123-abc"],
        ));
    }
    errors
}

/// A DNS subdomain of RFC 1123: the name of most objects.
#[must_use]
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut errors = length(value, SUBDOMAIN_MAX);
    if !is_dns1123_subdomain(value) {
        errors.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
            DNS1123_SUBDOMAIN,
            &["example.com"],
        ));
    }
    errors
}

/// A DNS label of RFC 1035: the name of a Service.
#[must_use]
pub fn dns1035_label(value: &str) -> Vec<String> {
    let mut errors = length(value, LABEL_MAX);
    if !(is_dns1123_label(value) && value.as_bytes()[0].is_ascii_lowercase()) {
        errors.push(pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
            DNS1035_LABEL,
            &["my-name", "abc-123"],
        ));
    }
    errors
}

fn length(value: &str, max: usize) -> Vec<String> {
    if value.len() > max { vec![too_long(max)] } else { Vec::new() }
}

/// A label key, which is also what the API calls a qualified name: `[dns-subdomain/]name`.
#[must_use]
pub fn qualified_name(value: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let mut errors = Vec::new();
    let mut parts = value.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(dns1123_subdomain(prefix).into_iter().map(|e| format!("prefix part {e}")));
            }
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
                pattern(LABEL_KEY_RULE, LABEL_KEY, &examples)
            )];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        errors.push(format!("name part {}", too_long(LABEL_MAX)));
    }
    if !is_label_text(name) {
        errors.push(format!("name part {}", pattern(LABEL_KEY_RULE, LABEL_KEY, &examples)));
    }
    errors
}

fn is_label_text(text: &str) -> bool {
    framed(text, |b| b.is_ascii_alphanumeric(), b"-_.")
}

/// The value of a label; may be empty.
#[must_use]
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = length(value, LABEL_MAX);
    if !value.is_empty() && !is_label_text(value) {
        errors.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
            LABEL_VALUE,
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// The name of a port (IANA_SVC_NAME).
#[must_use]
pub fn port_name(value: &str) -> Vec<String> {
    let mut errors = length(value, PORT_NAME_MAX);
    if value.is_empty() || !value.bytes().all(|b| is_lower_alnum(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !value.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A port number that can be listened on.
#[must_use]
pub fn port_number(port: i64) -> Vec<String> {
    if (1..=65535).contains(&port) { Vec::new() } else { vec![out_of_range(1, 65535)] }
}

/// A key in a ConfigMap's or Secret's data, which becomes a file name.
#[must_use]
pub fn config_map_key(value: &str) -> Vec<String> {
    let mut errors = length(value, SUBDOMAIN_MAX);
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        errors.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            CONFIG_KEY,
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        other if other.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// The name of an environment variable: printable ASCII without `=`.
#[must_use]
pub fn env_var_name(value: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if value.is_empty() {
        errors.push("environment variable name must be non-empty".to_owned());
    }
    if !value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        errors.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        );
    }
    errors
}

/// The name of an HTTP header, as probes may set.
#[must_use]
pub fn http_header_name(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![pattern(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        HTTP_HEADER,
        &["X-Header-Name"],
    )]
}

/// A percentage such as `25%`.
#[must_use]
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    vec![pattern(
        "a valid percent string must be a numeric string followed by an ending '%'",
        PERCENT,
        &["1%", "93%"],
    )]
}

/// An identifier of the language C.
#[must_use]
pub fn c_identifier(value: &str) -> Vec<String> {
    let good = value
        .bytes()
        .enumerate()
        .all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || (i > 0 && b.is_ascii_digit()));
    if good && !value.is_empty() {
        return Vec::new();
    }
    vec![pattern(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_'",
        C_IDENTIFIER,
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A path segment: names of RBAC objects, which allow `:` and upper case.
#[must_use]
pub fn path_segment(value: &str) -> Vec<String> {
    match value {
        "." => return vec!["may not be '.'".to_owned()],
        ".." => return vec!["may not be '..'".to_owned()],
        _ => {}
    }
    ["/", "%"]
        .into_iter()
        .filter(|illegal| value.contains(illegal))
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

#[cfg(test)]
mod tests;
