//! Word of changes from netlink's multicast groups.

use futures::{Stream, StreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::{MulticastGroup, packet_core::NetlinkPayload};

use super::NetError;

/// Something for each message of these groups that is news; within a tokio runtime.
pub(super) fn subscribe<F>(
    groups: &[MulticastGroup],
    is_news: F,
) -> Result<impl Stream<Item = ()> + Send + Unpin + use<F>, NetError>
where
    F: Fn(&RouteNetlinkMessage) -> bool + Send + 'static,
{
    let (connection, handle, messages) =
        rtnetlink::new_multicast_connection(groups).map_err(NetError::Socket)?;
    tokio::spawn(connection);
    Ok(Box::pin(messages.filter_map(move |(message, _)| {
        // The connection ends with its last handle.
        let _ = &handle;
        let news = matches!(&message.payload, NetlinkPayload::InnerMessage(message) if is_news(message));
        std::future::ready(news.then_some(()))
    })))
}
