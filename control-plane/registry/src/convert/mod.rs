//! Objects of custom kinds in other versions, where the definition has a webhook for that: the one step of reading that waits
//! for somebody else.
//!
//! ```text
//! get, list, watch, write ──> Forms ──> known with the entry, or made here ──> shown
//!                               └─> the rest ──> Flights (one call for a form) ──> review ──> ConversionWebhooks (HTTPS)
//!                                       answer checked, cut to the schema, kept with the entry ──> shown
//! ```
//! Whoever shows entries completes their [`Forms`] first; from there on all is synchronous, as for every other kind, for which
//! completing is nothing at all. What is read from the store has the defaults of the version that it was stored in; what the
//! webhook makes of it gets none, as upstream has it.
//!
//! Rules: <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/>.

mod family;
mod flights;
mod forms;
mod review;

pub(crate) use family::{Family, Hook, ReviewVersion};
pub(crate) use forms::Forms;

use crate::{
    Registry, Status,
    entry::Entry,
    kind::{Kind, Storage},
    status::Reason,
};
use async_trait::async_trait;
use bytes::Bytes;
use flights::Flights;
use serde_json::Value;
use std::sync::{Arc, OnceLock};

/// Objects in one review; as many as `kubectl` asks for in one page of a list.
pub(crate) const OBJECTS_MAX: usize = 500;
/// Bytes of the objects in one review, if it has more than one.
const REVIEW_BYTES_MAX: usize = 8 << 20;

/// The seam to the webhooks themselves.
#[async_trait]
pub trait ConversionWebhooks: Send + Sync + 'static {
    /// Posts a ConversionReview to what a definition's `clientConfig` says, and answers with the body of a 2xx; else why there
    /// is none, in upstream's words.
    async fn ask(&self, client_config: &Value, review: Bytes) -> Result<Bytes, String>;
}

/// Has objects converted. One for a registry; watches share it.
#[derive(Default)]
pub(crate) struct Converter {
    webhooks: OnceLock<Arc<dyn ConversionWebhooks>>,
    flights: Flights,
}

impl Converter {
    /// The first one stays.
    pub(crate) fn set(&self, webhooks: Arc<dyn ConversionWebhooks>) {
        let _ = self.webhooks.set(webhooks);
    }

    /// Has the forms made that are missing, those that somebody else is having made awaited.
    pub(crate) async fn complete(&self, forms: &mut Forms<'_>) -> Result<(), Status> {
        let kind = forms.kind;
        let Some(family) = kind.family() else { return Ok(()) };
        while let Some(missing) = forms.take_missing() {
            let (flight, awaited) = self.flights.board(kind, &missing);
            if let Some(flight) = flight {
                let outcome = self.make(family, forms, flight.entries()).await;
                flight.land(outcome.clone());
                outcome?;
            }
            for other in awaited {
                other.landed().await?;
            }
            forms.look_for(missing);
        }
        Ok(())
    }

    async fn make(
        &self,
        family: &Family,
        forms: &mut Forms<'_>,
        entries: &[Arc<Entry>],
    ) -> Result<(), Status> {
        let objects = entries.iter().map(|entry| family.settled(entry.to_value())).collect::<Result<_, _>>();
        let objects = self.values(family, objects?, &forms.kind.api_version()).await?;
        for (entry, object) in entries.iter().zip(objects) {
            forms.take(entry, object);
        }
        Ok(())
    }

    /// Objects in version `to` (`group/version`), in their order. Those that are in it, and empty ones, stay as they are.
    pub(crate) async fn values(
        &self,
        family: &Family,
        mut objects: Vec<Value>,
        to: &str,
    ) -> Result<Vec<Value>, Status> {
        let is_other = |object: &Value| object.get("apiVersion").is_some_and(|version| version != to);
        let others: Vec<usize> = (0..objects.len()).filter(|at| is_other(&objects[*at])).collect();
        let mut rest = others.as_slice();
        while !rest.is_empty() {
            let texts = texts(rest.iter().map(|at| &objects[*at]));
            let (now, later) = rest.split_at(texts.len());
            let asked: Vec<&Value> = now.iter().map(|at| &objects[*at]).collect();
            let converted = self.ask(family, &asked, &texts, to).await?;
            for (at, mut object) in now.iter().zip(converted) {
                family.cut(to, &mut object)?;
                objects[*at] = object;
            }
            rest = later;
        }
        Ok(objects)
    }

    /// One call.
    async fn ask(
        &self,
        family: &Family,
        objects: &[&Value],
        texts: &[String],
        to: &str,
    ) -> Result<Vec<Value>, Status> {
        for object in objects {
            family.check(object["apiVersion"].as_str().unwrap_or_default())?;
        }
        let webhooks = self.webhooks.get();
        let webhooks =
            webhooks.ok_or_else(|| Status::unavailable("no webhook can be asked by this server"))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let review = review::question(family.hook.review, &uid, to, texts);
        let failed = |why: String| {
            let from = objects.first().and_then(|object| object["apiVersion"].as_str()).unwrap_or_default();
            let message = format!("conversion webhook for {from}, Kind={} {why}", family.kind);
            Status::new(500, Reason::Unknown, message)
        };
        let answer = webhooks.ask(&family.hook.client_config, review.into()).await;
        let answer = answer.map_err(|why| failed(format!("failed: {why}")))?;
        review::converted(family.hook.review, &uid, to, objects, &answer).map_err(failed)
    }
}

/// The JSON of as many objects as go into one review, of one at least.
fn texts<'a>(objects: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let (mut texts, mut bytes) = (Vec::new(), 0);
    for object in objects.take(OBJECTS_MAX) {
        let text = object.to_string();
        bytes += text.len();
        if bytes > REVIEW_BYTES_MAX && !texts.is_empty() {
            break;
        }
        texts.push(text);
    }
    texts
}

impl Registry {
    /// Tells how conversion webhooks are asked; until then none can be.
    pub fn set_conversion(&self, webhooks: Arc<dyn ConversionWebhooks>) {
        self.converter.set(webhooks);
    }

    /// An entry as the kind shows it; none where it cannot be shown so.
    pub(crate) async fn shown(&self, kind: &Kind, entry: &Arc<Entry>) -> Result<Option<Arc<Entry>>, Status> {
        let mut forms = Forms::new(kind);
        forms.look_for([entry.clone()]);
        self.converter.complete(&mut forms).await?;
        Ok(forms.of(entry))
    }

    /// An object of `from` in the form of `to`, where both are forms of the same objects.
    pub async fn converted(&self, from: &Kind, to: &Kind, object: Value) -> Result<Value, Status> {
        if let Some(family) = to.family() {
            let converted = self.converter.values(family, vec![object], &to.api_version()).await?;
            return Ok(converted.into_iter().next().unwrap_or_default());
        }
        let stored = match from.storage {
            Storage::View(conversion) => conversion.to_stored(object),
            Storage::Own | Storage::Virtual => object,
        };
        let mut shown = match to.storage {
            Storage::View(conversion) => conversion.to_view(stored),
            Storage::Own | Storage::Virtual => stored,
        };
        shown["apiVersion"] = Value::from(to.api_version());
        shown["kind"] = Value::from(to.kind.as_ref());
        Ok(shown)
    }
}
