//! The store's three verbs, and what subscribers hear.

use super::*;
use crate::{Resource, api, meta::Meta, views::MetaOnly};
use std::sync::Mutex as StdMutex;

impl View for MetaOnly {
    const RESOURCE: Resource = api::CONFIG_MAPS;

    fn meta(&self) -> &Meta {
        &self.metadata
    }

    fn indexes(&self) -> Vec<IndexKey> {
        let app = self.metadata.labels.get("app");
        app.map(|v| IndexKey::Node(v.as_str().into())).into_iter().collect()
    }
}

fn object(name: &str, uid: &str, version: &str, app: &str) -> MetaOnly {
    let text = serde_json::json!({"metadata": {
        "namespace": "n", "name": name, "uid": uid, "resourceVersion": version, "labels": {"app": app}}});
    serde_json::from_value(text).unwrap()
}

fn words(changes: &[Change<MetaOnly>]) -> Vec<String> {
    let side = |o: &Option<Arc<MetaOnly>>| o.as_ref().map_or("-".into(), |o| o.metadata.uid.to_string());
    changes.iter().map(|c| format!("{}>{}", side(&c.old), side(&c.new))).collect()
}

fn names(store: &Store<MetaOnly>, app: &str) -> Vec<String> {
    store.by(&IndexKey::Node(app.into())).iter().map(|o| o.metadata.name.to_string()).collect()
}

#[test]
fn verbs_answer_what_changed() {
    let store = Store::default();
    assert_eq!(words(&store.apply(object("a", "1", "1", "x"))), ["->1"]);
    assert_eq!(words(&store.apply(object("a", "1", "1", "x"))), [""; 0], "the same revision again");
    assert_eq!(words(&store.apply(object("a", "1", "2", "y"))), ["1>1"]);
    assert_eq!((names(&store, "x"), names(&store, "y")), (vec![], vec!["a".to_owned()]), "indexes follow");
    assert_eq!(words(&store.delete(object("a", "1", "3", "y"))), ["1>-"]);
    assert_eq!(words(&store.delete(object("a", "1", "3", "y"))), [""; 0]);
    assert!(names(&store, "y").is_empty());
}

#[test]
fn a_replaced_object_is_a_deletion_and_an_addition() {
    let store = Store::default();
    store.apply(object("a", "1", "1", "x"));
    assert_eq!(words(&store.apply(object("a", "2", "5", "x"))), ["1>-", "->2"]);
    assert_eq!(names(&store, "x"), ["a"]);
}

#[test]
fn a_new_list_is_compared_with_what_is_held() {
    let store = Store::default();
    for (name, uid) in [("a", "1"), ("b", "2"), ("c", "3")] {
        store.apply(object(name, uid, "1", "x"));
    }
    let list = vec![object("b", "2", "1", "x"), object("c", "9", "4", "x"), object("d", "4", "4", "x")];
    let mut said = words(&store.reset(list));
    said.sort();
    assert_eq!(said, ["->4", "->9", "1>-", "3>-"]);
    assert_eq!(names(&store, "x"), ["b", "c", "d"]);
}

#[tokio::test]
async fn a_subscriber_is_told_of_everything_once_until_it_ends() {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        Err::<http::Response<kube::client::Body>, _>(std::io::Error::other("no server"))
    });
    let api = Api::new(kube::Client::new(service, "default"));
    let informer = Informer::<MetaOnly>::new(api, CancellationToken::new());
    informer.reset(vec![object("a", "1", "1", "x")]);
    assert!(informer.synced().await);
    let heard = Arc::new(StdMutex::new(Vec::new()));
    let log = heard.clone();
    let until = CancellationToken::new();
    informer.subscribe(&until, move |change| log.lock().unwrap().extend(words(std::slice::from_ref(change))));
    informer.apply(object("b", "2", "2", "x"));
    informer.delete(object("a", "1", "3", "x"));
    until.cancel();
    informer.apply(object("c", "3", "4", "x"));
    assert_eq!(*heard.lock().unwrap(), ["->1", "->2", "1>-"], "nothing after the end of the subscription");
}

/// A server that answers what the script says, one entry a request, and then keeps a watch open for ever.
fn scripted(script: Vec<serde_json::Value>, asked: Arc<StdMutex<Vec<String>>>) -> Api {
    let script = Arc::new(StdMutex::new(script.into_iter()));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        asked.lock().unwrap().push(request.uri().query().unwrap_or_default().to_owned());
        let answer = script.lock().unwrap().next();
        async move {
            let Some(answer) = answer else { std::future::pending().await };
            let lines = match answer {
                serde_json::Value::Array(events) => events.iter().map(|e| format!("{e}\n")).collect(),
                list => list.to_string(),
            };
            Ok::<_, std::io::Error>(http::Response::new(kube::client::Body::from(lines.into_bytes())))
        }
    });
    Api::new(kube::Client::new(service, "default"))
}

#[tokio::test]
async fn nothing_is_missed_between_lists_and_watches() {
    let json = |name: &str, uid: &str, version: &str| serde_json::json!({"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": version}});
    let list = |version: &str, more: &str, items: Vec<serde_json::Value>| serde_json::json!({"metadata": {"resourceVersion": version, "continue": more}, "items": items});
    let event = |kind: &str, object| serde_json::json!({"type": kind, "object": object});
    let script = vec![
        list("5", "more", vec![json("a", "1", "1")]),
        list("5", "", vec![json("b", "2", "2")]),
        serde_json::json!([event("ADDED", json("c", "3", "6")), event("BOOKMARK", json("", "", "9"))]),
        serde_json::json!([
            event("DELETED", json("b", "2", "10")),
            event("ERROR", serde_json::json!({"code": 410}))
        ]),
        list("20", "", vec![json("c", "3", "15"), json("d", "4", "18")]),
    ];
    let asked = Arc::new(StdMutex::new(Vec::new()));
    let informer = Informer::<MetaOnly>::new(scripted(script, asked.clone()), CancellationToken::new());
    let (told, mut hear) = tokio::sync::mpsc::unbounded_channel();
    informer.subscribe(&CancellationToken::new(), move |change| {
        told.send(words(std::slice::from_ref(change)).concat()).unwrap();
    });
    informer.start();
    let mut heard = Vec::new();
    while heard.last().map(String::as_str) != Some("->4") {
        heard.push(hear.recv().await.unwrap());
    }
    assert_eq!(heard, ["->1", "->2", "->3", "2>-", "1>-", "3>3", "->4"]);
    while asked.lock().unwrap().len() < 6 {
        tokio::task::yield_now().await;
    }
    let from: Vec<String> = asked
        .lock()
        .unwrap()
        .iter()
        .map(|q| {
            q.split('&').filter(|p| p.starts_with("resourceVersion") || p.starts_with("continue")).collect()
        })
        .collect();
    assert_eq!(
        from,
        ["", "continue=more", "resourceVersion=5", "resourceVersion=9", "", "resourceVersion=20"]
    );
}
