//! The walk itself: what is granted works, what is not is refused by its name, and discovery says the same.

use super::{steps::Walk, *};

#[tokio::test]
async fn every_verb_of_every_kind_works_for_whom_it_is_granted() {
    let all = kinds(&bed().await)
        .into_iter()
        .map(|kind| (kind.group.clone(), kind.version.clone(), kind.plural.clone()));
    for (group, version, plural) in all.collect::<Vec<_>>() {
        let bed = bed().await;
        let kind =
            bed.server.inner.table().by_resource(&group, &version, &plural).cloned().expect("it is served");
        let walk = Walk::new(&bed, &kind);
        walk.create_read_and_watch().await;
        walk.update_and_patch().await;
        if kind.has_status() {
            walk.status().await;
        }
        if kind.subresource("scale").is_some() {
            walk.scale().await;
        }
        walk.delete().await;
        if kind.verbs.contains(&"deletecollection") {
            walk.delete_collection().await;
        }
    }
}

#[tokio::test]
async fn every_verb_of_every_kind_is_refused_to_whom_nothing_is_granted() {
    let bed = bed().await;
    for kind in kinds(&bed) {
        let list = collection(&kind);
        let one = format!("{list}/x");
        let mut rows = vec![
            ("create", "POST", list.clone()),
            ("list", "GET", list.clone()),
            ("watch", "GET", format!("{list}?watch=1")),
            ("get", "GET", one.clone()),
            ("update", "PUT", one.clone()),
            ("patch", "PATCH", one.clone()),
            ("delete", "DELETE", one.clone()),
        ];
        if kind.verbs.contains(&"deletecollection") {
            rows.push(("deletecollection", "DELETE", list));
        }
        for (sub, verb, method) in
            [("status", "get", "GET"), ("status", "patch", "PATCH"), ("scale", "update", "PUT")]
        {
            if kind.subresource(sub).is_some() {
                rows.push((verb, method, format!("{one}/{sub}")));
            }
        }
        for (verb, method, uri) in rows {
            let got = bed.send_as(stranger(), method, &uri, &[], "").await;
            let said = format!("User \"stranger\" cannot {verb} resource \"{}", kind.plural);
            assert!(got.code == 403 && got.message().contains(&said), "{method} {uri}: {}", got.text());
        }
    }
}

#[tokio::test]
async fn discovery_lists_each_kind_with_its_names_verbs_and_subresources() {
    let bed = bed().await;
    for kind in kinds(&bed) {
        let list = collection(&kind);
        let scope = if kind.namespaced { "/namespaces/" } else { "/" };
        let version = list.split(&format!("{scope}{}", kind.plural)).next().expect("split gives one");
        let version = version.split("/namespaces/").next().expect("split gives one");
        let got = bed.get(version.trim_end_matches(&format!("/{}", kind.plural))).await.json();
        let all = got["resources"].as_array().unwrap_or_else(|| panic!("{version}: {got}"));
        let find = |name: &str| {
            all.iter().find(|resource| resource["name"] == name).unwrap_or_else(|| panic!("{name}: {got}"))
        };
        let own = find(&kind.plural);
        assert_eq!((&own["kind"], &own["namespaced"]), (&json!(kind.kind), &json!(kind.namespaced)));
        assert_eq!((&own["singularName"], &own["verbs"]), (&json!(kind.singular), &json!(kind.verbs)));
        let names = own["shortNames"].as_array().cloned().unwrap_or_default();
        assert_eq!(json!(names), json!(kind.short_names), "{}", kind.plural);
        for sub in &kind.subresources {
            assert_eq!(find(&format!("{}/{}", kind.plural, sub.name))["verbs"], json!(sub.verbs));
        }
    }
}
