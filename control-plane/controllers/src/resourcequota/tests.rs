//! What a recount comes to, as a table.

use super::plan::Recount;
use serde_json::{Value, json};
use time::OffsetDateTime;

#[test]
fn a_recount_says_what_is_there_and_nothing_when_it_is_known() {
    let pod = |cpu: &str, phase: &str| {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
                                              "status": {"phase": phase}})
    };
    let hard = json!({"pods": "5", "requests.cpu": "4", "count/jobs.batch": "2"});
    let rows: [(Value, Vec<Value>, Option<Value>); 4] = [
        (
            json!({}),
            vec![],
            Some(json!({"hard": hard, "used": {"pods": "0", "requests.cpu": "0", "count/jobs.batch": "0"}})),
        ),
        (
            json!({"hard": hard, "used": {"pods": "3", "requests.cpu": "3", "count/jobs.batch": "0"}}),
            vec![pod("500m", "Running"), pod("1", "Pending"), pod("1", "Failed")],
            Some(
                json!({"hard": hard, "used": {"pods": "2", "requests.cpu": "1500m", "count/jobs.batch": "0"}}),
            ),
        ),
        (
            json!({"hard": hard, "used": {"pods": "1", "requests.cpu": "1000m", "count/jobs.batch": "0"}}),
            vec![pod("1", "Running")],
            None,
        ),
        (
            json!({"hard": {"secrets": "1", "pods": "5"}, "used": {"secrets": "1"}}),
            vec![],
            Some(json!({
                "hard": {"secrets": null, "pods": "5", "requests.cpu": "4", "count/jobs.batch": "2"},
                "used": {"secrets": null, "pods": "0", "requests.cpu": "0", "count/jobs.batch": "0"},
            })),
        ),
    ];
    for (status, pods, expected) in rows {
        let quota = json!({"spec": {"hard": hard}, "status": status});
        let mut recount = Recount::new(&quota);
        assert!(recount.is_of_unusual_kinds());
        for pod in &pods {
            recount.add("", "pods", pod, OffsetDateTime::UNIX_EPOCH);
        }
        assert_eq!(recount.status(), expected, "{status}");
    }
}

#[test]
fn what_is_listed_follows_the_names() {
    let quota = json!({"spec": {"hard": {"cpu": "1", "limits.memory": "1", "secrets": "1", "count/jobs.batch": "1", "example.com/x": "1"}}});
    let sources: Vec<_> = Recount::new(&quota).sources().into_iter().collect();
    let expected = [("", "pods"), ("", "secrets"), ("batch", "jobs")];
    assert_eq!(sources, expected.map(|(group, plural)| (group.to_owned(), plural.to_owned())));
    let usual = json!({"spec": {"hard": {"cpu": "1", "secrets": "1"}}});
    assert!(!Recount::new(&usual).is_of_unusual_kinds());
}
