//! What a container says and hears over the API: logs, exec, attach, cp, port-forward.

use anyhow::{Context, Result, ensure};
use keelson_tests::{
    Namespace, PATIENCE, eventually,
    kubectl::{kubectl, run},
    manifest,
    stream::Stream,
};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

/// For one line to come through.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn logs_are_kept_cut_and_followed() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    let script = "for i in 1 2 3; do echo line $i; done; echo wrong >&2; \
                  until [ -e /tmp/go ]; do usleep 20000; done; echo last; exec sleep 1000000";
    namespace.apply_all(&[manifest::script("talks", script)])?;
    namespace.ready("talks")?;
    let all = eventually(SOON, "all was written", || {
        let log = namespace.kubectl("logs talks")?;
        ensure!(log.lines().count() == 4, "{log}");
        Ok(log)
    })?;
    // Where a line of one stream stands among those of the other is not said.
    let (errors, output): (Vec<_>, Vec<_>) = all.lines().partition(|line| *line == "wrong");
    ensure!(output == ["line 1", "line 2", "line 3"] && errors.len() == 1, "{all}");
    ensure!(namespace.kubectl("logs talks --tail=1")?.lines().count() == 1);
    ensure!(namespace.kubectl("logs talks --limit-bytes=6")? == all[..6], "{all}");
    let stamped = namespace.kubectl("logs talks --timestamps")?;
    ensure!(
        stamped.lines().all(|line| line.split(' ').next().is_some_and(|t| t.ends_with('Z'))),
        "{stamped}"
    );
    ensure!(namespace.kubectl("logs talks --since=1h")?.lines().count() == 4);

    let mut follow = Stream::start(namespace.command("logs -f talks --tail=0")?)?;
    namespace.shell("talks", "touch /tmp/go")?;
    follow.line(SOON, |line| line == "last")?;
    // A followed log ends with its container.
    namespace.kubectl("delete pod talks --wait=false")?;
    follow.end(PATIENCE).map(drop)
}

#[test]
fn the_log_of_the_last_life_is_kept() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    let mut pod = manifest::script(
        "twice",
        "[ -e /work/seen ] && echo second && exec sleep 1000000; echo first; touch /work/seen",
    );
    pod["spec"]["restartPolicy"] = json!("Always");
    pod["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "work", "mountPath": "/work"}]);
    namespace.apply_all(&[pod])?;
    eventually(PATIENCE, "it runs for the second time", || {
        let log = namespace.kubectl("logs twice")?;
        ensure!(log == "second\n", "{log}");
        Ok(())
    })?;
    let previous = namespace.kubectl("logs twice --previous")?;
    ensure!(previous == "first\n", "{previous}");
    Ok(())
}

#[test]
fn exec_passes_input_output_errors_and_the_exit_code() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    namespace.apply_all(&[manifest::shell("client")])?;
    namespace.ready("client")?;
    let answer =
        namespace.answer(&["exec", "client", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], None)?;
    ensure!(answer.stdout == "out\n" && answer.stderr.starts_with("err\n"), "{answer:?}");
    ensure!(answer.code == Some(7) && answer.stderr.contains("exit code 7"), "{answer:?}");
    let answer = namespace.answer("exec -i client -- cat", Some("through and back\n"))?;
    ensure!(answer.stdout == "through and back\n" && answer.code == Some(0), "{answer:?}");
    // More than any buffer on the way holds.
    let counted = namespace.kubectl(&["exec", "client", "--", "sh", "-c", "seq 1 300000"])?;
    ensure!(
        counted.lines().count() == 300_000 && counted.ends_with("\n300000\n"),
        "{} lines",
        counted.lines().count()
    );
    let answer = namespace.answer("exec client -- not-a-program", None)?;
    ensure!(answer.code != Some(0) && answer.stderr.contains("not-a-program"), "{answer:?}");
    let refusal = namespace.refused("exec client -c other -- true", None)?;
    ensure!(refusal.contains("other"), "{refusal}");
    Ok(())
}

#[test]
fn exec_with_a_terminal_has_one() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    namespace.apply_all(&[manifest::shell("client")])?;
    namespace.ready("client")?;
    // The size is told after the start, by a message of its own: the command waits for it, five seconds at most.
    let sized =
        "n=0; until stty size 2>/dev/null | grep -q 77 || [ $n -gt 500 ]; do n=$((n+1)); usleep 10000; done";
    let shown = format!("{sized}; tty; stty size");
    // kubectl asks for a terminal only if it has one itself: util-linux' script gives it one.
    let kubectl = namespace.command(&["exec", "-it", "client", "--", "sh", "-c", &shown])?;
    let words: Vec<String> = std::iter::once(kubectl.get_program())
        .chain(kubectl.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let mut script = Command::new("script");
    script.args(["-qec", &format!("stty rows 33 cols 77; {}", words.join(" ")), "/dev/null"]);
    script.envs(kubectl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let answer = run(script, None)?;
    ensure!(answer.stdout.contains("/dev/pts/") && answer.stdout.contains("33 77"), "{answer:?}");
    Ok(())
}

#[test]
fn attach_joins_the_first_process() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    let mut pod = manifest::script("echoes", "while read line; do echo \"heard $line\"; done; sleep 1000000");
    pod["spec"]["containers"][0]["stdin"] = json!(true);
    namespace.apply_all(&[pod])?;
    namespace.ready("echoes")?;
    let mut attached = Stream::start(namespace.command("attach -i echoes")?)?;
    attached.write("hello\n")?;
    attached.line(SOON, |line| line == "heard hello")?;
    attached.write("again\n")?;
    attached.line(SOON, |line| line == "heard again")?;
    drop(attached);
    eventually(SOON, "what was said is in the log too", || {
        let log = namespace.kubectl("logs echoes")?;
        ensure!(log == "heard hello\nheard again\n", "{log}");
        Ok(())
    })
}

#[test]
fn files_are_copied_both_ways() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    namespace.apply_all(&[manifest::shell("client")])?;
    namespace.ready("client")?;
    let folder = tempfile::tempdir()?;
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    let bytes: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&there, &bytes)?;
    let text = |path: &std::path::Path| path.to_str().map(str::to_string).context("a temporary path is text");
    namespace.kubectl(&["cp", &text(&there)?, "client:/tmp/there"])?;
    ensure!(namespace.shell("client", "wc -c < /tmp/there")?.trim() == bytes.len().to_string());
    namespace.kubectl(&["cp", "client:/tmp/there", &text(&back)?])?;
    ensure!(std::fs::read(&back)? == bytes, "what came back is not what went");
    Ok(())
}

#[test]
fn a_port_is_forwarded_to_a_pod_and_by_a_service() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    namespace.apply_all(&[
        manifest::deployment("web", 1, manifest::answering("forwarded")),
        manifest::service("web", "web"),
    ])?;
    let pods = namespace.ready_pods("app=web", 1)?;
    let pod = pods[0]["metadata"]["name"].as_str().context("every pod has a name")?;
    for target in [format!("pod/{pod}"), "service/web".to_string(), "deployment/web".to_string()] {
        let mut forward = Stream::start(namespace.command(&format!("port-forward {target} :80"))?)?;
        let line = forward.line(PATIENCE, |line| line.starts_with("Forwarding from 127.0.0.1:"))?;
        let port =
            line.trim_start_matches("Forwarding from 127.0.0.1:").split(' ').next().unwrap_or_default();
        // One after another, over the one connection to the server.
        for _ in 0..3 {
            let mut stream = TcpStream::connect(("127.0.0.1", port.parse::<u16>()?))?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).with_context(|| format!("through {target}"))?;
            ensure!(
                answer.starts_with("HTTP/1.1 200") && answer.ends_with("forwarded\n"),
                "{target}: {answer}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_links_of_a_pods_page_lead_through_the_server_that_it_is_read_through() -> Result<()> {
    let namespace = Namespace::create("streams")?;
    let start =
        "mkdir /www; echo '<a href=\"/rewriteme\">test</a>' > /www/index.html; exec httpd -f -p 8080 -h /www";
    let mut pod = manifest::script("page", start);
    pod["spec"]["containers"][0]["readinessProbe"] = json!({"tcpSocket": {"port": 8080}, "periodSeconds": 1});
    namespace.apply_all(&[pod])?;
    namespace.ready("page")?;
    namespace.kubectl("expose pod page --port=80 --target-port=8080")?;
    namespace.endpoints("page", 1)?;
    for root in ["pods/page:8080/proxy", "pods/http:page:8080/proxy", "services/page:80/proxy"] {
        let root = namespace.path(root);
        let page = kubectl(&format!("get --raw {root}/"))?;
        ensure!(page.trim() == format!("<a href=\"{root}/rewriteme\">test</a>"), "{page}");
    }
    Ok(())
}
