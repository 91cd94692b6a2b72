//! Configurations, signatures and claims, as tables. The RSA key beside this file is the tests' own.

use super::config::AuthenticationConfiguration;
use super::{AnonymousPaths, Authenticators, JwtError, KeySet, Parts, SignatureError, compile};
use crate::UserInfo;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, crypto, jwk::Jwk};
use p521::ecdsa::{Signature, SigningKey, VerifyingKey, signature::RandomizedSigner};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};

const NOW: OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);
const ISSUER: &str = "https://issuer.example.com";
const RSA: &str = include_str!("rsa.pem");

/// An issuer's key: what it publishes and how it signs.
struct Signer521(SigningKey);

/// Signatures of tests need not be secret.
struct Fixed;

impl p521::elliptic_curve::rand_core::CryptoRng for Fixed {}

impl p521::elliptic_curve::rand_core::RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        7
    }

    fn next_u64(&mut self) -> u64 {
        7
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
        bytes[0] = 0;
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), p521::elliptic_curve::rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

enum Private {
    Library(EncodingKey),
    P521(Signer521),
}

fn rsa() -> (Private, Value) {
    let key = EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap();
    let jwk = Jwk::from_encoding_key(&key, jsonwebtoken::Algorithm::RS256).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk["alg"].take();
    jwk["kid"] = json!("rsa");
    (Private::Library(key), jwk)
}

fn ec(sort: &'static SignatureAlgorithm, id: &str) -> (Private, Value) {
    let pair = KeyPair::generate_for(sort).unwrap();
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let algorithm =
        if id == "p256" { jsonwebtoken::Algorithm::ES256 } else { jsonwebtoken::Algorithm::ES384 };
    let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
    jwk["kid"] = json!(id);
    (Private::Library(key), jwk)
}

fn p521() -> (Private, Value) {
    let mut secret = [7; 66];
    secret[0] = 0;
    let key = SigningKey::from_slice(&secret).unwrap();
    let point = VerifyingKey::from(&key).to_encoded_point(false);
    let text = |half: Option<&p521::FieldBytes>| URL_SAFE_NO_PAD.encode(half.unwrap());
    let jwk = json!({"kty": "EC", "crv": "P-521", "kid": "p521", "x": text(point.x()), "y": text(point.y())});
    (Private::P521(Signer521(key)), jwk)
}

fn token(key: &Private, header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = match key {
        Private::Library(key) => {
            let algorithm = header["alg"].as_str().unwrap().parse().unwrap();
            crypto::sign(signed.as_bytes(), key, algorithm).unwrap()
        }
        Private::P521(key) => {
            let signature: Signature = key.0.sign_with_rng(&mut Fixed, signed.as_bytes());
            URL_SAFE_NO_PAD.encode(signature.to_bytes())
        }
    };
    format!("{signed}.{signature}")
}

fn key_set(keys: &[&Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn claims(more: Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "cluster", "sub": "jane", "exp": NOW.unix_timestamp() + 600,
    });
    for (key, value) in more.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims
}

fn compiled(jwt: Value) -> Result<Authenticators, String> {
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [jwt]});
    let config: AuthenticationConfiguration =
        serde_json::from_value(config).map_err(|error| error.to_string())?;
    compile(&config, &["https://own.example.com"]).map_err(|error| error.to_string())
}

/// The smallest configuration, with `more` put over it.
fn jwt(more: Value) -> Value {
    let mut jwt = json!({
        "issuer": {"url": ISSUER, "audiences": ["cluster"]},
        "claimMappings": {"username": {"claim": "sub", "prefix": "oidc:"}},
    });
    for (key, value) in more.as_object().unwrap() {
        let inner = value.as_object().filter(|_| jwt[key].is_object());
        match inner {
            Some(inner) => inner.iter().for_each(|(name, value)| jwt[key][name] = value.clone()),
            None => jwt[key] = value.clone(),
        }
    }
    jwt
}

#[test]
fn every_algorithm_is_checked_with_keys_of_its_kind_alone() {
    let keys = [rsa(), ec(&PKCS_ECDSA_P256_SHA256, "p256"), ec(&PKCS_ECDSA_P384_SHA384, "p384"), p521()];
    let published: Vec<&Value> = keys.iter().map(|(_, jwk)| jwk).collect();
    let set = key_set(&published);
    assert_eq!(set.len(), 4);
    let rows = [
        ("RS256", 0),
        ("RS384", 0),
        ("RS512", 0),
        ("PS256", 0),
        ("PS384", 0),
        ("PS512", 0),
        ("ES256", 1),
        ("ES384", 2),
        ("ES512", 3),
    ];
    let all = super::Algorithm::ALL;
    for (name, at) in rows {
        let (key, jwk) = &keys[at];
        let header = json!({"alg": name, "kid": jwk["kid"]});
        let good = token(key, &header, &claims(json!({})));
        let parts = Parts::of(&good).unwrap();
        assert_eq!(parts.issuer(), ISSUER);
        assert_eq!(set.verify(&parts, &all), Ok(()), "{name}");
        let unnamed = token(key, &json!({"alg": name}), &claims(json!({})));
        assert_eq!(set.verify(&Parts::of(&unnamed).unwrap(), &all), Ok(()), "{name}, no kid");
        let other = json!({"alg": name, "kid": keys[(at + 1) % 4].1["kid"]});
        let other = token(key, &other, &claims(json!({})));
        assert_eq!(
            set.verify(&Parts::of(&other).unwrap(), &all),
            Err(SignatureError::Signature),
            "{name}, another's kid"
        );
        let changed = good.replacen('.', ".e30", 1);
        let changed = Parts::of(&changed).map(|parts| set.verify(&parts, &all));
        assert!(!matches!(changed, Ok(Ok(()))), "{name}, changed");
        let one = super::Algorithm::parse(name).unwrap();
        let others: Vec<_> = all.into_iter().filter(|algorithm| *algorithm != one).collect();
        assert_eq!(set.verify(&parts, &others), Err(SignatureError::Algorithm(name.to_owned())));
    }
}

#[test]
fn a_token_cannot_choose_how_it_is_checked() {
    let (_, jwk) = rsa();
    let set = key_set(&[&jwk]);
    let all = super::Algorithm::ALL;
    // The public key taken for a shared secret.
    let shared = Private::Library(EncodingKey::from_secret(jwk["n"].as_str().unwrap().as_bytes()));
    let forged = token(&shared, &json!({"alg": "HS256", "kid": "rsa"}), &claims(json!({})));
    assert_eq!(
        set.verify(&Parts::of(&forged).unwrap(), &all),
        Err(SignatureError::Algorithm("HS256".into()))
    );
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = format!("{}.{}.", encode(json!({"alg": "none"})), encode(claims(json!({}))));
    assert_eq!(set.verify(&Parts::of(&none).unwrap(), &all), Err(SignatureError::Algorithm("none".into())));
    let critical = token(&rsa().0, &json!({"alg": "RS256", "crit": ["b64"]}), &claims(json!({})));
    assert_eq!(set.verify(&Parts::of(&critical).unwrap(), &all), Err(SignatureError::Critical));
    for text in ["", "a", "a.b", "a.b.c", "e30.e30.", "e30.W10.x"] {
        assert!(Parts::of(text).is_err(), "{text}");
    }
    // Keys for encryption, and those that are for one algorithm alone.
    let mut only = jwk.clone();
    only["alg"] = json!("PS256");
    let good = token(&rsa().0, &json!({"alg": "RS256"}), &claims(json!({})));
    assert!(key_set(&[&only]).verify(&Parts::of(&good).unwrap(), &all).is_err());
    let mut sealing = jwk;
    sealing["use"] = json!("enc");
    assert!(key_set(&[&sealing, &json!({"kty": "oct", "k": "eA"})]).is_empty());
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_with_its_field() {
    let expression = |text: &str| json!({"claimMappings": {"username": {"expression": text}}});
    let rules = |rules: Value| json!({ "claimValidationRules": rules });
    let extra = |key: &str, value: &str| json!({"claimMappings": {"extra": [{"key": key, "valueExpression": value}]}});
    let ok = [
        json!({}),
        json!({"issuer": {"audiences": ["a", "b"], "audienceMatchPolicy": "MatchAny"}}),
        expression("claims.sub + '@x'"),
        expression("claims.email_verified ? claims.email : 'nobody'"),
        extra("example.com/tenant", "claims.tenant"),
        rules(
            json!([{"claim": "hd", "requiredValue": "x"}, {"expression": "claims.a == 1", "message": "m"}]),
        ),
        json!({"userValidationRules": [{"expression": "!user.username.startsWith('system:')"}]}),
    ];
    for more in ok {
        compiled(jwt(more.clone())).unwrap_or_else(|error| panic!("{more}: {error}"));
    }
    let wrong = [
        (json!({"issuer": {"url": ""}}), "jwt[0].issuer.url: Required value: URL is required"),
        (
            json!({"issuer": {"url": "http://x"}}),
            "jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https",
        ),
        (json!({"issuer": {"url": "https://a:b@x"}}), "must not contain a username or password"),
        (json!({"issuer": {"url": "https://x?a"}}), "must not contain a query"),
        (json!({"issuer": {"url": "https://x#a"}}), "must not contain a fragment"),
        (json!({"issuer": {"url": "https://own.example.com"}}), "must not overlap with disallowed issuers"),
        (json!({"issuer": {"discoveryURL": ISSUER}}), "discoveryURL must be different from URL"),
        (json!({"issuer": {"audiences": []}}), "jwt[0].issuer.audiences: Required value: at least one"),
        (
            json!({"issuer": {"audiences": ["a", "a"], "audienceMatchPolicy": "MatchAny"}}),
            "audiences[1]: Duplicate value: \"a\"",
        ),
        (json!({"issuer": {"audiences": ["a", "b"]}}), "audienceMatchPolicy must be MatchAny"),
        (json!({"issuer": {"certificateAuthority": "x"}}), "certificateAuthority: Invalid value"),
        (
            json!({"issuer": {"egressSelectorType": "cluster"}}),
            "egressSelectorType: Invalid value: \"cluster\": egress selection is not supported",
        ),
        (json!({"claimMappings": {"username": {"claim": "sub"}}}), "prefix is required when claim is set"),
        (
            json!({"claimMappings": {"username": {}}}),
            "jwt[0].claimMappings.username: Required value: claim or expression",
        ),
        (
            json!({"claimMappings": {"username": {"claim": "a", "expression": "claims.b"}}}),
            "can't both be set",
        ),
        (expression("1"), "must evaluate to string"),
        (expression("claims."), "compilation failed"),
        (expression("user.username"), "compilation failed"),
        (expression("claims.email"), "claims.email_verified must be used"),
        (extra("tenant", "claims.x"), "must be a domain-prefixed path"),
        (extra("Example.com/x", "claims.x"), "must be lowercase"),
        (extra("sub.k8s.io/x", "claims.x"), "reserved for Kubernetes"),
        (rules(json!([{}])), "jwt[0].claimValidationRules[0]: Required value"),
        (rules(json!([{"claim": "a", "message": "m"}])), "may not be specified when claim is set"),
        (
            rules(json!([{"expression": "true", "requiredValue": "m"}])),
            "may not be specified when expression is set",
        ),
        (rules(json!([{"claim": "a"}, {"claim": "a"}])), "claimValidationRules[1].claim: Duplicate value"),
        (json!({"userValidationRules": [{}]}), "userValidationRules[0].expression: Required value"),
        (json!({"userValidationRules": [{"expression": "claims.a"}]}), "compilation failed"),
        (json!({"issuers": 1}), "unknown field `issuers`"),
    ];
    for (more, wanted) in wrong {
        let error = compiled(jwt(more.clone())).expect_err(&more.to_string());
        assert!(error.contains(wanted), "{more}: {error}");
    }
}

#[test]
fn anonymous_requests_are_as_configured() {
    let rows = [
        (json!(null), Ok(None)),
        (json!({"enabled": false}), Ok(Some(AnonymousPaths::None))),
        (json!({"enabled": true}), Ok(Some(AnonymousPaths::All))),
        (
            json!({"enabled": true, "conditions": [{"path": "/livez"}]}),
            Ok(Some(AnonymousPaths::Only(vec!["/livez".to_owned()]))),
        ),
        (json!({"enabled": false, "conditions": [{"path": "/livez"}]}), Err("enabled should be set to true")),
        (
            json!({"enabled": true, "conditions": [{"path": ""}]}),
            Err("anonymous.conditions[0].path: Required value"),
        ),
    ];
    for (anonymous, wanted) in rows {
        let config = json!({"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthenticationConfiguration", "anonymous": anonymous});
        let config: AuthenticationConfiguration = serde_json::from_value(config).unwrap();
        match (compile(&config, &[]), wanted) {
            (Ok(made), Ok(wanted)) => assert_eq!(made.anonymous, wanted),
            (Err(error), Err(wanted)) => assert!(error.to_string().contains(wanted), "{error}"),
            (made, wanted) => panic!("{anonymous}: {made:?}, not {wanted:?}"),
        }
    }
}

fn user(config: Value, claims: &Value) -> Result<UserInfo, JwtError> {
    let (key, jwk) = ec(&PKCS_ECDSA_P256_SHA256, "p256");
    let text = token(&key, &json!({"alg": "ES256", "kid": "p256"}), claims);
    let made = compiled(jwt(config)).unwrap();
    made.issuers[0].user(&Parts::of(&text).unwrap(), &key_set(&[&jwk]), NOW)
}

#[test]
fn claims_make_users() {
    let all = json!({
        "claimMappings": {
            "username": {"expression": "claims.sub + '@' + claims.tenant"},
            "groups": {"expression": "claims.roles.map(r, 'corp:' + r)"},
            "uid": {"claim": "id"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                      {"key": "example.com/none", "valueExpression": "''"}],
        },
        "claimValidationRules": [{"expression": "claims.tenant == 'blue'"}],
        "userValidationRules": [{"expression": "!user.groups.exists(g, g.startsWith('system:'))"}],
    });
    let given = claims(json!({"tenant": "blue", "roles": ["dev", "ops"], "id": "42", "nbf": 1}));
    let made = user(all, &given).unwrap();
    assert_eq!((made.name.as_str(), made.uid.as_str()), ("jane@blue", "42"));
    assert_eq!(made.groups, ["corp:dev", "corp:ops", "system:authenticated"]);
    assert_eq!(made.extra.len(), 1);
    assert_eq!(made.extra["example.com/tenant"], ["blue"]);

    let groups = json!({"claimMappings": {"groups": {"claim": "groups", "prefix": "g:"}}});
    let rows = [
        (json!({}), vec![]),
        (json!({"groups": "one"}), vec!["g:one"]),
        (json!({"groups": ["one", "two"]}), vec!["g:one", "g:two"]),
        (json!({"aud": ["x", "cluster"]}), vec![]),
    ];
    for (more, wanted) in rows {
        let made = user(groups.clone(), &claims(more)).unwrap();
        assert_eq!(made.name, "oidc:jane");
        assert_eq!(made.groups[..made.groups.len() - 1], wanted);
    }
}

#[test]
fn claims_that_do_not_hold_make_nobody() {
    let groups = json!({"claimMappings": {"groups": {"claim": "groups", "prefix": ""}}});
    let email = json!({"claimMappings": {"username": {"claim": "email", "prefix": ""}}});
    let required = json!({"claimValidationRules": [{"claim": "hd", "requiredValue": "corp"}]});
    let rule = json!({"claimValidationRules": [{"expression": "claims.n > 1", "message": "n is small"}]});
    let person = json!({"userValidationRules": [{"expression": "user.username != 'oidc:jane'", "message": "not she"}]});
    let now = NOW.unix_timestamp();
    let rows = [
        (json!({}), json!({"aud": "other"}), "expected audience in [\"cluster\"] got [\"other\"]"),
        (json!({}), json!({"exp": now}), "token is expired"),
        (json!({}), json!({"exp": null}), "token has no expiry"),
        (json!({}), json!({"nbf": now + 301}), "not before"),
        (json!({}), json!({"sub": null}), "username claim must be a string"),
        (json!({}), json!({"sub": ""}), "username claim value is empty"),
        (groups.clone(), json!({"groups": [1]}), "must be a string or an array of strings"),
        (groups, json!({"_claim_names": {"groups": "src"}}), "distributed, which is not supported"),
        (email.clone(), json!({"email": "a@x", "email_verified": false}), "email not verified"),
        (email, json!({}), "claim not present"),
        (required.clone(), json!({}), "required claim hd not present"),
        (required, json!({"hd": "other"}), "Got = other, want = corp"),
        (rule.clone(), json!({"n": 1}), "failed: n is small"),
        (rule, json!({}), "error evaluating"),
        (person, json!({}), "failed: not she"),
    ];
    for (config, more, wanted) in rows {
        let error = user(config, &claims(more.clone())).expect_err(&more.to_string()).to_string();
        assert!(error.starts_with("oidc: ") && error.contains(wanted), "{more}: {error}");
    }
}
