//! Requests passed on to others: `pods/NAME/proxy`, `services/NAME/proxy`, `nodes/NAME/proxy`.
//!
//! RBAC has seen the HTTP method as a verb, admission a CONNECT. The other end is asked in the clear, or over TLS whose
//! certificate is not judged, as upstream's: whoever may proxy knows whom he asks.

mod forward;
mod html;
mod location;

pub(crate) use forward::{ClientAddress, Forward, To, asked_upgrade, forward};

use crate::{
    connect, pods,
    resolve::{self, WantedPort},
    resources::Call,
    response::Answer,
    wire::Body,
};
use forward::ForwardError;
use http::{HeaderValue, Method, Request, StatusCode, header};
use keelson_registry::{
    kind::Kind,
    status::{GroupResource, Reason, Status},
};
use keelson_webhook::{Host, Peer, ResolveError, Scheme, Trust};
use location::{Rest, Target};
use std::{net::SocketAddr, sync::Arc};

/// Answers with what the pod or the Service's endpoint answers.
pub(crate) async fn answer(
    call: &Call<'_>,
    kind: &Arc<Kind>,
    request: Request<Body>,
) -> Result<Answer, Status> {
    let target = Target::parse(&kind.singular, &call.info.name)?;
    let upgrades = asked_upgrade(request.headers()).is_some();
    if upgrades && &*kind.plural == "nodes" {
        // It may run commands in pods: reading permission is not enough, whichever method opens it.
        call.server.authorize_create(&call.user, call.info).await?;
    }
    connect::admit(call, kind).await?;
    let rest = Rest::of(call.info, request.uri())?;
    if let Some(location) = rest.redirect(request.method()).filter(|_| !upgrades) {
        return redirect(&location);
    }
    let to = match &*kind.plural {
        "nodes" => node(call, &target).await?,
        _ => To::Peer(peer(call, kind, &target).await?),
    };
    let how = Forward {
        to,
        path: rest.path_and_query(),
        prefix: Some(rest.prefix.to_owned()),
        headers: Vec::new(),
    };
    let answer = forward(call.server, how, request).await.map_err(|error| match error {
        ForwardError::Upgrade(_) => Status::internal(error),
        other => {
            Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {other}"))
        }
    })?;
    Ok(Answer::Streaming(answer))
}

/// A pod, or an endpoint of a Service.
async fn peer(call: &Call<'_>, kind: &Arc<Kind>, target: &Target<'_>) -> Result<Peer, Status> {
    let host = match &*kind.plural {
        "pods" => {
            let registry = &call.inner().registry;
            let pod = registry.get(kind, call.namespace(kind), target.name, None).await?;
            location::pod_address(&pod.to_value(), target.port)?
        }
        _ => service(call, target)?,
    };
    Ok(plain_peer(target, host))
}

/// A node's own API, where no other port of it is named.
async fn node(call: &Call<'_>, target: &Target<'_>) -> Result<To, Status> {
    let own = pods::locate(call, target.name).await?;
    if target.port.is_empty() || target.port == own.port.to_string() {
        return Ok(To::Node(own));
    }
    let port = target.port.parse().map_err(|_| {
        Status::bad_request(format!("invalid node request: the port {:?} is no number", target.port))
    })?;
    location::check_address(own.ip)?;
    Ok(To::Peer(plain_peer(target, SocketAddr::new(own.ip, port))))
}

fn plain_peer(target: &Target<'_>, host: SocketAddr) -> Peer {
    let scheme = if target.https { Scheme::Https(Trust::Anybody) } else { Scheme::Http };
    Peer { scheme, host: Host::Address(host), identified: false }
}

fn service(call: &Call<'_>, target: &Target<'_>) -> Result<SocketAddr, Status> {
    let port = match target.port.parse() {
        Ok(number) => WantedPort::Number(number),
        Err(_) => WantedPort::Name(target.port),
    };
    let found = resolve::endpoint(&call.inner().registry, &call.info.namespace, target.name, port);
    let found = found.map_err(|error| match error {
        ResolveError::NotFound(name) => Status::not_found(&GroupResource::new("", "services"), &name),
        other => Status::unavailable(other.to_string()),
    })?;
    location::check_address(found.ip())?;
    Ok(found)
}

/// A page whose address has no final slash would resolve its links against the wrong folder.
fn redirect(location: &str) -> Result<Answer, Status> {
    let mut answer = Answer::text(StatusCode::MOVED_PERMANENTLY, "");
    answer.header(header::LOCATION, HeaderValue::try_from(location).map_err(Status::internal)?);
    Ok(answer)
}

/// Whether the method is one that proxies pass on though it is no verb of RBAC.
pub(crate) fn passes(method: &Method) -> bool {
    *method == Method::OPTIONS
}
