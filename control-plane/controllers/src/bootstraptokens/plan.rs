//! Which signatures cluster-info should have, and when to look at a token again. Pure.

use super::MARGIN;
use keelson_auth::authn::{
    bootstrap::{TokenSecret, detached_signature},
    token::TokenError,
};
use std::{collections::BTreeMap, time::Duration};
use time::OffsetDateTime;

/// What is signed.
const CONTENT: &str = "kubeconfig";
/// What the keys of signatures start with; the token's id follows.
const SIGNATURE_PREFIX: &str = "jws-kubeconfig-";

/// The time until a token is over.
pub(super) fn until(end: OffsetDateTime, now: OffsetDateTime) -> Duration {
    Duration::try_from(end - now).unwrap_or_default() + MARGIN
}

/// The keys to write, and (with none) those to remove. Without a kubeconfig nothing is signed, and nothing stays.
pub(super) fn signatures(
    data: &BTreeMap<String, String>,
    tokens: &[TokenSecret],
    now: OffsetDateTime,
) -> Result<BTreeMap<String, Option<String>>, TokenError> {
    let mut wanted = BTreeMap::new();
    if let Some(content) = data.get(CONTENT) {
        for token in tokens.iter().filter_map(|secret| secret.signer(now)) {
            wanted.insert(format!("{SIGNATURE_PREFIX}{}", token.id), detached_signature(content, token)?);
        }
    }
    let stale = data.keys().filter(|key| key.starts_with(SIGNATURE_PREFIX) && !wanted.contains_key(*key));
    let mut changes: BTreeMap<String, Option<String>> = stale.map(|key| (key.clone(), None)).collect();
    wanted.retain(|key, signature| data.get(key) != Some(signature));
    changes.extend(wanted.into_iter().map(|(key, signature)| (key, Some(signature))));
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keelson_auth::authn::bootstrap::SECRET_TYPE;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);

    fn texts(rows: &[(&str, &str)]) -> BTreeMap<String, String> {
        rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn token(id: &str, signing: &str, expiration: &str) -> TokenSecret {
        let data = texts(&[
            ("token-id", id),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-signing", signing),
            ("expiration", expiration),
        ]);
        let name = format!("bootstrap-token-{id}");
        TokenSecret { name, kind: SECRET_TYPE.to_owned(), is_deleting: false, data }
    }

    #[test]
    fn signatures_follow_tokens_and_content() {
        let tokens = [
            token("aaaaaa", "true", ""),
            token("bbbbbb", "", ""),
            token("cccccc", "true", "2025-01-01T00:00:00Z"),
        ];
        let stale = texts(&[("kubeconfig", "k"), ("jws-kubeconfig-cccccc", "x"), ("other", "y")]);
        let changes = signatures(&stale, &tokens, NOW).unwrap();
        assert_eq!(changes.keys().collect::<Vec<_>>(), ["jws-kubeconfig-aaaaaa", "jws-kubeconfig-cccccc"]);
        assert_eq!(changes["jws-kubeconfig-cccccc"], None);
        let signature = changes["jws-kubeconfig-aaaaaa"].clone().unwrap();

        let signed = texts(&[("kubeconfig", "k"), ("jws-kubeconfig-aaaaaa", &signature)]);
        assert!(signatures(&signed, &tokens, NOW).unwrap().is_empty());
        let changed = texts(&[("kubeconfig", "l"), ("jws-kubeconfig-aaaaaa", &signature)]);
        assert_eq!(signatures(&changed, &tokens, NOW).unwrap().len(), 1);
        let empty = texts(&[("jws-kubeconfig-aaaaaa", &signature)]);
        let gone = BTreeMap::from([("jws-kubeconfig-aaaaaa".to_owned(), None)]);
        assert_eq!(signatures(&empty, &tokens, NOW).unwrap(), gone);
    }

    #[test]
    fn a_token_is_looked_at_when_it_is_over() {
        assert_eq!(until(NOW + time::Duration::SECOND, NOW), Duration::from_millis(1050));
        assert_eq!(until(NOW - time::Duration::SECOND, NOW), MARGIN);
    }
}
