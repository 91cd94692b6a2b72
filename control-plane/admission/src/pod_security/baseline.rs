//! The checks of the baseline level: nothing by which a pod is known to become the node.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;
use super::level::{Bound, Level};
use super::subject::{APP_ARMOR, Subject, Who, containers, plural, quoted};
use crate::plugin::{list, text};

/// Checks that the restricted level has in a stricter form are left to it.
pub(super) fn findings(bound: Bound, subject: &Subject<'_>) -> Vec<Finding> {
    let is_last = bound.level == Level::Baseline;
    [
        app_armor(subject),
        // Stricter since 1.22 in the restricted level.
        (is_last || !bound.is_since(22)).then(|| capabilities(subject)).flatten(),
        host_namespaces(subject),
        is_last.then(|| host_path(subject)).flatten(),
        host_ports(subject),
        bound.is_since(34).then(|| probe_hosts(subject)).flatten(),
        privileged(subject),
        (is_last || !bound.is_since(35)).then(|| proc_mount(bound, subject)).flatten(),
        selinux(bound, subject),
        (is_last || !bound.is_since(19)).then(|| seccomp(bound, subject)).flatten(),
        sysctls(bound, subject),
        host_process(subject),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn found(reason: &'static str, detail: String) -> Option<Finding> {
    Some(Finding { reason, detail })
}

fn app_armor(subject: &Subject<'_>) -> Option<Finding> {
    let (who, values) =
        subject.wrong("appArmorProfile/type", |kind| matches!(kind, "RuntimeDefault" | "Localhost"));
    let annotations = subject.object.pointer("/metadata/annotations").and_then(Value::as_object);
    let is_right = |profile: &str| {
        profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/")
    };
    let mut details: Vec<String> = Vec::new();
    if let Some(who) = who {
        details.push(format!("{} must not set AppArmor profile type to {}", who.words(), quoted(values)));
    }
    for (key, value) in annotations.into_iter().flatten().filter(|(key, _)| key.starts_with(APP_ARMOR)) {
        let profile = text(value, "");
        if !is_right(profile) {
            details.push(format!("{key}=\"{profile}\""));
        }
    }
    let reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", details.len());
    (!details.is_empty()).then(|| Finding { reason, detail: details.join(", ") })
}

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn capabilities(subject: &Subject<'_>) -> Option<Finding> {
    let added = |container: &Value| -> Vec<String> {
        let all = list(container, "/securityContext/capabilities/add").filter_map(Value::as_str);
        all.filter(|name| !CAPABILITIES.contains(name)).map(str::to_owned).collect()
    };
    let names = subject.which(|container| !added(container).is_empty());
    let all: BTreeSet<String> = subject.containers.iter().flat_map(|one| added(one)).collect();
    let shown = quoted(all.iter().map(String::as_str));
    (!names.is_empty())
        .then(|| {
            format!("{} must not include {shown} in securityContext.capabilities.add", containers(&names))
        })
        .and_then(|detail| found("non-default capabilities", detail))
}

fn host_namespaces(subject: &Subject<'_>) -> Option<Finding> {
    let used: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| subject.is_set(&format!("/{field}")))
        .map(|field| format!("{field}=true"))
        .collect();
    (!used.is_empty()).then(|| used.join(", ")).and_then(|detail| found("host namespaces", detail))
}

fn host_path(subject: &Subject<'_>) -> Option<Finding> {
    let names: Vec<&str> = list(subject.object, "/spec/volumes")
        .filter(|volume| volume.get("hostPath").is_some_and(|source| !source.is_null()))
        .map(|volume| text(volume, "/name"))
        .collect();
    let volumes = plural("volume", "volumes", names.len());
    (!names.is_empty())
        .then(|| format!("{volumes} {}", quoted(names)))
        .and_then(|detail| found("hostPath volumes", detail))
}

fn host_ports(subject: &Subject<'_>) -> Option<Finding> {
    let taken = |container: &Value| -> Vec<i64> {
        let all = list(container, "/ports").filter_map(|port| port["hostPort"].as_i64());
        all.filter(|port| *port != 0).collect()
    };
    let names = subject.which(|container| !taken(container).is_empty());
    // Sorted as text, as upstream does.
    let ports: BTreeSet<String> =
        subject.containers.iter().flat_map(|one| taken(one)).map(|port| port.to_string()).collect();
    let shown = ports.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (uses, word) = (plural("uses", "use", names.len()), plural("hostPort", "hostPorts", ports.len()));
    (!names.is_empty())
        .then(|| format!("{} {uses} {word} {shown}", containers(&names)))
        .and_then(|detail| found("hostPort", detail))
}

fn probe_hosts(subject: &Subject<'_>) -> Option<Finding> {
    const HANDLERS: [&str; 5] =
        ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"];
    let hosts = |container: &Value| -> Vec<String> {
        let places = HANDLERS.iter().flat_map(|handler| {
            ["httpGet", "tcpSocket"]
                .map(|action| text(container, &format!("/{handler}/{action}/host")).to_owned())
        });
        places.filter(|host| !host.is_empty()).collect()
    };
    let mut names = subject.which(|container| !hosts(container).is_empty());
    names.sort_unstable();
    let all: BTreeSet<String> = subject.containers.iter().flat_map(|one| hosts(one)).collect();
    let uses = plural("uses", "use", names.len());
    let word = plural("probe or lifecycle host", "probe or lifecycle hosts", all.len());
    (!names.is_empty())
        .then(|| format!("{} {uses} {word} {}", containers(&names), quoted(all.iter().map(String::as_str))))
        .and_then(|detail| found("probe or lifecycle host", detail))
}

fn privileged(subject: &Subject<'_>) -> Option<Finding> {
    let names = subject.which(|one| one.pointer("/securityContext/privileged") == Some(&Value::Bool(true)));
    (!names.is_empty())
        .then(|| format!("{} must not set securityContext.privileged=true", containers(&names)))
        .and_then(|detail| found("privileged", detail))
}

fn proc_mount(bound: Bound, subject: &Subject<'_>) -> Option<Finding> {
    if bound.is_since(35) && subject.has_own_users() {
        return None;
    }
    unmasked(subject)
}

/// A view of /proc that is not the default one.
pub(super) fn unmasked(subject: &Subject<'_>) -> Option<Finding> {
    let (who, values) = subject.wrong("procMount", |kind| kind == "Default");
    found(
        "procMount",
        format!("{} must not set securityContext.procMount to {}", who?.words(), quoted(values)),
    )
}

fn selinux(bound: Bound, subject: &Subject<'_>) -> Option<Finding> {
    let (mut types, mut parts) = (BTreeSet::new(), Vec::new());
    let (mut pod, mut names) = (false, BTreeSet::new());
    let mut take = |who: &Option<Who<'_>>| {
        if let Some(who) = who {
            pod |= who.pod;
            names.extend(who.containers.iter().map(|name| (*name).to_owned()));
        }
        who.is_some()
    };
    let (who, wrong) = subject.wrong("seLinuxOptions/type", |kind| {
        matches!(kind, "container_t" | "container_init_t" | "container_kvm_t")
            || kind == "container_engine_t" && bound.is_since(31)
    });
    if take(&who) {
        types = wrong;
    }
    if !types.is_empty() {
        parts.push(format!("{} {}", plural("type", "types", types.len()), quoted(types)));
    }
    for field in ["user", "role"] {
        let (who, _) = subject.wrong(&format!("seLinuxOptions/{field}"), |_| false);
        if take(&who) {
            parts.push(format!("{field} may not be set"));
        }
    }
    let in_order = subject.which(|container| names.contains(text(container, "/name")));
    let who = Who::of(pod, in_order)?;
    let detail =
        format!("{} set forbidden securityContext.seLinuxOptions: {}", who.words(), parts.join("; "));
    found("seLinuxOptions", detail)
}

/// Before 1.19 a profile was named by annotations alone, which the server no longer reads.
fn seccomp(bound: Bound, subject: &Subject<'_>) -> Option<Finding> {
    if !bound.is_since(19) {
        return None;
    }
    let (who, values) =
        subject.wrong("seccompProfile/type", |kind| matches!(kind, "RuntimeDefault" | "Localhost"));
    let who = who?.words();
    found(
        "seccompProfile",
        format!("{who} must not set securityContext.seccompProfile.type to {}", quoted(values)),
    )
}

/// Parameters that are a pod's own, and since when the standard says so.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn sysctls(bound: Bound, subject: &Subject<'_>) -> Option<Finding> {
    let is_own = |name: &str| SYSCTLS.iter().any(|(known, since)| *known == name && bound.is_since(*since));
    let names: Vec<&str> = list(subject.object, "/spec/securityContext/sysctls")
        .map(|sysctl| text(sysctl, "/name"))
        .filter(|name| !is_own(name))
        .collect();
    (!names.is_empty()).then(|| names.join(", ")).and_then(|detail| found("forbidden sysctls", detail))
}

fn host_process(subject: &Subject<'_>) -> Option<Finding> {
    let place = "/securityContext/windowsOptions/hostProcess";
    let names = subject.which(|one| one.pointer(place) == Some(&Value::Bool(true)));
    let who = Who::of(subject.is_set(place), names)?.words();
    found("hostProcess", format!("{who} must not set securityContext.windowsOptions.hostProcess=true"))
}
