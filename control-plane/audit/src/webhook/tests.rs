//! Against a real HTTPS server: batches, their time, posts again, what is lost.

use super::*;
use crate::{Auditor, Event, Level, Policy, Rejected, Stage, event::tests::event};
use keelson_webhook::{
    Resolve, ResolveError,
    testing::{TestServer, answer, body},
};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

const POLICY: &str = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Metadata}]}";

struct Nowhere;

impl Resolve for Nowhere {
    fn resolve(&self, _: &str, name: &str, _: u16) -> Result<SocketAddr, ResolveError> {
        Err(ResolveError::NotFound(name.to_owned()))
    }
}

/// A webhook that keeps what it is sent, answering each post with the next of its codes, the last one for ever.
struct Sink {
    server: TestServer,
    lists: mpsc::UnboundedReceiver<Value>,
    posts: Arc<AtomicUsize>,
    folder: tempfile::TempDir,
}

impl Sink {
    fn new(codes: &'static [u16]) -> Self {
        let (sender, lists) = mpsc::unbounded_channel();
        let posts = Arc::new(AtomicUsize::new(0));
        let seen = posts.clone();
        let server = TestServer::start("sink", None, move |request| {
            let (sender, at) = (sender.clone(), seen.fetch_add(1, SeqCst));
            async move {
                let list = serde_json::from_slice(&body(request).await).unwrap();
                let code = codes[at.min(codes.len() - 1)];
                if code == 200 {
                    sender.send(list).unwrap();
                }
                answer(code, "")
            }
        });
        Self { server, lists, posts, folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self, mode: Mode, batch_events_max: usize, batch_wait: Duration) -> WebhookConfig {
        let path = self.folder.path().join("webhook.conf");
        let authority = self.folder.path().join("ca.crt");
        std::fs::write(&authority, &self.server.ca_pem).unwrap();
        let text = format!(
            "{{current-context: c, contexts: [{{name: c, context: {{cluster: c}}}}],\n\
             clusters: [{{name: c, cluster: {{server: 'https://{}/events', certificate-authority: ca.crt}}}}]}}",
            self.server.address
        );
        std::fs::write(&path, text).unwrap();
        WebhookConfig {
            remote: Remote::load(&path, Arc::new(Nowhere)).unwrap(),
            mode,
            queue_events_max: 100,
            batch_events_max,
            batch_wait,
            throttle: None,
            initial_backoff: Duration::from_millis(1),
            truncate: Truncate::default(),
            batch_bytes_max: None,
        }
    }

    async fn next(&mut self) -> Value {
        let list = tokio::time::timeout(Duration::from_secs(20), self.lists.recv()).await;
        list.expect("a list comes").expect("the server lives")
    }
}

fn auditor(config: WebhookConfig) -> Auditor {
    Auditor::new(Policy::parse(POLICY).unwrap()).with_webhook(config)
}

fn received() -> Event {
    Event { stage: Stage::RequestReceived, ..event(Level::Metadata) }
}

fn lost(auditor: &Auditor) -> bool {
    let mut text = String::new();
    auditor.render(&mut text);
    text.lines().any(|line| {
        line.starts_with("apiserver_audit_error_total{plugin=\"webhook\"}") && !line.ends_with(" 0")
    })
}

#[tokio::test]
async fn events_come_in_batches_and_the_rest_with_the_end() {
    let mut sink = Sink::new(&[200]);
    let auditor = auditor(sink.config(Mode::Batch, 2, Duration::from_secs(3600)));
    for _ in 0..5 {
        auditor.record(received()).await.unwrap();
    }
    for _ in 0..2 {
        let list = sink.next().await;
        assert_eq!((&list["kind"], &list["apiVersion"]), (&"EventList".into(), &"audit.k8s.io/v1".into()));
        assert_eq!(list["items"].as_array().unwrap().len(), 2);
        assert_eq!(
            (&list["items"][0]["kind"], &list["items"][0]["stage"]),
            (&"Event".into(), &"RequestReceived".into())
        );
    }
    auditor.close(Duration::from_secs(20)).await;
    assert_eq!(sink.next().await["items"].as_array().unwrap().len(), 1);
    assert!(!lost(&auditor));
}

#[tokio::test]
async fn a_batch_that_is_not_full_goes_when_its_time_is_over() {
    let mut sink = Sink::new(&[200]);
    let auditor = auditor(sink.config(Mode::Batch, 100, Duration::from_millis(20)));
    auditor.record(received()).await.unwrap();
    assert_eq!(sink.next().await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_not_taken_is_posted_again_and_then_lost() {
    let mut sink = Sink::new(&[500, 429, 200]);
    let patient = auditor(sink.config(Mode::BlockingStrict, 1, Duration::ZERO));
    patient.record(received()).await.unwrap();
    assert_eq!((sink.next().await["items"].as_array().unwrap().len(), sink.posts.load(SeqCst)), (1, 3));
    // What was not understood is not said again.
    let sink = Sink::new(&[400]);
    let refused = auditor(sink.config(Mode::BlockingStrict, 1, Duration::ZERO));
    assert_eq!(refused.record(received()).await, Err(Rejected));
    assert_eq!(sink.posts.load(SeqCst), 1);
    assert!(lost(&refused));
    let sink = Sink::new(&[500]);
    let lax = auditor(sink.config(Mode::Blocking, 1, Duration::ZERO));
    assert_eq!(lax.record(received()).await, Ok(()));
    assert_eq!(sink.posts.load(SeqCst), POSTS_MAX as usize);
    assert!(lost(&lax));
}

#[tokio::test]
async fn a_long_batch_is_sent_in_parts() {
    let mut sink = Sink::new(&[200]);
    let config = WebhookConfig { batch_bytes_max: Some(1), ..sink.config(Mode::Batch, 2, Duration::ZERO) };
    let auditor = auditor(config);
    auditor.record(received()).await.unwrap();
    auditor.record(received()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(sink.next().await["items"].as_array().unwrap().len(), 1);
    }
}

#[test]
fn batches_are_let_through_at_their_rate_after_the_burst() {
    let mut bucket = Bucket::new(Throttle { per_second: 10.0, burst: 2 });
    let (now, ms) = (Instant::now(), Duration::from_millis);
    let waits: Vec<Duration> = (0..4).map(|_| bucket.take(now)).collect();
    assert_eq!(waits, [ms(0), ms(0), ms(100), ms(200)]);
    assert_eq!(bucket.take(now + ms(5_000)), ms(0));
}
