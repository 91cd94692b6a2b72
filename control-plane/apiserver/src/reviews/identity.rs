//! TokenReview: whose is this token.

use super::{texts, user_json};
use crate::{identity::RegistryLookup, resources::Call};
use keelson_auth::authn::token::TokenError;
use serde_json::{Value, json};

/// The status of a TokenReview. A token that is not believed is an answer, not a failure.
pub(super) async fn token(call: &Call<'_>, object: &Value) -> Value {
    let spec = &object["spec"];
    match review(call, spec["token"].as_str().unwrap_or_default(), &texts(&spec["audiences"])).await {
        Ok(status) => status,
        Err(error) => json!({ "user": {}, "error": format!("[invalid bearer token, {error}]") }),
    }
}

async fn review(call: &Call<'_>, token: &str, audiences: &[String]) -> Result<Value, TokenError> {
    let inner = call.inner();
    let opened = inner.identity.verifier.open(token, audiences, call.now)?;
    let user = opened.confirm(call.now, &RegistryLookup(&inner.registry)).await?;
    let mut status = json!({ "authenticated": true, "user": user_json(&user) });
    status["audiences"] = if audiences.is_empty() {
        json!([inner.identity.verifier.default_audience()])
    } else {
        json!(opened.audiences)
    };
    Ok(status)
}
