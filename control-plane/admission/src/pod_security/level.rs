//! Levels, the versions of the standard they are pinned to, and the labels that name both.

use std::fmt;

use keelson_schema::{FieldError, Path};
use serde_json::Value;

use crate::plugin::text;

const PREFIX: &str = "pod-security.kubernetes.io/";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "privileged" => Self::Privileged,
            "baseline" => Self::Baseline,
            "restricted" => Self::Restricted,
            _ => return None,
        })
    }
}

/// What happens to a pod that is beyond a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Enforce,
    Audit,
    Warn,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Enforce, Self::Audit, Self::Warn];

    fn label(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
            Self::Warn => "warn",
        }
    }
}

/// A level as of a version: None is the newest, whichever that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) level: Level,
    pub(super) minor: Option<u32>,
}

impl Bound {
    /// Whether the standard's rule of this minor version holds.
    pub(super) fn is_since(self, minor: u32) -> bool {
        self.minor.is_none_or(|own| own >= minor)
    }

    /// A laxer level refuses nothing that was admitted; another version of the same may.
    pub(super) fn may_refuse_more_than(self, before: Self) -> bool {
        self.level != Level::Privileged && self.level >= before.level
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.minor {
            Some(minor) => write!(f, "\"{level}:v1.{minor}\""),
            None => write!(f, "\"{level}:latest\""),
        }
    }
}

/// What the labels of a namespace say, by mode. What they do not say is privileged; a level that makes no sense is
/// restricted and a version that makes none the newest, as upstream: an error must not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Labels([Bound; 3]);

impl Labels {
    pub(super) fn of(namespace: &Value) -> Self {
        Self(Mode::ALL.map(|mode| {
            let (level, version) = read(namespace, mode);
            Bound {
                level: level
                    .map_or(Level::Privileged, |text| Level::parse(text).unwrap_or(Level::Restricted)),
                minor: version.and_then(|text| minor(text).flatten()),
            }
        }))
    }

    pub(super) fn bound(&self, mode: Mode) -> Bound {
        self.0[mode as usize]
    }

    /// Nothing is refused or warned of.
    pub(super) fn is_privileged(&self) -> bool {
        self.0.iter().all(|bound| bound.level == Level::Privileged)
    }

    /// Labels whose value is neither a level nor a version.
    pub(super) fn wrong(namespace: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for mode in Mode::ALL {
            let path =
                |suffix: &str| Path::new("metadata.labels").key(&format!("{PREFIX}{}{suffix}", mode.label()));
            let (level, version) = read(namespace, mode);
            if let Some(text) = level.filter(|text| Level::parse(text).is_none()) {
                let detail = "must be one of privileged, baseline, restricted";
                errors.push(FieldError::invalid(&path(""), text, detail));
            }
            if let Some(text) = version.filter(|text| minor(text).is_none()) {
                errors.push(FieldError::invalid(&path("-version"), text, "must be \"latest\" or \"v1.x\""));
            }
        }
        errors
    }
}

fn read(namespace: &Value, mode: Mode) -> (Option<&str>, Option<&str>) {
    let labels = namespace.pointer("/metadata/labels");
    let of = |suffix: &str| {
        let label = labels?.get(format!("{PREFIX}{}{suffix}", mode.label()))?;
        Some(text(label, ""))
    };
    (of(""), of("-version"))
}

/// `latest` or `v1.N`; a version that is not known yet has the newest rules that are.
fn minor(text: &str) -> Option<Option<u32>> {
    if text == "latest" {
        return Some(None);
    }
    let digits = text.strip_prefix("v1.")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let canonical = is_number && (digits == "0" || !digits.starts_with('0'));
    canonical.then(|| digits.parse().ok().map(Some)).flatten()
}
