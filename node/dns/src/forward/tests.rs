//! Forwarding against servers that answer, fail, cut, lie, or send questions back.

use super::{
    fake::{Fake, with_address, with_code, with_nothing},
    *,
};
use crate::message::Transport;
use hickory_proto::rr::RecordType;
use tokio::net::UdpSocket;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn forwarder(servers: &[SocketAddr], stubs: &[Stub]) -> Result<Forwarder, UpstreamError> {
    let upstream = Upstream::Servers(servers.to_vec());
    let own = ["127.0.0.1:1".parse().unwrap()];
    Forwarder::new(&upstream, stubs, &name("cluster.local."), &own, Arc::default())
}

async fn ask(forwarder: &Forwarder, text: &str) -> Result<Reply, ForwardError> {
    let query = Query::query(name(text), RecordType::A);
    let question = Question::new(&query, false, false).unwrap();
    let route = forwarder.route(query.name()).expect("somebody to ask");
    forwarder.ask(route, &query, question, Wants::default()).await
}

fn addresses(reply: &Reply) -> Vec<String> {
    reply.answers.iter().map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn an_answer_that_was_cut_is_fetched_over_tcp() {
    let fake = Fake::start(|query, transport| {
        let mut answer = with_address(query, "192.0.2.1", 60);
        answer.metadata.truncation = transport == Transport::Udp;
        Some(answer)
    })
    .await;
    let forwarder = forwarder(&[fake.address], &[]).unwrap();
    assert_eq!(addresses(&ask(&forwarder, "a.test.").await.unwrap()), ["192.0.2.1"]);
    assert_eq!(fake.asked(), (1, 1));
}

#[tokio::test]
async fn a_server_that_changes_the_spelling_is_believed_over_tcp_alone() {
    let fake = Fake::start(|query, transport| {
        let mut query = query.clone();
        query.queries[0].name = query.queries[0].name.to_lowercase();
        let address = if transport == Transport::Tcp { "192.0.2.1" } else { "192.0.2.66" };
        Some(with_address(&query, address, 60))
    })
    .await;
    let forwarder = forwarder(&[fake.address], &[]).unwrap();
    // 2^-26 that the random spelling is all in lower case.
    let reply = ask(&forwarder, "abcdefghijklmnopqrstuvwxyz.test.").await.unwrap();
    assert_eq!(addresses(&reply), ["192.0.2.1"]);
}

#[tokio::test]
async fn what_is_no_answer_to_the_question_is_waited_past() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let query = hickory_proto::op::Message::from_vec(&buffer[..length]).unwrap();
        let forged = with_address(&query, "192.0.2.66", 60);
        let mut id = forged.clone();
        id.metadata.id ^= 1;
        let mut question = forged.clone();
        question.queries[0].set_name(name("other.test."));
        let mut echo = forged;
        echo.metadata.message_type = hickory_proto::op::MessageType::Query;
        for stray in [&id, &question, &echo] {
            socket.send_to(&stray.to_vec().unwrap(), client).await.unwrap();
        }
        socket.send_to(&[], client).await.unwrap();
        let answer = with_address(&query, "192.0.2.1", 60);
        socket.send_to(&answer.to_vec().unwrap(), client).await.unwrap();
    });
    let forwarder = forwarder(&[address], &[]).unwrap();
    assert_eq!(addresses(&ask(&forwarder, "a.test.").await.unwrap()), ["192.0.2.1"]);
}

#[tokio::test]
async fn a_server_that_is_silent_broken_or_not_there_is_followed_by_the_next() {
    let silent = Fake::start(|_, _| None).await;
    let broken = Fake::start(|query, _| Some(with_code(query, ResponseCode::ServFail))).await;
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let good = Fake::start(|query, _| Some(with_address(query, "192.0.2.1", 60))).await;
    for first in [silent.address, broken.address, nobody] {
        let forwarder = forwarder(&[first, good.address], &[]).unwrap();
        assert_eq!(addresses(&ask(&forwarder, "a.test.").await.unwrap()), ["192.0.2.1"], "after {first}");
    }
    let forwarder = forwarder(&[nobody, broken.address], &[]).unwrap();
    let reply = ask(&forwarder, "a.test.").await.unwrap();
    assert_eq!(reply.code, ResponseCode::ServFail, "what a server said is said");
}

#[tokio::test]
async fn nobody_there_is_told_at_once_and_silence_within_the_clients_patience() {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let started = Instant::now();
    let alone = forwarder(&[nobody], &[]).unwrap();
    assert!(matches!(ask(&alone, "a.test.").await, Err(ForwardError::Unanswered(_))));
    assert!(started.elapsed() < TRY_MAX, "the kernel said so: {:?}", started.elapsed());
    let silent = Fake::start(|_, _| None).await;
    let started = Instant::now();
    let alone = forwarder(&[silent.address], &[]).unwrap();
    assert!(matches!(ask(&alone, "a.test.").await, Err(ForwardError::Unanswered(ExchangeError::Timeout))));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(silent.asked(), (TRIES_MAX, 0));
}

#[tokio::test]
async fn a_server_that_knows_no_edns_is_asked_without() {
    let fake = Fake::start(|query, _| match query.edns {
        Some(_) => Some(with_code(query, ResponseCode::FormErr)),
        None => Some(with_address(query, "192.0.2.1", 60)),
    })
    .await;
    let forwarder = forwarder(&[fake.address], &[]).unwrap();
    assert_eq!(addresses(&ask(&forwarder, "a.test.").await.unwrap()), ["192.0.2.1"]);
}

#[tokio::test]
async fn answers_are_remembered_also_that_there_is_none() {
    let fake = Fake::start(|query, _| match query.queries[0].name().to_string().starts_with(['n', 'N']) {
        true => Some(with_nothing(query, 20)),
        false => Some(with_address(query, "192.0.2.1", 20)),
    })
    .await;
    let forwarder = forwarder(&[fake.address], &[]).unwrap();
    for text in ["a.test.", "none.test."] {
        let reply = ask(&forwarder, text).await.unwrap();
        let question = Question::new(&Query::query(name(text), RecordType::A), false, false).unwrap();
        let remembered = forwarder.remembered(&question).expect("remembered");
        assert_eq!((remembered.code, addresses(&remembered)), (reply.code, addresses(&reply)), "{text}");
    }
    assert_eq!(fake.asked(), (2, 0));
}

#[tokio::test]
async fn the_longest_zone_decides_who_is_asked() {
    let start = |address: &'static str| Fake::start(move |query, _| Some(with_address(query, address, 60)));
    let (all, zone, below) = (start("192.0.2.1").await, start("192.0.2.2").await, start("192.0.2.3").await);
    let stub = |zone, fake: &Fake| Stub { zone: name(zone), servers: vec![fake.address] };
    let stubs = [stub("test.", &zone), stub("below.test.", &below)];
    let forwarder = forwarder(&[all.address], &stubs).unwrap();
    for (text, expected) in [
        ("a.test.", "192.0.2.2"),
        ("test.", "192.0.2.2"),
        ("a.Below.TEST.", "192.0.2.3"),
        ("a.example.", "192.0.2.1"),
        ("atest.", "192.0.2.1"),
    ] {
        assert_eq!(addresses(&ask(&forwarder, text).await.unwrap()), [expected], "{text}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let server = |text: &str| text.parse::<SocketAddr>().unwrap();
    assert!(matches!(forwarder(&[server("127.0.0.1:1")], &[]), Err(UpstreamError::Itself(_))));
    let stub = |zone, servers: &[SocketAddr]| [Stub { zone: name(zone), servers: servers.to_vec() }];
    let other = server("192.0.2.1:53");
    let itself = stub("test.", &[server("127.0.0.1:1")]);
    assert!(matches!(forwarder(&[other], &itself), Err(UpstreamError::Itself(_))));
    let own = stub("cluster.local.", &[other]);
    assert!(matches!(forwarder(&[other], &own), Err(UpstreamError::ClusterDomain(_))));
    for count in [0, SERVERS_MAX + 1] {
        let stubs = stub("test.", &vec![other; count]);
        assert!(matches!(forwarder(&[other], &stubs), Err(UpstreamError::Servers { .. })), "{count}");
    }
}
