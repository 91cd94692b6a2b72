//! From the claims of a token whose signature is good to the user that they make, or why to none.
//!
//! Rules and texts: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`.

use keelson_cel::{Bindings, Budget, EvalError, Program, Type, Value as Cel};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::compile::user_type;
use super::keys::{Algorithm, KeySet, Parts, SignatureError};
use crate::UserInfo;

/// The variable of the claims.
pub(super) const CLAIMS: &str = "claims";
/// The variable of the user.
pub(super) const USER: &str = "user";
/// How early a token may be: clocks differ. Late it may not be.
const EARLY_SECONDS: i64 = 300;

/// An issuer whose tokens are believed, and what they make of their bearers.
#[derive(Debug)]
pub struct JwtIssuer {
    /// As in the claim `iss`.
    pub url: String,
    /// Where the discovery document is, if not below the URL.
    pub discovery_url: Option<String>,
    /// PEM; empty: the host's authorities are believed.
    pub certificate_authority: String,
    /// For one of whom a token must be.
    pub audiences: Vec<String>,
    pub(super) algorithms: Vec<Algorithm>,
    pub(super) requirements: Vec<Requirement>,
    pub(super) mapping: Mapping,
    pub(super) conditions: Vec<Condition>,
}

/// What must hold of the claims.
#[derive(Debug)]
pub(super) enum Requirement {
    Claim { name: String, value: String },
    Expression(Condition),
}

/// An expression that must be true.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) text: String,
    pub(super) message: String,
    pub(super) program: Program,
}

/// Where texts come from.
#[derive(Debug)]
pub(super) enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
}

/// How the claims make a user.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) username: Source,
    pub(super) groups: Option<Source>,
    pub(super) uid: Option<Source>,
    pub(super) extra: Vec<Extra>,
}

#[derive(Debug)]
pub(super) struct Extra {
    pub(super) key: String,
    pub(super) value: Program,
}

/// Why a token of a known issuer is not believed; for the log and TokenReviews.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// The signature.
    #[error("oidc: verify token: {0}")]
    Signature(#[from] SignatureError),
    /// For somebody else.
    #[error("oidc: verify token: expected audience in {wanted:?} got {has:?}")]
    Audience {
        /// Whom it may be for.
        wanted: Vec<String>,
        /// Whom it is for.
        has: Vec<String>,
    },
    /// Its time is over.
    #[error("oidc: verify token: token is expired (Token Expiry: {0})")]
    Expired(i64),
    /// Its time has not come, or it does not say when it ends.
    #[error("oidc: verify token: {0}")]
    Time(String),
    /// A claim is missing or of the wrong type.
    #[error("oidc: {0}")]
    Claim(String),
    /// A rule does not hold.
    #[error("oidc: {0}")]
    Rule(String),
    /// An expression failed.
    #[error("oidc: error evaluating {what}: {why}")]
    Expression {
        /// Whose.
        what: String,
        /// Why.
        why: EvalError,
    },
}

impl JwtIssuer {
    /// Who bears the token, by the issuer's keys of now.
    pub fn user(&self, parts: &Parts<'_>, keys: &KeySet, now: OffsetDateTime) -> Result<UserInfo, JwtError> {
        keys.verify(parts, &self.algorithms)?;
        self.check_standard(&parts.claims, now.unix_timestamp())?;
        let mut user = self.map(&parts.claims)?;
        self.check_user(&user)?;
        // Added after the rules: they speak of what the issuer says.
        let groups = std::mem::take(&mut user.groups);
        let proven = UserInfo::authenticated(user.name, groups);
        Ok(UserInfo { uid: user.uid, extra: user.extra, ..proven })
    }

    fn check_standard(&self, claims: &Value, now: i64) -> Result<(), JwtError> {
        let has: Vec<String> = match &claims["aud"] {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        if !self.audiences.iter().any(|audience| has.contains(audience)) {
            return Err(JwtError::Audience { wanted: self.audiences.clone(), has });
        }
        let end = seconds(&claims["exp"]).ok_or_else(|| JwtError::Time("token has no expiry".to_owned()))?;
        if now >= end {
            return Err(JwtError::Expired(end));
        }
        if seconds(&claims["nbf"]).is_some_and(|begin| now < begin.saturating_sub(EARLY_SECONDS)) {
            return Err(JwtError::Time("current time is before the nbf (not before) time".to_owned()));
        }
        Ok(())
    }

    fn map(&self, claims: &Value) -> Result<UserInfo, JwtError> {
        for requirement in &self.requirements {
            requirement.check(claims)?;
        }
        let mapping = &self.mapping;
        let name = mapping.username.one(claims, "username")?;
        if let Source::Claim { name: claim, .. } = &mapping.username
            && claim == "email"
            && claims.get("email_verified").is_some_and(|verified| verified != &json!(true))
        {
            return Err(JwtError::Claim("email not verified".to_owned()));
        }
        if name.is_empty() {
            return Err(JwtError::Claim("username claim value is empty".to_owned()));
        }
        let groups = mapping.groups.as_ref().map(|source| source.many(claims, "groups"));
        let uid = mapping.uid.as_ref().map(|source| source.one(claims, "uid"));
        let mut user = UserInfo { name, uid: uid.transpose()?.unwrap_or_default(), ..UserInfo::default() };
        user.groups = groups.transpose()?.unwrap_or_default();
        for extra in &mapping.extra {
            let value = evaluate(&extra.value, CLAIMS, claims, &claims_type(), &extra.key)?;
            let values = texts(&value, &extra.key)?;
            if !values.is_empty() {
                user.extra.insert(extra.key.clone(), values);
            }
        }
        Ok(user)
    }

    fn check_user(&self, user: &UserInfo) -> Result<(), JwtError> {
        let object = json!({
            "username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
        });
        self.conditions.iter().try_for_each(|condition| condition.check(USER, &object, &user_type()))
    }
}

/// A NumericDate; RFC 7519 lets it have a fraction.
#[expect(clippy::cast_possible_truncation, reason = "saturates, and dates beyond are as good as never")]
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))
}

fn claims_type() -> Type {
    Type::map(Type::Dyn)
}

impl Requirement {
    fn check(&self, claims: &Value) -> Result<(), JwtError> {
        match self {
            Self::Expression(condition) => condition.check(CLAIMS, claims, &claims_type()),
            Self::Claim { name, value } => match claims.get(name) {
                None => Err(JwtError::Claim(format!("required claim {name} not present in ID token"))),
                Some(Value::String(has)) if has == value => Ok(()),
                Some(Value::String(has)) => Err(JwtError::Claim(format!(
                    "required claim {name} value does not match. Got = {has}, want = {value}"
                ))),
                Some(_) => Err(JwtError::Claim(format!("parse claim {name}: it is not a string"))),
            },
        }
    }
}

impl Condition {
    fn check(&self, variable: &'static str, object: &Value, ty: &Type) -> Result<(), JwtError> {
        match evaluate(&self.program, variable, object, ty, &self.text)? {
            Value::Bool(true) => Ok(()),
            _ if !self.message.is_empty() => {
                Err(JwtError::Rule(format!("validation expression {:?} failed: {}", self.text, self.message)))
            }
            _ => Err(JwtError::Rule(format!("validation expression {:?} failed", self.text))),
        }
    }
}

impl Source {
    fn one(&self, claims: &Value, what: &str) -> Result<String, JwtError> {
        let wrong = || JwtError::Claim(format!("{what} claim must be a string"));
        match self {
            Self::Claim { name, prefix } => {
                let value = claims.get(name);
                let value = value.ok_or_else(|| {
                    JwtError::Claim(format!("parse {what} claims {name:?}: claim not present"))
                })?;
                let text = value.as_str().ok_or_else(wrong)?;
                Ok(if text.is_empty() { String::new() } else { format!("{prefix}{text}") })
            }
            Self::Expression(program) => match evaluate(program, CLAIMS, claims, &claims_type(), what)? {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            },
        }
    }

    fn many(&self, claims: &Value, what: &str) -> Result<Vec<String>, JwtError> {
        match self {
            Self::Claim { name, prefix } => {
                if claims["_claim_names"].get(name).is_some() {
                    return Err(JwtError::Claim(format!(
                        "claim {name:?} is distributed, which is not supported"
                    )));
                }
                let found = claims.get(name).map(|value| texts(value, name)).transpose()?.unwrap_or_default();
                Ok(found.into_iter().map(|group| format!("{prefix}{group}")).collect())
            }
            Self::Expression(program) => {
                texts(&evaluate(program, CLAIMS, claims, &claims_type(), what)?, what)
            }
        }
    }
}

/// A text, a list of texts, or nothing.
fn texts(value: &Value, what: &str) -> Result<Vec<String>, JwtError> {
    let wrong = || JwtError::Claim(format!("{what} must be a string or an array of strings"));
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(text) if text.is_empty() => Ok(Vec::new()),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

fn evaluate(
    program: &Program,
    variable: &'static str,
    object: &Value,
    ty: &Type,
    what: &str,
) -> Result<Value, JwtError> {
    let bindings = Bindings::new().with(variable, Cel::from_json(object, ty));
    let value = program.evaluate(&bindings, &mut Budget::default());
    let value = value.map_err(|why| JwtError::Expression { what: what.to_owned(), why })?;
    Ok(value.to_json().unwrap_or_else(|| Value::Object(Map::new())))
}
