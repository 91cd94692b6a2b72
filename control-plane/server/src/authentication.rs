//! Who is believed besides the cluster's own certificates and tokens: the options, the AuthenticationConfiguration file, and
//! keeping up with the file.

use crate::serve::duration;
use anyhow::{Context, ensure};
use clap::Args;
use keelson_apiserver::{ApiServer, ConfigFile, TokenWebhook};
use keelson_auth::authn::jwt::{
    self, Authenticators,
    config::{
        API_VERSIONS, AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer,
        JwtAuthenticator, Prefixed,
    },
};
use keelson_watched::Watched;
use keelson_webhook::{Remote, Resolve, kubeconfig_files};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// The options of `serve` about who is asking.
#[derive(Args, Clone)]
pub(crate) struct AuthenticationArgs {
    /// An AuthenticationConfiguration file (apiserver.config.k8s.io/v1): JWT issuers, and who may come without
    /// credentials; read again when it changes. Instead of the --oidc options.
    /// Example: --authentication-config /etc/keelson/authentication.yaml
    #[arg(long)]
    authentication_config: Option<PathBuf>,
    /// Whom tokens must be for to be believed here, and are for unless they say otherwise; the ServiceAccount issuer unless
    /// given.
    #[arg(long, value_delimiter = ',')]
    pub(crate) api_audiences: Vec<String>,
    /// A kubeconfig file of the webhook that is asked (by TokenReview) about tokens that are nobody else's.
    /// Example: --authentication-token-webhook-config-file /etc/keelson/token-webhook.conf
    #[arg(long)]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// How long its answers are believed (e.g. 2m; 0 for not at all).
    #[arg(long, default_value = "2m", value_parser = duration)]
    authentication_token_webhook_cache_ttl: Duration,
    /// The version of authentication.k8s.io TokenReview that it speaks: v1 or v1beta1.
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    authentication_token_webhook_version: String,
    /// An OpenID Connect issuer whose tokens are believed, as in their claim `iss`.
    /// Example: --oidc-issuer-url https://accounts.example.com --oidc-client-id kubernetes
    #[arg(long)]
    oidc_issuer_url: Option<String>,
    /// For whom its tokens must be.
    #[arg(long)]
    oidc_client_id: Option<String>,
    /// Authorities that vouch for the issuer, PEM; the host's unless given.
    #[arg(long)]
    oidc_ca_file: Option<PathBuf>,
    /// The claim that is the user's name.
    #[arg(long)]
    oidc_username_claim: Option<String>,
    /// What comes before it: the issuer's URL and `#` unless given or the claim is `email`; `-` is nothing.
    #[arg(long)]
    oidc_username_prefix: Option<String>,
    /// The claim that is the user's groups.
    #[arg(long)]
    oidc_groups_claim: Option<String>,
    /// What comes before each of them.
    #[arg(long)]
    oidc_groups_prefix: Option<String>,
    /// Signature algorithms that are believed; RS256 unless given.
    #[arg(long, value_delimiter = ',')]
    oidc_signing_algs: Vec<String>,
    /// A claim that tokens must have, with this value (key=value); may be repeated.
    #[arg(long, value_delimiter = ',')]
    oidc_required_claim: Vec<String>,
}

impl AuthenticationArgs {
    /// What is configured; None where nothing is. `own`: the ServiceAccount issuer, whose tokens nobody else vouches for.
    pub(crate) fn load(&self, own: &str) -> anyhow::Result<Option<Authenticators>> {
        let has_oidc = self.has_oidc();
        let config = match &self.authentication_config {
            Some(_) if has_oidc => {
                anyhow::bail!("--authentication-config and the --oidc options are mutually exclusive")
            }
            Some(file) => return read(file, own).map(Some),
            None if has_oidc => self.oidc()?,
            None => return Ok(None),
        };
        Ok(Some(jwt::compile(&config, &[own]).context("the --oidc options cannot be used")?))
    }

    /// The webhook that is asked about tokens.
    pub(crate) fn webhook(&self, resolve: Arc<dyn Resolve>) -> anyhow::Result<Option<TokenWebhook>> {
        let Some(file) = &self.authentication_token_webhook_config_file else { return Ok(None) };
        let remote = Remote::load(file, resolve)
            .with_context(|| format!("--authentication-token-webhook-config-file {}", file.display()))?;
        Ok(Some(TokenWebhook {
            remote,
            version: self.authentication_token_webhook_version.clone(),
            cache_ttl: self.authentication_token_webhook_cache_ttl,
        }))
    }

    /// Has the webhook asked as its kubeconfig, and the files that it names, come to say. What cannot be used changes nothing: a
    /// certificate and its key may be two files.
    pub(crate) async fn keep_webhook(
        self,
        resolve: Arc<dyn Resolve>,
        server: ApiServer,
        mut watched: Watched,
        stop: CancellationToken,
    ) {
        let is_configured = self.authentication_token_webhook_config_file.is_some();
        while is_configured && watched.changed_until(&stop).await {
            watched = self.watch_webhook();
            match self.webhook(resolve.clone()) {
                Ok(None) => return,
                Ok(Some(webhook)) => {
                    server.set_token_webhook(webhook);
                    tracing::info!("the kubeconfig of the webhook of token authentication was read again");
                }
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "the webhook of token authentication is asked as before"
                ),
            }
        }
    }

    /// To be made before the webhook's files are read, so that no change is missed.
    pub(crate) fn watch_webhook(&self) -> Watched {
        let file = self.authentication_token_webhook_config_file.as_deref();
        Watched::new(file.map(kubeconfig_files).unwrap_or_default())
    }

    fn has_oidc(&self) -> bool {
        let texts = [
            &self.oidc_issuer_url,
            &self.oidc_client_id,
            &self.oidc_username_claim,
            &self.oidc_username_prefix,
            &self.oidc_groups_claim,
            &self.oidc_groups_prefix,
        ];
        texts.iter().any(|text| text.is_some())
            || self.oidc_ca_file.is_some()
            || !self.oidc_signing_algs.is_empty()
            || !self.oidc_required_claim.is_empty()
    }

    /// The options as the configuration that means the same.
    fn oidc(&self) -> anyhow::Result<AuthenticationConfiguration> {
        let (Some(url), Some(client)) = (&self.oidc_issuer_url, &self.oidc_client_id) else {
            anyhow::bail!(
                "--oidc-issuer-url and --oidc-client-id must be given together when any --oidc option is"
            )
        };
        let certificate_authority = match &self.oidc_ca_file {
            None => String::new(),
            Some(file) => std::fs::read_to_string(file)
                .with_context(|| format!("cannot read --oidc-ca-file {}", file.display()))?,
        };
        let claim = self.oidc_username_claim.clone().unwrap_or_else(|| "sub".to_owned());
        let prefix = match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) if !prefix.is_empty() => prefix.to_owned(),
            _ if claim == "email" => String::new(),
            _ => format!("{url}#"),
        };
        let groups = self.oidc_groups_claim.as_ref().map(|claim| Prefixed {
            claim: claim.clone(),
            prefix: Some(self.oidc_groups_prefix.clone().unwrap_or_default()),
            expression: String::new(),
        });
        let mut rules = Vec::with_capacity(self.oidc_required_claim.len());
        for pair in &self.oidc_required_claim {
            let (claim, value) = pair
                .split_once('=')
                .with_context(|| format!("--oidc-required-claim {pair:?} is not key=value"))?;
            rules.push(ClaimValidationRule {
                claim: claim.to_owned(),
                required_value: value.to_owned(),
                ..ClaimValidationRule::default()
            });
        }
        let algorithms = match &self.oidc_signing_algs {
            given if given.is_empty() => vec!["RS256".to_owned()],
            given => given.clone(),
        };
        let jwt = JwtAuthenticator {
            issuer: Issuer {
                url: url.clone(),
                certificate_authority,
                audiences: vec![client.clone()],
                ..Issuer::default()
            },
            claim_validation_rules: rules,
            claim_mappings: ClaimMappings {
                username: Prefixed { claim, prefix: Some(prefix), expression: String::new() },
                groups: groups.unwrap_or_default(),
                ..ClaimMappings::default()
            },
            signing_algs: Some(algorithms),
            ..JwtAuthenticator::default()
        };
        Ok(AuthenticationConfiguration {
            api_version: API_VERSIONS[0].to_owned(),
            kind: "AuthenticationConfiguration".to_owned(),
            jwt: vec![jwt],
            anonymous: None,
        })
    }

    /// Takes over what the file comes to say. One that cannot be used changes nothing.
    pub(crate) async fn keep(self, server: ApiServer, own: String, stop: CancellationToken) {
        let Some(file) = self.authentication_config else { return };
        let mut watched = Watched::new([file.clone()]);
        while watched.changed_until(&stop).await {
            let outcome = read(&file, &own);
            server.note_reload(ConfigFile::Authentication, outcome.is_ok());
            match outcome {
                Ok(config) => {
                    server.set_authenticators(config);
                    tracing::info!(file = %file.display(), "the authentication configuration was read again");
                }
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the old authentication configuration is kept"
                    );
                }
            }
        }
    }
}

fn read(file: &Path, own: &str) -> anyhow::Result<Authenticators> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let used = || format!("the authentication configuration {} cannot be used", file.display());
    ensure!(!text.trim().is_empty(), "{}: it is empty", used());
    let config: AuthenticationConfiguration = serde_saphyr::from_str(&text).with_context(used)?;
    jwt::compile(&config, &[own]).with_context(used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AuthenticationArgs,
    }

    fn oidc(line: &str) -> Result<AuthenticationConfiguration, String> {
        let args =
            Line::try_parse_from(format!("serve {line}").split(' ')).map_err(|error| error.to_string())?.args;
        args.load("https://own").map_err(|error| format!("{error:#}"))?;
        args.oidc().map_err(|error| format!("{error:#}"))
    }

    const BOTH: &str = "--oidc-issuer-url=https://i.example --oidc-client-id=c";

    #[test]
    fn options_are_the_configuration_that_means_the_same() {
        let rows = [
            ("", "sub", "https://i.example#"),
            ("--oidc-username-claim=email", "email", ""),
            ("--oidc-username-claim=name", "name", "https://i.example#"),
            ("--oidc-username-claim=name --oidc-username-prefix=-", "name", ""),
            ("--oidc-username-claim=email --oidc-username-prefix=o:", "email", "o:"),
        ];
        for (more, claim, prefix) in rows {
            let made = oidc(format!("{BOTH} {more}").trim()).unwrap();
            let username = &made.jwt[0].claim_mappings.username;
            assert_eq!(
                (username.claim.as_str(), username.prefix.as_deref()),
                (claim, Some(prefix)),
                "{more}"
            );
            assert_eq!(made.jwt[0].signing_algs.as_deref(), Some(&["RS256".to_owned()][..]));
        }
        let more = "--oidc-groups-claim=g --oidc-groups-prefix=x: --oidc-signing-algs=ES256,PS512 --oidc-required-claim=a=b=c";
        let made = &oidc(&format!("{BOTH} {more}")).unwrap().jwt[0];
        assert_eq!(made.claim_mappings.groups.prefix.as_deref(), Some("x:"));
        assert_eq!(made.claim_validation_rules[0].required_value, "b=c");
        assert_eq!(made.signing_algs.as_deref(), Some(&["ES256".to_owned(), "PS512".to_owned()][..]));
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let rows = [
            ("--oidc-issuer-url=https://i.example".to_owned(), "must be given together"),
            ("--oidc-groups-claim=g".to_owned(), "must be given together"),
            (format!("{BOTH} --authentication-config=f"), "mutually exclusive"),
            (format!("{BOTH} --oidc-required-claim=a"), "is not key=value"),
            (format!("{BOTH} --oidc-signing-algs=HS256"), "must be one of RS256"),
            (format!("{BOTH} --oidc-ca-file=/none"), "cannot read --oidc-ca-file"),
            ("--oidc-issuer-url=http://i --oidc-client-id=c".to_owned(), "scheme must be https"),
            ("--authentication-config=/none".to_owned(), "cannot read /none"),
        ];
        for (line, wanted) in rows {
            let error = oidc(&line).expect_err(&line);
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
