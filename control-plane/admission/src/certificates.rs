//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may decide on a CertificateSigningRequest,
//! who may sign it, and the one subject that nobody gets this way.
//!
//! The right is a verb on the virtual resource `signers`, by the signer's name or `domain/*`:
//! <https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization>.

use std::sync::Arc;

use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use keelson_auth::authz::{Attributes as Asked, Resource};
use keelson_auth::pki::CertificateRequest;
use keelson_auth::user::names::MASTERS_GROUP;
use keelson_auth::{Authorizer, UserInfo};
use keelson_registry::{Attributes, Operation, Status};
use serde_json::Value;

use crate::Lookup;
use crate::plugin::{Plugin, forbidden, is, list, text};

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

async fn may(authorizer: &Authorizer, user: &UserInfo, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer, &format!("{domain}/*")] {
        let resource =
            Resource { group: GROUP, version: "*", resource: "signers", name, ..Resource::default() };
        if authorizer.decide(&Asked::resource(user, verb, resource)).await.is_allowed() {
            return true;
        }
    }
    false
}

/// The signer of the stored request: a change cannot choose its judge.
fn signer<'a>(attributes: &Attributes<'a>, object: &'a Value) -> &'a str {
    text(attributes.old.unwrap_or(object), "/spec/signerName")
}

pub(crate) struct CertificateApproval {
    pub(crate) authorizer: Arc<Authorizer>,
}

#[async_trait]
impl Plugin for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, GROUP, RESOURCE)
            && attributes.subresource == "approval"
            && attributes.operation == Operation::Update
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(object) = object else { return Ok(()) };
        let signer = signer(attributes, object);
        if may(&self.authorizer, attributes.user, "approve", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        Err(forbidden(attributes, Some(object), why))
    }
}

pub(crate) struct CertificateSigning {
    pub(crate) authorizer: Arc<Authorizer>,
}

#[async_trait]
impl Plugin for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, GROUP, RESOURCE)
            && attributes.subresource == "status"
            && attributes.operation == Operation::Update
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _: &dyn Lookup,
    ) -> Result<(), Status> {
        let (Some(object), Some(old)) = (object, attributes.old) else { return Ok(()) };
        let failed =
            |object| list(object, "/status/conditions").any(|condition| text(condition, "/type") == "Failed");
        let same = text(object, "/status/certificate") == text(old, "/status/certificate");
        if same && failed(object) == failed(old) {
            return Ok(());
        }
        let signer = signer(attributes, object);
        if may(&self.authorizer, attributes.user, "sign", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {signer:?}");
        Err(forbidden(attributes, Some(object), why))
    }
}

pub(crate) struct CertificateSubjectRestriction;

#[async_trait]
impl Plugin for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn handles(&self, attributes: &Attributes<'_>) -> bool {
        is(attributes, GROUP, RESOURCE)
            && attributes.subresource.is_empty()
            && attributes.operation == Operation::Create
    }

    async fn validate(
        &self,
        attributes: &Attributes<'_>,
        object: Option<&Value>,
        _: &dyn Lookup,
    ) -> Result<(), Status> {
        let Some(object) = object.filter(|object| text(object, "/spec/signerName") == CLIENT_SIGNER) else {
            return Ok(());
        };
        let pem = BASE64_STANDARD.decode(text(object, "/spec/request")).unwrap_or_default();
        let request = CertificateRequest::parse(&pem)
            .map_err(|error| forbidden(attributes, Some(object), format!("unable to parse CSR: {error}")))?;
        if request.organizations.iter().any(|group| group == MASTERS_GROUP) {
            let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS_GROUP} group is not allowed");
            return Err(forbidden(attributes, Some(object), why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, Request};
    use keelson_auth::authz::RbacIndex;
    use serde_json::json;

    /// jane may approve for one signer, and sign for all of a domain.
    fn authorizer() -> Arc<Authorizer> {
        let rule = |verb: &str, name: &str| json!({"apiGroups": [GROUP], "resources": ["signers"], "verbs": [verb], "resourceNames": [name]});
        let objects = [
            json!({"kind": "ClusterRole", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "r"},
                   "rules": [rule("approve", "example.com/a"), rule("sign", "example.com/*")]}),
            json!({"kind": "ClusterRoleBinding", "apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "b"},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"},
                   "subjects": [{"kind": "User", "name": "jane"}]}),
        ];
        let mut index = RbacIndex::default();
        assert!(index.reset(objects.iter()).is_empty());
        let authorizer = Authorizer::new();
        authorizer.set_rbac(index.snapshot());
        Arc::new(authorizer)
    }

    /// A request in PEM, with a key of its own.
    fn signing_request(name: &str, groups: &[&str]) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for group in groups {
            params.distinguished_name.push(rcgen::DnType::OrganizationName, *group);
        }
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.serialize_request(&key).expect("a request").pem().expect("PEM")
    }

    fn change(signer: &str, status: Value) -> Request {
        let with = |status: Value| json!({"metadata": {"name": "c"}, "spec": {"signerName": signer}, "status": status});
        Request::create(GROUP, RESOURCE, "", with(status)).update(with(json!({})))
    }

    /// Plugin, subresource, signer, the new status, and the right that is missing.
    type Row<'a> = (&'a dyn Plugin, &'static str, &'a str, &'a Value, Option<&'a str>);

    #[tokio::test]
    async fn approving_and_signing_take_a_right_for_the_signer() {
        let approval = CertificateApproval { authorizer: authorizer() };
        let signing = CertificateSigning { authorizer: authorizer() };
        let approved = json!({"conditions": [{"type": "Approved", "status": "True"}]});
        let failed = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        let rows: [Row<'_>; 7] = [
            (&approval, "approval", "example.com/a", &approved, None),
            (&approval, "approval", "example.com/b", &approved, Some("approve")),
            (&approval, "status", "example.com/b", &approved, None),
            (&signing, "status", "example.com/b", &failed, None),
            (&signing, "status", "example.org/b", &failed, Some("sign")),
            (&signing, "status", "example.org/b", &json!({"certificate": "eA=="}), Some("sign")),
            (
                &signing,
                "status",
                "example.org/b",
                &json!({"conditions": [{"type": "Other", "status": "True"}]}),
                None,
            ),
        ];
        for (plugin, sub, signer, status, refused) in rows {
            let outcome =
                change(signer, status.clone()).at(sub, "c").validate(plugin, &Cluster::default()).await;
            let expected = refused.map(|verb| {
                format!(
                    "certificatesigningrequests.certificates.k8s.io \"c\" is forbidden: user not permitted to {verb} \
                     requests with signerName {signer:?}"
                )
            });
            assert_eq!(outcome.err().map(|status| status.message), expected, "{signer} {status}");
        }
    }

    #[tokio::test]
    async fn nobody_asks_to_be_a_master() {
        let ask = |groups: &[&str], signer: &str| {
            let request = signing_request("jane", groups);
            let spec = json!({"signerName": signer, "request": BASE64_STANDARD.encode(request)});
            Request::create(GROUP, RESOURCE, "", json!({"metadata": {"name": "c"}, "spec": spec}))
        };
        let rows = [
            (ask(&["dev"], CLIENT_SIGNER), true),
            (ask(&["system:masters"], CLIENT_SIGNER), false),
            (ask(&["system:masters"], "example.com/x"), true),
        ];
        for (request, admitted) in rows {
            let outcome = request.validate(&CertificateSubjectRestriction, &Cluster::default()).await;
            assert_eq!(outcome.is_ok(), admitted, "{outcome:?}");
        }
    }
}
