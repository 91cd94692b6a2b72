//! What a webhook has converted for the comparison of an object's versions, and what it has yet to.
//!
//! Comparing and merging are functions without effects. Where they need an object in a version that is not there, they go on as if
//! there were no such version; then what they asked for is had converted, and they run once more.

use crate::{Registry, kind::Kind, status::Status};
use parking_lot::Mutex;
use serde_json::{Map, Value};

/// Runs of one comparison at most. One finds out about all versions in which fields are owned, a few more go from one to the next
/// where what was applied before is taken out.
const RUNS_MAX: usize = 32;

/// Conversions by their question.
#[derive(Default)]
pub(crate) struct Memo(Mutex<Answers>);

#[derive(Default)]
struct Answers {
    known: Vec<(Question, Value)>,
    missing: Vec<Question>,
}

#[derive(Clone, PartialEq)]
struct Question {
    object: Value,
    to: String,
}

impl Memo {
    /// The object, which is in version `from`, in version `to`, if that is known by now.
    pub(super) fn show(&self, object: &Value, from: &str, to: &str) -> Option<Value> {
        if object.as_object().is_none_or(Map::is_empty) {
            return Some(object.clone());
        }
        let mut object = object.clone();
        object["apiVersion"] = Value::from(from);
        let (question, mut answers) = (Question { object, to: to.to_owned() }, self.0.lock());
        if let Some((_, shown)) = answers.known.iter().find(|(known, _)| *known == question) {
            return Some(shown.clone());
        }
        if !answers.missing.contains(&question) {
            answers.missing.push(question);
        }
        None
    }

    fn know(&self, questions: Vec<Question>, answers: impl IntoIterator<Item = Value>) {
        self.0.lock().known.extend(questions.into_iter().zip(answers));
    }

    fn take_missing(&self) -> Vec<Question> {
        std::mem::take(&mut self.0.lock().missing)
    }
}

/// What becomes of a write when fields are owned in a version that cannot be had.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unseen {
    /// It fails: whether it conflicts cannot be told.
    Fails,
    /// It goes on, and leaves what is owned there as it was. Upstream goes on, too, and forgets all owners.
    IsLeft,
}

impl Registry {
    /// Runs what compares versions of the kind's objects until it lacks none.
    pub(crate) async fn in_versions<T>(
        &self,
        kind: &Kind,
        unseen: Unseen,
        run: impl Fn(&Memo) -> T,
    ) -> Result<T, Status> {
        let memo = Memo::default();
        for _ in 0..RUNS_MAX {
            let mut missing = {
                let outcome = run(&memo);
                let missing = memo.take_missing();
                if missing.is_empty() {
                    return Ok(outcome);
                }
                missing
            };
            let Some(family) = kind.family() else { break };
            while let Some(to) = missing.first().map(|question| question.to.clone()) {
                let (now, later) = missing.into_iter().partition(|question| question.to == to);
                missing = later;
                let now: Vec<Question> = now;
                let objects = now.iter().map(|question| question.object.clone()).collect();
                match self.converter.values(family, objects, &to).await {
                    Ok(shown) => memo.know(now, shown),
                    Err(status) if unseen == Unseen::IsLeft => {
                        tracing::warn!(%status, version = to, "fields that are owned in a version are left as they were");
                        // Before and after the write the same.
                        memo.know(now, std::iter::repeat(Value::Object(Map::new())));
                    }
                    Err(status) => return Err(status),
                }
            }
        }
        Err(Status::internal("managed fields are in more versions than can be compared"))
    }
}
