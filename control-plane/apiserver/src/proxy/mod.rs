//! Requests passed on to others: `pods/NAME/proxy`, `services/NAME/proxy`.
//!
//! RBAC has seen the HTTP method as a verb, admission a CONNECT. The other end is asked in the clear, or over TLS whose
//! certificate is not judged, as upstream's: whoever may proxy knows whom he asks.

mod forward;
mod location;

pub(crate) use forward::{Forward, forward};

use crate::{
    connect,
    resolve::{self, WantedPort},
    resources::Call,
    response::Answer,
    wire::Body,
};
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
    connect::admit(call, kind).await?;
    let rest = Rest::of(request.uri());
    if let Some(location) = rest.redirect(request.method()) {
        return redirect(&location);
    }
    let host = match &*kind.plural {
        "pods" => {
            let registry = &call.inner().registry;
            let pod = registry.get(kind, call.namespace(kind), target.name, None).await?;
            location::pod_address(&pod.to_value(), target.port)?
        }
        _ => service(call, &target)?,
    };
    let scheme = if target.https { Scheme::Https(Trust::Anybody) } else { Scheme::Http };
    let peer = Peer { scheme, host: Host::Address(host), identified: false };
    let how = Forward {
        peer,
        path: rest.path_and_query(),
        prefix: Some(rest.prefix.to_owned()),
        headers: Vec::new(),
    };
    let answer = forward(call.server, how, request).await.map_err(|error| {
        Status::new(503, Reason::ServiceUnavailable, format!("error trying to reach service: {error}"))
    })?;
    Ok(Answer::Streaming(answer))
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
