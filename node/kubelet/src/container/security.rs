//! `securityContext` of pod and container, merged (the container wins), as the runtime wants it.
//! Rules: API reference, PodSecurityContext and SecurityContext.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use keelson_runtime::v1;

use super::ConfigError;
use crate::config::Config;

/// Paths that containers do not see, with `procMount: Default` (upstream's list).
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths that containers cannot write (upstream's list).
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn contexts(spec: &PodSpec, container: &Container) -> (PodSecurityContext, SecurityContext) {
    (
        spec.security_context.clone().unwrap_or_default(),
        container.security_context.clone().unwrap_or_default(),
    )
}

/// Refuses a container that must not run as root but would.
pub(super) fn verify_non_root(
    spec: &PodSpec,
    container: &Container,
    image: &v1::Image,
) -> Result<(), ConfigError> {
    let (pod, own) = contexts(spec, container);
    if own.run_as_non_root.or(pod.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let name = &container.name;
    match (own.run_as_user.or(pod.run_as_user), &image.uid) {
        (Some(0), _) => Err(ConfigError::config(format!(
            "container's runAsUser breaks non-root policy (container: {name})"
        ))),
        (Some(_), _) => Ok(()),
        (None, Some(uid)) if uid.value == 0 => Err(ConfigError::config(format!(
            "container has runAsNonRoot and image will run as root (container: {name})"
        ))),
        (None, Some(_)) => Ok(()),
        (None, None) if image.username.is_empty() => Err(ConfigError::config(format!(
            "container has runAsNonRoot and image will run as root (container: {name})"
        ))),
        (None, None) => Err(ConfigError::config(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root \
             (container: {name})",
            image.username
        ))),
    }
}

/// What the runtime is asked for.
pub(super) fn security_context(
    config: &Config,
    spec: &PodSpec,
    container: &Container,
    target: Option<&str>,
) -> v1::LinuxContainerSecurityContext {
    let (pod, own) = contexts(spec, container);
    let capabilities = own.capabilities.unwrap_or_default();
    let unmasked = own.proc_mount.as_deref() == Some("Unmasked");
    let paths =
        |list: &[&str]| if unmasked { Vec::new() } else { list.iter().map(|p| (*p).to_owned()).collect() };
    v1::LinuxContainerSecurityContext {
        capabilities: Some(v1::Capability {
            add_capabilities: capabilities.add.unwrap_or_default(),
            drop_capabilities: capabilities.drop.unwrap_or_default(),
            add_ambient_capabilities: Vec::new(),
        }),
        privileged: own.privileged == Some(true),
        namespace_options: Some(within(namespaces(spec), target)),
        run_as_user: own.run_as_user.or(pod.run_as_user).map(|value| v1::Int64Value { value }),
        run_as_group: own.run_as_group.or(pod.run_as_group).map(|value| v1::Int64Value { value }),
        readonly_rootfs: own.read_only_root_filesystem == Some(true),
        supplemental_groups: groups(spec),
        no_new_privs: own.allow_privilege_escalation == Some(false),
        masked_paths: paths(&MASKED),
        readonly_paths: paths(&READ_ONLY),
        seccomp: Some(seccomp(config, own.seccomp_profile.or(pod.seccomp_profile).as_ref())),
        apparmor: own.app_armor_profile.or(pod.app_armor_profile).as_ref().map(app_armor),
        ..Default::default()
    }
}

/// fsGroup and the supplemental groups, which every container's first process has.
pub(crate) fn groups(spec: &PodSpec) -> Vec<i64> {
    let Some(context) = &spec.security_context else { return Vec::new() };
    context.fs_group.into_iter().chain(context.supplemental_groups.iter().flatten().copied()).collect()
}

/// Which namespaces the pod's containers share with each other or the host.
pub(crate) fn namespaces(spec: &PodSpec) -> v1::NamespaceOption {
    let node =
        |on: Option<bool>| if on == Some(true) { v1::NamespaceMode::Node } else { v1::NamespaceMode::Pod };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => v1::NamespaceMode::Node,
        (_, Some(true)) => v1::NamespaceMode::Pod,
        _ => v1::NamespaceMode::Container,
    };
    v1::NamespaceOption {
        network: node(spec.host_network).into(),
        pid: pid.into(),
        ipc: node(spec.host_ipc).into(),
        target_id: String::new(),
    }
}

/// Those of a container that looks into another one. Where processes are shared anyway it sees them all.
fn within(own: v1::NamespaceOption, target: Option<&str>) -> v1::NamespaceOption {
    match target {
        Some(id) if own.pid() == v1::NamespaceMode::Container => {
            v1::NamespaceOption { pid: v1::NamespaceMode::Target.into(), target_id: id.to_owned(), ..own }
        }
        _ => own,
    }
}

/// A seccomp profile; without one a container runs unconfined, as upstream's default is.
pub(crate) fn seccomp(config: &Config, profile: Option<&SeccompProfile>) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (kind, reference) = match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => (ProfileType::RuntimeDefault, String::new()),
        Some(("Localhost", file)) => {
            let path = config.root.join("seccomp").join(file.unwrap_or_default());
            (ProfileType::Localhost, path.display().to_string())
        }
        _ => (ProfileType::Unconfined, String::new()),
    };
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref: reference }
}

fn app_armor(profile: &AppArmorProfile) -> v1::SecurityProfile {
    use v1::security_profile::ProfileType;
    let (kind, reference) = match profile.type_.as_str() {
        "Unconfined" => (ProfileType::Unconfined, String::new()),
        "Localhost" => (ProfileType::Localhost, profile.localhost_profile.clone().unwrap_or_default()),
        _ => (ProfileType::RuntimeDefault, String::new()),
    };
    v1::SecurityProfile { profile_type: kind.into(), localhost_ref: reference }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn non_root(user: Option<i64>) -> Container {
        Container {
            name: "app".into(),
            security_context: Some(SecurityContext {
                run_as_non_root: Some(true),
                run_as_user: user,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn a_container_that_must_not_be_root_is_checked_against_its_image() {
        let image = |uid: Option<i64>, username: &str| v1::Image {
            uid: uid.map(|value| v1::Int64Value { value }),
            username: username.into(),
            ..Default::default()
        };
        let spec = PodSpec::default();
        let cases = [
            (None, image(Some(1000), ""), None),
            (Some(1000), image(Some(0), ""), None),
            (Some(0), image(Some(1000), ""), Some("breaks non-root policy")),
            (None, image(Some(0), ""), Some("image will run as root")),
            (None, image(None, ""), Some("image will run as root")),
            (None, image(None, "nginx"), Some("non-numeric user (nginx)")),
        ];
        for (user, image, expected) in cases {
            let result = verify_non_root(&spec, &non_root(user), &image);
            match expected {
                None => assert!(result.is_ok(), "{user:?} {image:?}"),
                Some(text) => assert!(result.unwrap_err().to_string().contains(text)),
            }
        }
    }

    #[test]
    fn the_pods_own_namespaces_are_the_default_and_pids_are_private() {
        let mut spec = PodSpec::default();
        let modes = |spec: &PodSpec| {
            let option = namespaces(spec);
            (option.network(), option.pid(), option.ipc())
        };
        use v1::NamespaceMode::{Container, Node, Pod};
        assert_eq!(modes(&spec), (Pod, Container, Pod));
        spec.share_process_namespace = Some(true);
        assert_eq!(modes(&spec), (Pod, Pod, Pod));
        (spec.host_pid, spec.host_network, spec.host_ipc) = (Some(true), Some(true), Some(true));
        assert_eq!(modes(&spec), (Node, Node, Node));
    }

    #[test]
    fn a_container_with_a_target_joins_its_processes_unless_all_are_shared() {
        use v1::NamespaceMode::{Pod, Target};
        let mut spec = PodSpec::default();
        let joined = within(namespaces(&spec), Some("id"));
        assert_eq!((joined.pid(), joined.target_id.as_str()), (Target, "id"));
        spec.share_process_namespace = Some(true);
        let shared = within(namespaces(&spec), Some("id"));
        assert_eq!((shared.pid(), shared.target_id.as_str()), (Pod, ""));
    }
}
