//! From a query in bytes to its answer in bytes: at once where it is known, else after others were asked.

use crate::{
    answer::{Outcome, Zone, answer},
    cache::Question,
    forward::{Forwarder, Permit, Wants},
    message::{Parsed, Reply, Request, Transport, parse},
    metrics::{Fault, Metrics, Source},
    watch::Cluster,
};
use hickory_proto::{
    op::{Query, ResponseCode},
    rr::{Name, RData, Record},
};
use std::{sync::Arc, time::Instant};

/// Aliases of aliases that are followed within the cluster; a circle ends here.
const ALIASES_MAX: usize = 8;

/// Who answers.
pub(super) struct Handler {
    pub(super) cluster: Arc<Cluster>,
    pub(super) zone: Zone,
    pub(super) forwarder: Forwarder,
    pub(super) metrics: Arc<Metrics>,
}

/// A query that was taken.
pub(super) enum Taken {
    /// The answer, unless there is to be none.
    Answered(Option<Vec<u8>>),
    /// Others have to be asked.
    Waits(Box<Waiting>),
}

/// A query that waits for others.
pub(super) struct Waiting {
    request: Request,
    asks: Asks,
    permit: Permit,
    since: Instant,
}

/// What others have to be asked.
struct Asks {
    /// The aliases that led there.
    aliases: Vec<Record>,
    query: Query,
    question: Question,
}

/// How far we get alone.
enum Step {
    Done(Reply, Source),
    Ask(Asks),
}

impl Handler {
    /// Takes a query. Never waits.
    pub(super) fn take(&self, bytes: &[u8], transport: Transport) -> Taken {
        let since = Instant::now();
        let request = match parse(bytes, transport) {
            Parsed::Request(request) => request,
            Parsed::Refused(code, bytes) => {
                self.metrics.answered(transport, None, code, Source::Own, since.elapsed());
                return Taken::Answered(Some(bytes));
            }
            Parsed::Silence => {
                self.metrics.fault(Fault::Ignored);
                return Taken::Answered(None);
            }
        };
        let (reply, source) = match self.alone(&request) {
            Step::Done(reply, source) => (reply, source),
            Step::Ask(asks) => match self.forwarder.permit() {
                Some(permit) => return Taken::Waits(Box::new(Waiting { request, asks, permit, since })),
                None => {
                    self.metrics.fault(Fault::InFlight);
                    (Reply::empty(ResponseCode::ServFail), Source::Own)
                }
            },
        };
        Taken::Answered(self.finished(&request, reply, source, since))
    }

    /// Asks others, and answers.
    pub(super) async fn finish(&self, waiting: Waiting) -> Option<Vec<u8>> {
        let Waiting { request, asks, permit, since } = waiting;
        let Asks { aliases, query, question } = asks;
        let wants = wants(&request);
        let asked = match self.forwarder.route(query.name()) {
            Some(route) => self.forwarder.ask(route, &query, question, wants).await,
            None => Ok(Reply::empty(ResponseCode::Refused)),
        };
        drop(permit);
        let reply = asked.unwrap_or_else(|error| {
            tracing::debug!(name = %query.name(), error = &error as &dyn std::error::Error, "not answered");
            self.metrics.fault(Fault::Unanswered);
            Reply::empty(ResponseCode::ServFail)
        });
        self.finished(&request, after(aliases, reply), Source::Forward, since)
    }

    fn finished(
        &self,
        request: &Request,
        mut reply: Reply,
        source: Source,
        since: Instant,
    ) -> Option<Vec<u8>> {
        rotate(&mut reply.answers, request.id());
        let code = reply.code;
        let bytes = request.encode(reply, self.forwarder.is_any());
        match &bytes {
            Some(_) => {
                let kind = Some(request.query.query_type());
                self.metrics.answered(request.transport, kind, code, source, since.elapsed());
            }
            None => self.metrics.fault(Fault::Unsent),
        }
        bytes
    }

    /// As far as the cluster and the cache know. The answer to a name that stands for another one, wherever that is, is
    /// that of the other after the alias, its code included (RFC 6604).
    fn alone(&self, request: &Request) -> Step {
        if self.forwarder.probe.is_back(&request.query) {
            return Step::Done(Reply::empty(ResponseCode::Refused), Source::Own);
        }
        let mut query = request.query.clone();
        let mut aliases = Vec::new();
        for _ in 0..ALIASES_MAX {
            if self.has_stub(query.name()) {
                return self.elsewhere(request, aliases, query);
            }
            let outcome = match self.cluster.read(|index| answer(index, &self.zone, &query)) {
                Some(outcome) => outcome,
                // It may be the cluster's.
                None if self.zone.domain.zone_of(query.name()) || is_reverse(query.name()) => {
                    self.metrics.fault(Fault::Unlisted);
                    let reply = after(aliases, Reply::empty(ResponseCode::ServFail));
                    return Step::Done(reply, Source::Own);
                }
                None => Outcome::Elsewhere,
            };
            let Outcome::Ours(mut answer) = outcome else {
                return self.elsewhere(request, aliases, query);
            };
            match answer.alias.take() {
                None => return Step::Done(after(aliases, answer.into()), Source::Own),
                Some(target) => {
                    aliases.append(&mut answer.answers);
                    query.set_name(target);
                }
            }
        }
        Step::Done(after(aliases, Reply::empty(ResponseCode::ServFail)), Source::Own)
    }

    fn elsewhere(&self, request: &Request, aliases: Vec<Record>, query: Query) -> Step {
        let wants = wants(request);
        let question = Question::new(&query, wants.dnssec_ok, wants.checking_disabled);
        let (Some(_), Some(question)) = (self.forwarder.route(query.name()), question) else {
            return Step::Done(after(aliases, Reply::empty(ResponseCode::Refused)), Source::Own);
        };
        match self.forwarder.remembered(&question) {
            Some(reply) => Step::Done(after(aliases, reply), Source::Cache),
            None => Step::Ask(Asks { aliases, query, question }),
        }
    }

    /// Whether a zone below the cluster domain was given to other servers.
    fn has_stub(&self, name: &Name) -> bool {
        self.forwarder.route(name).is_some_and(|route| self.zone.domain.zone_of(&route.zone))
    }
}

fn wants(request: &Request) -> Wants {
    Wants { dnssec_ok: request.dnssec_ok(), checking_disabled: request.checking_disabled() }
}

/// An answer after the aliases that led to it: whose authority counts is that of the first name (RFC 1035, 4.1.1).
fn after(mut aliases: Vec<Record>, mut reply: Reply) -> Reply {
    if !aliases.is_empty() {
        reply.authoritative = true;
        reply.authentic = false;
        aliases.append(&mut reply.answers);
        reply.answers = aliases;
    }
    reply
}

fn is_reverse(name: &Name) -> bool {
    name.iter().next_back().is_some_and(|label| label.eq_ignore_ascii_case(b"arpa"))
}

/// Clients take the first address: each query starts at another one. Aliases stay in front.
fn rotate(answers: &mut [Record], number: u16) {
    let is_address = |record: &Record| matches!(record.data, RData::A(_) | RData::AAAA(_));
    let first = answers.iter().position(is_address).unwrap_or(answers.len());
    let addresses = &mut answers[first..];
    if addresses.iter().all(is_address) && !addresses.is_empty() {
        addresses.rotate_left(usize::from(number) % addresses.len());
    }
}
