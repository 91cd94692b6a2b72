//! ServiceAccount tokens from issue to belief.

use std::collections::HashMap;

use async_trait::async_trait;
use keelson_auth::authn::token::{
    Binding, Bound, DEFAULT_ISSUER, Found, Issuer, Lookup, LookupError, ObjectRef, TokenError, TokenRequest,
    Verifier, extra, jwks, openid_configuration, validate_expiration_seconds,
};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use time::{Duration, OffsetDateTime};

struct Keys {
    private: String,
    public: String,
}

fn keys() -> Keys {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    Keys { private: key.serialize_pem(), public: key.public_key_pem() }
}

fn reference(name: &str) -> ObjectRef {
    ObjectRef { name: name.to_owned(), uid: format!("uid-{name}") }
}

fn request(binding: Binding) -> TokenRequest {
    TokenRequest {
        namespace: "ns".to_owned(),
        service_account: reference("sa"),
        binding,
        audiences: Vec::new(),
        expiration_seconds: 3600,
    }
}

fn pod_binding() -> Binding {
    Binding::Pod { pod: reference("pod"), node: Some(reference("node")) }
}

#[derive(Default)]
struct Cluster(HashMap<(Bound, String), Found>);

impl Cluster {
    fn full() -> Self {
        let mut cluster = Self::default();
        for (kind, name) in [(Bound::ServiceAccount, "sa"), (Bound::Pod, "pod"), (Bound::Secret, "secret")] {
            cluster.put(kind, name, &format!("uid-{name}"), None);
        }
        cluster
    }

    fn put(&mut self, kind: Bound, name: &str, uid: &str, deletion: Option<OffsetDateTime>) {
        self.0.insert((kind, name.to_owned()), Found { uid: uid.to_owned(), deletion });
    }
}

#[async_trait]
impl Lookup for Cluster {
    async fn find(&self, kind: Bound, namespace: &str, name: &str) -> Result<Option<Found>, LookupError> {
        assert_eq!(namespace, if kind == Bound::Node { "" } else { "ns" });
        Ok(self.0.get(&(kind, name.to_owned())).cloned())
    }
}

fn pair(keys: &Keys) -> (Issuer, Verifier) {
    (
        Issuer::new(DEFAULT_ISSUER, &keys.private, &keys.public).unwrap(),
        Verifier::new(DEFAULT_ISSUER, &keys.public).unwrap(),
    )
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_780_000_000).unwrap()
}

#[tokio::test]
async fn a_pod_bound_token_is_who_it_says_with_pod_and_node() {
    let (issuer, verifier) = pair(&keys());
    let issued = issuer.issue(&request(pod_binding()), now()).unwrap();
    assert_eq!(issued.expires, now() + Duration::hours(1));
    let opened = verifier.open(&issued.token, &[], now()).unwrap();
    assert_eq!(opened.audiences, [DEFAULT_ISSUER]);
    let user = opened.confirm(now(), &Cluster::full()).await.unwrap();
    assert_eq!(user.name, "system:serviceaccount:ns:sa");
    assert_eq!(user.uid, "uid-sa");
    assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"]);
    assert_eq!(user.extra[extra::POD_NAME], ["pod"]);
    assert_eq!(user.extra[extra::NODE_UID], ["uid-node"]);
    assert_eq!(user.extra["authentication.kubernetes.io/credential-id"], [format!("JTI={}", issued.id)]);
}

#[test]
fn the_claims_have_upstreams_shape() {
    let (issuer, verifier) = pair(&keys());
    let issued = issuer.issue(&request(pod_binding()), now()).unwrap();
    let claims = verifier.open(&issued.token, &[], now()).unwrap().claims;
    assert_eq!(
        serde_json::to_value(&claims).unwrap(),
        serde_json::json!({
            "aud": [DEFAULT_ISSUER], "exp": 1_780_003_600, "iat": 1_780_000_000, "nbf": 1_780_000_000,
            "iss": DEFAULT_ISSUER, "jti": issued.id, "sub": "system:serviceaccount:ns:sa",
            "kubernetes.io": {
                "namespace": "ns",
                "node": { "name": "node", "uid": "uid-node" },
                "pod": { "name": "pod", "uid": "uid-pod" },
                "serviceaccount": { "name": "sa", "uid": "uid-sa" },
            },
        })
    );
}

#[test]
fn time_issuer_audience_signature_and_size_are_checked() {
    let ours = keys();
    let (issuer, verifier) = pair(&ours);
    let token = issuer.issue(&request(Binding::None), now()).unwrap().token;
    let open = |token: &str, at| verifier.open(token, &[], at);
    assert!(open(&token, now() + Duration::seconds(3600 + 60)).is_ok());
    assert!(matches!(open(&token, now() + Duration::seconds(3600 + 61)), Err(TokenError::Expired)));
    assert!(matches!(open(&token, now() - Duration::seconds(61)), Err(TokenError::NotYetValid)));
    let other = ["vault".to_owned()];
    assert!(matches!(verifier.open(&token, &other, now()), Err(TokenError::Audience { .. })));
    let (stranger, _) = pair(&keys());
    let forged = stranger.issue(&request(Binding::None), now()).unwrap().token;
    assert!(matches!(open(&forged, now()), Err(TokenError::Invalid(_))));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (_, foreign) = forged.rsplit_once('.').unwrap();
    assert_ne!(signature, foreign);
    assert!(matches!(open(&format!("{head}.{foreign}"), now()), Err(TokenError::Invalid(_))));
    let elsewhere = Issuer::new("https://elsewhere", &ours.private, &ours.public).unwrap();
    let token = elsewhere.issue(&request(Binding::None), now()).unwrap().token;
    assert!(matches!(open(&token, now()), Err(TokenError::ForeignIssuer(_))));
    assert!(matches!(open(&"x".repeat(17 << 10), now()), Err(TokenError::TooLong(_))));
    assert!(matches!(open("not a token", now()), Err(TokenError::Invalid(_))));
}

#[tokio::test]
async fn a_token_dies_with_what_it_is_bound_to() {
    let (issuer, verifier) = pair(&keys());
    let confirm = async |binding, cluster: &Cluster| {
        let token = issuer.issue(&request(binding), now()).unwrap().token;
        verifier.open(&token, &[], now()).unwrap().confirm(now(), cluster).await
    };
    let long_ago = Some(now() - Duration::seconds(61));
    let just_now = Some(now() - Duration::seconds(5));

    let mut cluster = Cluster::full();
    cluster.0.remove(&(Bound::Pod, "pod".to_owned()));
    assert!(matches!(confirm(pod_binding(), &cluster).await, Err(TokenError::Invalidated)));
    cluster.put(Bound::Pod, "pod", "uid-pod", long_ago);
    assert!(matches!(confirm(pod_binding(), &cluster).await, Err(TokenError::Invalidated)));
    cluster.put(Bound::Pod, "pod", "uid-pod", just_now);
    assert!(confirm(pod_binding(), &cluster).await.is_ok());
    cluster.put(Bound::Pod, "pod", "another", None);
    let error = confirm(pod_binding(), &cluster).await.unwrap_err();
    assert_eq!(error.to_string(), "pod UID (another) does not match service account pod ref claim (uid-pod)");

    cluster.put(Bound::ServiceAccount, "sa", "another", None);
    let error = confirm(Binding::None, &cluster).await.unwrap_err();
    assert_eq!(error.to_string(), "service account UID (another) does not match claim (uid-sa)");
    cluster.put(Bound::ServiceAccount, "sa", "uid-sa", long_ago);
    let error = confirm(Binding::None, &cluster).await.unwrap_err();
    assert_eq!(error.to_string(), "service account ns/sa has been deleted");

    assert!(matches!(
        confirm(Binding::Node(reference("node")), &Cluster::full()).await,
        Err(TokenError::Invalidated)
    ));
    assert!(confirm(Binding::Secret(reference("secret")), &Cluster::full()).await.is_ok());
}

#[tokio::test]
async fn a_failed_lookup_is_not_an_absence() {
    struct Broken;
    #[async_trait]
    impl Lookup for Broken {
        async fn find(&self, _: Bound, _: &str, _: &str) -> Result<Option<Found>, LookupError> {
            Err(LookupError("the store is away".to_owned()))
        }
    }
    let (issuer, verifier) = pair(&keys());
    let token = issuer.issue(&request(Binding::None), now()).unwrap().token;
    let result = verifier.open(&token, &[], now()).unwrap().confirm(now(), &Broken).await;
    assert!(matches!(result, Err(TokenError::Lookup(_))));
}

#[test]
fn tokens_of_a_replaced_key_verify_while_it_is_published() {
    let (old, new) = (keys(), keys());
    let token = pair(&old).0.issue(&request(Binding::None), now()).unwrap().token;
    let both = format!("{}{}", new.public, old.public);
    assert!(Verifier::new(DEFAULT_ISSUER, &both).unwrap().open(&token, &[], now()).is_ok());
    assert!(Verifier::new(DEFAULT_ISSUER, &new.public).unwrap().open(&token, &[], now()).is_err());
    let document = jwks(&both).unwrap();
    assert_eq!(document["keys"].as_array().unwrap().len(), 2);
    let key = &document["keys"][0];
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&"EC".into(), &"P-256".into(), &"ES256".into(), &"sig".into())
    );
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(document["keys"][1]["kid"], header.kid.unwrap());
}

#[test]
fn discovery_points_at_the_keys() {
    let document = openid_configuration(DEFAULT_ISSUER, "https://192.0.2.1:6443/");
    assert_eq!(document["jwks_uri"], "https://192.0.2.1:6443/openid/v1/jwks");
    assert_eq!(document["issuer"], DEFAULT_ISSUER);
}

#[test]
fn lifetimes_have_upstreams_limits() {
    assert_eq!(validate_expiration_seconds(599), Err("may not specify a duration less than 10 minutes"));
    assert_eq!(validate_expiration_seconds(600), Ok(()));
    assert_eq!(validate_expiration_seconds(1 << 32), Ok(()));
    assert_eq!(
        validate_expiration_seconds((1 << 32) + 1),
        Err("may not specify a duration larger than 2^32 seconds")
    );
}
