//! From an AuthenticationConfiguration to [`Authenticators`]: everything it says checked, its expressions compiled.
//!
//! Rules and texts: `ValidateAuthenticationConfiguration` of `k8s.io/apiserver/pkg/apis/apiserver/validation`.

use std::collections::HashSet;

use keelson_cel::{Environment, ObjectType, Program, Type};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::config::{
    API_VERSIONS, AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer as IssuerConfig,
    JwtAuthenticator, Prefixed,
};
use super::keys::Algorithm;
use super::mapping::{Condition, Extra, JwtIssuer, Mapping, Requirement, Source};
use crate::faults::{Faults, InvalidConfiguration};

/// Issuers of one configuration; upstream's bound.
pub const ISSUERS_MAX: usize = 64;

/// Who may come without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnonymousPaths {
    /// Nobody.
    None,
    /// Anybody, as far as RBAC lets him.
    All,
    /// Anybody, to these paths.
    Only(Vec<String>),
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Authenticators {
    /// One for each issuer.
    pub issuers: Vec<JwtIssuer>,
    /// None where the configuration does not say.
    pub anonymous: Option<AnonymousPaths>,
}

/// Checks and compiles. `own`: issuers that are ours, whose tokens nobody else may vouch for.
///
/// # Errors
/// Everything that is wrong, so that it is mended in one go.
pub fn compile(
    config: &AuthenticationConfiguration,
    own: &[&str],
) -> Result<Authenticators, InvalidConfiguration> {
    let mut all = Vec::new();
    let mut faults = Faults::new(&mut all);
    if !API_VERSIONS.contains(&&*config.api_version) || config.kind != "AuthenticationConfiguration" {
        let is = format!("{} {}", config.api_version, config.kind);
        faults
            .at("apiVersion")
            .invalid(is, format!("must be AuthenticationConfiguration of {}", API_VERSIONS.join(" or ")));
    }
    if config.jwt.len() > ISSUERS_MAX {
        faults.at("jwt").invalid(config.jwt.len(), format!("must have at most {ISSUERS_MAX} items"));
    }
    let (mut urls, mut discovery) = (HashSet::new(), HashSet::new());
    let mut issuers = Vec::with_capacity(config.jwt.len());
    for (at, jwt) in config.jwt.iter().enumerate() {
        let mut faults = faults.at(format_args!("jwt[{at}]"));
        if !urls.insert(&jwt.issuer.url) {
            faults.at("issuer.url").duplicate(&jwt.issuer.url);
        }
        if let Some(url) = jwt.issuer.discovery_url.as_ref().filter(|url| !discovery.insert(*url)) {
            faults.at("issuer.discoveryURL").duplicate(url);
        }
        issuers.extend(issuer(jwt, own, &mut faults));
    }
    let anonymous = anonymous(config, &mut faults);
    if !all.is_empty() {
        return Err(InvalidConfiguration(all));
    }
    Ok(Authenticators { issuers, anonymous })
}

fn anonymous(config: &AuthenticationConfiguration, faults: &mut Faults<'_>) -> Option<AnonymousPaths> {
    let given = config.anonymous.as_ref()?;
    let paths: Vec<String> = given.conditions.iter().map(|condition| condition.path.clone()).collect();
    if !given.enabled && !paths.is_empty() {
        faults
            .at("anonymous.conditions")
            .invalid(&paths, "enabled should be set to true when conditions are defined");
    }
    for (at, _) in paths.iter().enumerate().filter(|(_, path)| path.is_empty()) {
        faults.at(format_args!("anonymous.conditions[{at}].path")).required("");
    }
    Some(match (given.enabled, paths.is_empty()) {
        (false, _) => AnonymousPaths::None,
        (true, true) => AnonymousPaths::All,
        (true, false) => AnonymousPaths::Only(paths),
    })
}

/// None where something was wrong, which is among the faults then.
fn issuer(jwt: &JwtAuthenticator, own: &[&str], faults: &mut Faults<'_>) -> Option<JwtIssuer> {
    let before = faults.count();
    check_issuer(&jwt.issuer, own, &mut faults.at("issuer"));
    let signing = algorithms(jwt.signing_algs.as_deref(), faults);
    let compiler = Compiler::new();
    let requirements = requirements(&compiler, &jwt.claim_validation_rules, faults);
    let mapping = mapping(&compiler, &jwt.claim_mappings, &mut faults.at("claimMappings"));
    let mut conditions = Vec::with_capacity(jwt.user_validation_rules.len());
    let mut seen = HashSet::new();
    for (at, rule) in jwt.user_validation_rules.iter().enumerate() {
        let mut faults = faults.at(format_args!("userValidationRules[{at}].expression"));
        match &*rule.expression {
            "" => faults.required(""),
            text if !seen.insert(text) => faults.duplicate(text),
            text => conditions.extend(compiler.condition(text, &rule.message, &compiler.user, &mut faults)),
        }
    }
    check_email(jwt, faults);
    (faults.count() == before).then_some(())?;
    Some(JwtIssuer {
        url: jwt.issuer.url.clone(),
        discovery_url: jwt.issuer.discovery_url.clone(),
        certificate_authority: jwt.issuer.certificate_authority.clone(),
        audiences: jwt.issuer.audiences.clone(),
        algorithms: signing,
        requirements,
        mapping: mapping?,
        conditions,
    })
}

fn check_issuer(issuer: &IssuerConfig, own: &[&str], faults: &mut Faults<'_>) {
    check_url(&issuer.url, &mut faults.at("url"));
    if own.contains(&&*issuer.url) {
        let why = format!("URL must not overlap with disallowed issuers: [{}]", own.join(" "));
        faults.at("url").invalid(&issuer.url, why);
    }
    if let Some(url) = &issuer.discovery_url {
        let mut faults = faults.at("discoveryURL");
        if url.trim_end_matches('/') == issuer.url.trim_end_matches('/') {
            faults.invalid(url, "discoveryURL must be different from URL");
        } else {
            check_url(url, &mut faults);
        }
    }
    if issuer.audiences.is_empty() {
        faults.at("audiences").required("at least one issuer.audiences is required");
    }
    let mut seen = HashSet::new();
    for (at, audience) in issuer.audiences.iter().enumerate() {
        let mut faults = faults.at(format_args!("audiences[{at}]"));
        if audience.is_empty() {
            faults.required("audience can't be empty");
        }
        if !seen.insert(audience) {
            faults.duplicate(audience);
        }
    }
    let policy = &*issuer.audience_match_policy;
    let why = match (issuer.audiences.len(), policy) {
        (2.., policy) if policy != "MatchAny" => {
            "audienceMatchPolicy must be MatchAny for multiple audiences"
        }
        (1, policy) if !policy.is_empty() && policy != "MatchAny" => {
            "audienceMatchPolicy must be empty or MatchAny for single audience"
        }
        _ => "",
    };
    if !why.is_empty() {
        faults.at("audienceMatchPolicy").invalid(policy, why);
    }
    if !issuer.egress_selector_type.is_empty() {
        faults
            .at("egressSelectorType")
            .invalid(&issuer.egress_selector_type, "egress selection is not supported");
    }
    let pem = issuer.certificate_authority.as_bytes();
    if !pem.is_empty() && !CertificateDer::pem_slice_iter(pem).any(|certificate| certificate.is_ok()) {
        faults
            .at("certificateAuthority")
            .invalid("<omitted>", "data does not contain any valid RSA or ECDSA certificates");
    }
}

fn check_url(url: &str, faults: &mut Faults<'_>) {
    if url.is_empty() {
        return faults.required("URL is required");
    }
    let Some(rest) = url.strip_prefix("https://") else {
        return faults.invalid(url, "URL scheme must be https");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
    if authority.is_empty() || !is_plain {
        faults.invalid(url, "URL is not well-formed");
    }
    if authority.contains('@') {
        faults.invalid("<omitted>", "URL must not contain a username or password");
    }
    if rest.contains('?') {
        faults.invalid(url, "URL must not contain a query");
    }
    if rest.contains('#') {
        faults.invalid(url, "URL must not contain a fragment");
    }
}

fn algorithms(given: Option<&[String]>, faults: &mut Faults<'_>) -> Vec<Algorithm> {
    let Some(given) = given else { return Algorithm::ALL.to_vec() };
    let mut known = Vec::with_capacity(given.len());
    for name in given {
        match Algorithm::parse(name) {
            Some(algorithm) => known.push(algorithm),
            None => faults.at("signingAlgs").invalid(name, format!("must be one of {}", Algorithm::names())),
        }
    }
    known
}

fn requirements(
    compiler: &Compiler,
    rules: &[ClaimValidationRule],
    faults: &mut Faults<'_>,
) -> Vec<Requirement> {
    let mut made = Vec::with_capacity(rules.len());
    let (mut claims, mut expressions) = (HashSet::new(), HashSet::new());
    for (at, rule) in rules.iter().enumerate() {
        let mut faults = faults.at(format_args!("claimValidationRules[{at}]"));
        match (&*rule.claim, &*rule.expression) {
            ("", "") => faults.required("claim or expression is required"),
            (claim, "") => {
                if !rule.message.is_empty() {
                    faults.at("message").invalid(&rule.message, "may not be specified when claim is set");
                }
                if !claims.insert(claim) {
                    faults.at("claim").duplicate(claim);
                }
                made.push(Requirement::Claim { name: claim.to_owned(), value: rule.required_value.clone() });
            }
            ("", text) => {
                if !rule.required_value.is_empty() {
                    let mut faults = faults.at("requiredValue");
                    faults.invalid(&rule.required_value, "may not be specified when expression is set");
                }
                let mut faults = faults.at("expression");
                if !expressions.insert(text) {
                    faults.duplicate(text);
                    continue;
                }
                let condition = compiler.condition(text, &rule.message, &compiler.claims, &mut faults);
                made.extend(condition.map(Requirement::Expression));
            }
            (claim, _) => faults.invalid(claim, "claim and expression can't both be set"),
        }
    }
    made
}

fn mapping(compiler: &Compiler, given: &ClaimMappings, faults: &mut Faults<'_>) -> Option<Mapping> {
    let texts = [Type::STRING, Type::list(Type::STRING)];
    if given.username.claim.is_empty() && given.username.expression.is_empty() {
        faults.at("username").required("claim or expression is required");
    }
    let username = compiler.prefixed(&given.username, &texts[..1], &mut faults.at("username"));
    let groups = compiler.prefixed(&given.groups, &texts, &mut faults.at("groups"));
    let uid = Prefixed {
        claim: given.uid.claim.clone(),
        prefix: (!given.uid.claim.is_empty()).then(String::new),
        expression: given.uid.expression.clone(),
    };
    let uid = compiler.prefixed(&uid, &texts[..1], &mut faults.at("uid"));
    let mut extra = Vec::with_capacity(given.extra.len());
    let mut seen = HashSet::new();
    for (at, entry) in given.extra.iter().enumerate() {
        let mut faults = faults.at(format_args!("extra[{at}]"));
        check_extra_key(&entry.key, &mut faults.at("key"));
        if !seen.insert(&*entry.key) {
            faults.at("key").duplicate(&entry.key);
        }
        let mut faults = faults.at("valueExpression");
        match &*entry.value_expression {
            "" => faults.required(""),
            text => {
                let program = compiler.compile(text, &compiler.claims, &texts, &mut faults);
                extra.extend(program.map(|value| Extra { key: entry.key.clone(), value }));
            }
        }
    }
    Some(Mapping { username: username?, groups, uid, extra })
}

fn check_extra_key(key: &str, faults: &mut Faults<'_>) {
    let is_name = |part: &str| {
        !part.is_empty()
            && part.split('.').all(|label| {
                let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.bytes().all(is_inner)
            })
    };
    match key.split_once('/') {
        Some((domain, path)) if is_name(domain) && !path.is_empty() => {
            let reserved = ["kubernetes.io", "k8s.io"];
            if reserved.iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}"))) {
                faults.invalid(
                    key,
                    "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use",
                );
            }
        }
        _ => faults.invalid(key, "must be a domain-prefixed path (such as \"acme.io/foo\")"),
    }
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        faults.invalid(key, "must be lowercase");
    }
}

/// Whoever names a user after an address must look whether the issuer has verified it.
fn check_email(jwt: &JwtAuthenticator, faults: &mut Faults<'_>) {
    let username = &jwt.claim_mappings.username.expression;
    let verified = std::iter::once(username)
        .chain(jwt.claim_mappings.extra.iter().map(|extra| &extra.value_expression))
        .chain(jwt.claim_validation_rules.iter().map(|rule| &rule.expression))
        .any(|text| names(text, "email_verified"));
    if names(username, "email") && !verified {
        let why = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";
        faults.at("claimMappings.username.expression").invalid(username, why);
    }
}

/// Whether the expression reads `claims.<claim>`, also as `claims.?<claim>` and `claims["<claim>"]`.
fn names(expression: &str, claim: &str) -> bool {
    let text: String = expression.split_whitespace().collect();
    [
        format!("claims.{claim}"),
        format!("claims.?{claim}"),
        format!("claims[\"{claim}\""),
        format!("claims['{claim}'"),
    ]
    .iter()
    .any(|form| {
        let ends = |rest: &str| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        text.match_indices(form.as_str()).any(|(at, _)| ends(&text[at + form.len()..]))
    })
}

/// The two environments of expressions.
struct Compiler {
    claims: Environment,
    user: Environment,
}

impl Compiler {
    fn new() -> Self {
        Self {
            claims: Environment::new().with(super::mapping::CLAIMS, Type::map(Type::Dyn)),
            user: Environment::new().with(super::mapping::USER, user_type()),
        }
    }

    fn compile(
        &self,
        text: &str,
        environment: &Environment,
        wanted: &[Type],
        faults: &mut Faults<'_>,
    ) -> Option<Program> {
        let program = Program::compile_as(text, environment, wanted);
        program.map_err(|error| faults.invalid(text, error)).ok()
    }

    fn condition(
        &self,
        text: &str,
        message: &str,
        environment: &Environment,
        faults: &mut Faults<'_>,
    ) -> Option<Condition> {
        let program = self.compile(text, environment, &[Type::Bool], faults)?;
        Some(Condition { text: text.to_owned(), message: message.to_owned(), program })
    }

    fn prefixed(&self, given: &Prefixed, wanted: &[Type], faults: &mut Faults<'_>) -> Option<Source> {
        match (&*given.claim, &*given.expression, &given.prefix) {
            ("", "", _) => None,
            ("", text, prefix) => {
                if let Some(prefix) = prefix {
                    faults.at("prefix").invalid(prefix, "may not be specified when expression is set");
                }
                self.compile(text, &self.claims, wanted, &mut faults.at("expression")).map(Source::Expression)
            }
            (claim, "", Some(prefix)) => {
                Some(Source::Claim { name: claim.to_owned(), prefix: prefix.clone() })
            }
            (_, "", None) => {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                faults.at("prefix").required(why);
                None
            }
            _ => {
                faults.invalid("", "claim and expression can't both be set");
                None
            }
        }
    }
}

/// The type of `user`: authentication.k8s.io UserInfo.
pub(super) fn user_type() -> Type {
    Type::object(
        ObjectType::new("kubernetes.UserInfo")
            .field("username", Type::STRING)
            .field("uid", Type::STRING)
            .field("groups", Type::list(Type::STRING))
            .field("extra", Type::map(Type::list(Type::STRING))),
    )
}
