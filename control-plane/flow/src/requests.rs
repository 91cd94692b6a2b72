//! Requests that wait, as `/debug/api_priority_and_fairness/dump_requests` shows them. Those that run are not listed: to know
//! who they are would cost each of them what it costs to write it down.

use crate::{Asked, Class, Gate, classify::distinguisher};
use std::{collections::BTreeMap, fmt::Write};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// What is shown of a request with `includeRequestDetails`.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// User name.
    pub user: String,
    /// The API's verb, or the method in lower case.
    pub verb: String,
    /// Path of the request.
    pub path: String,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Name of the object, empty for none.
    pub name: String,
    /// `apps/v1`; empty for what is no resource.
    pub api_version: String,
    /// Plural.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
}

/// A request that waits.
pub(crate) struct About {
    pub(crate) schema: String,
    pub(crate) distinguisher: String,
    pub(crate) arrived: OffsetDateTime,
    /// Seats that it will take.
    pub(crate) width: u32,
    pub(crate) details: Details,
}

impl About {
    /// Of one that arrives now; one seat wide until the planner has said.
    pub(crate) fn new(class: &Class, asked: &Asked<'_>, details: Details) -> Self {
        Self {
            schema: class.schema.name.clone(),
            distinguisher: distinguisher(&class.schema, asked).to_owned(),
            arrived: OffsetDateTime::now_utc(),
            width: 1,
            details,
        }
    }
}

impl Gate {
    /// `dump_requests`: a row for each request that waits, in the order of its queue.
    pub fn dump_requests(&self, with_details: bool) -> String {
        let mut out = String::from(
            "PriorityLevelName, FlowSchemaName, QueueIndex, RequestIndexInQueue, FlowDistingsher, ArriveTime, InitialSeats, FinalSeats, AdditionalLatency",
        );
        if with_details {
            out.push_str(", UserName, Verb, APIPath, Namespace, Name, APIVersion, Resource, SubResource");
        }
        out.push('\n');
        let settings = self.settings();
        let levels: BTreeMap<_, _> = settings.levels.iter().collect();
        self.state(|state| {
            for (level, place) in levels {
                let Some(number) = place.number else { continue };
                for (queue, requests) in state.planner.levels[number].queues.all.iter().enumerate() {
                    for (at, waiting) in requests.waiting.iter().enumerate() {
                        let Some(waiter) = state.waiters.get(&waiting.number) else { continue };
                        let _ = write!(out, "{level}, {}, {queue}, {at}, ", waiter.about.schema);
                        row(&mut out, &waiter.about, with_details);
                    }
                }
            }
        });
        out
    }
}

fn row(out: &mut String, about: &About, with_details: bool) {
    let arrived = about.arrived.format(&Rfc3339).unwrap_or_default();
    let _ = write!(out, "{}, {arrived}, {}, 0, 0s", about.distinguisher, about.width);
    if with_details {
        let Details { user, verb, path, namespace, name, api_version, resource, subresource } =
            &about.details;
        let _ = write!(
            out,
            ", {user}, {verb}, {path}, {namespace}, {name}, {api_version}, {resource}, {subresource}"
        );
    }
    out.push('\n');
}
