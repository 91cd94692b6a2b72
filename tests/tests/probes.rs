//! Probes: readiness opens and closes, liveness restarts, startup holds the others back.

use anyhow::{Result, ensure};
use keelson_tests::{Namespace, PATIENCE, eventually, manifest, namespace::is_ready};
use serde_json::{Value, json};

/// A pod that listens with httpd on 8080 and has one probe.
fn probed(name: &str, kind: &str, probe: Value) -> Value {
    let start = "mkdir /www; echo fine > /www/health; httpd -p 8080 -h /www; exec sleep 1000000";
    let mut pod = manifest::script(name, start);
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["spec"]["containers"][0][kind] = probe;
    pod["spec"]["containers"][0][kind]["periodSeconds"] = json!(1);
    pod["spec"]["containers"][0][kind]["failureThreshold"] = json!(1);
    pod
}

fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0)
}

fn readiness(namespace: &Namespace, pod: &str, wanted: bool) -> Result<Value> {
    eventually(PATIENCE, &format!("{pod} is Ready: {wanted}"), || {
        let pod = namespace.get(&format!("pods/{pod}"))?;
        ensure!(is_ready(&pod) == wanted, "{}", pod["status"]["conditions"]);
        Ok(pod)
    })
}

#[test]
fn readiness_follows_http_and_exec_and_tcp() -> Result<()> {
    let namespace = Namespace::create("probes")?;
    let cases = [
        (
            "http",
            json!({"httpGet": {"path": "/health", "port": 8080}}),
            "mv /www/health /www/ill",
            "mv /www/ill /www/health",
        ),
        (
            "exec",
            json!({"exec": {"command": ["test", "-e", "/www/health"]}}),
            "mv /www/health /www/ill",
            "mv /www/ill /www/health",
        ),
        ("tcp", json!({"tcpSocket": {"port": 8080}}), "killall httpd", "httpd -p 8080 -h /www"),
    ];
    let pods: Vec<Value> =
        cases.iter().map(|(name, probe, _, _)| probed(name, "readinessProbe", probe.clone())).collect();
    namespace.apply_all(&pods)?;
    for (name, _, fall_ill, recover) in &cases {
        readiness(&namespace, name, true)?;
        namespace.shell(name, fall_ill)?;
        readiness(&namespace, name, false)?;
        namespace.shell(name, recover)?;
        let pod = readiness(&namespace, name, true)?;
        ensure!(restarts(&pod) == 0, "readiness restarts nothing");
    }
    Ok(())
}

#[test]
fn liveness_restarts_what_it_finds_dead() -> Result<()> {
    let namespace = Namespace::create("probes")?;
    namespace.apply_all(&[probed(
        "alive",
        "livenessProbe",
        json!({"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 1}),
    )])?;
    namespace.ready("alive")?;
    namespace.shell("alive", "rm /www/health")?;
    eventually(PATIENCE, "it is restarted, and fine", || {
        let pod = namespace.get("pods/alive")?;
        ensure!(restarts(&pod) == 1 && is_ready(&pod), "{}", pod["status"]);
        Ok(())
    })?;
    let events = namespace.kubectl("get events --field-selector involvedObject.name=alive")?;
    ensure!(events.contains("Liveness probe failed: HTTP probe failed with statuscode: 404"), "{events}");
    ensure!(events.contains("Killing"), "{events}");
    Ok(())
}

#[test]
fn startup_holds_liveness_and_readiness_back() -> Result<()> {
    let namespace = Namespace::create("probes")?;
    let mut pod = manifest::script(
        "slow",
        "mkdir /www; until [ -e /tmp/go ]; do usleep 50000; done; exec httpd -f -p 8080 -h /www",
    );
    let tcp = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    let container = &mut pod["spec"]["containers"][0];
    container["livenessProbe"] = tcp.clone();
    container["readinessProbe"] = tcp.clone();
    container["startupProbe"] = tcp;
    container["startupProbe"]["failureThreshold"] = json!(60);
    namespace.apply_all(&[pod])?;
    eventually(PATIENCE, "the startup probe has failed more than once", || {
        let events = namespace.list("events", "")?;
        let of_startup = |e: &&Value| {
            e["reason"] == "Unhealthy"
                && e["message"].as_str().is_some_and(|m| m.starts_with("Startup probe failed"))
        };
        // Repetitions are counted in the one event, by either of its forms.
        let times = |e: &Value| e["series"]["count"].as_u64().or(e["count"].as_u64()).unwrap_or(1);
        let failed: u64 = events.iter().filter(of_startup).map(times).sum();
        ensure!(failed >= 2, "{failed} times");
        Ok(())
    })?;
    let pod = namespace.get("pods/slow")?;
    ensure!(restarts(&pod) == 0 && !is_ready(&pod), "{}", pod["status"]);
    ensure!(pod["status"]["containerStatuses"][0]["started"] == false, "{}", pod["status"]);
    namespace.shell("slow", "touch /tmp/go")?;
    let pod = namespace.ready("slow")?;
    ensure!(
        restarts(&pod) == 0 && pod["status"]["containerStatuses"][0]["started"] == true,
        "{}",
        pod["status"]
    );
    Ok(())
}
