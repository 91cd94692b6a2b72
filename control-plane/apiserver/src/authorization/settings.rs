//! What of authorization can change while the server runs: the chain, and what is counted of it, under upstream's names.

use super::webhook::{AccessWebhook, Asked, Counts};
use crate::server::ApiServer;
use keelson_auth::authz::{Chain, Step};
use parking_lot::Mutex;
use std::{collections::HashMap, fmt::Write as _, sync::Arc};

/// One of a chain, ready to be asked.
pub enum AccessAuthorizer {
    /// The node authorizer.
    Node,
    /// RBAC.
    Rbac,
    /// A webhook.
    Webhook(Box<AccessWebhook>),
}

/// What is counted of the webhooks of the chain, by name.
#[derive(Default)]
pub(crate) struct Webhooks(Mutex<HashMap<String, Arc<Counts>>>);

impl ApiServer {
    /// Takes a chain over, from the next question on; what webhooks have answered is forgotten.
    pub fn set_authorizers(&self, authorizers: Vec<AccessAuthorizer>) {
        let mut counts = self.inner.webhooks.0.lock();
        let mut kept = HashMap::new();
        let steps = authorizers.into_iter().map(|authorizer| match authorizer {
            AccessAuthorizer::Node => Step::node(),
            AccessAuthorizer::Rbac => Step::rbac(),
            AccessAuthorizer::Webhook(webhook) => {
                let AccessWebhook { rules, remote } = *webhook;
                let own = counts.get(&rules.name).cloned().unwrap_or_default();
                kept.insert(rules.name.clone(), own.clone());
                let asked = Arc::new(Asked::new(remote, &rules, own));
                Step::webhook(&rules.name, rules.conditions, rules.failure, asked)
            }
        });
        self.inner.authorizer.set_chain(Chain::new(steps.collect()));
        *counts = kept;
    }
}

impl Webhooks {
    pub(super) fn render(&self, out: &mut String) {
        let all = self.0.lock();
        if all.is_empty() {
            return;
        }
        out.push_str("# HELP apiserver_authorization_webhook_evaluations_total [BETA] Round-trips to authorization webhooks.\n# TYPE apiserver_authorization_webhook_evaluations_total counter\n");
        all.iter().for_each(|(name, counts)| counts.render(name, out));
        out.push_str("# HELP apiserver_authorization_webhook_evaluations_fail_open_total [BETA] NoOpinion results due to webhook timeout or error.\n# TYPE apiserver_authorization_webhook_evaluations_fail_open_total counter\n");
        all.iter().for_each(|(name, counts)| counts.render_fail_open(name, out));
    }
}

/// What the steps have decided.
pub(super) fn render(chain: &Chain, out: &mut String) {
    out.push_str("# HELP apiserver_authorization_decisions_total [ALPHA] Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.\n# TYPE apiserver_authorization_decisions_total counter\n");
    for step in chain.steps() {
        let (kind, name, counts) = (step.kind(), step.name(), step.counts());
        for (decision, count) in [("allowed", counts.allowed), ("denied", counts.denied)] {
            let _ = writeln!(
                out,
                "apiserver_authorization_decisions_total{{type=\"{kind}\",name=\"{name}\",decision=\"{decision}\"}} {count}"
            );
        }
    }
    let webhooks: Vec<&Step> = chain.steps().iter().filter(|step| step.kind() == "Webhook").collect();
    if webhooks.is_empty() {
        return;
    }
    type Count = fn(&Step) -> u64;
    let metrics: [(&str, &str, Count); 2] = [
        (
            "exclusions",
            "Total number of exclusions when an authorization webhook is skipped because match conditions exclude it.",
            |step| step.counts().conditions_excluded,
        ),
        (
            "evaluation_errors",
            "Total number of errors when an authorization webhook encounters a match condition error split by authorizer type and name.",
            |step| step.counts().conditions_failed,
        ),
    ];
    for (metric, help, count) in metrics {
        let metric = format!("apiserver_authorization_match_condition_{metric}_total");
        let _ = writeln!(out, "# HELP {metric} [ALPHA] {help}\n# TYPE {metric} counter");
        for step in &webhooks {
            let (kind, name) = (step.kind(), step.name());
            let _ = writeln!(out, "{metric}{{type=\"{kind}\",name=\"{name}\"}} {}", count(step));
        }
    }
}
