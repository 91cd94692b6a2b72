//! Who may do what besides `system:masters`: the options, the AuthorizationConfiguration file, and keeping up with the file and
//! the kubeconfigs that it names.

use crate::serve::duration;
use anyhow::{Context, bail, ensure};
use clap::Args;
use keelson_apiserver::{AccessAuthorizer, AccessWebhook, ApiServer, ConfigFile};
use keelson_auth::authz::{
    self, Authorizers, Configured,
    config::{
        API_VERSIONS, AuthorizationConfiguration, AuthorizerConfiguration, ConnectionInfo,
        WebhookConfiguration,
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

/// The name of the one webhook that options can configure.
const WEBHOOK: &str = "default";
/// How long it is waited for; upstream's.
const WEBHOOK_TIMEOUT: &str = "30s";

/// The options of `serve` about who may do what.
#[derive(Args, Clone)]
pub(crate) struct AuthorizationArgs {
    /// An AuthorizationConfiguration file (apiserver.config.k8s.io/v1): who decides, in which order, webhooks with their
    /// conditions; read again when it changes. Instead of the other --authorization options.
    /// Example: --authorization-config /etc/keelson/authorization.yaml
    #[arg(
        long,
        conflicts_with_all = [
            "authorization_mode",
            "authorization_webhook_config_file",
            "authorization_webhook_version",
            "authorization_webhook_cache_authorized_ttl",
            "authorization_webhook_cache_unauthorized_ttl",
        ]
    )]
    authorization_config: Option<PathBuf>,
    /// Who decides, in which order: Node, RBAC, Webhook. Nothing turns authorization off.
    /// Example: --authorization-mode Node,Webhook,RBAC --authorization-webhook-config-file /etc/keelson/webhook.conf
    #[arg(long, value_delimiter = ',', default_value = "Node,RBAC")]
    authorization_mode: Vec<String>,
    /// A kubeconfig file of the webhook of mode Webhook, which is asked by SubjectAccessReview.
    /// Example: --authorization-webhook-config-file /etc/keelson/access-webhook.conf
    #[arg(long)]
    authorization_webhook_config_file: Option<PathBuf>,
    /// The version of authorization.k8s.io SubjectAccessReview that it speaks: v1 or v1beta1.
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    authorization_webhook_version: String,
    /// How long an answer that allows is kept (e.g. 5m; 0 for not at all).
    #[arg(long, default_value = "5m", value_parser = duration)]
    authorization_webhook_cache_authorized_ttl: Duration,
    /// How long any other answer is kept (e.g. 30s; 0 for not at all).
    #[arg(long, default_value = "30s", value_parser = duration)]
    authorization_webhook_cache_unauthorized_ttl: Duration,
}

/// The chain as it is configured now.
pub(crate) struct Authorization {
    source: Source,
    resolve: Arc<dyn Resolve>,
    /// What the server was started with and stays with, see [`Authorizers::built_in`].
    built_in: Vec<&'static str>,
    watched: Watched,
    ready: Vec<AccessAuthorizer>,
}

enum Source {
    File(PathBuf),
    Options(AuthorizationConfiguration),
}

impl AuthorizationArgs {
    fn source(&self) -> anyhow::Result<Source> {
        match &self.authorization_config {
            Some(file) => Ok(Source::File(file.clone())),
            None => self.options().map(Source::Options),
        }
    }

    /// The options as the configuration that means the same.
    fn options(&self) -> anyhow::Result<AuthorizationConfiguration> {
        let authorizers = self.authorization_mode.iter().map(|mode| {
            let is_webhook = mode == "Webhook";
            Ok(AuthorizerConfiguration {
                authorizer_type: mode.clone(),
                name: if is_webhook { WEBHOOK.to_owned() } else { mode.to_ascii_lowercase() },
                webhook: is_webhook.then(|| self.webhook()).transpose()?,
            })
        });
        let authorizers = authorizers.collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(
            self.authorization_webhook_config_file.is_none()
                || authorizers.iter().any(|authorizer| authorizer.webhook.is_some()),
            "--authorization-webhook-config-file needs --authorization-mode with Webhook"
        );
        let twice = |mode: &&String| self.authorization_mode.iter().filter(|other| other == mode).count() > 1;
        if let Some(mode) = self.authorization_mode.iter().find(twice) {
            bail!("--authorization-mode names {mode} more than once");
        }
        Ok(AuthorizationConfiguration {
            api_version: API_VERSIONS[0].to_owned(),
            kind: "AuthorizationConfiguration".to_owned(),
            authorizers,
        })
    }

    fn webhook(&self) -> anyhow::Result<WebhookConfiguration> {
        let Some(file) = &self.authorization_webhook_config_file else {
            bail!("--authorization-mode Webhook needs --authorization-webhook-config-file")
        };
        let file = std::path::absolute(file)
            .with_context(|| format!("--authorization-webhook-config-file {}", file.display()))?;
        let (authorized, unauthorized) = (
            self.authorization_webhook_cache_authorized_ttl,
            self.authorization_webhook_cache_unauthorized_ttl,
        );
        let text = |ttl: Duration| (!ttl.is_zero()).then(|| format!("{}ms", ttl.as_millis()));
        Ok(WebhookConfiguration {
            authorized_ttl: text(authorized),
            cache_authorized_requests: Some(!authorized.is_zero()),
            unauthorized_ttl: text(unauthorized),
            cache_unauthorized_requests: Some(!unauthorized.is_zero()),
            timeout: Some(WEBHOOK_TIMEOUT.to_owned()),
            subject_access_review_version: self.authorization_webhook_version.clone(),
            failure_policy: "NoOpinion".to_owned(),
            connection_info: ConnectionInfo {
                connection_type: "KubeConfigFile".to_owned(),
                kube_config_file: Some(file.display().to_string()),
            },
            ..WebhookConfiguration::default()
        })
    }
}

impl Source {
    fn read(&self) -> anyhow::Result<Authorizers> {
        match self {
            Self::Options(config) => authz::compile(config).context("--authorization-mode cannot be used"),
            Self::File(file) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                let used = || format!("the authorization configuration {} cannot be used", file.display());
                ensure!(!text.trim().is_empty(), "{}: it is empty", used());
                let config: AuthorizationConfiguration = serde_saphyr::from_str(&text).with_context(used)?;
                authz::compile(&config).with_context(used)
            }
        }
    }

    /// The file, the kubeconfigs of the webhooks, and the files that those name.
    fn paths(&self, authorizers: &Authorizers) -> Vec<PathBuf> {
        let own = match self {
            Self::File(file) => Some(file.clone()),
            Self::Options(_) => None,
        };
        let webhooks = authorizers.0.iter().filter_map(|configured| match configured {
            Configured::Webhook(rules) => Some(kubeconfig_files(&rules.kubeconfig)),
            Configured::Node | Configured::Rbac => None,
        });
        own.into_iter().chain(webhooks.flatten()).collect()
    }
}

impl Authorization {
    /// Reads what the options name.
    pub(crate) fn load(args: &AuthorizationArgs, resolve: Arc<dyn Resolve>) -> anyhow::Result<Self> {
        let source = args.source()?;
        let (watched, authorizers) = read(&source)?;
        let built_in = authorizers.built_in();
        let ready = connected(authorizers, &resolve)?;
        Ok(Self { source, resolve, built_in, watched, ready })
    }

    /// Makes the server ask the chain.
    pub(crate) fn apply(&mut self, server: &ApiServer) {
        server.set_authorizers(std::mem::take(&mut self.ready));
    }

    /// Takes over what the files come to say. What cannot be used changes nothing.
    pub(crate) async fn keep(mut self, server: ApiServer, stop: CancellationToken) {
        while self.watched.changed_until(&stop).await {
            let outcome = self.read_again();
            server.note_reload(ConfigFile::Authorization, outcome.is_ok());
            match outcome {
                Ok(()) => {
                    self.apply(&server);
                    tracing::info!("the authorization configuration was read again");
                }
                Err(error) => tracing::error!(
                    error = format!("{error:#}"),
                    "the old authorization configuration is kept"
                ),
            }
        }
    }

    fn read_again(&mut self) -> anyhow::Result<()> {
        let (watched, authorizers) = read(&self.source)?;
        // Also where it cannot be used: a kubeconfig that is missing may come.
        self.watched = watched;
        let (now, then) = (authorizers.built_in(), &self.built_in);
        ensure!(
            now == *then,
            "it has the authorizers {now:?} besides webhooks, and cannot while the server runs, which was started with {then:?}"
        );
        self.ready = connected(authorizers, &self.resolve)?;
        Ok(())
    }
}

/// Watched first, then read: a change in between is noticed.
fn read(source: &Source) -> anyhow::Result<(Watched, Authorizers)> {
    let watched = Watched::new(source.paths(&source.read()?));
    Ok((watched, source.read()?))
}

fn connected(authorizers: Authorizers, resolve: &Arc<dyn Resolve>) -> anyhow::Result<Vec<AccessAuthorizer>> {
    let load = |path: &Path| {
        Remote::load(path, resolve.clone())
            .with_context(|| format!("the kubeconfig {} cannot be used", path.display()))
    };
    let ready = authorizers.0.into_iter().map(|configured| match configured {
        Configured::Node => Ok(AccessAuthorizer::Node),
        Configured::Rbac => Ok(AccessAuthorizer::Rbac),
        Configured::Webhook(rules) => {
            let remote = load(&rules.kubeconfig)?;
            Ok(AccessAuthorizer::Webhook(Box::new(AccessWebhook { rules, remote })))
        }
    });
    ready.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use keelson_webhook::ResolveError;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AuthorizationArgs,
    }

    struct Nowhere;

    impl Resolve for Nowhere {
        fn resolve(&self, _: &str, name: &str, _: u16) -> Result<std::net::SocketAddr, ResolveError> {
            Err(ResolveError::NotFound(name.to_owned()))
        }
    }

    fn loaded(line: &str) -> Result<Authorization, String> {
        let line = format!("serve {line}");
        let args = Line::try_parse_from(line.trim().split(' ')).map_err(|error| error.to_string())?.args;
        Authorization::load(&args, Arc::new(Nowhere)).map_err(|error| format!("{error:#}"))
    }

    const KUBECONFIG: &str = "{apiVersion: v1, kind: Config, current-context: c, \
        clusters: [{name: w, cluster: {server: 'https://w.example/authorize'}}], users: [{name: u, user: {token: t}}], \
        contexts: [{name: c, context: {cluster: w, user: u}}]}";

    #[test]
    fn options_are_a_chain() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.conf");
        std::fs::write(&file, KUBECONFIG).unwrap();
        assert_eq!(loaded("").unwrap().built_in, ["Node", "RBAC"]);
        let line = format!(
            "--authorization-mode=Webhook,RBAC --authorization-webhook-config-file={} --authorization-webhook-cache-authorized-ttl=0",
            file.display()
        );
        let made = loaded(&line).unwrap();
        assert_eq!(made.built_in, ["RBAC"]);
        let [AccessAuthorizer::Webhook(webhook), AccessAuthorizer::Rbac] = &*made.ready else {
            panic!("{}", made.ready.len())
        };
        let rules = &webhook.rules;
        let times = (rules.timeout, rules.authorized_ttl, rules.unauthorized_ttl);
        assert_eq!(times, (Duration::from_secs(30), Duration::ZERO, Duration::from_secs(30)));
        assert_eq!((&*rules.name, &*rules.version), ("default", "v1beta1"));
    }

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let rows = [
            ("--authorization-mode=AlwaysAllow", "no configuration turns authorization off"),
            ("--authorization-mode=Node,ABAC", "\"ABAC\": is not supported here"),
            ("--authorization-mode=Node,Node", "names Node more than once"),
            ("--authorization-mode=Webhook", "needs --authorization-webhook-config-file"),
            ("--authorization-webhook-config-file=/w", "needs --authorization-mode with Webhook"),
            (
                "--authorization-mode=Webhook --authorization-webhook-config-file=/none",
                "the kubeconfig /none cannot be used: cannot read /none",
            ),
            ("--authorization-config=/f --authorization-mode=RBAC", "cannot be used with"),
            ("--authorization-config=/none", "cannot read /none"),
        ];
        for (line, wanted) in rows {
            let error = loaded(line).err().unwrap_or_else(|| panic!("{line} is used"));
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }

    #[test]
    fn what_is_read_again_is_used_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (file, kubeconfig) = (folder.path().join("a.yaml"), folder.path().join("w.conf"));
        std::fs::write(&kubeconfig, KUBECONFIG).unwrap();
        let write = |authorizers: &str| {
            let head = "{apiVersion: apiserver.config.k8s.io/v1beta1, kind: AuthorizationConfiguration, authorizers:";
            std::fs::write(&file, format!("{head} [{authorizers}]}}")).unwrap();
        };
        let both = "{type: Node, name: node}, {type: RBAC, name: rbac}";
        let webhook = format!(
            "{{type: Webhook, name: w, webhook: {{timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, \
             connectionInfo: {{type: KubeConfigFile, kubeConfigFile: '{}'}}}}}}",
            kubeconfig.display()
        );
        write(both);
        let mut made = loaded(&format!("--authorization-config={}", file.display())).unwrap();
        write(&format!("{webhook}, {both}"));
        made.read_again().unwrap();
        assert!(made.ready.len() == 3 && made.watched.paths() == [file.clone(), kubeconfig.clone()]);
        for (authorizers, wanted) in [
            (webhook.as_str(), "besides webhooks"),
            ("{type: Node, name: node}", "besides webhooks"),
            ("", "at least one authorization mode"),
        ] {
            write(authorizers);
            let error = format!("{:#}", made.read_again().unwrap_err());
            assert!(error.contains(wanted) && made.ready.len() == 3, "{authorizers}: {error}");
        }
        std::fs::remove_file(&kubeconfig).unwrap();
        write(&format!("{webhook}, {both}"));
        assert!(format!("{:#}", made.read_again().unwrap_err()).contains("cannot read"));
        assert_eq!(made.watched.paths(), [file.clone(), kubeconfig.clone()], "it may come back");
    }
}
