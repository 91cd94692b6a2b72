//! What Kubernetes has and the server has not, and what nobody has: refused by name, nothing stored.

use super::*;

/// Method, path, headers, body; the code and a part of the message that it is refused with.
type Row<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

#[tokio::test]
async fn what_is_wrong_is_refused_with_code_and_name() {
    let bed = Bed::new().await;
    bed.config_map("a").await;
    let one = format!("{MAPS}/a");
    let json = [("content-type", "application/json")];
    let rows: [Row<'_>; 22] = [
        ("GET", "/api/v1/namespaces/default/configmaps/b", &[], "", 404, "configmaps \"b\" not found"),
        ("POST", MAPS, &[], r#"{"metadata":{"name":"a"}}"#, 409, "configmaps \"a\" already exists"),
        ("POST", MAPS, &[("content-type", "application/cbor")], "x", 415, "application/cbor"),
        ("POST", MAPS, &json, "{", 400, "parse error"),
        ("POST", MAPS, &json, r#"{"kind":"Pod","apiVersion":"v1"}"#, 400, "cannot be handled as a ConfigMap"),
        ("GET", MAPS, &[("accept", "application/cbor")], "", 406, "application/cbor"),
        ("GET", "/api/v1/namespaces/default/configmaps?limit=x", &[], "", 400, "parsing \"x\""),
        ("GET", "/api/v1/namespaces/default/configmaps?shardSelector=x", &[], "", 400, "shardSelector"),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps?sendInitialEvents=true",
            &[],
            "",
            422,
            "sendInitialEvents",
        ),
        ("GET", "/api/v1/namespaces/default/configmaps?fieldSelector=spec.x%3D1", &[], "", 400, "spec.x"),
        ("GET", "/api/v1/namespaces/default/configmaps?continue=zzz", &[], "", 400, "continue"),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps?watch=1",
            &[("accept", "application/yaml")],
            "",
            406,
            "not served as application/yaml",
        ),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps?watch=1",
            &[("upgrade", "websocket")],
            "",
            400,
            "WebSocket",
        ),
        ("POST", "/api/v1/namespaces/default/configmaps?dryRun=Some", &json, "{}", 422, "dryRun"),
        (
            "POST",
            "/api/v1/namespaces/default/configmaps?fieldValidation=Maybe",
            &json,
            "{}",
            422,
            "fieldValidation",
        ),
        (
            "PATCH",
            &one,
            &[("content-type", "application/apply-patch+yaml")],
            "{}",
            422,
            "is required for apply patch",
        ),
        ("PATCH", &one, &[("content-type", "application/apply-patch+cbor")], "{}", 415, "CBOR"),
        ("PATCH", &one, &json, "{}", 415, "application/merge-patch+json"),
        ("PUT", MAPS, &json, "{}", 405, "does not allow this method"),
        ("POST", &one, &json, "{}", 405, "does not allow this method"),
        ("DELETE", &one, &json, r#"{"kind":"Pod"}"#, 400, "DeleteOptions"),
        ("GET", "/api/v1/namespaces/default/configmaps/a/status", &[], "", 404, "configmaps/status"),
    ];
    for (method, uri, headers, body, code, text) in rows {
        let got = bed.send(method, uri, headers, body).await;
        let status = got.object();
        assert!(
            got.code == code && status["kind"] == "Status" && got.message().contains(text),
            "{method} {uri}: want {code} {text}, got {} {}",
            got.code,
            got.text()
        );
        assert_eq!(status["code"], code, "{method} {uri}");
    }
    assert_eq!(bed.get(MAPS).await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_path_that_nobody_serves_is_plainly_not_found() {
    let bed = Bed::new().await;
    for uri in ["/nothing", "/api/v1/nothings", "/apis/nothing/v1", "/apis/nothing/v1/things/x"] {
        let got = bed.get(uri).await;
        assert_eq!((got.code.as_u16(), got.text().as_str()), (404, "404 page not found\n"), "{uri}");
    }
    let got = bed.get("/openapi/v4").await;
    assert!(got.code == 404 && got.message().contains("/openapi/v3"), "{}", got.text());
}

#[tokio::test]
async fn a_body_over_the_maximum_is_refused() {
    let bed = Bed::new().await;
    let body =
        format!(r#"{{"metadata":{{"name":"big"}},"data":{{"k":"{}"}}}}"#, "x".repeat(crate::BODY_BYTES_MAX));
    let got = bed.send("POST", MAPS, &[], &body).await;
    assert_eq!((got.code.as_u16(), got.json()["reason"].as_str().unwrap()), (413, "RequestEntityTooLarge"));
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_ignored() {
    let bed = Bed::new().await;
    let body = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"colour":"blue"}}"#);
    let strict = bed.send("POST", &format!("{MAPS}?fieldValidation=Strict"), &[], &body("s")).await;
    assert!(
        strict.code == 400 && strict.message().contains(r#"strict decoding error: unknown field "colour""#),
        "{}",
        strict.text()
    );
    let warned = bed.send("POST", MAPS, &[], &body("w")).await;
    assert_eq!(warned.headers["warning"], r#"299 - "unknown field \"colour\"""#);
    assert!(warned.code == 201 && warned.json()["colour"].is_null());
    let ignored = bed.send("POST", &format!("{MAPS}?fieldValidation=Ignore"), &[], &body("i")).await;
    assert!(ignored.code == 201 && !ignored.headers.contains_key("warning"));
}
