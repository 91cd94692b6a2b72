//! Bootstrap tokens: `id.secret`, kept in a Secret of kube-system, by which a machine that is nobody yet asks for a certificate
//! and recognises the cluster that it joins.
//!
//! Here is what such a Secret says and proves; it is read by whoever asks. Source of the rules:
//! <https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/>, which the API does not hold the Secrets
//! to: as upstream, one that is malformed is stored, and proves nothing.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::UserInfo;
use crate::authn::token::TokenError;

/// The type of the Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// Where they are.
pub const NAMESPACE: &str = "kube-system";
/// What their names start with; the token's id follows.
pub const SECRET_PREFIX: &str = "bootstrap-token-";
/// What the user name of a bearer starts with; the token's id follows.
pub const USER_PREFIX: &str = "system:bootstrap:";
/// The group of all bearers.
pub const GROUP: &str = "system:bootstrappers";

const ID_CHARS: usize = 6;
const SECRET_CHARS: usize = 16;
/// Of a group's name, after its prefix.
const GROUP_CHARS_MAX: usize = 256;

/// The two halves of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Names it; not secret.
    pub id: &'a str,
    /// Proves it.
    pub secret: &'a str,
}

impl<'a> Token<'a> {
    /// None where the text has not the form of a bootstrap token, so that it may be a token of another sort.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.split_once('.')?;
        (is_word(id, ID_CHARS) && is_word(secret, SECRET_CHARS)).then_some(Self { id, secret })
    }

    /// The name of its Secret.
    pub fn secret_name(&self) -> String {
        format!("{SECRET_PREFIX}{}", self.id)
    }
}

fn is_word(text: &str, chars: usize) -> bool {
    text.len() == chars && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Why a token whose Secret was found is not believed; for the log. Never says the secret half.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The Secret is going.
    #[error("its Secret is deleted and awaiting removal")]
    Deleted,
    /// Of another type.
    #[error("its Secret is of type {0:?}, not {SECRET_TYPE:?}")]
    Type(String),
    /// The secret half differs.
    #[error("its token-secret is another")]
    Secret,
    /// The Secret's name and data disagree.
    #[error("its token-id is {0:?}")]
    Id(String),
    /// Over, or nobody can read when it is.
    #[error("it has expired")]
    Expired,
    /// Not for this use.
    #[error("it is not marked {0}")]
    Usage(&'static str),
    /// A group that no bootstrap token may give.
    #[error(
        "its auth-extra-groups name {0:?}, which is not {GROUP}: followed by up to {GROUP_CHARS_MAX} of a-z, 0-9, : and -"
    )]
    Group(String),
}

/// What a Secret says of a token, its data decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSecret {
    /// `metadata.name`.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// `metadata.deletionTimestamp` is set.
    pub is_deleting: bool,
    /// `data`, of which what is no text is left out.
    pub data: BTreeMap<String, String>,
}

/// What is left of a token's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// No end.
    Unbounded,
    /// Until then.
    Until(OffsetDateTime),
    /// It is over.
    Over,
}

impl TokenSecret {
    /// Reads a Secret in the API's form.
    pub fn read(object: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let decoded = |value: &Value| String::from_utf8(STANDARD.decode(value.as_str()?).ok()?).ok();
        let data = object["data"].as_object().into_iter().flatten();
        Self {
            name: text(&object["metadata"]["name"]),
            kind: text(&object["type"]),
            is_deleting: !object["metadata"]["deletionTimestamp"].is_null(),
            data: data.filter_map(|(key, value)| Some((key.clone(), decoded(value)?))).collect(),
        }
    }

    fn get(&self, key: &str) -> &str {
        self.data.get(key).map(String::as_str).unwrap_or_default()
    }

    /// How long the token lives. An end that nobody can read has come.
    pub fn life(&self, now: OffsetDateTime) -> Life {
        match self.get("expiration") {
            "" => Life::Unbounded,
            text => match OffsetDateTime::parse(text, &Rfc3339) {
                Ok(end) if now < end => Life::Until(end),
                _ => Life::Over,
            },
        }
    }

    /// Who bears the token.
    pub fn user(&self, token: Token<'_>, now: OffsetDateTime) -> Result<UserInfo, Refusal> {
        if self.is_deleting {
            return Err(Refusal::Deleted);
        }
        if self.kind != SECRET_TYPE {
            return Err(Refusal::Type(self.kind.clone()));
        }
        let known = self.get("token-secret").as_bytes();
        if !bool::from(known.ct_eq(token.secret.as_bytes())) {
            return Err(Refusal::Secret);
        }
        if self.get("token-id") != token.id {
            return Err(Refusal::Id(self.get("token-id").to_owned()));
        }
        if self.life(now) == Life::Over {
            return Err(Refusal::Expired);
        }
        if self.get("usage-bootstrap-authentication") != "true" {
            return Err(Refusal::Usage("usage-bootstrap-authentication=true"));
        }
        Ok(UserInfo::authenticated(format!("{USER_PREFIX}{}", token.id), self.groups()?))
    }

    fn groups(&self) -> Result<BTreeSet<String>, Refusal> {
        let mut groups = BTreeSet::from([GROUP.to_owned()]);
        for group in self.get("auth-extra-groups").split(',').filter(|group| !group.is_empty()) {
            if !is_group(group) {
                return Err(Refusal::Group(group.to_owned()));
            }
            groups.insert(group.to_owned());
        }
        Ok(groups)
    }

    /// The token, if the cluster's public information is to be signed with it.
    pub fn signer(&self, now: OffsetDateTime) -> Option<Token<'_>> {
        let token = Token { id: self.get("token-id"), secret: self.get("token-secret") };
        let is = self.kind == SECRET_TYPE
            && !self.is_deleting
            && self.name.strip_prefix(SECRET_PREFIX) == Some(token.id)
            && !token.id.is_empty()
            && !token.secret.is_empty()
            && self.life(now) != Life::Over
            && self.get("usage-bootstrap-signing") == "true";
        is.then_some(token)
    }
}

/// `\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`
fn is_group(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=GROUP_CHARS_MAX).contains(&rest.len())
        && rest.bytes().all(|byte| is_end(&byte) || byte == b':' || byte == b'-')
        && rest.as_bytes().last().is_some_and(is_end)
}

/// The JWS over `content` by the token's secret half, the content left out of it (RFC 7515, appendix F).
pub fn detached_signature(content: &str, token: Token<'_>) -> Result<String, TokenError> {
    let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "kid": token.id }).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = EncodingKey::from_secret(token.secret.as_bytes());
    let signature = crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).map_err(TokenError::Sign)?;
    Ok(format!("{header}..{signature}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);
    const TOKEN: Token<'static> = Token { id: "abcdef", secret: "0123456789abcdef" };

    fn secret(changed: &[(&str, &str)]) -> TokenSecret {
        let mut data = BTreeMap::from([
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("expiration", "2026-01-02T00:00:00Z"),
            ("usage-bootstrap-authentication", "true"),
            ("usage-bootstrap-signing", "true"),
            ("auth-extra-groups", "system:bootstrappers:workers,system:bootstrappers:a-b:c"),
        ]);
        data.extend(changed.iter().copied());
        let data: serde_json::Map<String, Value> =
            data.into_iter().map(|(key, value)| (key.to_owned(), STANDARD.encode(value).into())).collect();
        let metadata = json!({ "name": "bootstrap-token-abcdef" });
        TokenSecret::read(&json!({ "metadata": metadata, "type": SECRET_TYPE, "data": data }))
    }

    #[test]
    fn only_texts_of_the_form_are_bootstrap_tokens() {
        assert_eq!(Token::parse("abcdef.0123456789abcdef"), Some(TOKEN));
        assert_eq!(TOKEN.secret_name(), "bootstrap-token-abcdef");
        for text in [
            "",
            "abcdef",
            "abcdef.0123456789abcde",
            "ABCDEF.0123456789abcdef",
            "a.b.c",
            "abcde/.0123456789abcdef",
        ] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_proves_its_token_unless_something_is_wrong_with_it() {
        let user = secret(&[]).user(TOKEN, NOW).unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        let groups = ["system:bootstrappers", "system:bootstrappers:a-b:c", "system:bootstrappers:workers"];
        assert_eq!(user.groups[..3], groups);
        assert!(user.in_group("system:authenticated") && !user.is_master());
        let usage = Refusal::Usage("usage-bootstrap-authentication=true");
        let rows = [
            ("token-secret", "0123456789abcdeg", Refusal::Secret),
            ("token-secret", "", Refusal::Secret),
            ("token-id", "abcdeg", Refusal::Id("abcdeg".into())),
            ("expiration", "2025-12-31T23:59:59Z", Refusal::Expired),
            ("expiration", "2026-01-01T00:00:00Z", Refusal::Expired),
            ("expiration", "tomorrow", Refusal::Expired),
            ("usage-bootstrap-authentication", "yes", usage),
            ("auth-extra-groups", "system:masters", Refusal::Group("system:masters".into())),
            ("auth-extra-groups", "system:bootstrappers:", Refusal::Group("system:bootstrappers:".into())),
            (
                "auth-extra-groups",
                "system:bootstrappers:a-",
                Refusal::Group("system:bootstrappers:a-".into()),
            ),
            ("auth-extra-groups", "system:bootstrappers:A", Refusal::Group("system:bootstrappers:A".into())),
        ];
        for (key, value, refusal) in rows {
            assert_eq!(secret(&[(key, value)]).user(TOKEN, NOW), Err(refusal), "{key}={value}");
        }
        let deleting = TokenSecret { is_deleting: true, ..secret(&[]) };
        assert_eq!(deleting.user(TOKEN, NOW), Err(Refusal::Deleted));
        let opaque = TokenSecret { kind: "Opaque".into(), ..secret(&[]) };
        assert_eq!(opaque.user(TOKEN, NOW), Err(Refusal::Type("Opaque".into())));
        assert_eq!(secret(&[("expiration", "")]).life(NOW), Life::Unbounded);
    }

    #[test]
    fn tokens_sign_that_are_for_it() {
        assert_eq!(secret(&[]).signer(NOW), Some(TOKEN));
        for (key, value) in [("usage-bootstrap-signing", ""), ("expiration", "x"), ("token-id", "other1")] {
            assert_eq!(secret(&[(key, value)]).signer(NOW), None, "{key}");
        }
    }

    /// RFC 7515, appendix A.1 in kind: whoever has the secret computes the same.
    #[test]
    fn a_signature_is_over_the_content_and_does_not_hold_it() {
        let made = detached_signature("kind: Config", TOKEN).unwrap();
        let (header, signature) = made.split_once("..").unwrap();
        let header_json = URL_SAFE_NO_PAD.decode(header).unwrap();
        assert_eq!(header_json, br#"{"alg":"HS256","kid":"abcdef"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode("kind: Config"));
        let key = jsonwebtoken::DecodingKey::from_secret(TOKEN.secret.as_bytes());
        assert!(crypto::verify(signature, signed.as_bytes(), &key, Algorithm::HS256).unwrap());
        assert_ne!(made, detached_signature("kind: Other", TOKEN).unwrap());
    }
}
