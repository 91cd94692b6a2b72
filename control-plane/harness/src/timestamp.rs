//! Points in time as the API writes them. Does not own clocks: callers pass `now`; parsing and writing are semantics'.

use keelson_semantics::timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use time::{Duration, OffsetDateTime};

/// A metav1.Time or metav1.MicroTime. Ordered; shown and serialized with whole seconds, as metav1.Time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub OffsetDateTime);

impl Timestamp {
    /// The wall clock.
    pub fn now() -> Self {
        Self(OffsetDateTime::now_utc())
    }

    /// This many seconds after the epoch; the epoch itself if the number is beyond the calendar.
    pub fn from_unix(seconds: i64) -> Self {
        Self(OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH))
    }

    /// How long ago `earlier` was; zero if it is in the future.
    pub fn since(self, earlier: Timestamp) -> std::time::Duration {
        (self.0 - earlier.0).try_into().unwrap_or_default()
    }

    /// The point `by` later.
    pub fn after(self, by: std::time::Duration) -> Self {
        let by = Duration::try_from(by).unwrap_or(Duration::MAX);
        Self(self.0.checked_add(by).unwrap_or(self.0))
    }

    /// With microseconds, as metav1.MicroTime is written.
    pub fn micro(self) -> String {
        timestamp::format_micros(self.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&timestamp::format_seconds(self.0))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in RFC 3339 form")
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Timestamp, E> {
                timestamp::parse(v).map(Timestamp).map_err(E::custom)
            }
        }
        d.deserialize_str(Visitor)
    }
}
