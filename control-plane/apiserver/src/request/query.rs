//! The query string as keys with their values, decoded once. What the keys mean is in `options`.

use percent_encoding::percent_decode_str;

/// A parsed query string, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Parses `a=1&b=2` with `+` as space; escapes that are not UTF-8 become replacement characters.
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |s: &str| {
            let plain = s.replace('+', " ");
            percent_decode_str(&plain).decode_utf8_lossy().into_owned()
        };
        let pairs = text
            .split('&')
            .filter(|p| !p.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            })
            .collect();
        Self { pairs }
    }

    /// The first value of a key.
    pub(crate) fn first(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All values of a key.
    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// A boolean as upstream's query conversion reads it: absent, `0` and `false` are false, all else (also empty) true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.optional_flag(key).unwrap_or(false)
    }

    /// Like [`Query::flag`], with absence kept apart.
    pub(crate) fn optional_flag(&self, key: &str) -> Option<bool> {
        self.first(key).map(|v| v != "0" && !v.eq_ignore_ascii_case("false"))
    }

    /// A value, with the empty one counted as absent.
    pub(crate) fn non_empty(&self, key: &str) -> Option<&str> {
        self.first(key).filter(|v| !v.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_decoded() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&x=1+2&x=3&flag&off=False");
        assert_eq!(query.first("labelSelector"), Some("a=b,c"));
        assert_eq!(query.all("x").collect::<Vec<_>>(), ["1 2", "3"]);
        assert!(query.flag("flag"));
        assert!(!query.flag("off"));
        assert!(!query.flag("absent"));
    }
}
