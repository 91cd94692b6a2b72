//! Pods that want to see the addresses of Services: an annotation of theirs, of their namespace, or of their RuntimeClass keeps their
//! sockets from being translated. What they send is translated packet by packet at their link.
//!
//! A RuntimeClass that says nothing speaks by its handler: of those known to bring a kernel of their own ([`OWN_KERNEL`]) the pods'
//! sockets are no sockets of this kernel, and what the sandbox itself has open is none of the pod's.
//!
//! Decided once, when a pod gets its link, before its first process runs; kept in the kernel as long as it has that link. A later
//! change of an annotation is for pods to come. Pure, but for [`Handle::settle_socket_lb`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use keelson_sys::sockets::cookie_of;

use crate::{Error, Handle, policy::PodKey};

/// The annotation of a pod, a namespace or a RuntimeClass: `on` (as without it) or `off`. The pod's counts most, the class's least.
pub const SOCKET_LB: &str = "keelson.dev/socket-lb";

/// Handlers with a kernel of their own, by what their names begin with: Kata Containers' (`kata`, `kata-qemu`, `kata-clh`, ...) and
/// gVisor's (`runsc`, `gvisor`), as their own guides name them.
/// <https://github.com/kata-containers/kata-containers/blob/main/docs/how-to/containerd-kata.md>,
/// <https://gvisor.dev/docs/user_guide/containerd/quick_start/>
const OWN_KERNEL: [&str; 3] = ["kata", "runsc", "gvisor"];

/// What an annotation may say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SocketLb {
    On,
    Off,
}

fn parse(said: &str) -> Option<SocketLb> {
    match said {
        "on" => Some(SocketLb::On),
        "off" => Some(SocketLb::Off),
        _ => None,
    }
}

/// What a RuntimeClass says: its annotation, and its handler.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ClassWish {
    pub(crate) said: Option<Box<str>>,
    pub(crate) handler: Box<str>,
}

impl ClassWish {
    fn wish(&self) -> Option<SocketLb> {
        let own_kernel = OWN_KERNEL.iter().any(|name| {
            let rest = self.handler.strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        let by_handler = own_kernel.then_some(SocketLb::Off);
        self.said.as_deref().and_then(parse).or(by_handler)
    }
}

/// What the annotations of this node's pods, of all namespaces and of all RuntimeClasses say, where they have one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Wishes {
    pods: BTreeMap<PodKey, Box<str>>,
    class_of: BTreeMap<PodKey, Box<str>>,
    namespaces: BTreeMap<Box<str>, Box<str>>,
    classes: BTreeMap<Box<str>, ClassWish>,
}

impl Wishes {
    /// Whether that is new: what the pod says, and which RuntimeClass it has.
    pub(crate) fn set_pod(&mut self, key: &PodKey, said: Option<&str>, class: Option<&str>) -> bool {
        let new_class = set(&mut self.class_of, key, class);
        set(&mut self.pods, key, said) | new_class
    }

    /// As above.
    pub(crate) fn set_namespace(&mut self, name: &str, said: Option<&str>) -> bool {
        set(&mut self.namespaces, &name.into(), said)
    }

    /// As above.
    pub(crate) fn set_class(&mut self, name: &str, class: Option<ClassWish>) -> bool {
        if self.classes.get(name) == class.as_ref() {
            return false;
        }
        match class {
            Some(class) => self.classes.insert(name.into(), class),
            None => self.classes.remove(name),
        };
        true
    }

    /// Names of the RuntimeClasses.
    pub(crate) fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes.keys().map(|name| &**name)
    }

    fn class(&self, pod: &PodKey) -> Option<&ClassWish> {
        self.classes.get(self.class_of.get(pod)?)
    }

    /// Whether a pod's sockets are left alone. What is no value counts as nothing said.
    pub(crate) fn bypasses(&self, pod: &PodKey) -> bool {
        let pods = self.pods.get(pod).and_then(|said| parse(said));
        let namespaces = || self.namespaces.get(&pod.0).and_then(|said| parse(said));
        pods.or_else(namespaces).or_else(|| self.class(pod)?.wish()) == Some(SocketLb::Off)
    }

    /// Whether any says what is no value.
    pub(crate) fn any_unknown(&self) -> bool {
        let classes = self.classes.values().filter_map(|class| class.said.as_ref());
        self.pods.values().chain(self.namespaces.values()).chain(classes).any(|said| parse(said).is_none())
    }

    /// What is wrong about a pod's, in words.
    pub(crate) fn unknown(&self, pod: &PodKey) -> Option<String> {
        let wrong = |said: Option<&Box<str>>, whose: &str| {
            let said = said.filter(|said| parse(said).is_none())?;
            Some(format!(
                "annotation {SOCKET_LB} of the {whose}: {said:?} is neither on nor off: as if it were not there"
            ))
        };
        wrong(self.pods.get(pod), "pod")
            .or_else(|| wrong(self.namespaces.get(&pod.0), "pod's namespace"))
            .or_else(|| wrong(self.class(pod)?.said.as_ref(), "pod's RuntimeClass"))
    }
}

fn set<K: Clone + Ord>(all: &mut BTreeMap<K, Box<str>>, key: &K, said: Option<&str>) -> bool {
    if all.get(key).map(|known| &**known) == said {
        return false;
    }
    match said {
        Some(said) => all.insert(key.clone(), said.into()),
        None => all.remove(key),
    };
    true
}

impl Handle {
    /// Has a new pod's sockets left alone, if it is to be so: to be called when it has its link, before its first process runs.
    /// Nothing without per-packet programs, which would have to translate in their place.
    ///
    /// Waits until the pod's annotations are known, five seconds at most: then it is as if there were none.
    pub async fn settle_socket_lb(
        &self,
        (namespace, name, uid): (&str, &str, &str),
        link: &str,
        netns: &Path,
    ) -> Result<(), Error> {
        if uid.is_empty() || self.shared.progress.borrow().policies.is_none() {
            return Ok(());
        }
        let key: PodKey = (namespace.into(), name.into());
        if !self.settled(&key, uid).await {
            tracing::warn!(
                namespace,
                pod = name,
                "the pod's annotations were not known in time: its sockets are translated"
            );
            return Ok(());
        }
        if !self.shared.progress.borrow().wishes.bypasses(&key) {
            return Ok(());
        }
        let (link, netns): (String, PathBuf) = (link.into(), netns.into());
        self.packets(move |packets| {
            let cookie = cookie_of(&netns).map_err(|source| Error::PodNamespace { path: netns, source })?;
            packets.bypass_sockets(&link, cookie)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_word_counts_more_than_its_namespaces_and_what_is_no_value_counts_for_nothing() {
        let pod: PodKey = ("n".into(), "p".into());
        for (of_pod, of_namespace, bypasses, wrong) in [
            (None, None, false, None),
            (Some("off"), None, true, None),
            (None, Some("off"), true, None),
            (Some("on"), Some("off"), false, None),
            (Some("off"), Some("on"), true, None),
            (Some("no"), Some("off"), true, Some("of the pod: \"no\"")),
            (Some("Off"), None, false, Some("of the pod: \"Off\"")),
            (None, Some(""), false, Some("of the pod's namespace: \"\"")),
        ] {
            let mut wishes = Wishes::default();
            assert_eq!(wishes.set_pod(&pod, of_pod, None), of_pod.is_some());
            assert_eq!(wishes.set_namespace("n", of_namespace), of_namespace.is_some());
            assert_eq!(wishes.bypasses(&pod), bypasses, "{of_pod:?} {of_namespace:?}");
            assert_eq!(wishes.any_unknown(), wrong.is_some());
            let said = wishes.unknown(&pod);
            assert!(said.as_deref().unwrap_or_default().contains(wrong.unwrap_or_default()), "{said:?}");
            assert_eq!(said.is_some(), wrong.is_some());
            assert!(!wishes.set_pod(&pod, of_pod, None));
        }
    }

    #[test]
    fn what_is_not_said_any_more_is_forgotten() {
        let (pod, mut wishes) = (("n".into(), "p".into()), Wishes::default());
        wishes.set_pod(&pod, Some("off"), Some("boxed"));
        assert!(wishes.set_pod(&pod, None, None) && wishes == Wishes::default());
        let class = ClassWish { said: None, handler: "kata".into() };
        assert!(wishes.set_class("boxed", Some(class.clone())) && !wishes.set_class("boxed", Some(class)));
        assert!(wishes.set_class("boxed", None) && wishes == Wishes::default());
    }

    #[test]
    fn a_class_with_a_kernel_of_its_own_is_left_alone_unless_somebody_says_otherwise() {
        let pod: PodKey = ("n".into(), "p".into());
        // The handler, what the class, the namespace and the pod say.
        for (handler, class, namespace, of_pod, bypasses) in [
            ("kata", None, None, None, true),
            ("kata-qemu", None, None, None, true),
            ("runsc", None, None, None, true),
            ("gvisor", None, None, None, true),
            ("katamaran", None, None, None, false),
            ("runc", None, None, None, false),
            ("runc", Some("off"), None, None, true),
            ("kata", Some("on"), None, None, false),
            ("kata", Some("perhaps"), None, None, true),
            ("kata", None, Some("on"), None, false),
            ("kata", None, None, Some("on"), false),
            ("runc", Some("off"), Some("off"), Some("on"), false),
        ] {
            let mut wishes = Wishes::default();
            wishes.set_pod(&pod, of_pod, Some("boxed"));
            wishes.set_namespace("n", namespace);
            let said = class.map(Into::into);
            assert!(!wishes.bypasses(&pod) || of_pod.or(namespace) == Some("off"), "the class is not known");
            wishes.set_class("boxed", Some(ClassWish { said, handler: handler.into() }));
            assert_eq!(wishes.bypasses(&pod), bypasses, "{handler} {class:?} {namespace:?} {of_pod:?}");
            assert_eq!(wishes.unknown(&pod).is_some(), class == Some("perhaps"));
        }
    }
}
