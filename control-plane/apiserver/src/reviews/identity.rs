//! TokenReview: whose is this token.

use super::{texts, user_json};
use crate::resources::Call;
use keelson_registry::status::Status;
use serde_json::{Value, json};

/// The status of a TokenReview. A token that is not believed is an answer, not a failure; that there is none is one.
pub(super) async fn token(call: &Call<'_>, object: &Value) -> Result<Value, Status> {
    let (inner, spec) = (call.inner(), &object["spec"]);
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = texts(&spec["audiences"]);
    Ok(match inner.identity.prove(&inner.registry, token, &audiences, call.now).await {
        Ok(proven) => json!({
            "authenticated": true, "user": user_json(&proven.user), "audiences": proven.audiences,
        }),
        Err(why) => json!({ "user": {}, "error": why.to_string() }),
    })
}
