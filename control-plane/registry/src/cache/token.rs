//! Continue tokens: where the next part of a list begins, and at which revision.
//!
//! Opaque to clients; the form is upstream's, so that a token reads the same to whoever debugs it.

use crate::status::Status;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use keelson_store::Revision;
use serde::{Deserialize, Serialize};

const VERSION: &str = "meta.k8s.io/v1";

/// A decoded continue token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continue {
    /// The list's revision; None continues on the newest state (an inconsistent list).
    pub(crate) revision: Option<Revision>,
    /// Key after which to go on, relative to the list's prefix.
    pub(crate) after: String,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: String,
    rv: i64,
    start: String,
}

impl Continue {
    pub(crate) fn encode(&self) -> String {
        let rv = self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(-1));
        // Upstream's start is the first key not yet given: the last one followed by a zero byte.
        let wire = Wire { v: VERSION.to_owned(), rv, start: format!("{}\0", self.after) };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).expect("text and a number are JSON"))
    }

    pub(crate) fn decode(token: &str) -> Result<Self, Status> {
        let bad = |why: &str| Status::bad_request(format!("continue key is not valid: {why}"));
        let bytes =
            URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|error| bad(&error.to_string()))?;
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|error| bad(&error.to_string()))?;
        if wire.v != VERSION {
            return Err(bad(&format!("server does not recognize this encoded version \"{}\"", wire.v)));
        }
        let after = wire.start.strip_suffix('\0').unwrap_or(&wire.start);
        if after.is_empty() || wire.rv == 0 {
            return Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)"));
        }
        Ok(Self { revision: u64::try_from(wire.rv).ok(), after: after.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        for revision in [Some(7), None] {
            let token = Continue { revision, after: "ns/name".to_owned() };
            assert_eq!(Continue::decode(&token.encode()).as_ref(), Ok(&token));
        }
        assert_eq!(Continue::decode("###").map_err(|status| status.code), Err(400));
    }
}
