//! Writes while the server dies and returns, and what may be there afterwards.
//!
//! A write that was answered is there. One whose answer never came was done or was not: both are possible, until an answer to a
//! later one tells.

use anyhow::{Result, bail, ensure};
use keelson_tests::{Namespace, api};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Objects that are written to in turn.
const OBJECTS: u32 = 50;
/// After a write without an answer: the server is dead, and asking faster brings it back no sooner.
const BACKOFF: Duration = Duration::from_millis(20);

/// What an object may hold; None is no object.
type Possible = BTreeSet<Option<u64>>;

/// Everything that was written.
pub(super) struct Writer {
    objects: BTreeMap<String, Possible>,
    acknowledged: u64,
}

/// One attempt, and what the object holds if it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Create(u64),
    Patch(u64),
    Delete,
}

impl Write {
    fn result(self) -> Option<u64> {
        match self {
            Write::Create(number) | Write::Patch(number) => Some(number),
            Write::Delete => None,
        }
    }
}

/// What the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Done,
    /// Created already, or nothing there to change: it tells what was the case before.
    Exists,
    Absent,
    /// No answer, or one that leaves it open.
    Nothing,
}

impl Writer {
    /// Creates, patches and deletes ConfigMaps until told to stop.
    pub(super) fn write(namespace: &Namespace, seed: u64, stop: &AtomicBool) -> Result<Writer> {
        let mut rng = StdRng::seed_from_u64(seed);
        let absent = Possible::from([None]);
        let objects = (0..OBJECTS).map(|number| (format!("written-{number}"), absent.clone())).collect();
        let mut writer = Writer { objects, acknowledged: 0 };
        for number in 0_u64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let name = format!("written-{}", rng.random_range(0..OBJECTS));
            let possible = writer.objects.entry(name.clone()).or_default();
            let write = match possible.contains(&None) {
                true => Write::Create(number),
                false if rng.random_ratio(1, 10) => Write::Delete,
                false => Write::Patch(number),
            };
            let said = send(namespace, &name, write)?;
            learn(possible, write, said)
                .map_err(|e| e.context(format!("{name}: {write:?} was answered {said:?}")))?;
            match said {
                Said::Done => writer.acknowledged += 1,
                Said::Nothing => std::thread::sleep(BACKOFF),
                Said::Exists | Said::Absent => {}
            }
        }
        Ok(writer)
    }

    /// An error unless each object holds what it may; answers how many writes were acknowledged.
    pub(super) fn verify(&self, namespace: &Namespace) -> Result<u64> {
        let number = |object: &Value| object["data"]["n"].as_str().and_then(|text| text.parse().ok());
        let there: BTreeMap<String, Option<u64>> = namespace
            .list("configmaps", "")?
            .iter()
            .map(|object| {
                (object["metadata"]["name"].as_str().unwrap_or_default().to_string(), number(object))
            })
            .collect();
        for (name, possible) in &self.objects {
            let holds = there.get(name).copied().flatten();
            ensure!(possible.contains(&holds), "{name} holds {holds:?}, which is none of {possible:?}");
        }
        ensure!(self.acknowledged > 0, "no write was acknowledged, which proves nothing");
        Ok(self.acknowledged)
    }
}

/// What may be the case after a write and its answer.
fn learn(possible: &mut Possible, write: Write, said: Said) -> Result<()> {
    match said {
        Said::Done => {
            let before = |held: &Option<u64>| held.is_some() != matches!(write, Write::Create(_));
            ensure!(possible.iter().any(before), "but before it only {possible:?} was possible");
            *possible = Possible::from([write.result()]);
        }
        Said::Nothing => drop(possible.insert(write.result())),
        Said::Exists => possible.retain(Option::is_some),
        Said::Absent => possible.retain(Option::is_none),
    }
    ensure!(!possible.is_empty(), "which an acknowledged write excludes");
    Ok(())
}

fn send(namespace: &Namespace, name: &str, write: Write) -> Result<Said> {
    let (collection, path) = (namespace.path("configmaps"), namespace.path(&format!("configmaps/{name}")));
    let answer = match write {
        Write::Create(number) => {
            let object = json!({"metadata": {"name": name}, "data": {"n": number.to_string()}});
            api::send("POST", &collection, "application/json", &object.to_string())
        }
        Write::Patch(number) => {
            let patch = json!({"data": {"n": number.to_string()}});
            api::send("PATCH", &path, "application/merge-patch+json", &patch.to_string())
        }
        Write::Delete => api::send("DELETE", &path, "application/json", ""),
    };
    let Ok(answer) = answer else { return Ok(Said::Nothing) };
    match (answer.code, write) {
        (200 | 201, _) => Ok(Said::Done),
        (409, Write::Create(_)) => Ok(Said::Exists),
        (404, Write::Patch(_) | Write::Delete) => Ok(Said::Absent),
        (429 | 500..=599, _) => Ok(Said::Nothing),
        // A server that comes up has not read the roles yet.
        (403, _) => Ok(Said::Nothing),
        (code, _) => bail!("{write:?} of {name}: {code} {}", answer.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(possible: &[Option<u64>], write: Write, said: Said) -> Result<Vec<Option<u64>>> {
        let mut possible = possible.iter().copied().collect();
        learn(&mut possible, write, said)?;
        Ok(possible.into_iter().collect())
    }

    #[test]
    fn an_answer_tells_what_is_and_silence_leaves_both() {
        assert_eq!(after(&[None], Write::Create(1), Said::Done).unwrap(), [Some(1)]);
        assert_eq!(after(&[None], Write::Create(1), Said::Nothing).unwrap(), [None, Some(1)]);
        assert_eq!(after(&[None, Some(1)], Write::Create(2), Said::Exists).unwrap(), [Some(1)]);
        assert_eq!(after(&[Some(1)], Write::Delete, Said::Nothing).unwrap(), [None, Some(1)]);
        assert_eq!(after(&[None, Some(1)], Write::Patch(2), Said::Absent).unwrap(), [None]);
    }

    #[test]
    fn what_an_acknowledged_write_excludes_is_an_error() {
        assert!(after(&[Some(1)], Write::Patch(2), Said::Absent).is_err(), "a lost create");
        assert!(after(&[None], Write::Create(2), Said::Exists).is_err(), "a lost delete");
        assert!(after(&[Some(1)], Write::Create(2), Said::Done).is_err(), "a create over what is there");
    }
}
