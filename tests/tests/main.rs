//! The end-to-end tests, a module a topic.
#![forbid(unsafe_code)]

mod apply;
mod bandwidth;
mod daemon;
mod deployments;
mod dns;
mod dns_messages;
mod hostile;
mod kubectl;
mod netfilter;
mod nodes;
mod objects;
mod observe;
mod outside;
mod outside_direct;
mod packets;
mod podnet;
mod pods;
mod policies;
mod probes;
mod pulls;
mod refusals;
mod rollouts;
mod runtime_class;
mod sctp;
mod segments;
mod separate;
mod services;
mod services_choice;
mod services_endpoints;
mod services_only;
mod services_outside;
mod services_udp;
mod socket_lb;
mod streams;
mod volumes;
