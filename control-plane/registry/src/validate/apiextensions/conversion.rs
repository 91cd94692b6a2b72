//! `spec.conversion` of a definition. Fields have the names of upstream's internal type, which its messages have, too.

use crate::{
    convert::ReviewVersion,
    meta,
    validate::{
        Errors,
        webhook::{client_config, review_versions},
    },
};
use keelson_schema::{FieldError, Path};
use serde_json::Value;

/// What is wrong with it; absent it is not.
pub(super) fn conversion(path: &Path, conversion: &Value) -> Errors {
    let webhook = meta::at(conversion, &["webhook"]);
    let config = webhook.and_then(|webhook| meta::at(webhook, &["clientConfig"]));
    let versions = webhook.map_or(&[][..], |webhook| meta::items(webhook, &["conversionReviewVersions"]));
    let (at_config, at_versions) =
        (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    let strategy = meta::text(conversion, &["strategy"]);
    let mut errors = Errors::new();
    if !matches!(strategy, "" | "None" | "Webhook") {
        errors.push(FieldError::not_supported(&path.child("strategy"), strategy, &["None", "Webhook"]));
    }
    if strategy != "Webhook" {
        const WHY: &str = "should not be set when strategy is not set to Webhook";
        errors.extend(config.map(|_| FieldError::forbidden(&at_config, WHY)));
        errors.extend((!versions.is_empty()).then(|| FieldError::forbidden(&at_versions, WHY)));
        return errors;
    }
    match config {
        None => errors.push(FieldError::required(&at_config, "required when strategy is set to Webhook")),
        Some(config) => errors.extend(client_config(&at_config, config)),
    }
    errors.extend(review_versions(&at_versions, versions, ReviewVersion::NAMES, ""));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_conversion_is_refused_at_its_fields() {
        let hook = |config: Value, versions: Value| json!({"strategy": "Webhook", "webhook": {"clientConfig": config, "conversionReviewVersions": versions}});
        let url = json!({"url": "https://a.example/convert"});
        let rows = [
            (json!({"strategy": "None"}), ""),
            (hook(url.clone(), json!(["v2", "v1"])), ""),
            (json!({"strategy": "Wish"}), "spec.conversion.strategy: Unsupported value: \"Wish\""),
            (
                json!({"strategy": "Webhook"}),
                "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
            ),
            (
                json!({"strategy": "None", "webhook": {"clientConfig": url}}),
                "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
            ),
            (hook(json!({}), json!(["v1"])), "exactly one of url or service is required"),
            (
                hook(json!({"url": "http://a.example"}), json!(["v1"])),
                "spec.conversion.webhookClientConfig.url: Invalid value",
            ),
            (hook(url.clone(), json!([])), "spec.conversion.conversionReviewVersions: Required value"),
            (hook(url.clone(), json!(["v2"])), "must include at least one of v1, v1beta1"),
            (
                hook(url, json!(["v1", "v1"])),
                "conversionReviewVersions[1]: Invalid value: \"v1\": duplicate version",
            ),
        ];
        for (given, wanted) in rows {
            let errors = conversion(&Path::new("spec.conversion"), &given);
            let said = errors.first().map(ToString::to_string).unwrap_or_default();
            let fits = if wanted.is_empty() { said.is_empty() } else { said.contains(wanted) };
            assert!(fits, "{given}: {said}");
        }
    }
}
