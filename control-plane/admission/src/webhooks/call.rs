//! One webhook asked about one request.

use super::{
    configuration::Hook,
    error::{Refusal, Unanswered, denied},
    review::{Question, Verdict, verdict},
};
use keelson_registry::Status;
use keelson_webhook::{Client, Limits};

/// Bytes of an answer: a patch of the largest object, in base64, with room for the rest.
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Bytes of a warning that go on to the client.
const WARNING_BYTES_MAX: usize = 256;

/// Asks, passes warnings on, and answers with the patch of a yes.
pub(super) async fn ask(
    client: &Client,
    hook: &Hook,
    question: &Question<'_>,
    mutating: bool,
) -> Result<Vec<u8>, Refusal> {
    if question.attributes.dry_run && !hook.dry_run {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(Refusal::Final(Status::bad_request(why)));
    }
    let config = hook.config.as_ref().map_err(|why| Unanswered::Configuration(why.to_string()))?;
    let review = question.encode(hook.version).to_string();
    let limits = Limits { timeout: hook.timeout, answer_bytes_max: ANSWER_BYTES_MAX };
    let answer = client.post(config, review.into(), limits).await.map_err(Unanswered::Call)?;
    let verdict = verdict(hook.version, question.uid, mutating, &answer)?;
    heed(hook, question, verdict)
}

fn heed(hook: &Hook, question: &Question<'_>, verdict: Verdict) -> Result<Vec<u8>, Refusal> {
    for warning in verdict.warnings {
        let end = warning.floor_char_boundary(WARNING_BYTES_MAX.min(warning.len()));
        question.attributes.warnings.add(&warning[..end]);
    }
    for (key, value) in verdict.annotations {
        question.attributes.annotations.add(format!("{}/{key}", hook.name), || value);
    }
    if !verdict.allowed {
        return Err(Refusal::Final(denied(&hook.name, &verdict.result)));
    }
    Ok(verdict.patch)
}
