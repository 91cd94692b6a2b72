//! Whether a device keeps packets' times of departure: its queueing disciplines are `fq` (tc-fq(8)), or can be.
//!
//! Only what the kernel gave the device by itself is replaced; who has configured another discipline wants that one.

use futures::{StreamExt, TryStreamExt};
use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{TcAttribute, TcHandle, TcMessage},
};
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
};

use super::{NetError, link_index};

/// What a device does with times of departure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departures {
    /// It keeps them.
    Kept,
    /// It does not, for this reason, in words.
    Ignored(String),
}

/// What the kernel gives devices by itself (`net.core.default_qdisc`, or nothing for those that need no queue).
const DEFAULTS: [&str; 4] = ["noqueue", "pfifo_fast", "fq_codel", "pfifo"];
const FQ: &str = "fq";
/// One queue a hardware queue.
const PER_QUEUE: &str = "mq";
/// Its number, where it is made anew.
const MAJOR: u16 = 1;

/// A queueing discipline: what it is, and what it is under.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Discipline {
    kind: String,
    handle: TcHandle,
    parent: TcHandle,
}

/// Has a device keep them, if that can be had; within a tokio runtime.
pub async fn keep_departures(device: &str) -> Result<Departures, NetError> {
    let found = link_index(device).map_err(NetError::Socket)?;
    let index = found.ok_or_else(|| NetError::NoLink(device.into()))?;
    let (connection, handle, _messages) = rtnetlink::new_connection().map_err(NetError::Socket)?;
    tokio::spawn(connection);
    let listed = handle.qdisc().get().index(index as i32).execute();
    let refused =
        |source| NetError::Refused { op: "reading queueing disciplines".into(), source: Box::new(source) };
    let listed: Vec<TcMessage> = listed.try_collect().await.map_err(refused)?;
    let there: Vec<Discipline> =
        listed.iter().filter(|message| message.header.index == index as i32).map(discipline).collect();
    let steps = match plan(&there) {
        Ok(steps) => steps,
        Err(kind) => return Ok(Departures::Ignored(format!("{device} has {kind}, which is left alone"))),
    };
    for step in steps {
        match put(&handle, index, &step).await {
            Ok(()) => {}
            Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -libc::ENOENT => {
                return Ok(Departures::Ignored("this kernel has no fq".into()));
            }
            Err(source) => {
                let op = format!("giving {device} fq");
                return Err(NetError::Refused { op, source: Box::new(source) });
            }
        }
    }
    Ok(Departures::Kept)
}

/// What to put where, nothing where fq is everywhere; or what else is there. clsact and ingress are no queues.
fn plan(there: &[Discipline]) -> Result<Vec<Discipline>, String> {
    let fq = |parent| Discipline { kind: FQ.to_owned(), handle: TcHandle::default(), parent };
    let root = there.iter().find(|one| one.parent == TcHandle::ROOT);
    let Some(root) = root else { return Ok(vec![fq(TcHandle::ROOT)]) };
    match root.kind.as_str() {
        FQ => return Ok(Vec::new()),
        PER_QUEUE => {}
        kind if DEFAULTS.contains(&kind) => return Ok(vec![fq(TcHandle::ROOT)]),
        other => return Err(other.to_owned()),
    }
    let mut steps = Vec::new();
    // The one that the kernel makes by itself has no number, and nothing can be put under it.
    let major = if root.handle.major == 0 { MAJOR } else { root.handle.major };
    let is_queue = |one: &&Discipline| one.parent.major == root.handle.major && one.parent.minor != 0;
    for queue in there.iter().filter(is_queue) {
        match queue.kind.as_str() {
            FQ if root.handle.major != 0 => {}
            kind if kind == FQ || DEFAULTS.contains(&kind) => {
                steps.push(fq(TcHandle { major, minor: queue.parent.minor }));
            }
            other => return Err(other.to_owned()),
        }
    }
    let all_fq = there.iter().filter(is_queue).all(|queue| queue.kind == FQ);
    if all_fq {
        return Ok(Vec::new());
    }
    if root.handle.major == 0 {
        let (kind, handle) = (PER_QUEUE.to_owned(), TcHandle { major, minor: 0 });
        steps.insert(0, Discipline { kind, handle, parent: TcHandle::ROOT });
    }
    Ok(steps)
}

fn discipline(message: &TcMessage) -> Discipline {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    Discipline {
        kind: kind.unwrap_or_default(),
        handle: message.header.handle,
        parent: message.header.parent,
    }
}

async fn put(handle: &Handle, index: u32, wanted: &Discipline) -> Result<(), rtnetlink::Error> {
    let mut message = TcMessage::default();
    message.header.index = index as i32;
    (message.header.parent, message.header.handle) = (wanted.parent, wanted.handle);
    message.attributes = vec![TcAttribute::Kind(wanted.kind.clone())];
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
    request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    let mut answers = handle.clone().request(request)?;
    while let Some(answer) = answers.next().await {
        if let NetlinkPayload::Error(error) = answer.payload
            && error.code.is_some()
        {
            return Err(rtnetlink::Error::NetlinkError(error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_kernel_gave_a_device_is_replaced() {
        let handle = |major, minor| TcHandle { major, minor };
        let of = |kind: &str, handle, parent| Discipline { kind: kind.into(), handle, parent };
        let root = |kind: &str| of(kind, handle(1, 0), TcHandle::ROOT);
        let queue = |kind: &str, minor| of(kind, handle(0, 0), handle(1, minor));
        let clsact = of("clsact", handle(0xffff, 0), TcHandle { major: 0xffff, minor: 0xfff1 });
        let (own_mq, nameless) = (root("mq"), of("mq", handle(0, 0), TcHandle::ROOT));
        let under_nameless = |kind: &str, minor| of(kind, handle(0, 0), handle(0, minor));
        let fq = |parent| of("fq", handle(0, 0), parent);
        let at_root = || Ok(vec![fq(TcHandle::ROOT)]);
        let rows = [
            (vec![root("fq"), clsact.clone()], Ok(vec![])),
            (vec![root("fq_codel"), clsact.clone()], at_root()),
            (vec![root("noqueue")], at_root()),
            (vec![clsact], at_root()),
            (vec![root("htb"), of("fq", handle(2, 0), handle(1, 1))], Err("htb".to_owned())),
            (vec![own_mq.clone(), queue("fq", 1), queue("fq", 2)], Ok(vec![])),
            (vec![own_mq.clone(), queue("fq_codel", 1), queue("fq", 2)], Ok(vec![fq(handle(1, 1))])),
            (vec![own_mq.clone(), queue("cake", 1), queue("fq", 2)], Err("cake".to_owned())),
            (vec![nameless.clone(), under_nameless("fq", 1), under_nameless("fq", 2)], Ok(vec![])),
            (
                vec![nameless, under_nameless("fq_codel", 1), under_nameless("fq", 2)],
                Ok(vec![own_mq, fq(handle(1, 1)), fq(handle(1, 2))]),
            ),
        ];
        for (there, expected) in rows {
            assert_eq!(plan(&there), expected, "{there:?}");
        }
    }
}
